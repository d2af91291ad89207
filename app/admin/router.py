"""/api/admin: the common router, mails and overview."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from app.accounts.dependencies import AdminDep
from app.admin import service
from app.admin.schemas import MailPage, OverviewOut
from app.audit.schemas import USER_ID
from app.core.errors import Forbidden, InvalidRequest, NotAdmin, NotFound, Unauthorized, Unavailable
from app.http.dependencies import ReadSessionDep, ResourcesDep
from app.http.paging import split_page
from app.http.params import Before, PageLimit
from app.http.problems import problems
from app.models import LinkRequestState

router = APIRouter(prefix="/api/admin", tags=["admin"])

UserPath = Annotated[UUID, Path(description="Of the user.", examples=[USER_ID])]
OfUser = Annotated[UUID | None, Query(description="Only those of this user.")]

READING = (Unauthorized, NotAdmin, Unavailable)
PAGES = problems(InvalidRequest, NotFound, *READING)
CHANGES = (InvalidRequest, Forbidden, NotFound, *READING)


@router.get("/mails", summary="List magic-link e-mails", operation_id="list_mails", responses=PAGES)
async def list_mails(
    session: ReadSessionDep,
    _: AdminDep,
    state: Annotated[LinkRequestState | None, Query(description="Only those in this state.")] = None,
    limit: PageLimit = 20,
    before: Before = None,
) -> MailPage:
    """Link requests of the last day, and their outcome. Newest first, in pages."""
    found = await service.list_mails(session, state=state, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return MailPage(mails=page, next=last and last.id)


@router.get("/overview", summary="Platform overview", operation_id="overview", responses=problems(*READING))
async def overview(session: ReadSessionDep, resources: ResourcesDep, _: AdminDep) -> OverviewOut:
    """Running and waiting workspaces, failures, and the engine's promised capacity."""
    return await service.overview(session, resources)
