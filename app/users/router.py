"""/api/user."""

from fastapi import APIRouter

from app.deps import LocaleDep, OwnerDep, ResourcesDep, SessionDep
from app.errors import Unauthorized, Unavailable, problems
from app.users import service
from app.users.schemas import MeOut
from app.workspaces import views
from app.workspaces.schemas import WorkspacesOut

router = APIRouter(prefix="/api/user", tags=["user"])


@router.get(
    "/me", summary="You and your default workspace", operation_id="me", responses=problems(Unauthorized, Unavailable)
)
async def me(session: SessionDep, resources: ResourcesDep, caller: OwnerDep) -> MeOut:
    """Who the token belongs to, and where their default workspace answers, launched or not."""
    return await service.view_me(session, resources, caller.user)


@router.get(
    "/containers",
    summary="Every template and your workspace of it",
    operation_id="list_containers",
    responses=problems(Unauthorized, Unavailable),
)
async def containers(
    session: SessionDep, resources: ResourcesDep, caller: OwnerDep, locale: LocaleDep
) -> WorkspacesOut:
    """One entry for each template, launched or not; `job` while one runs, `error` after a failure."""
    return WorkspacesOut(containers=await views.list_workspaces(session, resources, caller.user, locale))
