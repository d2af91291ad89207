"""/api/admin."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from app.admin import service
from app.admin.schemas import USER_ID, AdminUserOut, LimitsIn, MailPage, OverviewOut, UserPage
from app.deps import AdminDep, ResourcesDep, SessionDep
from app.errors import Forbidden, InvalidRequest, NotAdmin, NotFound, TooLarge, Unauthorized, Unavailable, problems
from app.models import LinkRequestState
from app.users import service as users
from app.users.service import LastAdmin

router = APIRouter(prefix="/api/admin", tags=["admin"])

UserPath = Annotated[UUID, Path(description="Of the user.", examples=[USER_ID])]
PageLimit = Annotated[int, Query(ge=1, le=100, description="Entries a page.")]
Before = Annotated[UUID | None, Query(description="`next` of the page before.")]

READING = (Unauthorized, NotAdmin, Unavailable)
PAGES = problems(InvalidRequest, NotFound, *READING)
CHANGES = (InvalidRequest, Forbidden, NotFound, *READING)


@router.get("/users", summary="List accounts", operation_id="list_users", responses=PAGES)
async def list_users(
    session: SessionDep,
    _: AdminDep,
    search: Annotated[str | None, Query(max_length=254, description="A part of an address or a slug.")] = None,
    limit: PageLimit = 20,
    before: Before = None,
) -> UserPage:
    """Newest first, in pages."""
    found = await service.list_users(session, search=search, limit=limit, before=before)
    return UserPage(users=found, next=found[-1].id if len(found) == limit else None)


@router.put(
    "/users/{id}/limits",
    summary="Set a user's limits",
    operation_id="limit_user",
    responses=problems(*CHANGES, TooLarge),
)
async def limit_user(id: UserPath, body: LimitsIn, session: SessionDep, _: AdminDep) -> AdminUserOut:
    """From the next launch on; nothing that runs is stopped."""
    return await service.limit_user(session, id, body.running_limit)


@router.delete(
    "/users/{id}",
    status_code=204,
    summary="Delete a user with everything of theirs",
    operation_id="delete_user",
    response_description="Deleted",
    responses=problems(*CHANGES, LastAdmin),
)
async def delete_user(id: UserPath, session: SessionDep, resources: ResourcesDep, _: AdminDep) -> None:
    """Signed out at once; containers and files are removed from the server within a minute, and never come back."""
    await users.delete_user(session, resources, id)


@router.get("/mails", summary="List mails with links", operation_id="list_mails", responses=PAGES)
async def list_mails(
    session: SessionDep,
    _: AdminDep,
    state: Annotated[LinkRequestState | None, Query(description="Only those in this state.")] = None,
    limit: PageLimit = 20,
    before: Before = None,
) -> MailPage:
    """Who asked for a link in the last day, and what became of it. Newest first, in pages."""
    found = await service.list_mails(session, state=state, limit=limit, before=before)
    return MailPage(mails=found, next=found[-1].id if len(found) == limit else None)


@router.get("/overview", summary="How things stand", operation_id="overview", responses=problems(*READING))
async def overview(session: SessionDep, _: AdminDep) -> OverviewOut:
    """What runs, what waits and for what, what failed, and how much of the engine is promised."""
    return await service.overview(session)
