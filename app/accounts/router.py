"""/api/auth: the caller's sessions and personal tokens. All routes require a session; tokens are rejected."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request

from app.accounts import api_tokens, session_cookies, sessions
from app.accounts.dependencies import UserDep
from app.accounts.errors import NotRefreshed, TooManyChanges, TooManyTokens
from app.accounts.schemas import (
    SESSION_ID,
    TOKEN_ID,
    ApiTokensOut,
    MadeTokenOut,
    SessionOut,
    SessionsOut,
    TokenIn,
    view_made_token,
    view_token,
)
from app.core.errors import Forbidden, InvalidRequest, NotAdmin, NotFound, TooLarge, Unauthorized, Unavailable
from app.http.cookies import single_cookie
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep, check_same_origin
from app.http.errors import RequestStalled
from app.http.problems import problems

router = APIRouter(prefix="/api/auth", tags=["auth"])

SessionPath = Annotated[UUID, Path(description="Of the session.", examples=[SESSION_ID])]
TokenPath = Annotated[UUID, Path(description="Of the token.", examples=[TOKEN_ID])]
ENDING = problems(InvalidRequest, Unauthorized, Forbidden, NotFound, Unavailable)


@router.post(
    "/refresh",
    status_code=204,
    summary="Refresh the session cookies",
    operation_id="refresh",
    response_description="Renewed",
    responses=problems(NotRefreshed, Forbidden, Unavailable),
    dependencies=[Depends(check_same_origin)],
)
async def refresh(request: Request, resources: ResourcesDep) -> None:
    """Exchanges the refresh cookie for a new pair of cookies; repeating it returns the same pair until that pair is
    used.

    If an old refresh cookie is used ten seconds after its successor, its session ends, as after a theft. Pages
    need not call this: any request with an expired session cookie renews it.
    """
    token = single_cookie(request, session_cookies.refresh_name(resources.settings)) or ""
    renewed = await sessions.refresh(resources, token)
    if renewed is None:
        session_cookies.clear_session_cookies(request, resources.settings)
        raise NotRefreshed
    session_cookies.set_session_cookies(request, resources.settings, renewed[1])


@router.get(
    "/sessions",
    summary="List your sessions",
    operation_id="list_sessions",
    responses=problems(Unauthorized, Unavailable),
)
async def list_sessions(session: ReadSessionDep, caller: UserDep, locale: LocaleDep) -> SessionsOut:
    """Your live sessions, last used first."""
    found = await sessions.list_sessions(session, caller.user)
    return SessionsOut(sessions=[SessionOut.of(row, caller.session_id, locale) for row in found])


@router.delete(
    "/sessions/{id}",
    status_code=204,
    summary="End a session",
    operation_id="end_session",
    response_description="Ended",
    responses=ENDING,
)
async def end_session(id: SessionPath, session: SessionDep, caller: UserDep) -> None:
    """The session's tokens, cookies and open workspaces are refused from now on."""
    await sessions.end_session(session, caller.user, id)


@router.delete(
    "/sessions",
    status_code=204,
    summary="End all other sessions",
    operation_id="end_others",
    response_description="Ended",
    responses=problems(Unauthorized, Forbidden, Unavailable),
)
async def end_others(session: SessionDep, caller: UserDep) -> None:
    """Ends all your other sessions; the current one stays."""
    await sessions.end_others(session, caller)


@router.post(
    "/tokens",
    status_code=201,
    summary="Create a personal access token",
    operation_id="make_token",
    responses=problems(
        InvalidRequest,
        Unauthorized,
        Forbidden,
        NotAdmin,
        TooManyTokens,
        TooManyChanges,
        RequestStalled,
        TooLarge,
        Unavailable,
    ),
)
async def make_token(body: TokenIn, session: SessionDep, resources: ResourcesDep, caller: UserDep) -> MadeTokenOut:
    """A token for programs, limited to its scopes until it expires or is revoked. The secret is shown only once."""
    made, secret = await api_tokens.make_token(session, resources, caller.user, body.name, body.scopes, body.end)
    return view_made_token(made, secret)


@router.get(
    "/tokens",
    summary="List your personal access tokens",
    operation_id="list_tokens",
    responses=problems(Unauthorized, Unavailable),
)
async def list_tokens(session: ReadSessionDep, caller: UserDep) -> ApiTokensOut:
    """Your valid tokens, newest first, without their secrets."""
    return ApiTokensOut(tokens=[view_token(row) for row in await api_tokens.list_tokens(session, caller.user)])


@router.delete(
    "/tokens/{id}",
    status_code=204,
    summary="Revoke a personal access token",
    operation_id="revoke_token",
    response_description="Revoked",
    responses=ENDING,
)
async def revoke_token(id: TokenPath, session: SessionDep, caller: UserDep) -> None:
    """The token is refused from the next request on."""
    await api_tokens.revoke_token(session, caller.user, id)
