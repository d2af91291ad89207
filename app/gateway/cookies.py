"""Cookies at a workspace's origin: ours, which containers never see, and the workspace's own, which pass unchanged."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from urllib.parse import urlsplit

from app.core.addresses import Route
from app.core.settings.model import Settings
from app.http.cookies import Cookie, cookie_values, parse_cookie, split_cookies

# Cookies ignore ports: on a shared host, the pages' session cookie arrives here too.
_OURS = re.compile(r"[^!-<>-~]*(__[^=]*)?spawner", re.IGNORECASE)
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
# Without `__Host-`, sibling pages can plant cookies of our name. All are tried, so that planted ones do not lock the
# owner out: Chromium keeps 180 per site.
MAX_TRIED = 200
# Bytes of one response's headers, limited by the proxy. The next request expires more.
MAX_EXPIRED = 48 * 1024


def grant_name(settings: Settings) -> str:
    """Name of the cookie that grants one workspace."""
    return _prefix(settings) + "spawner_workspace"


def entry_name(settings: Settings) -> str:
    """Name of the cookie that binds a one-use code to its browser."""
    return _prefix(settings) + "spawner_entry"


def make(
    settings: Settings, route: Route, name: str, value: str, *, seconds: int | None = None, anywhere: bool = False
) -> Cookie:
    """Build a cookie sent to this workspace only."""
    return Cookie(name, value, route.prefix or "/", _secure(settings), seconds, anywhere)


def expired(settings: Settings, route: Route, headers: Sequence[str]) -> Iterator[str]:
    """Yield Set-Cookie values that delete these cookies, except the gateway's own.

    Requests do not tell a cookie's path and domain. Its path must match this address; its domain is the host or, with a
    host per workspace, perhaps the parent.
    """
    pairs = map(parse_cookie, split_cookies(headers))
    names = dict.fromkeys(name for name, value in pairs if not (_OURS.match(name) and _VALUE.fullmatch(value)))
    parts = urlsplit(route.prefix + route.rest).path.split("/")[1:-1]
    folders = ["/".join(["", *parts[:depth]]) for depth in range(1, len(parts) + 1)]
    paths = dict.fromkeys([f"{route.prefix}/", "/", *(path for folder in folders for path in (folder, f"{folder}/"))])
    above = (urlsplit(settings.workspace_url).hostname or "").removeprefix("{route}.")
    wheres = ["", f"; Domain={above}"] if settings.host_mode else [""]
    ending = "; Max-Age=0" + ("; Secure" if _secure(settings) else "")
    left = MAX_EXPIRED
    for path, where, name in product(paths, wheres, names):
        value = f"{name}=; Path={path}{where}{ending}"
        left -= len(value) + len("Set-Cookie: \r\n")
        if left < 0:
            return
        yield value


def values(headers: Iterable[str], name: str) -> list[str]:
    """Return the distinct well-formed values of this cookie, in order, at most `MAX_TRIED`."""
    return [value for value in cookie_values(headers, name) if _VALUE.fullmatch(value)][:MAX_TRIED]


def without_ours(headers: Sequence[str]) -> str:
    """Return one Cookie header for the container, without the platform's cookies. May be empty."""
    return "; ".join(pair for pair in split_cookies(headers) if not _OURS.match(pair))


def _secure(settings: Settings) -> bool:
    return urlsplit(settings.workspace_url).scheme == "https"


def _prefix(settings: Settings) -> str:
    if not _secure(settings):
        return ""
    return "__Host-" if settings.host_mode else "__Secure-"
