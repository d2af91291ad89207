"""The pages' two cookies. What is to become of them is noted on the request, and goes out with whatever answers it."""

import math

from starlette.requests import Request

from app.accounts.sessions import SessionTokens
from app.core.settings.model import Settings
from app.http.cookies import host_cookie, host_cookie_name
from app.models import utcnow

ACCESS, REFRESH = "spawner_session", "spawner_refresh"


def access_name(settings: Settings) -> str:
    """The cookie that identifies."""
    return host_cookie_name(settings, ACCESS)


def refresh_name(settings: Settings) -> str:
    """The cookie that buys the next pair."""
    return host_cookie_name(settings, REFRESH)


def set_session_cookies(request: Request, settings: Settings, secrets: SessionTokens) -> None:
    """Let the browser keep a pair: the refresh token for as long as the session may last."""
    seconds = max(0, math.ceil((secrets.expires_at - utcnow()).total_seconds()))
    _set(request, settings, (secrets.access, min(settings.page_access_seconds, seconds)), (secrets.refresh, seconds))


def clear_session_cookies(request: Request, settings: Settings) -> None:
    """Let the browser forget them."""
    _set(request, settings, ("", 0), ("", 0))


def _set(request: Request, settings: Settings, access: tuple[str, int], refresh: tuple[str, int]) -> None:
    """The last word on a request counts."""
    pair = host_cookie(settings, ACCESS, *access), host_cookie(settings, REFRESH, *refresh)
    request.state.set_cookies = [cookie.header() for cookie in pair]
