"""The device cookie: a random secret that recognises a browser on later visits."""

import hmac
import re
from dataclasses import dataclass, replace

from starlette.responses import Response

from app.core.settings.model import Settings
from app.http.cookies import host_cookie, host_cookie_name
from app.security.tokens import Tokens, new_token

NAME = "spawner_browser"
LIFE_SECONDS = 365 * 24 * 3600
# Accounts remembered per browser: 43 + 8 * 33 characters, far below cookie limits.
MAX_MARKS = 8
_FORM = re.compile(rf"([A-Za-z0-9_-]{{43}})((?:\.[0-9a-f]{{32}}){{0,{MAX_MARKS}}})")


@dataclass(frozen=True, slots=True)
class DeviceCookie:
    """A browser. `marks` identify the addresses that signed in with it, newest first, but only to code that knows an
    address.

    Never log it.
    """

    token: str
    marks: tuple[str, ...] = ()
    is_new: bool = False

    @property
    def cookie(self) -> str:
        """Return the cookie's value."""
        return ".".join((self.token, *self.marks))


def device_cookie_name(settings: Settings) -> str:
    """Return the cookie's name; `__Host-` prevents sibling hosts from planting the cookie."""
    return host_cookie_name(settings, NAME)


def set_new_device_cookie(answer: Response, settings: Settings, browser: DeviceCookie) -> None:
    """Set the cookie of a browser without one."""
    if browser.is_new:
        set_device_cookie(answer, settings, browser)


def set_device_cookie(answer: Response, settings: Settings, browser: DeviceCookie) -> None:
    """Set the browser's cookie."""
    answer.headers.append("Set-Cookie", host_cookie(settings, NAME, browser.cookie, LIFE_SECONDS).header())


def read_device_cookie(cookie: str | None) -> DeviceCookie:
    """Parse the cookie; return a new browser if it is absent or invalid."""
    found = _FORM.fullmatch(cookie or "")
    return DeviceCookie(found[1], tuple(found[2].split(".")[1:])) if found else DeviceCookie(new_token(), is_new=True)


def hash_of(tokens: Tokens, browser: DeviceCookie) -> bytes:
    """Return the keyed hash that rows store for the browser."""
    return tokens.hash("browser", browser.token)


def hashes_of(tokens: Tokens, browser: DeviceCookie) -> list[bytes]:
    """Return all hashes that rows may store for the browser, for searching."""
    return tokens.hashes("browser", browser.token)


def mark_trusted(tokens: Tokens, browser: DeviceCookie, address: str) -> DeviceCookie:
    """Return the browser with this address added to its trusted addresses."""
    known = _marks(tokens, browser, address)
    others = [mark for mark in browser.marks if mark not in known]
    return replace(browser, marks=(known[0], *others[: MAX_MARKS - 1]))


def is_trusted(tokens: Tokens, browser: DeviceCookie, address: str) -> bool:
    """Return whether this address is among the last that signed in with this browser."""
    known = _marks(tokens, browser, address)
    return any(hmac.compare_digest(shown, mark) for shown in browser.marks for mark in known)


def _marks(tokens: Tokens, browser: DeviceCookie, address: str) -> list[str]:
    return [digest.hex()[:32] for digest in tokens.hashes("known", f"{browser.token} {address}")]
