"""The pages' two cookies. What is to become of them is noted on the request, and goes out with whatever answers it."""

import math

from starlette.requests import Request
from starlette.responses import Response

from app.auth.sessions import PageSecrets
from app.models import utcnow
from app.settings import Settings


def access_name(settings: Settings) -> str:
    """The cookie that identifies; `__Host-` binds it to this very host, which browsers allow over TLS only."""
    return "__Host-spawner_session" if settings.secure_cookies else "spawner_session"


def refresh_name(settings: Settings) -> str:
    """The cookie that buys the next pair."""
    return "__Host-spawner_refresh" if settings.secure_cookies else "spawner_refresh"


def hand_out(request: Request, settings: Settings, secrets: PageSecrets) -> None:
    """Let the browser keep a pair: the refresh token for as long as the session may last."""
    seconds = max(0, math.ceil((secrets.expires_at - utcnow()).total_seconds()))
    _note(request, settings, secrets.access, min(settings.page_access_seconds, seconds), secrets.refresh, seconds)


def take_back(request: Request, settings: Settings) -> None:
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
