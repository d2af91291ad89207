"""The cookies at a workspace's origin: ours, which no container may see, and its own, which pass as they are."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from urllib.parse import urlsplit

from app.core.addresses import Route
from app.core.settings.model import Settings
from app.http.cookies import Cookie, cookie_values, parse_cookie, split_cookies

# Cookies ignore ports: where API and workspaces share a host, the pages' own session cookie arrives here as well.
_OURS = re.compile(r"[^!-<>-~]*(__[^=]*)?spawner", re.IGNORECASE)
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
# A sibling's page may add cookies of our name where they are not `__Host-` ones. All that a browser keeps for one site
# are tried, so that they do not lock the owner out: Chromium keeps 180.
MAX_TRIED = 200
# Bytes of one answer's head, which the proxy bounds. Whoever comes again is rid of more.
MAX_EXPIRED = 48 * 1024


def grant_name(settings: Settings) -> str:
    """The cookie that opens one workspace."""
    return _prefix(settings) + "spawner_workspace"


def entry_name(settings: Settings) -> str:
    """The cookie that ties a one-use code to the browser that asked for it."""
    return _prefix(settings) + "spawner_entry"


def make(
    settings: Settings, route: Route, name: str, value: str, *, seconds: int | None = None, anywhere: bool = False
) -> Cookie:
    """A cookie that the browser shows to this workspace only."""
    return Cookie(name, value, route.prefix or "/", _secure(settings), seconds, anywhere)


def expired(settings: Settings, route: Route, headers: Sequence[str]) -> Iterator[str]:
    """Set-Cookie values that make a browser forget these cookies: all but what the gateway itself set.

    A browser does not tell where a cookie belongs. It showed it for this address, so its path is one of the address's
    own, and its domain is the host's or, where workspaces have a host each, perhaps the one above it.
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
    """What of our tokens' form the Cookie headers give this name, in order, each once, at most `MAX_TRIED`."""
    return [value for value in cookie_values(headers, name) if _VALUE.fullmatch(value)][:MAX_TRIED]


def without_ours(headers: Sequence[str]) -> str:
    """One Cookie header for the container: all of the request's cookies but the platform's. May be empty."""
    return "; ".join(pair for pair in split_cookies(headers) if not _OURS.match(pair))


def _secure(settings: Settings) -> bool:
    return urlsplit(settings.workspace_url).scheme == "https"


def _prefix(settings: Settings) -> str:
    if not _secure(settings):
        return ""
    return "__Host-" if settings.host_mode else "__Secure-"
