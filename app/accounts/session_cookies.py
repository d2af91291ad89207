"""The pages' two cookies. Changes are recorded on the request and sent with any response."""

import math

from starlette.requests import Request

from app.accounts.sessions import SessionTokens
from app.core.settings.model import Settings
from app.http.cookies import host_cookie, host_cookie_name
from app.models import utcnow

ACCESS, REFRESH = "spawner_session", "spawner_refresh"


def access_name(settings: Settings) -> str:
    """Name of the access cookie."""
    return host_cookie_name(settings, ACCESS)


def refresh_name(settings: Settings) -> str:
    """Name of the refresh cookie."""
    return host_cookie_name(settings, REFRESH)


def set_session_cookies(request: Request, settings: Settings, secrets: SessionTokens) -> None:
    """Set both cookies; the refresh cookie lasts as long as the session may."""
    seconds = max(0, math.ceil((secrets.expires_at - utcnow()).total_seconds()))
    _set(request, settings, (secrets.access, min(settings.page_access_seconds, seconds)), (secrets.refresh, seconds))


def clear_session_cookies(request: Request, settings: Settings) -> None:
    """Delete both cookies."""
    _set(request, settings, ("", 0), ("", 0))


def _set(request: Request, settings: Settings, access: tuple[str, int], refresh: tuple[str, int]) -> None:
    """Record the cookies on the request; the last call wins."""
    pair = host_cookie(settings, ACCESS, *access), host_cookie(settings, REFRESH, *refresh)
    request.state.set_cookies = [cookie.header() for cookie in pair]
