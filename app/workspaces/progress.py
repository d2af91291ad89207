"""What workers write about a job. Every write is guarded by the lease that claimed it and by the generation.

A worker that lost its lease, or whose job was superseded, gets `LeaseLost` and changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Integer, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.jobs import JobName, announce, enqueue
from app.models import (
    LIVE_STATES,
    Job,
    JobEvent,
    JobState,
    JobStep,
    User,
    Wanted,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.runtime.base import Endpoint
from app.workspaces.spec import subnet_count
from app.workspaces.states import PROGRESS_AT, STATUS_AT

log = structlog.get_logger(__name__)

# Nobody reads these rows through the session afterwards: nothing in it has to follow the update.
PLAIN = {"synchronize_session": False}

# One number for the whole database: subnets are handed out by one transaction at a time.
SUBNET_LOCK = 7_201_002


class LeaseLost(Exception):
    """Somebody else has the job now, or it has ended: stop, and touch nothing."""


class NoSubnet(Exception):
    """Every /28 of the configured range is taken."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job in this worker's hands."""

    job_id: UUID
    lease: UUID
    attempt: int
    generation: int
    workspace: Workspace
    slug: str
    subnet: int
    deadline: datetime


async def claim(session: AsyncSession, resources: Resources, job_id: UUID) -> Claim | None:
    """Take a job that waits, or whose worker went silent; None when there is nothing to do (any more).

    Where no subnet is left for its workspace, the job fails here.
    """
    now = utcnow()
    lease = uuid4()
    due = (Job.state == JobState.QUEUED) & (Job.run_at <= now)
    orphaned = (Job.state == JobState.RUNNING) & (Job.lease_until < now)
    job = await session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.deadline > now, or_(due, orphaned))
        .values(
            state=JobState.RUNNING,
            step=JobStep.CLAIMED,
            progress=PROGRESS_AT[JobStep.CLAIMED],
            attempts=Job.attempts + 1,
            version=Job.version + 1,
            started_at=func.coalesce(Job.started_at, now),
            lease=lease,
            lease_until=now + timedelta(seconds=resources.settings.lease_seconds),
        )
        .returning(Job)
    )
    if job is None:
        return None
    session.add(JobEvent(job_id=job_id, step=JobStep.CLAIMED))
    announce(session, job_id)
    workspace, slug = (
        await session.execute(
            select(Workspace, User.slug)
            .join(User, User.id == Workspace.user_id)
            .where(Workspace.id == job.workspace_id)
        )
    ).one()
    held = Claim(job_id, lease, job.attempts, job.generation, workspace, slug, -1, job.deadline)
    try:
        return replace(held, subnet=await allocate_subnet(session, resources, workspace.id))
    except NoSubnet:
        await fail(session, held, "no_subnet")
        return None


async def allocate_subnet(session: AsyncSession, resources: Resources, workspace_id: UUID, *, after: int = -1) -> int:
    """The workspace's subnet index, taken now if it has none; `after` asks for another one, above it.

    Raises `NoSubnet` when the range is used up.
    """
    current = await session.scalar(select(Workspace.subnet).where(Workspace.id == workspace_id))
    if current is not None and current > after:
        return current
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SUBNET_LOCK})
    index = func.generate_series(after + 1, subnet_count(resources.settings) - 1, type_=Integer).column_valued("index")
    taken = select(Workspace.id).where(Workspace.subnet == index).exists()
    free = await session.scalar(select(func.min(index)).where(~taken))
    if free is None:
        raise NoSubnet
    await session.execute(update(Workspace).where(Workspace.id == workspace_id).values(subnet=free))
    return free


async def renew(session: AsyncSession, resources: Resources, held: Claim) -> None:
    """Keep the lease; raises `LeaseLost` once it is gone or the deadline has passed."""
    now = utcnow()
    await _write(
        session,
        held,
        Job.deadline > now,
        lease_until=now + timedelta(seconds=resources.settings.lease_seconds),
        version=Job.version,
    )


async def step(session: AsyncSession, held: Claim, step: JobStep, *, detail: str | None = None) -> None:
    """Record that the job is at a step, and what that makes of the workspace."""
    await _write(session, held, step=step, progress=PROGRESS_AT[step])
    session.add(JobEvent(job_id=held.job_id, step=step, detail=detail))
    if step in STATUS_AT:
        await _workspace(session, held, status=STATUS_AT[step], status_at=utcnow())
    announce(session, held.job_id)


async def pull_moved(session: AsyncSession, resources: Resources, held: Claim, progress: int, detail: str) -> None:
    """Record bytes of a pull on its timeline entry. A pull that moves extends the job's deadline."""
    extended = utcnow() + timedelta(seconds=resources.settings.launch_seconds)
    await _write(session, held, progress=progress, deadline=func.greatest(Job.deadline, extended))
    last = select(func.max(JobEvent.id)).where(JobEvent.job_id == held.job_id).scalar_subquery()
    await session.execute(
        update(JobEvent).where(JobEvent.id == last, JobEvent.step == JobStep.PULLING).values(detail=detail)
    )
    announce(session, held.job_id)


async def succeed(session: AsyncSession, held: Claim, endpoint: Endpoint) -> None:
    """The probe answered: the workspace runs, and here is where."""
    now = utcnow()
    await _end(session, held, JobState.SUCCEEDED, JobStep.READY, progress=100)
    await _workspace(
        session,
        held,
        status=WorkspaceStatus.RUNNING,
        status_at=now,
        host=endpoint.host,
        port=endpoint.port,
        container_id=endpoint.container_id,
        image_digest=endpoint.image_digest,
        error_code=None,
    )


async def fail(session: AsyncSession, held: Claim, code: str, *, detail: str | None = None) -> None:
    """Give the job up. The workspace shows `error` and the code."""
    await _end(session, held, JobState.FAILED, JobStep.FAILED, detail=detail or code, error_code=code)
    await _workspace(session, held, **_failed(code))


async def retry(session: AsyncSession, held: Claim, *, delay: timedelta, detail: str) -> None:
    """Put the job back in the queue for later."""
    await _write(
        session,
        held,
        state=JobState.QUEUED,
        step=JobStep.RETRYING,
        run_at=utcnow() + delay,
        lease=None,
        lease_until=None,
    )
    session.add(JobEvent(job_id=held.job_id, step=JobStep.RETRYING, detail=detail))
    announce(session, held.job_id)
    # Without a delay it is news for idle workers, who look at once.
    enqueue(session, JobName.DRIVE, held.job_id, attempt=held.attempt, defer=delay or None)


async def requeue(session: AsyncSession) -> int:
    """Send what waits and may have missed the queue, and what silent workers left; says how many rows."""
    now = utcnow()
    abandoned = await session.scalars(
        update(Job)
        .where(Job.state == JobState.RUNNING, Job.lease_until < now, Job.deadline > now)
        .values(state=JobState.QUEUED, step=JobStep.RETRYING, run_at=now, lease=None, version=Job.version + 1)
        .returning(Job.id)
    )
    for job_id in abandoned:
        session.add(JobEvent(job_id=job_id, step=JobStep.RETRYING, detail="worker_lost"))
        announce(session, job_id)
    await session.flush()
    waiting = await session.execute(
        select(Job.id, Job.attempts).where(Job.state == JobState.QUEUED, Job.run_at <= now).order_by(Job.created_at)
    )
    rows = waiting.all()
    for job_id, attempts in rows:
        enqueue(session, JobName.DRIVE, job_id, attempt=attempts)
    return len(rows)


async def fail_overdue(session: AsyncSession) -> int:
    """End every live job whose deadline has passed; says how many."""
    now = utcnow()
    jobs = await session.scalars(
        update(Job)
        .where(Job.state.in_(LIVE_STATES), Job.deadline <= now)
        .values(**_ended(JobState.FAILED, JobStep.FAILED), error_code="deadline")
        .returning(Job)
    )
    count = 0
    for job in jobs.all():
        count += 1
        log.warning("job_overdue", job_id=str(job.id), attempts=job.attempts)
        session.add(JobEvent(job_id=job.id, step=JobStep.FAILED, detail="deadline"))
        announce(session, job.id, ended=True)
        await session.execute(
            update(Workspace)
            .where(Workspace.id == job.workspace_id, Workspace.generation == job.generation)
            .values(**_failed("deadline"))
        )
    return count


def _failed(code: str) -> dict[str, Any]:
    return {
        "status": WorkspaceStatus.ERROR,
        "status_at": utcnow(),
        "wanted": Wanted.STOPPED,
        "host": None,
        "port": None,
        "container_id": None,
        "error_code": code,
    }


def _ended(state: JobState, step: JobStep) -> dict[str, Any]:
    return {
        "state": state,
        "step": step,
        "finished_at": utcnow(),
        "lease": None,
        "lease_until": None,
        "version": Job.version + 1,
    }


async def _end(
    session: AsyncSession, held: Claim, state: JobState, step: JobStep, *, detail: str | None = None, **values: Any
) -> None:
    await _write(session, held, **_ended(state, step), **values)
    session.add(JobEvent(job_id=held.job_id, step=step, detail=detail))
    announce(session, held.job_id, ended=True)


async def _write(session: AsyncSession, held: Claim, *conditions: Any, **values: Any) -> None:
    values.setdefault("version", Job.version + 1)
    ours = (Job.id == held.job_id, Job.lease == held.lease, Job.state == JobState.RUNNING)
    row = update(Job).where(*ours, *conditions).values(**values).returning(Job.id)
    found = await session.scalar(row, execution_options=PLAIN)
    if found is None:
        raise LeaseLost


async def _workspace(session: AsyncSession, held: Claim, **values: Any) -> None:
    await session.execute(
        update(Workspace)
        .where(Workspace.id == held.workspace.id, Workspace.generation == held.generation)
        .values(**values),
        execution_options=PLAIN,
    )
