"""Compares workspaces' rows with their containers: crashes, manual pauses and removals, restored backups."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import trail
from app.core.outbox import wake_admission
from app.models import DesiredState, Job, JobKind, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import RunState, Status
from app.workspaces import capacity, exits, networks
from app.workspaces.errors import Refused
from app.workspaces.jobs.leases import Claim
from app.workspaces.service import begin
from app.workspaces.states import Verdict, decide_repair, move

log = structlog.get_logger(__name__)

# A crashed workspace restarts after 1, 2, 4 … seconds, and fails after this many in a row.
RESTARTS = 5
# A run this long resets the count.
HELD = timedelta(minutes=10)

AnyRow = Row[*tuple[Any, ...]]
# The columns that `judge` reads.
JUDGED = (
    *(Workspace.status, Workspace.desired_state, Workspace.reserved_memory),
    *(Workspace.host, Workspace.port, Workspace.container_id),
)
BEGIN = {Verdict.LAUNCH: JobKind.LAUNCH, Verdict.STOP: JobKind.STOP, Verdict.DELETE: JobKind.DELETE}


def judge(workspace: Workspace | AnyRow, status: Status) -> Verdict:
    """Return what a container's status means for its row; `AS_IT_IS` if they agree. The only such decision."""
    verdict = decide_repair(workspace.status, workspace.desired_state, status.state)
    if verdict is Verdict.RUNS and status.endpoint is not None:
        there = (status.endpoint.host, status.endpoint.port, status.endpoint.container_id)
        known = (workspace.host, workspace.port, workspace.container_id)
        counted = workspace.reserved_memory is not None
        fits = workspace.status == WorkspaceStatus.RUNNING and there == known and counted
    else:
        fits = verdict is Verdict.IS_PAUSED and workspace.status == WorkspaceStatus.PAUSED
    return Verdict.AS_IT_IS if fits else verdict


async def apply_observation(
    session: AsyncSession, resources: Resources, workspace_id: UUID, generation: int, status: Status
) -> bool:
    """Compare a workspace's locked row with its container; update the row or start a job. Idempotent.

    `generation` is the row's, read before asking the engine. Returns False if a job has started since or is live: its
    worker records the state.
    """
    query = select(Workspace).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    workspace = await session.scalar(query)
    if workspace is None:
        return True
    live = select(Job.id).where(Job.workspace_id == workspace_id, Job.is_live)
    if workspace.generation != generation or await session.scalar(live) is not None:
        return False
    match judge(workspace, status):
        case Verdict.AS_IT_IS:
            pass
        case Verdict.RUNS:
            await _runs(session, resources, workspace, status)
        case Verdict.IS_PAUSED:
            paused = WorkspaceStatus.PAUSED
            await move(session, workspace.id, workspace.generation, paused, desired_state=DesiredState.PAUSED)
        case Verdict.DIED:
            await _died(session, resources, workspace, status)
        case verdict:
            log.info("driven", workspace_id=str(workspace_id), status=workspace.status, seen=status.state)
            await _begin(session, resources, workspace, BEGIN[verdict])
    return True


async def adopt_revision(session: AsyncSession, held: Claim, revision: int) -> None:
    """Adopt the engine's later revision into the row."""
    workspace = await session.get_one(Workspace, held.workspace.id, with_for_update={"key_share": True})
    workspace.revision = max(workspace.revision, revision + (held.kind == JobKind.RESTART))


async def _runs(session: AsyncSession, resources: Resources, workspace: Workspace, status: Status) -> None:
    endpoint = status.endpoint
    if endpoint is None:
        return
    counted = workspace.reserved_memory is not None
    await move(
        session,
        workspace.id,
        workspace.generation,
        WorkspaceStatus.RUNNING,
        desired_state=DesiredState.RUNNING,
        host=endpoint.host,
        port=endpoint.port,
        container_id=endpoint.container_id,
        image_digest=endpoint.image_digest,
        active_at=utcnow(),
        **({} if counted else capacity.reservation(resources, workspace.template)),
    )


async def _died(session: AsyncSession, resources: Resources, workspace: Workspace, status: Status) -> None:
    """Handle an unexpected exit: a clean exit means stopped; after a crash the template decides whether to restart."""
    code = cause(status)
    exits.record_exit(workspace, status, code)
    log.warning("workspace_died", workspace_id=str(workspace.id), code=code, exit_code=status.exit_code)
    if code is None:
        await move(
            session, workspace.id, workspace.generation, WorkspaceStatus.STOPPED, desired_state=DesiredState.STOPPED
        )
        wake_admission(session)
        return
    if status.state is RunState.ABSENT:
        await networks.release(session, {"workspace_id": workspace.id})
    now = utcnow()
    if workspace.started_at is not None and now - workspace.started_at > HELD:
        workspace.restarts = 0
    template = resources.catalog.get(workspace.template)
    if template is not None and template.restart == "on-failure" and workspace.restarts < RESTARTS:
        pause = timedelta(seconds=2**workspace.restarts)
        workspace.restarts += 1
        exits.record_restart(session, workspace, code)
        await move(session, workspace.id, workspace.generation, WorkspaceStatus.QUEUED, started_at=None)
        await _begin(session, resources, workspace, JobKind.LAUNCH, defer=pause, code=code, exit_code=status.exit_code)
        return
    await _failed(session, workspace, code, status.exit_code)


async def _begin(
    session: AsyncSession,
    resources: Resources,
    workspace: Workspace,
    kind: JobKind,
    *,
    defer: timedelta | None = None,
    code: str | None = None,
    exit_code: int | None = None,
) -> None:
    """Start a job, or record in the row why it is refused."""
    try:
        async with session.begin_nested():
            await begin(session, resources, workspace, kind, defer=defer)
    except Refused as refused:
        await session.refresh(workspace)
        await _failed(session, workspace, code or refused.code, exit_code)


async def _failed(session: AsyncSession, workspace: Workspace, code: str, exit_code: int | None) -> None:
    error = WorkspaceStatus.ERROR
    values = {"desired_state": DesiredState.STOPPED, "error_code": code, "exit_code": exit_code}
    await move(session, workspace.id, workspace.generation, error, **values)
    trail.record(session, "workspace_given_up", "workspace", str(workspace.id), actor=trail.SYSTEM, detail=code)
    wake_admission(session)


def cause(status: Status) -> str | None:
    """Return the code of a container's exit; None for a clean one."""
    if status.state is RunState.ABSENT:
        return "removed"
    if status.out_of_memory:
        return "out_of_memory"
    return None if status.exit_code == 0 else "exited"
