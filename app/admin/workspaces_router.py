"""/api/admin/workspaces."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.accounts.dependencies import AdminDep
from app.accounts.principal import confirm
from app.admin import workspaces
from app.admin.router import CHANGES, PAGES, READING, OfUser
from app.admin.schemas import AdminLogOut, AdminWorkspacePage, RequestedOut
from app.admin.workspaces import WorkspaceFilter
from app.catalog.errors import UnknownTemplate
from app.core.errors import InvalidRequest, NotFound
from app.http.dependencies import LocaleDep, ReadSessionDep, ResourcesDep, SessionDep
from app.http.paging import split_page
from app.http.params import Before, PageLimit, WorkspacePath
from app.http.problems import problems
from app.models import JobKind, WorkspaceStatus
from app.workspaces.errors import CAPACITY, LogsUnavailable, NoContainer, QuotaUserRunning
from app.workspaces.volumes import VolumePolicy

router = APIRouter(prefix="/api/admin/workspaces", tags=["admin"])


@router.get("", summary="List all workspaces", operation_id="list_workspaces", responses=PAGES)
async def list_workspaces(
    session: ReadSessionDep,
    resources: ResourcesDep,
    _: AdminDep,
    status: Annotated[WorkspaceStatus | None, Query(description="Only those of this status.")] = None,
    type: Annotated[str | None, Query(max_length=20, description="Only those of this template.")] = None,
    user: OfUser = None,
    limit: PageLimit = 20,
    before: Before = None,
) -> AdminWorkspacePage:
    """All workspaces, newest first, in pages; `not_created` ones were deleted and can be launched again."""
    wanted = WorkspaceFilter(status=status, template=type, user_id=user)
    found = await workspaces.list_workspaces(session, resources, wanted, limit=limit + 1, before=before)
    page, last = split_page(found, limit)
    return AdminWorkspacePage(workspaces=page, next=last and last.id)


@router.post(
    "/{id}/stop",
    status_code=202,
    summary="Stop any user's workspace",
    operation_id="stop_any",
    responses=problems(*CHANGES),
)
async def stop(
    id: WorkspacePath, session: SessionDep, resources: ResourcesDep, admin: AdminDep, locale: LocaleDep
) -> RequestedOut:
    """Like the owner's request; keeps container and files, and the owner sees who asked. No job if nothing runs."""
    return await workspaces.change(session, resources, id, JobKind.STOP, locale, admin=admin.user)


@router.post(
    "/{id}/restart",
    status_code=202,
    summary="Restart any user's workspace",
    operation_id="restart_any",
    responses=problems(*CHANGES, UnknownTemplate, QuotaUserRunning, *CAPACITY.values()),
)
async def restart(
    id: WorkspacePath, session: SessionDep, resources: ResourcesDep, admin: AdminDep, locale: LocaleDep
) -> RequestedOut:
    """Like the owner's request, within the owner's limits; the owner sees who asked."""
    return await workspaces.change(session, resources, id, JobKind.RESTART, locale, admin=admin.user)


@router.delete(
    "/{id}",
    status_code=202,
    summary="Delete any user's workspace",
    operation_id="delete_any",
    responses=problems(*CHANGES),
)
async def delete(
    id: WorkspacePath,
    session: SessionDep,
    resources: ResourcesDep,
    admin: AdminDep,
    locale: LocaleDep,
    volume: Annotated[
        VolumePolicy, Query(description="`keep` keeps the files for a later launch, until their retention ends.")
    ] = VolumePolicy.KEEP,
) -> RequestedOut:
    """Like the owner's request; the owner sees who asked. No job without a container."""
    return await workspaces.change(session, resources, id, JobKind.DELETE, locale, admin=admin.user, volume=volume)


@router.get(
    "/{id}/logs",
    summary="Read the logs of any user's workspace",
    operation_id="read_any_log",
    responses=problems(InvalidRequest, NotFound, *READING, NoContainer, LogsUnavailable),
)
async def read_log(
    id: WorkspacePath,
    resources: ResourcesDep,
    admin: AdminDep,
    tail: Annotated[int, Query(ge=0, le=2000, description="Number of lines, counted from the end.")] = 200,
) -> AdminLogOut:
    """The container's output, as its owner reads it. The owner sees who read it, and when."""
    log = AdminLogOut(lines=await workspaces.read_log(resources, id, tail=tail, admin=admin.user))
    # The worker may have taken long, and the session may have ended.
    await confirm(resources, admin)
    return log
