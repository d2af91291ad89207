"""/api/user."""

from fastapi import APIRouter, Request, Response

from app.accounts.dependencies import ScopedUserDep, answer_scoped_user
from app.accounts.principal import Principal
from app.audit import activity
from app.audit.schemas import ActivityPage
from app.auth import me as service
from app.auth.me_schemas import MeOut
from app.core.errors import InvalidRequest, Unauthorized, Unavailable
from app.core.reader import Row
from app.http.dependencies import ReadSessionDep, ResourcesDep
from app.http.direct import directly
from app.http.negotiation import locale_of
from app.http.paging import split_page
from app.http.params import BeforeRow, PageLimit
from app.http.problems import problems
from app.resources import Resources
from app.workspaces import views
from app.workspaces.schemas import WorkspacesOut

router = APIRouter(prefix="/api/user", tags=["user"])


@router.get("/me", summary="Get the current user", operation_id="me", responses=problems(Unauthorized, Unavailable))
async def me(session: ReadSessionDep, resources: ResourcesDep, caller: ScopedUserDep) -> MeOut:
    """The token's owner, and the URL of their default workspace, launched or not."""
    return await service.view_me(session, resources, caller.user)


@directly(
    router,
    "GET",
    "/containers",
    response_model=WorkspacesOut,
    summary="List workspaces",
    operation_id="list_containers",
    responses=problems(Unauthorized, Unavailable),
)
async def containers(request: Request) -> Response:
    """One entry per template, launched or not; `job` while one runs, `error` after a failure."""
    resources: Resources = request.app.state.resources

    async def answer(caller: Principal, rows: list[Row]) -> Response:
        entries = views.make_entries(resources, caller.user, resources.catalog.templates, rows, locale_of(request))
        out = WorkspacesOut(containers=[entry for entry, _ in entries])
        return Response(out.model_dump_json(), media_type="application/json")

    return await answer_scoped_user(request, views.ENTRIES, answer)


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
    """Includes what admins and the platform did to your account and workspaces. Newest first, in pages."""
    found = await activity.list_activity(session, caller.user, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return ActivityPage(activity=page, next=last and last.id)
