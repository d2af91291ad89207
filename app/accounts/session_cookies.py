"""The pages' two cookies. What is to become of them is noted on the request, and goes out with whatever answers it."""

import math
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response

from app.accounts.sessions import SessionTokens
from app.core.settings.model import Settings
from app.models import utcnow


def access_name(settings: Settings) -> str:
    """The cookie that identifies; `__Host-` binds it to this very host, which browsers allow over TLS only."""
    return "__Host-spawner_session" if settings.secure_cookies else "spawner_session"


def refresh_name(settings: Settings) -> str:
    """The cookie that buys the next pair."""
    return "__Host-spawner_refresh" if settings.secure_cookies else "spawner_refresh"


def cookie_values(headers: Iterable[str], name: str) -> list[str]:
    """The values that a request's Cookie headers give this name, in order, each once.

    Names are compared as browsers send them. To strip more than blanks off them would make a `__Host-` cookie of one
    that had another character before it, and was never checked by the browser.
    """
    pairs = (pair.partition("=") for header in headers for pair in header.split(";"))
    return list(dict.fromkeys(value.strip(" \t") for key, _, value in pairs if key.strip(" \t") == name))


def single_cookie(request: Request, name: str) -> str | None:
    """The one value that the request shows for this name; None where there are several, of which some are planted."""
    values = cookie_values(request.headers.getlist("cookie"), name)
    return values[0] if len(values) == 1 else None


def set_session_cookies(request: Request, settings: Settings, secrets: SessionTokens) -> None:
    """Let the browser keep a pair: the refresh token for as long as the session may last."""
    seconds = max(0, math.ceil((secrets.expires_at - utcnow()).total_seconds()))
    _note(request, settings, secrets.access, min(settings.page_access_seconds, seconds), secrets.refresh, seconds)


def clear_session_cookies(request: Request, settings: Settings) -> None:
    """Let the browser forget them."""
    _note(request, settings, "", 0, "", 0)


def _note(
    request: Request, settings: Settings, access: str, access_seconds: int, refresh: str, refresh_seconds: int
) -> None:
    """The last word on a request counts."""
    scratch = Response()
    for name, value, seconds in (
        (access_name(settings), access, access_seconds),
        (refresh_name(settings), refresh, refresh_seconds),
    ):
        scratch.set_cookie(
            name, value, max_age=seconds, path="/", secure=settings.secure_cookies, httponly=True, samesite="lax"
        )
    request.state.set_cookies = scratch.headers.getlist("set-cookie")
