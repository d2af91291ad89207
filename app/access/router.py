"""/api/user/shares and /api/shares: workspaces shared with the caller."""

from fastapi import APIRouter

from app.access import shares
from app.access.errors import InvalidShareLink, SharedOrigin, TooManyShares
from app.access.schemas import AcceptIn, SharedListOut, SharedOut
from app.accounts.dependencies import ScopedUserDep, UserDep
from app.accounts.errors import TooManyChanges
from app.core.errors import Forbidden, InvalidRequest, NotFound, TooLarge, Unauthorized, Unavailable
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep
from app.http.errors import RequestStalled
from app.http.params import SharePath
from app.http.problems import problems

router = APIRouter(tags=["sharing"])


@router.get(
    "/api/user/shares",
    summary="List workspaces shared with you",
    operation_id="list_shared",
    responses=problems(Unauthorized, Unavailable),
)
async def list_shared(
    session: ReadSessionDep, resources: ResourcesDep, caller: ScopedUserDep, locale: LocaleDep
) -> SharedListOut:
    """Open `service_url` in a browser. A paused workspace resumes when you open it; only its owner can start a stopped
    one.
    """
    return SharedListOut(shares=await shares.list_shared(session, resources, caller.user, locale))


@router.delete(
    "/api/user/shares/{id}",
    status_code=204,
    summary="Leave a shared workspace",
    operation_id="leave_share",
    response_description="Left",
    responses=problems(InvalidRequest, Unauthorized, Forbidden, NotFound, Unavailable),
)
async def leave_share(id: SharePath, session: SessionDep, caller: UserDep) -> None:
    """You can no longer enter, unless it is shared with you again."""
    await shares.leave(session, caller.user, id)


@router.post(
    "/api/shares/accept",
    summary="Accept a share link",
    operation_id="accept_share",
    responses=problems(
        InvalidRequest,
        InvalidShareLink,
        Unauthorized,
        Forbidden,
        TooManyShares,
        TooManyChanges,
        SharedOrigin,
        RequestStalled,
        TooLarge,
        Unavailable,
    ),
)
async def accept_share(
    body: AcceptIn, session: SessionDep, resources: ResourcesDep, caller: UserDep, locale: LocaleDep
) -> SharedOut:
    """You may enter until the link expires; the workspace's owner sees your address. Idempotent."""
    return await shares.accept(session, resources, caller.user, body.token, locale)
