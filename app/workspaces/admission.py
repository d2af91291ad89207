"""Admission: limits, the queue for a full engine, and its order.

A request checks its user's limit under the lock of the user's row, and inserts a waiting job. Passes of
`workers/loops/admit` admit waiting jobs. A pass reads, decides, and writes in one statement that fails if another pass
has written since. Limits therefore hold under any concurrency, and no lock is held between statements.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Select,
    Subquery,
    Uuid,
    bindparam,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.catalog.templates import Limits
from app.core.outbox import JobName, announce, enqueue
from app.core.settings.model import Settings
from app.models import (
    LIVE_JOB,
    AdmissionPasses,
    Job,
    JobKind,
    JobState,
    Seat,
    User,
    Workspace,
    WorkspaceStatus,
    utcnow,
)
from app.resources import Resources
from app.workspaces import seats
from app.workspaces.capacity import (
    STARTING_NOW,
    WAITING,
    Allocation,
    count_allocated,
    limiting_resource,
    limits_of,
    number_of,
    reservations,
)
from app.workspaces.errors import CAPACITY, QuotaUserRunning
from app.workspaces.states import STARTING, allowed

RETRY_SECONDS = "30"
# Limits that ending warm seats relieves.
SEATS_FREE = ("capacity_running", "capacity_memory", "capacity_cpu")
_WRITTEN = func.coalesce(select(AdmissionPasses.written).scalar_subquery(), 0)


def _fair_order() -> Subquery:
    """Order waiting jobs by turn: every user's first launch precedes any second, counting running ones.

    Within a turn, by time: since the job waits, or since its user's last admission.
    """
    earlier = aliased(Job)
    served = select(func.max(earlier.admitted_at)).where(earlier.user_id == Job.user_id).scalar_subquery()
    running = (
        select(Job.user_id, func.count().label("count")).where(STARTING_NOW).group_by(Job.user_id).subquery("running")
    )
    place = func.row_number().over(partition_by=Job.user_id, order_by=(Job.created_at, Job.id))
    return (
        select(
            Job.id,
            Job.workspace_id,
            (place + func.coalesce(running.c.count, 0)).label("turn"),
            func.greatest(Job.created_at, served).label("since"),
        )
        .outerjoin(running, running.c.user_id == Job.user_id)
        .where(WAITING)
        .subquery("turns")
    )


def _standing() -> Select[*tuple[Any, ...]]:
    """Select a `Standing` of one workspace and its user."""
    workspace, user = bindparam("workspace", type_=Uuid()), bindparam("user", type_=Uuid())
    mine = Job.workspace_id == workspace
    users_jobs = (Job.user_id == user) & Job.is_live & Job.kind.in_(STARTING) & ~mine
    waits = select(Job.id).where(Job.workspace_id == Workspace.id, WAITING).exists()
    others = (Workspace.user_id == user) & (Workspace.id != workspace)
    ahead = (FAIR_ORDER.c.workspace_id != workspace) & (FAIR_ORDER.c.turn <= 1 + number_of(Job.id, users_jobs))
    return (
        select(
            Job,
            number_of(Workspace.id, others, Workspace.reserved_memory.is_not(None) | waits),
            User.running_limit,
            number_of(Job.id, WAITING),
            1 + number_of(FAIR_ORDER.c.id, ahead) + number_of(Job.id, Job.state == JobState.QUEUED, ~WAITING, ~mine),
        )
        .select_from(Workspace)
        .join(User, User.id == Workspace.user_id)
        .outerjoin(Job, LIVE_JOB)
        .where(Workspace.id == workspace)
    )


# Built once: building takes ten times as long as running.
FAIR_ORDER = _fair_order()
_STANDING = _standing()
_WAITING_LINE = (
    select(Job.id, Job.template, Workspace.reserved_memory.is_not(None))
    .join(FAIR_ORDER, FAIR_ORDER.c.id == Job.id)
    .join(Workspace, Workspace.id == Job.workspace_id)
    .order_by(FAIR_ORDER.c.turn, FAIR_ORDER.c.since, Job.id)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a request is checked against: the workspace's live job, its user's usage, and the queue.

    `users_own` is the number of the user's other running or waiting workspaces; `place` is a new launch's place.
    """

    live: Job | None
    users_own: int
    users_limit: int | None
    waiting: int
    place: int


async def read_standing(session: AsyncSession, workspace: Workspace) -> Standing:
    """Read the data for a request's checks in one statement. The caller holds the workspace's lock, and for a launch
    the account's.
    """
    given = {"workspace": workspace.id, "user": workspace.user_id}
    row = (await session.execute(_STANDING, given, execution_options={"populate_existing": True})).one()
    return Standing(*row)


async def check_limits(
    session: AsyncSession, resources: Resources, workspace: Workspace, found: Standing, *, warm: bool = False
) -> Seat | None:
    """Check a launch against its user's limit and the queue's bound.

    With `warm`, the launch takes a warm seat if possible and needs no capacity: returns the seat. The bound uses a
    plain count: concurrent launches may exceed it slightly. Launches that the next pass admits do not count. Raises
    `QuotaUserRunning`, and an error of `CAPACITY` if too many wait.
    """
    settings = resources.settings
    limit = settings.user_running_limit if found.users_limit is None else found.users_limit
    reserved = workspace.reserved_memory is not None
    if not reserved and found.users_own >= limit > 0:
        raise QuotaUserRunning(limit=limit)
    if warm and (seat := await _claim_seat(session, resources, workspace)) is not None:
        return seat
    if found.waiting < settings.queue_limit:
        return None
    taken = await count_allocated(session)
    refusal = limiting_resource(settings, taken, limits_of(resources, workspace.template), reserved=reserved)
    room = 0 if refusal else settings.launches_at_once - taken.starting
    if found.waiting >= settings.queue_limit + room:
        raise CAPACITY[refusal or "capacity_launches"](headers={"Retry-After": RETRY_SECONDS})
    return None


async def _claim_seat(session: AsyncSession, resources: Resources, workspace: Workspace) -> Seat | None:
    """Take a warm seat for a workspace without engine objects."""
    template = resources.catalog.get(workspace.template)
    if template is None or not template.warm or workspace.status != WorkspaceStatus.NOT_CREATED:
        return None
    return await seats.claim(session, resources.settings, template, workspace)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A pass's decision: the launches to admit, by whether their workspaces are counted already; the limit that stops
    the next launch, and that launch's needs. `passes` is the number of passes at the read.
    """

    passes: int
    fresh: list[UUID]
    counted: list[UUID]
    refusal: str | None
    limits: Limits | None


async def admit(session: AsyncSession, resources: Resources) -> int | None:
    """Admit waiting launches that fit; returns their number, or None if another pass interfered.

    Requires an autocommit session; the caller flushes the outbox. Costs one read if nothing waits, else at most five
    statements. Safe to race.
    """
    judged = await judge(session, resources)
    return await write(session, resources, judged) if judged is not None else 0


async def judge(session: AsyncSession, resources: Resources) -> Judgement | None:
    """Choose the launches to admit, in `FAIR_ORDER`; None if none waits.

    The first launch that does not fit blocks those behind it, so small workspaces cannot starve a large one.
    """
    settings, refusal, limits = resources.settings, None, None
    # Read first: a pass that writes between these reads invalidates this one.
    passes = await session.scalar(select(_WRITTEN).where(select(Job.id).where(WAITING).exists()))
    if passes is None:
        return None
    taken = await count_allocated(session)
    fresh: list[UUID] = []
    counted: list[UUID] = []
    for job_id, template, reserved in await _waiting_line(session, settings.launches_at_once + 1):
        limits = limits_of(resources, template)
        refusal = limiting_resource(settings, taken, limits, reserved=reserved)
        if refusal is not None:
            break
        taken.add(limits, reserved=reserved)
        (counted if reserved else fresh).append(job_id)
    return Judgement(passes, fresh, counted, refusal, limits)


async def write(session: AsyncSession, resources: Resources, judged: Judgement) -> int | None:
    """Write a decision; returns the number of admitted launches, or None if another pass has written since."""
    admitted: int | None = 0
    if judged.fresh or judged.counted:
        admitted = await _write_admitted(session, resources, judged)
    if admitted is not None and judged.refusal is not None:
        await _tell_why(session, judged.refusal)
        warm = any(template.warm for template in resources.catalog.templates)
        if warm and judged.limits is not None and judged.refusal in SEATS_FREE:
            await seats.give_up(session, judged.limits)
    return admitted


async def room_for_seats(session: AsyncSession, settings: Settings) -> Allocation | None:
    """Return the allocation for new seats of this transaction; None if launches take precedence.

    Launches do while any waits, or while many are starting. Counts as an admission pass; None also if another pass
    interfered.
    """
    passes = await session.scalar(select(_WRITTEN).where(~select(Job.id).where(WAITING).exists()))
    if passes is None:
        return None
    taken = await count_allocated(session)
    if taken.starting >= settings.engine_starts:
        return None
    turn = _take_turn(passes)
    return taken if await session.scalar(select(turn.c.id)) is not None else None


def time_for(settings: Settings, kind: JobKind, *, waits: bool) -> timedelta:
    """Return a job's time limit from now on; a waiting launch gets a new one when admitted."""
    if waits:
        return allowed(settings, WorkspaceStatus.QUEUED)
    return allowed(settings, WorkspaceStatus.STARTING if kind in STARTING else WorkspaceStatus.STOPPING)


async def _waiting_line(session: AsyncSession, most: int) -> list[tuple[UUID, str, bool]]:
    """Return id, template and "counted already" of the first jobs in order."""
    rows = await session.execute(_WAITING_LINE, {"most": most})
    return [(job_id, template, reserved) for job_id, template, reserved in rows]


async def _write_admitted(session: AsyncSession, resources: Resources, judged: Judgement) -> int | None:
    """In one statement count the pass, admit the jobs and reserve their resources; then enqueue them.

    Skips jobs locked with their workspaces until the next pass: ending a job locks its workspace first, and a pass
    never waits.
    """
    now = utcnow()
    turn = _take_turn(judged.passes)
    counts = Workspace.reserved_memory.is_not(None)
    free = (
        select(Job.id, Job.workspace_id)
        .join(Workspace, Workspace.id == Job.workspace_id)
        .where(WAITING, Job.id.in_(judged.fresh) | (Job.id.in_(judged.counted) & counts), select(turn).exists())
        .with_for_update(of=(Job, Workspace), skip_locked=True, key_share=True)
        .cte("free")
    )
    # A restart after a crash keeps its backoff.
    starts_at = func.greatest(Job.run_at, now)
    admitted = (
        update(Job)
        .where(Job.id.in_(select(free.c.id)))
        .values(
            admitted_at=now,
            run_at=starts_at,
            deadline=starts_at + time_for(resources.settings, JobKind.LAUNCH, waits=False),
            blocked_by=None,
            version=Job.version + 1,
        )
        .returning(Job.id, Job.attempts, Job.run_at)
        .cte("admitted")
    )
    reserved = (
        update(Workspace).where(Workspace.id.in_(select(free.c.workspace_id))).values(**reservations(resources.catalog))
    )
    # One row per admitted job; one empty row if there is none; no row if another pass interfered.
    outcome = select(admitted).select_from(turn).outerjoin(admitted, true()).add_cte(reserved.cte("reserved"))
    rows = (await session.execute(outcome)).all()
    found = [row for row in rows if row.id is not None]
    for row in found:
        announce(session, row.id)
        defer = max(row.run_at - now, timedelta(0)) or None
        enqueue(session, JobName.LAUNCH, row.id, attempt=row.attempts, defer=defer)
    return len(found) if rows else None


def _take_turn(seen: int) -> CTE:
    """Count one more pass unless another was counted since; returns a row on success. Concurrent passes wait for each
    other here.
    """
    first = insert(AdmissionPasses).values(id=1, written=1)
    another = first.on_conflict_do_update(
        index_elements=["id"], set_={"written": AdmissionPasses.written + 1}, where=AdmissionPasses.written == seen
    )
    return another.returning(AdmissionPasses.id).cte("turn")


async def _tell_why(session: AsyncSession, refusal: str) -> None:
    """Record on all waiting jobs what they wait for: the limit that stops the first."""
    untold = select(Job.id).where(WAITING, Job.blocked_by.is_distinct_from(refusal))
    told = await session.scalars(
        update(Job)
        .where(Job.id.in_(untold.with_for_update(skip_locked=True, key_share=True)), WAITING)
        .values(blocked_by=refusal, version=Job.version + 1)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    for job_id in told:
        announce(session, job_id)
