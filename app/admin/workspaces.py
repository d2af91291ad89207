"""An admin's view of users' workspaces, and changes on behalf of the owner."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.admin.schemas import AdminWorkspaceOut, OwnerOut, RequestedOut
from app.audit import trail
from app.core.addresses import workspace_url
from app.core.db import plain
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.http.paging import newest_first
from app.models import LIVE_JOB, Job, JobKind, User, Workspace, WorkspaceStatus
from app.resources import Resources
from app.workspaces import logs, service, views
from app.workspaces.errors import NoContainer
from app.workspaces.volumes import VolumePolicy


@dataclass(frozen=True, slots=True)
class WorkspaceFilter:
    """A filter; None matches everything."""

    status: WorkspaceStatus | None = None
    template: str | None = None
    user_id: UUID | None = None


async def list_workspaces(
    session: AsyncSession, resources: Resources, wanted: WorkspaceFilter, *, limit: int, before: UUID | None
) -> list[AdminWorkspaceOut]:
    """Return a page of all workspaces, newest first. Raises `NotFound` for `before`."""
    query = await newest_first(session, _everybodys(), Workspace, limit=limit, before=before)
    if wanted.status is not None:
        query = query.where(Workspace.status == wanted.status)
    if wanted.template is not None:
        query = query.where(Workspace.template == plain(wanted.template))
    if wanted.user_id is not None:
        query = query.where(Workspace.user_id == wanted.user_id)
    rows = await session.execute(query)
    return [_view(resources, *row) for row in rows]


async def change(
    session: AsyncSession,
    resources: Resources,
    workspace_id: UUID,
    kind: JobKind,
    locale: Locale,
    *,
    admin: User,
    volume: VolumePolicy | None = None,
) -> RequestedOut:
    """Request a change on behalf of the admin; the owner sees it. Raises the errors of `request`."""
    workspace, owner, _ = await _find(session, workspace_id)
    asked = await service.request(session, resources, owner, workspace.template, kind, volume=volume, by=admin)
    job = await views.view_job(session, resources, asked.job, locale) if asked.job else None
    return RequestedOut(
        job=job,
        status_url=f"/api/admin/jobs/{job.id}" if job else None,
        workspace=_view(resources, *await _find(session, workspace_id)),
    )


async def read_log(resources: Resources, workspace_id: UUID, *, tail: int, admin: User) -> list[str]:
    """Return the last lines of a workspace's log; the owner sees who read it.

    Raises `NotFound`, `NoContainer`, `LogsUnavailable`.
    """
    async with resources.unit_of_work() as session:
        workspace, owner, _ = await _find(session, workspace_id)
        if workspace.status == WorkspaceStatus.NOT_CREATED:
            raise NoContainer
        detail = workspace.template
        trail.record(session, "workspace_log_read", "workspace", str(workspace_id), actor=admin, detail=detail)
    return await logs.read_log_or_kept(resources, owner.id, workspace.template, tail=tail)


def _everybodys() -> Select[Workspace, User, Job]:
    return select(Workspace, User, Job).join(User, User.id == Workspace.user_id).outerjoin(Job, LIVE_JOB)


async def _find(session: AsyncSession, workspace_id: UUID) -> tuple[Workspace, User, Job | None]:
    query = _everybodys().where(Workspace.id == workspace_id)
    found = (await session.execute(query, execution_options={"populate_existing": True})).one_or_none()
    if found is None:
        raise NotFound
    return found[0], found[1], found[2]


def _view(resources: Resources, workspace: Workspace, owner: User, job: Job | None) -> AdminWorkspaceOut:
    return AdminWorkspaceOut(
        id=workspace.id,
        owner=OwnerOut.model_validate(owner, from_attributes=True),
        type=workspace.template,
        status=workspace.status,
        status_at=workspace.status_at,
        service_url=workspace_url(resources.settings, owner.slug, workspace.template),
        container_id=workspace.container_id,
        error_code=workspace.error_code,
        reserved_memory=workspace.reserved_memory,
        reserved_cpus=workspace.reserved_cpus,
        job_id=job.id if job else None,
        created_at=workspace.created_at,
        started_at=workspace.started_at,
        active_at=workspace.active_at,
        last_used=workspace.last_used,
    )
