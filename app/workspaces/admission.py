"""Who may start when: limits, the queue before a full engine, and whose turn it is.

Everything is counted and taken under one lock, in the transaction that accepts a launch or ends a job: however many
come at once, no limit is passed. A launch that finds no room waits as a row; whatever frees room admits the next one.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Subquery, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.catalog.templates import Limits
from app.core.outbox import JobName, announce, enqueue
from app.core.settings.model import Settings
from app.models import EngineCapacity, Job, JobKind, JobState, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces.errors import CAPACITY, QuotaUserRunning
from app.workspaces.states import STARTING, allowed

# One number for the whole database: admission is decided by one transaction at a time.
ADMISSION_LOCK = 7_201_004

WAITING = (Job.state == JobState.QUEUED) & Job.admitted_at.is_(None)
STARTING_NOW = Job.is_live & Job.admitted_at.is_not(None) & Job.kind.in_(STARTING)
RETRY_SECONDS = "30"


@dataclass(slots=True)
class Allocation:
    """What is taken of the engine, and what it has; None where that is not known."""

    workspaces: int
    memory: int
    cpus: float
    starting: int
    waiting: int
    unclaimed: int
    has_memory: int | None
    has_cpus: int | None
    free_disk: int | None

    def add(self, limits: Limits) -> None:
        """Count one more workspace that starts."""
        self.workspaces += 1
        self.memory += limits.memory
        self.cpus += limits.cpus
        self.starting += 1


def limiting_resource(settings: Settings, taken: Allocation, limits: Limits, *, reserved: bool) -> str | None:
    """The code of the limit that leaves no room for one more, or None. `reserved`: it is counted already."""
    if taken.starting >= settings.launches_at_once:
        return "capacity_launches"
    if reserved:
        return None
    if settings.running_limit and taken.workspaces >= settings.running_limit:
        return "capacity_running"
    if taken.has_memory and taken.memory + limits.memory > taken.has_memory * settings.memory_overcommit:
        return "capacity_memory"
    if taken.has_cpus and taken.cpus + limits.cpus > taken.has_cpus * settings.cpu_overcommit:
        return "capacity_cpu"
    if taken.free_disk is not None and taken.free_disk < settings.min_free_disk_mb << 20:
        return "capacity_disk"
    return None


@dataclass(frozen=True, slots=True)
class AdmissionDecision:
    """`waits_for` is the code of what leaves no room; `place` is the one in the queue of a launch that has room."""

    blocked_by: str | None = None
    place: int | None = None


async def evaluate(session: AsyncSession, resources: Resources, workspace: Workspace) -> AdmissionDecision:
    """Say whether there is room for a launch of a workspace that the caller has locked, or what it must wait for.

    Where others wait, it waits behind them. The lock is held until the transaction ends, and the caller takes the
    `reservation` in it. Raises `QuotaUserRunning`
    where the user's own limit is reached, and an error of `CAPACITY` where too many wait already.
    """
    settings = resources.settings
    limits = _limits(resources, workspace.template)
    await _lock(session)
    reserved = workspace.reserved_memory is not None
    taken, users_own, users_limit = await _count(session, workspace)
    limit = settings.user_running_limit if users_limit is None else users_limit
    if not reserved and users_own >= limit > 0:
        raise QuotaUserRunning(limit=limit)
    refusal = limiting_resource(settings, taken, limits, reserved=reserved)
    if taken.waiting and not reserved:
        refusal = refusal or "capacity_launches"
    if refusal is not None and taken.waiting >= settings.queue_limit:
        raise CAPACITY[refusal](headers={"Retry-After": RETRY_SECONDS})
    return AdmissionDecision(blocked_by=refusal) if refusal else AdmissionDecision(place=taken.unclaimed + 1)


async def admit(session: AsyncSession, resources: Resources) -> int:
    """Let those in who wait and for whom there is room now; says how many.

    In the order of `fair_order`, and the first one that does not fit keeps the others waiting: a large workspace is not
    passed by small ones for ever. The last thing that a transaction does.
    """
    await _lock(session)
    if not await anybody_waits(session):
        return 0
    taken, _, _ = await _count(session)
    order = fair_order()
    # A row that somebody else has locked is left for the next call: waiting for it here could wait in a circle.
    query = (
        select(Job, Workspace)
        .join(order, order.c.id == Job.id)
        .join(Workspace, Workspace.id == Job.workspace_id)
        .order_by(order.c.turn, order.c.since, Job.id)
        .limit(resources.settings.launches_at_once)
        .with_for_update(of=Workspace, skip_locked=True, key_share=True)
    )
    admitted = 0
    for job, workspace in (await session.execute(query, execution_options={"populate_existing": True})).all():
        limits = _limits(resources, job.template)
        refusal = limiting_resource(resources.settings, taken, limits, reserved=workspace.reserved_memory is not None)
        if refusal is not None:
            await _tell_why(session, job, refusal)
            break
        taken.add(limits)
        workspace.reserved_memory, workspace.reserved_cpus = limits.memory, limits.cpus
        await _admit(session, resources, job)
        admitted += 1
    return admitted


async def anybody_waits(session: AsyncSession) -> bool:
    """Whether a launch waits for room."""
    return await session.scalar(select(Job.id).where(WAITING).limit(1)) is not None


def reservation(resources: Resources, template: str) -> dict[str, Any]:
    """What counts against the limits from a workspace's start, until its status says that it is gone."""
    limits = _limits(resources, template)
    return {"reserved_memory": limits.memory, "reserved_cpus": limits.cpus}


def fair_order() -> Subquery:
    """Waiting jobs with their turn: a user's first one comes before anybody's second, running ones counted.

    Between those of one turn it counts since when: since the job waits, or since its user was last let in.
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
            (place + func.coalesce(running.c.count, 0)).label("turn"),
            func.greatest(Job.created_at, served).label("since"),
        )
        .outerjoin(running, running.c.user_id == Job.user_id)
        .where(WAITING)
        .subquery("turns")
    )


def time_for(settings: Settings, kind: JobKind, *, waits: bool) -> timedelta:
    """How long a job may take from now on; one that waits for room gets its own time once it is let in."""
    if waits:
        return allowed(settings, WorkspaceStatus.QUEUED)
    return allowed(settings, WorkspaceStatus.STARTING if kind in STARTING else WorkspaceStatus.STOPPING)


async def _admit(session: AsyncSession, resources: Resources, job: Job) -> None:
    now = utcnow()
    job.admitted_at = job.run_at = now
    job.blocked_by = None
    job.deadline = now + time_for(resources.settings, job.kind, waits=False)
    job.version += 1
    await session.flush()
    announce(session, job.id)
    enqueue(session, JobName.DRIVE, job.id, attempt=job.attempts)


async def _tell_why(session: AsyncSession, job: Job, refusal: str) -> None:
    if job.blocked_by != refusal:
        job.blocked_by = refusal
        job.version += 1
        await session.flush()
        announce(session, job.id)


async def _lock(session: AsyncSession) -> None:
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADMISSION_LOCK})


async def _count(session: AsyncSession, workspace: Workspace | None = None) -> tuple[Allocation, int, int | None]:
    """What is taken; and for a workspace's user: how many workspaces they have or wait for, and their own limit."""

    def scalar(query: Any) -> Any:
        return query.scalar_subquery()

    reserved = Workspace.reserved_memory.is_not(None)
    columns = [
        scalar(select(func.count()).where(reserved)),
        scalar(select(func.coalesce(func.sum(Workspace.reserved_memory), 0)).where(reserved)),
        scalar(select(func.coalesce(func.sum(Workspace.reserved_cpus), 0.0)).where(reserved)),
        scalar(select(func.count()).where(STARTING_NOW)),
        scalar(select(func.count()).where(WAITING)),
        scalar(select(func.count()).where(Job.state == JobState.QUEUED, Job.admitted_at.is_not(None))),
        scalar(select(EngineCapacity.memory_bytes)),
        scalar(select(EngineCapacity.cpus)),
        scalar(select(EngineCapacity.disk_free_bytes)),
    ]
    if workspace is None:
        return Allocation(*(await session.execute(select(*columns))).one()), 0, None
    mine = (Workspace.user_id == workspace.user_id) & (Workspace.id != workspace.id)
    waiting = select(Job.id).where(Job.workspace_id == Workspace.id, WAITING).exists()
    columns += [
        scalar(select(func.count()).where(mine, reserved | waiting)),
        scalar(select(User.running_limit).where(User.id == workspace.user_id)),
    ]
    *figures, users_own, users_limit = (await session.execute(select(*columns))).one()
    return Allocation(*figures), users_own, users_limit


def _limits(resources: Resources, template: str) -> Limits:
    """What a workspace may use; of a template that is gone, nothing: its job fails by itself."""
    found = resources.catalog.get(template)
    return found.limits if found else Limits.model_construct(memory=0, cpus=0, pids=0)
