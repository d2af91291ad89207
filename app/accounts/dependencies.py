"""Every dependency of the routes, as Annotated aliases.

All are coroutines, also those that wait for nothing: FastAPI sends a plain function to a thread, which costs more than
what any of these does.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request, Response

from app.accounts import principal, session_cookies, sessions
from app.accounts.device_cookie import LIFE_SECONDS, Browser, browser_cookie_name, read_browser
from app.accounts.principal import Caller, Client, Scope
from app.audit import trail
from app.core.errors import InsufficientScope, NotAdmin, SignInAgain, Unauthorized, is_transient
from app.core.logging import bind_to_request
from app.core.settings.model import Settings
from app.http.dependencies import ResourcesDep, check_same_origin
from app.models import utcnow
from app.resources import Resources

# How long after signing in the strongest acts are open.
RECENT = timedelta(minutes=15)


def _may_refresh(request: Request) -> bool:
    """Another site's page may lead the browser here, but what it merely loads moves no session on."""
    if request.headers.get("sec-fetch-mode") == "navigate":
        return True
    return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


async def _find_caller(request: Request, resources: Resources) -> Caller | None:
    """Who calls, by Bearer or by the pages' cookies; those are renewed on the way where their time is over."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        return await principal.caller_by_bearer(resources, token.strip()) if scheme.lower() == "bearer" else None
    settings = resources.settings
    access, refresh = (
        session_cookies.only(request, name(settings))
        for name in (session_cookies.access_name, session_cookies.refresh_name)
    )
    if access is None and refresh is None:
        return None
    await check_same_origin(request)
    caller = await principal.caller_by_cookie(resources, access) if access else None
    if caller is None and refresh and _may_refresh(request):
        renewed = await sessions.refresh(resources, refresh)
        if renewed is not None:
            caller, secrets = renewed
            session_cookies.hand_out(request, settings, secrets)
        else:
            session_cookies.take_back(request, settings)
    return caller


async def get_shown(request: Request, resources: ResourcesDep) -> AsyncIterator[Caller | None]:
    """Whoever shows a session or a personal token. The use is noted after the answer: nobody waits for it."""
    caller = await _find_caller(request, resources)
    # Whoever writes a later refusal down asks who it was.
    request.state.caller = caller
    if caller is not None:
        bind_to_request(user_id=str(caller.user.id))
        trail.identify(session_id=caller.session_id, token_id=caller.token_id)
    yield caller
    if caller is not None:
        try:
            await principal.note_seen(resources, caller)
        except Exception as error:
            if not is_transient(error):
                raise


# Routes take one of the aliases below, which say what a personal token may do there.
_ShownDep = Annotated[Caller | None, Depends(get_shown)]


async def get_caller(caller: _ShownDep) -> Caller | None:
    """Who is signed in. A personal token is refused: it opens what names its scope, and nothing else."""
    if caller is not None and caller.token_id is not None:
        raise InsufficientScope
    return caller


MaybeCallerDep = Annotated[Caller | None, Depends(get_caller)]


async def require_caller(caller: MaybeCallerDep) -> Caller:
    """The caller, or 401."""
    if caller is None:
        raise Unauthorized
    return caller


CallerDep = Annotated[Caller, Depends(require_caller)]


def _check_scope(caller: Caller | None, *scopes: Scope) -> Caller:
    """The caller, or 401; 403 for a personal token that has none of the scopes."""
    if caller is None:
        raise Unauthorized
    if caller.token_id is not None and caller.scopes.isdisjoint(scopes):
        raise InsufficientScope(scopes[0])
    return caller


async def require_owner(request: Request, caller: _ShownDep) -> Caller:
    """The caller, also by a token: `workspaces` is good for everything of theirs, `read` for what changes nothing."""
    reading = (Scope.READ,) if request.method in ("GET", "HEAD") else ()
    return _check_scope(caller, *reading, Scope.WORKSPACES)


OwnerDep = Annotated[Caller, Depends(require_owner)]


async def require_admin(caller: _ShownDep) -> Caller:
    """The caller where they are an admin, else 403, also by a token; the row counts, not what is shown."""
    caller = _check_scope(caller, Scope.ADMIN)
    if not caller.user.is_admin:
        raise NotAdmin
    return caller


AdminDep = Annotated[Caller, Depends(require_admin)]


async def require_signed_in_admin(caller: CallerDep) -> Caller:
    """An admin by a session of their own, else 403: no token changes who may sign in, or enters a workspace."""
    if not caller.user.is_admin:
        raise NotAdmin
    return caller


SignedInAdminDep = Annotated[Caller, Depends(require_signed_in_admin)]


def check_recent(caller: Caller) -> None:
    """Raise `SignInAgain` unless the session began within the last 15 minutes."""
    if caller.signed_in_at is None or caller.signed_in_at < utcnow() - RECENT:
        raise SignInAgain


async def require_recent_admin(caller: SignedInAdminDep) -> Caller:
    """An admin who signed in lately, for what a session that was left open must not do."""
    check_recent(caller)
    return caller


RecentAdminDep = Annotated[Caller, Depends(require_recent_admin)]


async def get_client(request: Request) -> Client:
    """Where the request comes from; the middleware has settled whose word on that counts."""
    agent = "".join(filter(str.isprintable, request.headers.get("user-agent", "")))
    return Client(address=request.client.host[:45] if request.client else "", user_agent=agent[:200])


ClientDep = Annotated[Client, Depends(get_client)]


async def get_browser(request: Request, resources: ResourcesDep) -> Browser:
    """Which browser asks; a new one has to be told its cookie by `keep_browser`."""
    return read_browser(session_cookies.only(request, browser_cookie_name(resources.settings)))


BrowserDep = Annotated[Browser, Depends(get_browser)]


def keep_browser(answer: Response, settings: Settings, browser: Browser) -> None:
    """Let the browser keep what it is recognised by."""
    answer.set_cookie(
        browser_cookie_name(settings),
        browser.cookie,
        max_age=LIFE_SECONDS,
        path="/",
        secure=settings.secure_cookies,
        httponly=True,
        samesite="lax",
    )
