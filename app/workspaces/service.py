"""Accepts requests for workspaces: one transaction locks the row, decides, and inserts a job.

Locks have one order everywhere: account, workspace, job. No request takes a lock that another user's request needs.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, String, Uuid, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from app.access.policy import end_all
from app.accounts.change_limits import count_change, forget_change
from app.audit import trail
from app.catalog.templates import find_template
from app.core.errors import IdempotencyConflict, NotFound
from app.core.outbox import announce, revoke, wake_admission
from app.models import (
    IdempotencyKey,
    Job,
    JobEvent,
    JobKind,
    JobState,
    JobStep,
    User,
    UserState,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces import admission, volumes
from app.workspaces.errors import NotCancellable
from app.workspaces.jobs.create import create_job
from app.workspaces.states import (
    ALIVE,
    DESIRED_AT,
    STARTING,
    Decision,
    decide,
    move,
)
from app.workspaces.volumes import VolumePolicy


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of a request: `job` is null if there is nothing to do.

    `place` is a new launch's place in the queue.
    """

    workspace: Workspace
    job: Job | None
    place: int | None = None
    new: bool = False


async def request(
    session: AsyncSession,
    resources: Resources,
    user: User,
    template: str,
    kind: JobKind = JobKind.LAUNCH,
    *,
    key: str | None = None,
    asked: bool = True,
    counted: bool = True,
    volume: VolumePolicy | None = None,
    by: User | None = None,
) -> Accepted:
    """Accept a user's request to change their workspace of a template.

    Joins a live job that does the same; replaces a live job of another kind. `asked=False` is a launch by the platform:
    it verifies the container even if the row says `running`, and does not count as the user's activity. `key` is the
    Idempotency-Key; `volume` decides about the files at deletion. `by` is a visitor or admin acting for the user: they
    may stop and delete workspaces of removed templates, and are not `counted`. Raises `UnknownTemplate`, `NotFound` (to
    stop or delete what never existed), `IdempotencyConflict`, `QuotaUserRunning`, `TooManyChanges` and the errors of
    `app.workspaces.admission`.
    """
    starts, in_person = kind in STARTING, asked and by is None
    if starts or by is None:
        find_template(resources.catalog, template)
    if key is not None:
        seen = await _remember(session, user.id, key, f"{kind} {template} {volume}")
        if seen is not None:
            return await _replay(session, user.id, template, seen.job_id)
    if counted := counted and in_person:
        await count_change(session, resources, user.id, activate=starts)
    elif starts:
        await _lock_account(session, user.id, activate=in_person)
    if starts:
        workspace = await _make_workspace(session, user.id, template, used=in_person)
    else:
        workspace = await _lock_workspace(session, user.id, template)
    released = await _release(session, resources, workspace.id, kind, volume)
    accepted = await _accept(session, resources, workspace, kind, make_sure=not asked)
    if accepted.new or released:
        actor = by or (user if asked else trail.SYSTEM)
        _record(session, f"workspace_{kind}_requested", workspace, actor, f"files: {volume}" if volume else "")
    # A key adds a row too, kept for a day.
    if counted and not (accepted.new or released or key is not None):
        await forget_change(session, resources, user.id)
    if key is not None and accepted.job is not None:
        await _tie(session, user.id, key, accepted.job)
    await session.flush()
    return accepted


async def begin(
    session: AsyncSession,
    resources: Resources,
    workspace: Workspace,
    kind: JobKind,
    *,
    defer: timedelta | None = None,
    reason: str | None = None,
) -> Job | None:
    """Start a job of the platform on a workspace that the caller has locked.

    Returns None if a job is live, or if a launch needs the account while another transaction has locked it: the next
    observation retries. A launch counts against limits like a requested one, and waits for capacity. `reason` is the
    idle reason, shown in the job's timeline and on the workspace.
    """
    starts = kind in STARTING
    if starts and workspace.reserved_memory is None:
        # The account's lock precedes the workspace's: waiting here could deadlock.
        account = select(User.id).where(User.id == workspace.user_id)
        if await session.scalar(account.with_for_update(key_share=True, skip_locked=True)) is None:
            return None
    found = await admission.read_standing(session, workspace)
    if found.live is not None:
        return None
    if starts:
        await admission.check_limits(session, resources, workspace, found)
    return await create_job(session, resources, workspace, kind, by_system=True, defer=defer, reason=reason)


def _record(session: AsyncSession, action: str, workspace: Workspace, actor: User | str, more: str) -> None:
    """Record the request in the audit trail."""
    detail = ", ".join(part for part in (workspace.template, more) if part)
    trail.record(session, action, "workspace", str(workspace.id), actor=actor, detail=detail)


async def cancel(
    session: AsyncSession, resources: Resources, user: User, job_id: UUID, *, by: User | None = None
) -> Job:
    """Cancel one of the user's jobs. An ended job stays unchanged. `by` is an admin acting for the user.

    If the engine was not contacted, the workspace stays as it was. Otherwise a job of the platform deletes it if it did
    not exist before, else stops it. Raises `NotFound`, and `NotCancellable` for a started stop or deletion.
    """
    owned = (Job.id == job_id, Job.user_id == user.id)
    workspace_id = await session.scalar(select(Job.workspace_id).where(*owned))
    if workspace_id is None:
        raise NotFound
    workspace = await session.get_one(Workspace, workspace_id, with_for_update={"key_share": True})
    job = (await session.scalars(select(Job).where(*owned).with_for_update(key_share=True))).one()
    if not job.is_live:
        return job
    if job.engine_contacted and job.kind not in STARTING:
        raise NotCancellable
    await _end(session, job, JobState.CANCELLED, JobStep.CANCELLED)
    _record(session, "job_cancelled", workspace, by or user, f"{job.kind} {job.id}")
    if job.kind == JobKind.DELETE:
        await volumes.cancel_removal(session, workspace.id)
    if job.engine_contacted and not (job.kind == JobKind.LAUNCH and job.previous_status in ALIVE):
        kind = JobKind.DELETE if job.previous_status == WorkspaceStatus.NOT_CREATED else JobKind.STOP
        if kind == JobKind.DELETE:
            await volumes.release(session, resources, workspace.id, VolumePolicy.KEEP)
        await create_job(session, resources, workspace, kind, by_system=True)
    else:
        # A workspace that was alive may still be: the next observation decides.
        generation, desired = workspace.generation + 1, DESIRED_AT[job.previous_status]
        await move(
            session,
            workspace.id,
            workspace.generation,
            job.previous_status,
            generation=generation,
            desired_state=desired,
        )
    return job


async def _release(
    session: AsyncSession, resources: Resources, workspace_id: UUID, kind: JobKind, volume: VolumePolicy | None
) -> bool:
    """Release what a deletion ends: files by policy, and all shares. Returns True if files are newly scheduled for
    immediate deletion.
    """
    released = volume is not None and await volumes.release(session, resources, workspace_id, volume)
    if kind is JobKind.DELETE:
        await end_all(session, workspace_id)
    return released


async def _lock_account(session: AsyncSession, user_id: UUID, *, activate: bool) -> None:
    """Lock the account until the transaction ends: its limit is checked under this lock.

    `activate`: a user's first requested launch makes the account active.
    """
    await session.scalar(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    if activate:
        row = update(User).where(User.id == user_id, User.state == UserState.VERIFIED).values(state=UserState.ACTIVE)
        await session.execute(row)


async def _remember(session: AsyncSession, user_id: UUID, key: str, request: str) -> IdempotencyKey | None:
    """Insert the key; returns the row of an earlier use. Waits for an uncommitted concurrent use."""
    fingerprint = hashlib.sha256(request.encode()).digest()
    row = insert(IdempotencyKey).values(user_id=user_id, key=key, fingerprint=fingerprint, created_at=utcnow())
    if await session.scalar(row.on_conflict_do_nothing().returning(IdempotencyKey.key)):
        return None
    seen = await session.get(IdempotencyKey, (user_id, key))
    if seen is None:  # purged between the two statements
        return await _remember(session, user_id, key, request)
    if seen.fingerprint != fingerprint:
        raise IdempotencyConflict
    return seen


async def _tie(session: AsyncSession, user_id: UUID, key: str, job: Job) -> None:
    """Assign the job to the key."""
    mine = (IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
    await session.execute(update(IdempotencyKey).where(*mine).values(job_id=job.id))


async def _replay(session: AsyncSession, user_id: UUID, template: str, job_id: UUID | None) -> Accepted:
    workspace = await session.scalar(owned_workspaces(user_id).where(Workspace.template == template))
    assert workspace is not None, "the request that the key stood for made the row"  # nosec B101 # narrows the type
    return Accepted(workspace, await session.get(Job, job_id) if job_id else None)


def _upsert(*, used: bool) -> ReturningInsert[Workspace]:
    """Insert a workspace's row, or lock it; `used` records a use."""
    now = bindparam("now", type_=Workspace.created_at.type)
    uses: dict[str, Any] = {"last_used": now, "active_at": now, "restarts": 0} if used else {}
    owner, template = bindparam("owner", type_=Uuid()), bindparam("of", type_=String())
    row = insert(Workspace).values(user_id=owner, template=template, created_at=now, **uses)
    locked = row.on_conflict_do_update(
        index_elements=["user_id", "template"], set_={"generation": Workspace.generation, **uses}
    )
    return locked.returning(Workspace)


_USED, _TOUCHED = _upsert(used=True), _upsert(used=False)


async def _make_workspace(session: AsyncSession, user_id: UUID, template: str, *, used: bool) -> Workspace:
    """Return the user's row for the template, created if missing, and locked until the transaction ends.

    One statement does this and records the use: even an update without changes takes the lock.
    """
    given = {"owner": user_id, "of": template, "now": utcnow()}
    found = await session.scalars(_USED if used else _TOUCHED, given, execution_options={"populate_existing": True})
    return found.one()


async def _lock_workspace(session: AsyncSession, user_id: UUID, template: str) -> Workspace:
    """Return the user's row for the template, locked until the transaction ends. Raises `NotFound`."""
    query = owned_workspaces(user_id).where(Workspace.template == template).with_for_update(key_share=True)
    found = await session.scalar(query, execution_options={"populate_existing": True})
    if found is None:
        raise NotFound
    return found


async def _accept(
    session: AsyncSession, resources: Resources, workspace: Workspace, kind: JobKind, *, make_sure: bool
) -> Accepted:
    found = await admission.read_standing(session, workspace)
    live = found.live
    decision = decide(kind, workspace.status, live.kind if live else None, make_sure=make_sure)
    if live is not None and live.deadline <= utcnow():
        # The reconciler is about to fail it: it must not be joined.
        decision = Decision.SUPERSEDE
    match decision:
        case Decision.NOTHING_TO_DO:
            return Accepted(workspace, None)
        case Decision.SAME_JOB:
            return Accepted(workspace, live)
        case Decision.NEW_JOB | Decision.SUPERSEDE:
            seat = None
            if kind in STARTING:
                warm = kind == JobKind.LAUNCH and live is None
                seat = await admission.check_limits(session, resources, workspace, found, warm=warm)
            superseded = live if live is not None and await _supersede(session, live, kind) else None
            job = await create_job(session, resources, workspace, kind, after=superseded, seat=seat)
            place = 1 if seat else found.place
            return Accepted(workspace, job, place if kind in STARTING else None, new=True)


async def _supersede(session: AsyncSession, live: Job, kind: JobKind) -> bool:
    """End a live job for a new request; False if it has ended meanwhile."""
    await session.refresh(live, with_for_update={"key_share": True})
    if not live.is_live:
        return False
    await _end(session, live, JobState.SUPERSEDED, JobStep.SUPERSEDED)
    if live.kind == JobKind.DELETE and kind == JobKind.STOP:
        await volumes.cancel_removal(session, live.workspace_id)
    return True


async def _end(session: AsyncSession, job: Job, state: JobState, step: JobStep) -> None:
    """End a live job from outside. It keeps its lease until its worker, which is notified, has finished its
    engine calls.
    """
    job.state, job.step, job.error_code = state, step, state.value
    job.finished_at = utcnow()
    job.version += 1
    session.add(JobEvent(job_id=job.id, step=step))
    announce(session, job.id, ended=True)
    wake_admission(session)
    if job.lease is not None:
        revoke(session, job.id)
    await session.flush()


def owned_workspaces(user_id: UUID) -> Select[Workspace]:
    """Select the user's workspaces."""
    return select(Workspace).where(Workspace.user_id == user_id)
