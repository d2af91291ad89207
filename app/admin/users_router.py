"""/api/admin/users: accounts, their status, and their sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.convertors import register_url_convertor

from app.accounts.denials import ClosedWord
from app.accounts.dependencies import AdminDep, RecentAdminDep, SignedInAdminDep, check_recent
from app.accounts.errors import LastAdmin
from app.accounts.status import StatusChange, change_status
from app.admin import account_deletion, service, sessions
from app.admin.router import CHANGES, PAGES, READING, UserPath
from app.admin.schemas import AdminUserOut, LimitsIn, UserPage, UserSessionPage
from app.audit.schemas import SESSION_ID
from app.core.errors import InvalidRequest, NotFound, SignInAgain, TooLarge
from app.http.dependencies import ReadSessionDep, SessionDep
from app.http.errors import RequestStalled
from app.http.paging import split_page
from app.http.params import Before, PageLimit
from app.http.problems import problems

router = APIRouter(prefix="/api/admin/users", tags=["admin"])

SessionPath = Annotated[UUID, Path(description="Of the session.", examples=[SESSION_ID])]
ChangePath = Annotated[StatusChange, Path(description="The change to the account.", examples=["block"])]


class _Change(ClosedWord):
    """A change in a path; other words do not match this route."""

    regex = "|".join(StatusChange)


register_url_convertor("standing", _Change())


@router.get("", summary="List users", operation_id="list_users", responses=PAGES)
async def list_users(
    session: ReadSessionDep,
    _: AdminDep,
    search: Annotated[str | None, Query(max_length=254, description="A part of an address or a slug.")] = None,
    limit: PageLimit = 20,
    before: Before = None,
) -> UserPage:
    """Newest first, in pages."""
    found = await service.list_users(session, search=search, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return UserPage(users=page, next=last and last.id)


@router.get(
    "/{id}", summary="Get a user", operation_id="get_user", responses=problems(InvalidRequest, NotFound, *READING)
)
async def get_user(id: UserPath, session: ReadSessionDep, _: AdminDep) -> AdminUserOut:
    """The account, as in the list."""
    return await service.get_user(session, id)


@router.put(
    "/{id}/limits",
    summary="Set a user's limits",
    operation_id="limit_user",
    responses=problems(*CHANGES, RequestStalled, TooLarge),
)
async def limit_user(id: UserPath, body: LimitsIn, session: SessionDep, admin: AdminDep) -> AdminUserOut:
    """Applies from the next launch on; running workspaces stay."""
    return await service.limit_user(session, id, body.running_limit, actor=admin.user)


@router.post(
    "/{id}/{change:standing}",
    summary="Block, unblock, promote or demote a user",
    operation_id="change_user",
    responses=problems(*CHANGES, LastAdmin, SignInAgain),
)
async def change_user(id: UserPath, change: ChangePath, session: SessionDep, admin: SignedInAdminDep) -> AdminUserOut:
    """Takes effect at the user's next request. Blocking ends every session at once; workspaces keep running.

    Idempotent. The last active admin can be neither blocked nor demoted. Tokens are refused. Changes of the admin role
    require a session that began within the last 15 minutes.
    """
    if change in (StatusChange.PROMOTE, StatusChange.DEMOTE):
        check_recent(admin)
    await change_status(session, id, change, actor=admin.user)
    return await service.get_user(session, id)


@router.delete(
    "/{id}",
    status_code=204,
    summary="Delete a user and their data",
    operation_id="delete_user",
    response_description="Deleted",
    responses=problems(*CHANGES, LastAdmin, SignInAgain),
)
async def delete_user(id: UserPath, session: SessionDep, admin: RecentAdminDep) -> None:
    """The user is signed out at once; containers and files are deleted irrevocably within a minute.

    Requires a session that began within the last 15 minutes; tokens are refused.
    """
    await account_deletion.delete_user(session, id, actor=admin.user)


@router.get("/{id}/sessions", summary="List a user's sessions", operation_id="user_sessions", responses=PAGES)
async def user_sessions(
    id: UserPath, session: ReadSessionDep, _: AdminDep, limit: PageLimit = 20, before: Before = None
) -> UserSessionPage:
    """Live sessions, newest first, in pages."""
    found = await sessions.list_sessions(session, id, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return UserSessionPage(sessions=page, next=last and last.id)


@router.delete(
    "/{id}/sessions/{session_id}",
    status_code=204,
    summary="End one of a user's sessions",
    operation_id="end_user_session",
    response_description="Ended",
    responses=problems(*CHANGES),
)
async def end_user_session(id: UserPath, session_id: SessionPath, session: SessionDep, admin: SignedInAdminDep) -> None:
    """The session's tokens, cookie and open workspaces are refused from now on."""
    await sessions.end_session(session, id, session_id, actor=admin.user)


@router.delete(
    "/{id}/sessions",
    status_code=204,
    summary="End all of a user's sessions",
    operation_id="end_user_sessions",
    response_description="Ended",
    responses=problems(*CHANGES),
)
async def end_user_sessions(id: UserPath, session: SessionDep, admin: SignedInAdminDep) -> None:
    """Signs the user out everywhere. They may sign in again: block them to prevent that."""
    await sessions.end_sessions(session, id, actor=admin.user)
