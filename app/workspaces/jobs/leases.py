"""Ownership of jobs: claims, leases, and requeueing.

A worker holds a job by its lease. Another job of the same workspace is claimed only without a lease left, so two
workers never act on one workspace. A job ended from outside keeps its lease until its worker releases it.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.outbox import announce, enqueue, revoke
from app.models import Job, JobEvent, JobKind, JobState, JobStep, Workspace, utcnow
from app.resources import Resources
from app.workspaces import networks, volumes
from app.workspaces.container_spec import container_name
from app.workspaces.jobs.statements import CLAIMABLE, RENEWED, TAKEN
from app.workspaces.networks import NoSubnet
from app.workspaces.states import STARTING, job_name

log = structlog.get_logger(__name__)

# These rows are not read through the session afterwards.
PLAIN = {"synchronize_session": False}


class LeaseLost(Exception):
    """Another worker holds the job, or it has ended: stop and change nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job held by this worker. `network` and `volume` are set for a container to run; without a free subnet `network`
    is None. `seat` is the workspace's warm seat, if its container may still have the seat's name. `installation` is the
    database's id.
    """

    job_id: UUID
    lease: UUID
    attempt: int
    kind: JobKind
    generation: int
    workspace: Workspace
    slug: str
    container: str
    installation: str
    network: int | None
    volume: str | None
    deadline: datetime
    seat: UUID | None = None


async def claim(session: AsyncSession, resources: Resources, job_id: UUID) -> Claim | None:
    """Claim a waiting job, or one whose lease expired; None if there is nothing to do."""
    found = (await session.execute(CLAIMABLE, {"of_job": job_id})).one_or_none()
    if found is None:
        return None
    workspace, slug, network, seat, installation = found
    now, lease = utcnow(), uuid4()
    until = now + timedelta(seconds=resources.settings.lease_seconds)
    given = {"of_job": job_id, "of_lease": lease, "now": now, "new_lease_until": until}
    job = (await session.execute(TAKEN, given)).one_or_none()
    if job is None:
        return None
    announce(session, job_id)
    if job.kind == JobKind.RESTART and job.attempts == 1:
        workspace.revision = max(workspace.revision + 1, job.generation)
    container = container_name(resources.settings, slug, workspace.template)
    held = Claim(
        job_id=job_id,
        lease=lease,
        attempt=job.attempts,
        kind=job.kind,
        generation=job.generation,
        workspace=workspace,
        slug=slug,
        container=container,
        installation=str(installation),
        network=network,
        volume=None,
        deadline=job.deadline,
        seat=seat,
    )
    template = resources.catalog.get(workspace.template)
    if job.kind not in STARTING or template is None:
        return held
    volume = await volumes.attach(session, workspace, container) if template.volume else None
    if network is None:
        with suppress(NoSubnet):
            network = await networks.allocate(session, resources, {"workspace_id": workspace.id})
    return replace(held, network=network, volume=volume)


async def renew(session: AsyncSession, resources: Resources, held: Claim) -> bool:
    """Renew the lease. Returns False if the job has ended or its deadline has passed: finish engine calls, then
    `release`.

    Raises `LeaseLost` if the lease has expired.
    """
    now = utcnow()
    until = now + timedelta(seconds=resources.settings.lease_seconds)
    given = {"of_job": held.job_id, "of_lease": held.lease, "now": now, "new_lease_until": until}
    found = (await session.execute(RENEWED, given, execution_options=PLAIN)).one_or_none()
    if found is None:
        raise LeaseLost
    state, deadline = found
    return bool(state == JobState.RUNNING and deadline > now)


async def release(session: AsyncSession, held: Claim) -> None:
    """Release the job: the workspace's next job may start. Idempotent.

    If the job has not ended, because only its lease expired, any worker may claim it.
    """
    await session.execute(
        update(Job).where(Job.id == held.job_id, Job.lease == held.lease).values(lease=None, lease_until=utcnow()),
        execution_options=PLAIN,
    )
    following = select(Job.id, Job.kind, Job.attempts).where(
        Job.workspace_id == held.workspace.id,
        Job.id != held.job_id,
        Job.state == JobState.QUEUED,
        Job.admitted_at.is_not(None),
        Job.run_at <= utcnow(),
    )
    for job_id, kind, attempts in await session.execute(following):
        # A new id: the first message may just now find the lease held and be dropped.
        enqueue(session, job_name(kind), job_id, attempt=-1 - attempts)


async def retry(session: AsyncSession, held: Claim, *, delay: timedelta, detail: str) -> None:
    """Requeue the job after a delay."""
    await write(
        session,
        held,
        state=JobState.QUEUED,
        step=JobStep.RETRYING,
        run_at=utcnow() + delay,
        lease=None,
        lease_until=None,
        event=JobStep.RETRYING,
        detail=detail,
    )
    announce(session, held.job_id)
    # Without delay, notifies idle workers.
    enqueue(session, job_name(held.kind), held.job_id, attempt=held.attempt, defer=delay or None)


async def requeue(session: AsyncSession) -> int:
    """Resend waiting jobs whose messages may be lost, and jobs with expired leases; returns the count."""
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
    return await send_unclaimed(session, now)


async def send_unclaimed(session: AsyncSession, before: datetime) -> int:
    """Resend admitted jobs due before a time and not claimed; returns the count.

    Queued messages are not sent twice.
    """
    unclaimed = (
        select(Job.id, Job.kind, Job.attempts)
        .where(Job.state == JobState.QUEUED, Job.run_at <= before, Job.admitted_at.is_not(None))
        .order_by(Job.admitted_at)
    )
    rows = (await session.execute(unclaimed)).all()
    for job_id, kind, attempts in rows:
        enqueue(session, job_name(kind), job_id, attempt=attempts)
    return len(rows)


async def write(
    session: AsyncSession,
    held: Claim,
    *conditions: Any,
    event: JobStep | None = None,
    detail: str | None = None,
    **values: Any,
) -> None:
    """Update the job's row while the lease holds, and with `event` append to its timeline. Raises `LeaseLost`.

    Write to the workspace before calling this: rows are locked in one order everywhere.
    """
    values.setdefault("version", Job.version + 1)
    ours = (Job.id == held.job_id, Job.lease == held.lease, Job.state == JobState.RUNNING)
    row = update(Job).where(*ours, *conditions).values(**values).returning(Job.id)
    if event is None:
        found = await session.scalar(row, execution_options=PLAIN)
    else:
        # One statement for both: every step of every launch writes here.
        changed = row.cte("changed")
        line = select(
            changed.c.id, literal(utcnow()), literal(event, JobEvent.step.type), literal(detail, JobEvent.detail.type)
        )
        columns = [JobEvent.job_id, JobEvent.at, JobEvent.step, JobEvent.detail]
        found = await session.scalar(insert(JobEvent).from_select(columns, line).returning(JobEvent.job_id))
    if found is None:
        raise LeaseLost


async def overdue(session: AsyncSession) -> list[Job]:
    """Return live jobs past their deadline, locked with their workspaces; skips locked ones."""
    query = (
        select(Job)
        .join(Workspace, Workspace.id == Job.workspace_id)
        .where(Job.is_live, Job.deadline <= utcnow())
        .with_for_update(skip_locked=True, key_share=True)
    )
    jobs = list(await session.scalars(query))
    for job in jobs:
        log.warning("job_overdue", job_id=str(job.id), attempts=job.attempts)
        if job.lease is not None:
            revoke(session, job.id)
    return jobs
