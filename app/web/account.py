"""The account page: sessions and personal tokens."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from app.accounts import api_tokens, sessions
from app.accounts.dependencies import OptionalUserDep, UserDep
from app.accounts.errors import TooManyChanges, TooManyTokens
from app.accounts.principal import Principal, Scope
from app.accounts.schemas import SessionOut, TokenIn, view_token
from app.auth.return_to import read_local
from app.core.errors import NotAdmin
from app.core.i18n import Locale
from app.http.dependencies import LocaleDep, ResourcesDep, SessionDep, check_same_origin
from app.resources import Resources
from app.web.messages.account import SCOPES
from app.web.rendering import page, say

DAYS = (7, 30, 90, 365)

router = APIRouter(prefix="/account", include_in_schema=False, dependencies=[Depends(check_same_origin)])


@router.api_route("", methods=["GET", "HEAD"])
async def account(request: Request, resources: ResourcesDep, caller: OptionalUserDep, locale: LocaleDep) -> Response:
    """Show sessions and tokens; redirects to sign-in if not signed in."""
    if caller is None:
        return RedirectResponse(read_local(request.url.path).sign_in, 303)
    return await _page(request, resources, caller, locale)


@router.post("/sessions/{id}/end")
async def end_session(id: UUID, session: SessionDep, caller: UserDep) -> Response:
    """End a session; after the current one, leave the page."""
    await sessions.end_session(session, caller.user, id)
    return RedirectResponse("/sign-in" if id == caller.session_id else "/account", 303)


@router.post("/sessions/end")
async def end_others(session: SessionDep, caller: UserDep) -> Response:
    """End all other sessions."""
    await sessions.end_others(session, caller)
    return RedirectResponse("/account", 303)


@router.post("/tokens")
async def make_token(
    request: Request,
    resources: ResourcesDep,
    caller: UserDep,
    locale: LocaleDep,
    name: Annotated[str, Form()] = "",
    scope: Annotated[Sequence[str], Form()] = (),
    days: Annotated[str, Form()] = "",
) -> Response:
    """Create a token and show its secret in this response only."""
    try:
        wanted = TokenIn.model_validate({"name": name, "scopes": list(scope), "days": days})
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors() if item["loc"]}
        alert = say(locale, "token_name_wrong") if "name" in wrong else say(locale, "token_scopes_wrong")
        return await _page(request, resources, caller, locale, status=400, alert=alert, name=name)
    try:
        async with resources.unit_of_work() as session:
            made, secret = await api_tokens.make_token(
                session, resources, caller.user, wanted.name, wanted.scopes, wanted.end
            )
    except (TooManyTokens, TooManyChanges, NotAdmin) as error:
        alert = error.detail.format(locale, **error.values)
        return await _page(request, resources, caller, locale, status=error.status, alert=alert, name=name)
    return await _page(request, resources, caller, locale, made=made.name, secret=secret)


@router.post("/tokens/{id}/revoke")
async def revoke_token(id: UUID, session: SessionDep, caller: UserDep) -> Response:
    """Revoke a token."""
    await api_tokens.revoke_token(session, caller.user, id)
    return RedirectResponse("/account", 303)


async def _page(
    request: Request,
    resources: Resources,
    caller: Principal,
    locale: Locale,
    *,
    status: int = 200,
    alert: str = "",
    name: str = "",
    made: str = "",
    secret: str = "",
) -> Response:
    async with resources.reads() as session:
        rows = await sessions.list_sessions(session, caller.user)
        tokens = await api_tokens.list_tokens(session, caller.user)
    found = [SessionOut.of(row, caller.session_id, locale) for row in rows]
    return page(
        request,
        "account.html",
        status=status,
        caller=caller,
        sessions=sorted(found, key=lambda one: not one.current),
        tokens=[view_token(row) for row in tokens],
        scopes={scope: SCOPES[scope].format(locale) for scope in Scope if scope != Scope.ADMIN or caller.user.is_admin},
        days=DAYS,
        alert=alert,
        name=name,
        made=made,
        secret=secret,
    )
