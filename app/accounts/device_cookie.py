"""Which browser asks: a random cookie, told to nobody else, by which a later visit of the same one is recognised."""

import hmac
import re
from dataclasses import dataclass, replace

from starlette.responses import Response

from app.core.settings.model import Settings
from app.http.cookies import host_cookie, host_cookie_name
from app.security.tokens import Tokens, new_token

NAME = "spawner_browser"
LIFE_SECONDS = 365 * 24 * 3600
# Accounts that a browser is remembered for: 43 + 8 * 33 characters, far from what browsers and servers take.
MAX_MARKS = 8
_FORM = re.compile(rf"([A-Za-z0-9_-]{{43}})((?:\.[0-9a-f]{{32}}){{0,{MAX_MARKS}}})")


@dataclass(frozen=True, slots=True)
class DeviceCookie:
    """A browser. `marks` show what addresses signed in with it, the last one first, to who knows an address.

    Never log it.
    """

    token: str
    marks: tuple[str, ...] = ()
    is_new: bool = False

    @property
    def cookie(self) -> str:
        """What it is to keep."""
        return ".".join((self.token, *self.marks))


def device_cookie_name(settings: Settings) -> str:
    """As with the session's cookie, `__Host-` keeps siblings of this host from planting one."""
    return host_cookie_name(settings, NAME)


def set_new_device_cookie(answer: Response, settings: Settings, browser: DeviceCookie) -> None:
    """Let a browser that has no cookie yet keep one."""
    if browser.is_new:
        set_device_cookie(answer, settings, browser)


def set_device_cookie(answer: Response, settings: Settings, browser: DeviceCookie) -> None:
    """Let the browser keep what it is recognised by."""
    answer.headers.append("Set-Cookie", host_cookie(settings, NAME, browser.cookie, LIFE_SECONDS).header())


def read_device_cookie(cookie: str | None) -> DeviceCookie:
    """The browser that shows this cookie; a new one where it shows none of ours."""
    found = _FORM.fullmatch(cookie or "")
    return DeviceCookie(found[1], tuple(found[2].split(".")[1:])) if found else DeviceCookie(new_token(), is_new=True)


def hash_of(tokens: Tokens, browser: DeviceCookie) -> bytes:
    """What rows name the browser by."""
    return tokens.hash("browser", browser.token)


def hashes_of(tokens: Tokens, browser: DeviceCookie) -> list[bytes]:
    """All that rows may name it by: what to search with."""
    return tokens.hashes("browser", browser.token)


def mark_trusted(tokens: Tokens, browser: DeviceCookie, address: str) -> DeviceCookie:
    """The browser, to be known from now on as one in which somebody signed in as this address, beside the others."""
    known = _marks(tokens, browser, address)
    others = [mark for mark in browser.marks if mark not in known]
    return replace(browser, marks=(known[0], *others[: MAX_MARKS - 1]))


def is_trusted(tokens: Tokens, browser: DeviceCookie, address: str) -> bool:
    """Whether this address is among the last that somebody signed in as in this browser."""
    known = _marks(tokens, browser, address)
    return any(hmac.compare_digest(shown, mark) for shown in browser.marks for mark in known)


def _marks(tokens: Tokens, browser: DeviceCookie, address: str) -> list[str]:
    return [digest.hex()[:32] for digest in tokens.hashes("known", f"{browser.token} {address}")]
