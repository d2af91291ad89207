"""Workers' writes of a job's progress and outcome, guarded by lease and generation.

Raises `LeaseLost` and changes nothing if the lease is lost or the job was ended from outside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.outbox import announce, wake_admission
from app.models import (
    DesiredState,
    Job,
    JobEvent,
    JobKind,
    JobState,
    JobStep,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.runtime.base import Endpoint
from app.workspaces import networks
from app.workspaces.jobs.leases import Claim, LeaseLost, overdue, write
from app.workspaces.jobs.statements import ADVANCED, STARTED
from app.workspaces.states import DESIRED_AT, PROGRESS_AT, STARTING, STATUS_AT, move, move_to

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a job's timeline."""

    step: JobStep
    at: datetime


async def step(session: AsyncSession, held: Claim, step: JobStep) -> None:
    """Record the job's step and the workspace's resulting status."""
    await steps(session, held, [Line(step, utcnow())])


async def steps(session: AsyncSession, held: Claim, lines: Sequence[Line]) -> None:
    """Record steps that followed each other, in one statement."""
    await _advance(session, ADVANCED, held, lines, STATUS_AT.get(lines[-1].step))
    announce(session, held.job_id)


async def pull_moved(session: AsyncSession, resources: Resources, held: Claim, progress: int, detail: str) -> None:
    """Record a pull's bytes in the timeline. Progress extends the job's deadline."""
    extended = utcnow() + timedelta(seconds=resources.settings.launch_seconds)
    await write(session, held, progress=progress, deadline=func.greatest(Job.deadline, extended))
    last = select(func.max(JobEvent.id)).where(JobEvent.job_id == held.job_id).scalar_subquery()
    await session.execute(
        update(JobEvent).where(JobEvent.id == last, JobEvent.step == JobStep.PULLING).values(detail=detail)
    )
    announce(session, held.job_id)


async def started(session: AsyncSession, held: Claim, endpoint: Endpoint, lines: Sequence[Line] = ()) -> None:
    """Record that the probe succeeded: the workspace runs at this endpoint. `lines` have not been written yet."""
    status = WorkspaceStatus.RUNNING
    await _advance(
        session,
        STARTED,
        held,
        [*lines, Line(JobStep.READY, utcnow())],
        status,
        new_desired_state=DESIRED_AT[status],
        new_host=endpoint.host,
        new_port=endpoint.port,
        new_container_id=endpoint.container_id,
        new_image_digest=endpoint.image_digest,
        restarted=held.kind == JobKind.RESTART,
    )
    announce(session, held.job_id, ended=True)
    wake_admission(session)


async def paused(session: AsyncSession, held: Claim) -> None:
    """Record that the container is paused; it keeps network and address."""
    await _move(session, held, WorkspaceStatus.PAUSED)
    await _finish(session, held, JobStep.DONE)


async def stopped(session: AsyncSession, held: Claim) -> None:
    """Record that the container has stopped and is kept."""
    await _move(session, held, WorkspaceStatus.STOPPED)
    await _finish(session, held, JobStep.DONE)


async def removed(session: AsyncSession, held: Claim) -> None:
    """Record that the container is removed and its network free."""
    gone = ("container_id", "image_digest", "last_exit", "last_exit_at", "last_exit_status", "memory_kill_at")
    await _move(session, held, WorkspaceStatus.NOT_CREATED, memory_kills=0, **dict.fromkeys(gone))
    await networks.release(session, {"workspace_id": held.workspace.id})
    await _finish(session, held, JobStep.DONE)


async def unchanged(session: AsyncSession, held: Claim) -> None:
    """Record that the job had nothing to do; the observer records the engine's actual state."""
    await _finish(session, held, JobStep.DONE)


async def fail(
    session: AsyncSession,
    held: Claim,
    code: str,
    *,
    detail: str | None = None,
    exit_code: int | None = None,
    log_tail: str | None = None,
    cause: str | None = None,
) -> None:
    """Fail the job. The workspace shows `error` and the code; admins read the `cause`, redacted."""
    await _give_up(session, held.workspace.id, held.generation, held.kind, code, exit_code)
    await write(
        session,
        held,
        **_ended(JobState.FAILED, JobStep.FAILED),
        error_code=code,
        exit_code=exit_code,
        log_tail=log_tail,
        cause=cause,
        event=JobStep.FAILED,
        detail=detail or code,
    )
    announce(session, held.job_id, ended=True)
    wake_admission(session)


async def fail_overdue(session: AsyncSession) -> int:
    """Fail every live job past its deadline; returns the count. Their workers are notified."""
    jobs = await overdue(session)
    for job in jobs:
        code = job.blocked_by or "deadline"
        await _give_up(session, job.workspace_id, job.generation, job.kind, code, None)
        # Keeps the lease: nobody else starts while the worker may still act.
        job.state, job.step, job.error_code, job.finished_at = JobState.FAILED, JobStep.FAILED, code, utcnow()
        job.cause = job.cause or f"not done by {job.deadline.isoformat(timespec='seconds')}: {code}"
        job.version += 1
        session.add(JobEvent(job_id=job.id, step=JobStep.FAILED, detail=code))
        log.warning("job_failed", job_id=str(job.id), kind=job.kind, code=code, error=job.cause, attempt=job.attempts)
        announce(session, job.id, ended=True)
        wake_admission(session)
    await session.flush()
    return len(jobs)


async def _give_up(
    session: AsyncSession, workspace_id: UUID, generation: int, kind: JobKind, code: str, exit_code: int | None
) -> None:
    """Update the workspace of a failed job: a failed start is no longer desired, a failed stop still is. A failed pause
    leaves it running.
    """
    values: dict[str, Any] = {}
    if kind in STARTING:
        values["desired_state"] = DesiredState.STOPPED
    if kind == JobKind.PAUSE:
        await move(session, workspace_id, generation, WorkspaceStatus.RUNNING, desired_state=DesiredState.RUNNING)
    else:
        values |= {"error_code": code, "exit_code": exit_code}
        await move(session, workspace_id, generation, WorkspaceStatus.ERROR, **values)


def _ended(state: JobState, step: JobStep) -> dict[str, Any]:
    return {"state": state, "step": step, "finished_at": utcnow(), "lease": None, "lease_until": None}


async def _move(session: AsyncSession, held: Claim, status: WorkspaceStatus, **values: Any) -> None:
    if status in DESIRED_AT:
        values["desired_state"] = DESIRED_AT[status]
    await move(session, held.workspace.id, held.generation, status, **values)


async def _advance(
    session: AsyncSession,
    statement: Select[Any],
    held: Claim,
    lines: Sequence[Line],
    status: WorkspaceStatus | None,
    **values: Any,
) -> None:
    """Write the timeline's lines, the last one's step and the workspace's status. Raises `LeaseLost`."""
    last = lines[-1]
    values |= move_to(held.workspace.id, held.generation, status, last.at)
    values |= {"of_job": held.job_id, "of_lease": held.lease}
    values |= {"new_step": last.step, "new_progress": PROGRESS_AT[last.step]}
    values |= {"steps": [line.step for line in lines], "times": [line.at for line in lines]}
    if await session.scalar(statement, values) is None:
        raise LeaseLost


async def _finish(session: AsyncSession, held: Claim, step: JobStep) -> None:
    await write(session, held, **_ended(JobState.SUCCEEDED, step), progress=100, event=step)
    announce(session, held.job_id, ended=True)
    wake_admission(session)
