"""The routes' authentication dependencies, as Annotated aliases.

All are coroutines: FastAPI runs plain functions in a thread, which costs more than the work itself.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from starlette.background import BackgroundTask

from app.accounts import principal, session_cookies, sessions
from app.accounts.device_cookie import DeviceCookie, device_cookie_name, read_device_cookie
from app.accounts.principal import PRINCIPAL, Client, Credential, Principal, PrincipalSelect, Scope
from app.audit import trail
from app.core.errors import InsufficientScope, NotAdmin, SignInAgain, Unauthorized, is_transient
from app.core.logging import bind_to_request
from app.core.reader import Row
from app.http.cookies import single_cookie
from app.http.dependencies import ResourcesDep, check_same_origin
from app.models import utcnow
from app.resources import Resources

# Age limit of a session for the most sensitive operations.
RECENT = timedelta(minutes=15)


def _may_refresh(request: Request) -> bool:
    """Return whether the request may rotate the session: not for subresources of other sites' pages."""
    if request.headers.get("sec-fetch-mode") == "navigate":
        return True
    return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


async def _find_principal(
    request: Request, resources: Resources, query: PrincipalSelect = PRINCIPAL, **values: Any
) -> tuple[Principal | None, list[Row]]:
    """Find the principal by Bearer token or page cookies; expired page cookies are renewed on the way."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        credential = principal.read_bearer(resources, token.strip()) if scheme.lower() == "bearer" else None
        return await _find(resources, credential, query, **values)
    settings = resources.settings
    access, refresh = (
        single_cookie(request, name(settings)) for name in (session_cookies.access_name, session_cookies.refresh_name)
    )
    if access is None and refresh is None:
        return None, []
    await check_same_origin(request)
    caller, rows = await _find(resources, principal.read_cookie(resources, access) if access else None, query, **values)
    if caller is None and refresh and _may_refresh(request):
        renewed = await sessions.refresh(resources, refresh)
        if renewed is not None:
            caller, secrets = renewed
            session_cookies.set_session_cookies(request, settings, secrets)
            if query is not PRINCIPAL:
                found, rows = await _find(resources, principal.credential_of(caller), query, **values)
                # The session may have ended since its renewal.
                caller = caller if found else None
        else:
            session_cookies.clear_session_cookies(request, settings)
    return caller, rows


async def _find(
    resources: Resources, credential: Credential | None, query: PrincipalSelect, **values: Any
) -> tuple[Principal | None, list[Row]]:
    found = await principal.find_principal(resources, credential, query, **values) if credential else None
    return found or (None, [])


def _identify(request: Request, caller: Principal | None) -> None:
    # The audit trail names the principal of a later denial.
    request.state.caller = caller
    if caller is not None:
        bind_to_request(user_id=str(caller.user.id))
        trail.identify(session_id=caller.session_id, token_id=caller.token_id)


async def _touch(resources: Resources, caller: Principal) -> None:
    try:
        await principal.touch_last_seen(resources, caller)
    except Exception as error:
        if not is_transient(error):
            raise


async def get_principal(request: Request, resources: ResourcesDep) -> AsyncIterator[Principal | None]:
    """Yield the principal of a session or personal token; record its use after the response."""
    caller, _ = await _find_principal(request, resources)
    _identify(request, caller)
    yield caller
    if caller is not None:
        await _touch(resources, caller)


# Routes use the aliases below, which define what personal tokens may do.
_PrincipalDep = Annotated[Principal | None, Depends(get_principal)]


async def get_user(caller: _PrincipalDep) -> Principal | None:
    """Return the signed-in user. Raises for personal tokens: they are valid only where a scope is named."""
    if caller is not None and caller.token_id is not None:
        raise InsufficientScope
    return caller


OptionalUserDep = Annotated[Principal | None, Depends(get_user)]


async def require_user(caller: OptionalUserDep) -> Principal:
    """Return the caller, or answer 401."""
    if caller is None:
        raise Unauthorized
    return caller


UserDep = Annotated[Principal, Depends(require_user)]


def _check_scope(caller: Principal | None, *scopes: Scope) -> Principal:
    """Return the caller, or answer 401; 403 for a personal token without any of the scopes."""
    if caller is None:
        raise Unauthorized
    if caller.token_id is not None and caller.scopes.isdisjoint(scopes):
        raise InsufficientScope(scopes[0])
    return caller


async def require_scoped_user(request: Request, caller: _PrincipalDep) -> Principal:
    """Return the caller, also by token: `workspaces` permits all routes of this kind, `read` only safe methods."""
    reading = (Scope.READ,) if request.method in ("GET", "HEAD") else ()
    return _check_scope(caller, *reading, Scope.WORKSPACES)


ScopedUserDep = Annotated[Principal, Depends(require_scoped_user)]


Answer = Callable[[Principal, list[Row]], Awaitable[Response]]


async def answer_scoped_user(request: Request, query: PrincipalSelect, answer: Answer, **values: Any) -> Response:
    """For direct routes: authenticate as `ScopedUserDep` does and answer, given the rows of the query's own columns."""
    resources: Resources = request.app.state.resources
    caller, rows = await _find_principal(request, resources, query, **values)
    _identify(request, caller)
    caller = await require_scoped_user(request, caller)
    response = await answer(caller, rows)
    if principal.is_touch_due(caller):
        response.background = BackgroundTask(_touch, resources, caller)
    return response


async def require_admin(caller: _PrincipalDep) -> Principal:
    """Return an admin, also by token; else answer 403. The account's row decides, not the token's claim."""
    caller = _check_scope(caller, Scope.ADMIN)
    if not caller.user.is_admin:
        raise NotAdmin
    return caller


AdminDep = Annotated[Principal, Depends(require_admin)]


async def require_signed_in_admin(caller: UserDep) -> Principal:
    """Return an admin with a session, else answer 403: tokens cannot change sign-in rights or enter workspaces."""
    if not caller.user.is_admin:
        raise NotAdmin
    return caller


SignedInAdminDep = Annotated[Principal, Depends(require_signed_in_admin)]


def check_recent(caller: Principal) -> None:
    """Raise `SignInAgain` unless the session began within the last 15 minutes."""
    if caller.signed_in_at is None or caller.signed_in_at < utcnow() - RECENT:
        raise SignInAgain


async def require_recent_admin(caller: SignedInAdminDep) -> Principal:
    """Return an admin who signed in recently, so that an abandoned session cannot perform the operation."""
    check_recent(caller)
    return caller


RecentAdminDep = Annotated[Principal, Depends(require_recent_admin)]


async def get_client(request: Request) -> Client:
    """Return the request's client; the middleware has already evaluated proxy headers."""
    agent = "".join(filter(str.isprintable, request.headers.get("user-agent", "")))
    return Client(address=request.client.host[:45] if request.client else "", user_agent=agent[:200])


ClientDep = Annotated[Client, Depends(get_client)]


async def get_device_cookie(request: Request, resources: ResourcesDep) -> DeviceCookie:
    """Return the browser's device cookie; `set_device_cookie` must set a new one."""
    return read_device_cookie(single_cookie(request, device_cookie_name(resources.settings)))


DeviceCookieDep = Annotated[DeviceCookie, Depends(get_device_cookie)]
