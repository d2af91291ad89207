"""/api/user."""

from fastapi import APIRouter

from app.accounts.dependencies import ScopedUserDep
from app.audit import activity
from app.audit.schemas import ActivityPage
from app.auth import me as service
from app.auth.me_schemas import MeOut
from app.core.errors import InvalidRequest, Unauthorized, Unavailable
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep
from app.http.paging import BeforeRow, PageLimit, split_page
from app.http.problems import problems
from app.workspaces import views
from app.workspaces.schemas import WorkspacesOut

router = APIRouter(prefix="/api/user", tags=["user"])


@router.get("/me", summary="Get the current user", operation_id="me", responses=problems(Unauthorized, Unavailable))
async def me(session: ReadSessionDep, resources: ResourcesDep, caller: ScopedUserDep) -> MeOut:
    """Who the token belongs to, and where their default workspace answers, launched or not."""
    return await service.view_me(session, resources, caller.user)


@router.get(
    "/containers",
    summary="List workspaces",
    operation_id="list_containers",
    responses=problems(Unauthorized, Unavailable),
)
async def containers(
    session: ReadSessionDep, resources: ResourcesDep, caller: ScopedUserDep, locale: LocaleDep
) -> WorkspacesOut:
    """One entry for each template, launched or not; `job` while one runs, `error` after a failure."""
    return WorkspacesOut(containers=await views.list_workspaces(session, resources, caller.user, locale))


@router.get(
    "/activity",
    summary="List your account's activity",
    operation_id="activity",
    responses=problems(InvalidRequest, Unauthorized, Unavailable),
)
async def list_activity(
    session: ReadSessionDep,
    caller: ScopedUserDep,
    limit: PageLimit = 20,
    before: BeforeRow = None,
) -> ActivityPage:
    """With what admins and the platform did to your account and your workspaces. Newest first, in pages."""
    found = await activity.list_activity(session, caller.user, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return ActivityPage(activity=page, next=last and last.id)
