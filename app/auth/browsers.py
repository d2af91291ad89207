"""Which browser asks: a random cookie, told to nobody else, by which a later visit of the same one is recognised."""

import hmac
import re
from dataclasses import dataclass, replace

from app.auth.tokens import Tokens, new_token
from app.settings import Settings

LIFE_SECONDS = 365 * 24 * 3600
_FORM = re.compile(r"([A-Za-z0-9_-]{43})(?:\.([0-9a-f]{32}))?")


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser. `mark` shows what address was last signed in with it, to who knows the address. Never log it."""

    token: str
    mark: str = ""
    is_new: bool = False

    @property
    def cookie(self) -> str:
        """What it is to keep."""
        return f"{self.token}.{self.mark}" if self.mark else self.token


def browser_cookie_name(settings: Settings) -> str:
    """As with the session's cookie, `__Host-` keeps siblings of this host from planting one."""
    return "__Host-spawner_browser" if settings.secure_cookies else "spawner_browser"


def read_browser(cookie: str | None) -> Browser:
    """The browser that shows this cookie; a new one where it shows none of ours."""
    found = _FORM.fullmatch(cookie or "")
    return Browser(found[1], found[2] or "") if found else Browser(new_token(), is_new=True)


def hash_of(tokens: Tokens, browser: Browser) -> bytes:
    """What rows name the browser by."""
    return tokens.hash("browser", browser.token)


def hashes_of(tokens: Tokens, browser: Browser) -> list[bytes]:
    """All that rows may name it by: what to search with."""
    return tokens.hashes("browser", browser.token)


def marked(tokens: Tokens, browser: Browser, address: str) -> Browser:
    """The browser, to be known from now on as one in which somebody signed in as this address."""
    return replace(browser, mark=_marks(tokens, browser, address)[0])


def knows(tokens: Tokens, browser: Browser, address: str) -> bool:
    """Whether this address was the last that somebody signed in as in this browser."""
    return any(hmac.compare_digest(browser.mark, mark) for mark in _marks(tokens, browser, address))


def _marks(tokens: Tokens, browser: Browser, address: str) -> list[str]:
    return [digest.hex()[:32] for digest in tokens.hashes("known", f"{browser.token} {address}")]
