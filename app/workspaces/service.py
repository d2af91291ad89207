"""Accepting requests for workspaces: one transaction that locks the row, decides, and writes a job."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.catalog.service import Template
from app.errors import IdempotencyConflict
from app.jobs import JobName, announce, enqueue
from app.models import (
    LIVE_STATES,
    IdempotencyKey,
    Job,
    JobEvent,
    JobKind,
    JobState,
    JobStep,
    User,
    UserState,
    Wanted,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces.errors import UnknownTemplate
from app.workspaces.states import Decision, decide

RECENT_LAUNCHES = 20


@dataclass(frozen=True, slots=True)
class Launched:
    """What a request came to: `job` is null when the workspace runs already."""

    workspace: Workspace
    job: Job | None


def find_template(resources: Resources, key: str) -> Template:
    """Look a template up; raises `UnknownTemplate`."""
    template = resources.catalog.get(key)
    if template is None:
        raise UnknownTemplate
    return template


async def launch(
    session: AsyncSession,
    resources: Resources,
    user: User,
    template: str,
    *,
    kind: JobKind = JobKind.LAUNCH,
    key: str | None = None,
    asked: bool = True,
) -> Launched:
    """Accept a launch or restart of the user's workspace of a template.

    Joins a live job that does the same; a newer request of another kind supersedes it. `asked=False` is a launch
    that the platform begins by itself, at sign-in: it makes sure of the container even where the row says
    `running`, and leaves the user's state alone. `key` is the caller's Idempotency-Key.
    Raises `UnknownTemplate`, `IdempotencyConflict`.
    """
    found = find_template(resources, template)
    if key is not None:
        seen = await _remember(session, user.id, key, f"{kind} {template}")
        if seen is not None:
            return await _replay(session, user.id, found.key, seen.job_id)
    if asked:
        # Account before workspace, as a sign-in locks them: the other order could wait in a circle.
        await _activate(session, user)
    workspace = await _lock_workspace(session, user.id, found.key)
    live = await session.scalar(select(Job).where(Job.workspace_id == workspace.id, Job.state.in_(LIVE_STATES)))
    if asked:
        workspace.last_used = utcnow()
    decision = decide(kind, workspace.status, live.kind if live else None, make_sure=not asked)
    job: Job | None
    match decision:
        case Decision.ALREADY_RUNNING:
            job = None
        case Decision.SAME_JOB:
            job = live
        case Decision.NEW_JOB | Decision.SUPERSEDE:
            if live is not None:
                await _supersede(session, live)
            job = await _new_job(session, resources, workspace, kind)
    if key is not None and job is not None:
        await session.execute(
            update(IdempotencyKey)
            .where(IdempotencyKey.user_id == user.id, IdempotencyKey.key == key)
            .values(job_id=job.id)
        )
    await session.flush()
    return Launched(workspace, job)


async def _activate(session: AsyncSession, user: User) -> None:
    """The first launch that a user asks for makes them active. `user` may be older than the row."""
    if user.state != UserState.ACTIVE:
        await session.execute(
            update(User).where(User.id == user.id, User.state == UserState.VERIFIED).values(state=UserState.ACTIVE)
        )


async def _remember(session: AsyncSession, user_id: UUID, key: str, request: str) -> IdempotencyKey | None:
    """Note the key; return the row of an earlier use. A use that has not committed yet is waited for."""
    fingerprint = hashlib.sha256(request.encode()).digest()
    row = insert(IdempotencyKey).values(user_id=user_id, key=key, fingerprint=fingerprint, created_at=utcnow())
    if await session.scalar(row.on_conflict_do_nothing().returning(IdempotencyKey.key)):
        return None
    seen = await session.get_one(IdempotencyKey, (user_id, key))
    if seen.fingerprint != fingerprint:
        raise IdempotencyConflict
    return seen


async def _replay(session: AsyncSession, user_id: UUID, template: str, job_id: UUID | None) -> Launched:
    workspace = await session.scalar(owned_workspaces(user_id).where(Workspace.template == template))
    assert workspace is not None, "the request that the key stood for made the row"
    return Launched(workspace, await session.get(Job, job_id) if job_id else None)


async def _lock_workspace(session: AsyncSession, user_id: UUID, template: str) -> Workspace:
    """The user's row for the template, made if it is missing, locked until the transaction ends.

    One statement does both: the update that changes nothing takes the lock.
    """
    row = insert(Workspace).values(user_id=user_id, template=template)
    same = row.on_conflict_do_update(index_elements=["user_id", "template"], set_={"template": row.excluded.template})
    found = await session.scalars(same.returning(Workspace), execution_options={"populate_existing": True})
    return found.one()


async def _supersede(session: AsyncSession, job: Job) -> None:
    """End a live job in favour of a newer one; its worker loses the lease with it."""
    job.state, job.step, job.error_code = JobState.SUPERSEDED, JobStep.SUPERSEDED, "superseded"
    job.lease = job.lease_until = None
    job.finished_at = utcnow()
    job.version += 1
    session.add(JobEvent(job_id=job.id, step=JobStep.SUPERSEDED))
    announce(session, job.id, ended=True)
    await session.flush()


async def _new_job(session: AsyncSession, resources: Resources, workspace: Workspace, kind: JobKind) -> Job:
    workspace.generation += 1
    workspace.wanted = Wanted.RUNNING
    if kind == JobKind.RESTART:
        workspace.incarnation = workspace.generation
    # A container that runs keeps being reachable until the job touches it.
    if workspace.status != WorkspaceStatus.RUNNING or kind == JobKind.RESTART:
        workspace.status, workspace.status_at = WorkspaceStatus.QUEUED, utcnow()
    workspace.error_code = None
    await session.flush()
    row = insert(Job).values(
        workspace_id=workspace.id,
        user_id=workspace.user_id,
        template=workspace.template,
        kind=kind,
        generation=workspace.generation,
        expected_seconds=_expected_seconds(workspace.template),
        deadline=utcnow() + timedelta(seconds=resources.settings.launch_seconds),
    )
    job = (await session.scalars(row.returning(Job))).one()
    session.add(JobEvent(job_id=job.id, step=JobStep.QUEUED))
    enqueue(session, JobName.DRIVE, job.id)
    return job


def _expected_seconds(template: str) -> ScalarSelect[float]:
    """What recent launches of the template took from acceptance to their end, as part of the insert."""
    seconds = func.extract("epoch", Job.finished_at - Job.created_at)
    recent = (
        select(seconds.label("took"))
        .where(
            Job.template == template,
            Job.state == JobState.SUCCEEDED,
            Job.kind.in_((JobKind.LAUNCH, JobKind.RESTART)),
        )
        .order_by(Job.finished_at.desc())
        .limit(RECENT_LAUNCHES)
        .subquery()
    )
    return select(func.percentile_cont(0.5).within_group(recent.c.took)).scalar_subquery()


def owned_workspaces(user_id: UUID) -> Select[Workspace]:
    """The caller's workspaces: nothing else reads another user's rows."""
    return select(Workspace).where(Workspace.user_id == user_id)
