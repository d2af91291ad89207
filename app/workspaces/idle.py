"""Idle workspaces: what counts as use, when they pause and stop, and how that is delayed.

The gateway records requests. Workers read container counters, which show websocket traffic and work without requests.
Unreadable counters never count as idle.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, Update, cast, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import trail
from app.catalog.templates import Template, find_template
from app.core.db import among
from app.core.errors import NotFound
from app.core.i18n import Text
from app.core.settings.model import Settings
from app.models import HAS_LIVE_JOB, Job, JobKind, JobState, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces.errors import NotExtendable, UntilOutOfRange
from app.workspaces.service import begin, owned_workspaces, request
from app.workspaces.states import ALIVE

log = structlog.get_logger(__name__)

# As a share of one core: above an idle server's own CPU, and above websocket pings.
BUSY_CPU = 0.05
BUSY_BYTES_A_MINUTE = 4096
# After this many missed intervals, counters prove nothing about the time between.
MAX_MISSED = 4
# Delay before the next attempt after a failed pause or stop.
AFTER_FAILURE = timedelta(minutes=10)
MAX_SAMPLES = 500
# Maximum time that an owner may keep a workspace awake, within its longest life.
MAX_KEPT = timedelta(days=7)

Ahead = Literal["pause", "stop", "end"]


class IdleReason(enum.StrEnum):
    """Why the platform pauses or stops a workspace."""

    IDLE_PAUSE = "idle_pause"
    IDLE_STOP = "idle_stop"
    MAX_LIFETIME = "max_lifetime"


# States in which an idle reason explains the state.
RESTING = frozenset({WorkspaceStatus.PAUSED, WorkspaceStatus.STOPPING, WorkspaceStatus.STOPPED})

REASONS: dict[IdleReason, Text] = {
    IdleReason.IDLE_PAUSE: Text(
        "Paused because nobody used it. Open it to continue where it was.",
        "Angehalten, weil ihn niemand benutzt hat. Er macht beim Öffnen dort weiter, wo er war.",
    ),
    IdleReason.IDLE_STOP: Text("Stopped because nobody used it.", "Beendet, weil ihn niemand benutzt hat."),
    IdleReason.MAX_LIFETIME: Text(
        "Stopped because it reached its maximum lifetime.", "Beendet, weil seine maximale Laufzeit erreicht war."
    ),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A container's counters at a time: CPU seconds, bytes received and sent."""

    at: datetime
    cpu_seconds: float
    network_bytes: int


@dataclass(frozen=True, slots=True)
class Use:
    """Thresholds above which counters show use: a share of one core, or bytes."""

    cpu_share: float = BUSY_CPU
    bytes_a_minute: int = BUSY_BYTES_A_MINUTE


@dataclass(frozen=True, slots=True)
class IdleSchedule:
    """When a workspace was last used, and when it will pause, stop and end without further use.

    `kept_until` is the future time until which its owner keeps it awake.
    """

    active_at: datetime
    kept_until: datetime | None
    pauses_at: datetime | None
    stops_at: datetime | None
    ends_at: datetime | None
    warning: Ahead | None
    use: Use = Use()


def freshness(settings: Settings) -> timedelta:
    """Return the maximum time between comparable samples."""
    return timedelta(seconds=settings.usage_seconds * MAX_MISSED)


def is_active(last: Sample | None, now: Sample, within: timedelta) -> bool:
    """Return whether the container worked, or was used, between two samples.

    Counts as use if unknown: a first sample, samples too far apart, or reset counters.
    """
    if last is None or now.at - last.at > within:
        return True
    seconds = (now.at - last.at).total_seconds()
    cpu, network = now.cpu_seconds - last.cpu_seconds, now.network_bytes - last.network_bytes
    if cpu < 0 or network < 0:
        return True
    return cpu > BUSY_CPU * seconds or network > BUSY_BYTES_A_MINUTE * seconds / 60


def idle_schedule(template: Template, workspace: Workspace, now: datetime) -> IdleSchedule | None:
    """Return a workspace's schedule; None if its template sets no limits, or it is neither running nor paused."""
    limits = (template.idle_pause, template.idle_stop, template.max_lifetime)
    if workspace.status not in ALIVE or not any(limits):
        return None
    started = workspace.started_at or workspace.status_at
    active = max(started, workspace.active_at or started)
    pause = template.idle_pause if workspace.status == WorkspaceStatus.RUNNING else 0
    plans: list[tuple[Ahead, int, datetime]] = [
        ("pause", pause, active),
        ("stop", template.idle_stop, active),
        ("end", template.max_lifetime, started),
    ]
    times = {name: since + timedelta(seconds=limit) for name, limit, since in plans if limit}
    kept = workspace.kept_until if workspace.kept_until is not None and workspace.kept_until > now else None
    if kept is not None:
        times |= {name: max(at, kept) for name, at in times.items() if name != "end"}
    near = {name: times[name] for name, limit, _ in plans if limit and times[name] - now < _notice(limit)}
    return IdleSchedule(
        active_at=active,
        kept_until=kept,
        pauses_at=times.get("pause"),
        stops_at=times.get("stop"),
        ends_at=times.get("end"),
        warning=min(near.items(), key=lambda pair: pair[1])[0] if near else None,
    )


def due_action(template: Template, workspace: Workspace, now: datetime, within: timedelta) -> IdleReason | None:
    """Return the action due now. A running workspace is idle only if its counters agree."""
    life = idle_schedule(template, workspace, now)
    if life is None:
        return None
    if life.ends_at is not None and life.ends_at <= now:
        return IdleReason.MAX_LIFETIME
    looked = workspace.sampled_at is not None and now - workspace.sampled_at <= within
    if workspace.status == WorkspaceStatus.RUNNING and not looked:
        return None
    if life.stops_at is not None and life.stops_at <= now:
        return IdleReason.IDLE_STOP
    if life.pauses_at is not None and life.pauses_at <= now:
        return IdleReason.IDLE_PAUSE
    return None


async def unread(session: AsyncSession, resources: Resources) -> list[tuple[UUID, str, str]]:
    """Return id, owner's slug and template of the workspaces whose counters are due."""
    limited = [one.key for one in resources.catalog.templates if one.idle_pause or one.idle_stop]
    before = utcnow() - timedelta(seconds=resources.settings.usage_seconds)
    query = (
        select(Workspace.id, User.slug, Workspace.template)
        .join(User, User.id == Workspace.user_id)
        .where(
            Workspace.status == WorkspaceStatus.RUNNING,
            Workspace.template.in_(limited),
            or_(Workspace.sampled_at.is_(None), Workspace.sampled_at <= before),
        )
        .order_by(Workspace.sampled_at.asc().nulls_first())
        .limit(MAX_SAMPLES)
    )
    return [(row.id, row.slug, row.template) for row in await session.execute(query)]


async def record_samples(session: AsyncSession, resources: Resources, samples: Mapping[UUID, Sample]) -> None:
    """Record counters, and whether they show use. Skips locked rows until the next time."""
    columns = (Workspace.id, Workspace.sampled_at, Workspace.cpu_seconds, Workspace.network_bytes)
    query = (
        select(*columns)
        .where(among(Workspace.id, samples), Workspace.status == WorkspaceStatus.RUNNING)
        .with_for_update(skip_locked=True, key_share=True)
    )
    within, written = freshness(resources.settings), []
    for row in await session.execute(query):
        now, last = samples[row.id], None
        if row.sampled_at is not None and row.cpu_seconds is not None and row.network_bytes is not None:
            last = Sample(row.sampled_at, row.cpu_seconds, row.network_bytes)
        active_at = now.at if is_active(last, now, within) else None
        written.append((row.id, now.at, now.cpu_seconds, now.network_bytes, active_at))
    if written:
        await session.execute(_write_samples(written))


def _write_samples(rows: Sequence[tuple[UUID, datetime, float, int, datetime | None]]) -> Update:
    """Update all rows in one statement: id, sample, and time of use if any."""
    table = Workspace.__table__.c
    columns = (table.id, table.sampled_at, table.cpu_seconds, table.network_bytes, table.active_at)
    arrays = [
        cast(literal(list(values), ARRAY(column.type)), ARRAY(column.type))
        for column, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    new = func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived("new")
    return (
        update(Workspace)
        .where(Workspace.id == new.c.id)
        .values(
            sampled_at=new.c.sampled_at,
            cpu_seconds=new.c.cpu_seconds,
            network_bytes=new.c.network_bytes,
            active_at=func.greatest(Workspace.active_at, new.c.active_at),
        )
        .execution_options(synchronize_session=False)
    )


async def find_due(session: AsyncSession, resources: Resources) -> list[UUID]:
    """Return the workspaces with an action due."""
    templates = {one.key: one for one in resources.catalog.templates}
    limited = [one.key for one in templates.values() if one.idle_pause or one.idle_stop or one.max_lifetime]
    query = select(Workspace).where(Workspace.status.in_(ALIVE), Workspace.template.in_(limited), ~HAS_LIVE_JOB)
    now, within = utcnow(), freshness(resources.settings)
    rows = await session.scalars(query)
    return [row.id for row in rows if due_action(templates[row.template], row, now, within) is not None]


async def stop_idle(session: AsyncSession, resources: Resources, workspace_id: UUID) -> IdleReason | None:
    """Start a workspace's due action, checked again under its lock; returns its reason."""
    query = select(Workspace).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    workspace = await session.scalar(query)
    template = resources.catalog.get(workspace.template) if workspace is not None else None
    if workspace is None or template is None:
        return None
    reason = due_action(template, workspace, utcnow(), freshness(resources.settings))
    if reason is None or await _failed_lately(session, workspace_id):
        return None
    kind = JobKind.PAUSE if reason is IdleReason.IDLE_PAUSE else JobKind.STOP
    job = await begin(session, resources, workspace, kind, reason=reason)
    if job is not None and kind is JobKind.STOP:
        target = ("workspace", str(workspace_id))
        trail.record(session, "workspace_stop_requested", *target, actor=trail.SYSTEM, detail=reason)
    if job is not None:
        log.info("idle_action_started", workspace_id=str(workspace_id), reason=reason)
    return reason if job is not None else None


async def extend(
    session: AsyncSession, resources: Resources, user: User, template: str, until: datetime | timedelta | None = None
) -> None:
    """Count the request as use, and cancel a pause in progress. The longest life stays unchanged.

    `until` keeps the workspace awake until a time, replacing an earlier one, and resumes a paused one; a time span is
    capped at the maximum. Stop and delete end it. Raises `UnknownTemplate`, `NotFound` if never launched,
    `NotExtendable` unless running or paused, and `UntilOutOfRange`.
    """
    found = find_template(resources.catalog, template)
    query = owned_workspaces(user.id).where(Workspace.template == found.key).with_for_update(key_share=True)
    workspace = await session.scalar(query)
    if workspace is None or workspace.status == WorkspaceStatus.NOT_CREATED:
        raise NotFound
    if workspace.status not in ALIVE:
        raise NotExtendable
    workspace.active_at = now = utcnow()
    if until is not None:
        latest = now + MAX_KEPT
        if found.max_lifetime:
            ends = (workspace.started_at or workspace.status_at) + timedelta(seconds=found.max_lifetime)
            latest = min(latest, ends)
        wanted = min(now + until, latest) if isinstance(until, timedelta) else until
        if not now < wanted <= latest:
            raise UntilOutOfRange
        workspace.kept_until = wanted
    pausing = select(Job.id).where(Job.workspace_id == workspace.id, Job.is_live, Job.kind == JobKind.PAUSE)
    wakes = until is not None and workspace.status == WorkspaceStatus.PAUSED
    if wakes or await session.scalar(pausing) is not None:
        await request(session, resources, user, found.key, asked=False)
    await session.flush()


async def _failed_lately(session: AsyncSession, workspace_id: UUID) -> bool:
    failed = select(func.max(Job.finished_at)).where(
        Job.workspace_id == workspace_id,
        Job.by_system,
        Job.state == JobState.FAILED,
        Job.kind.in_([JobKind.PAUSE, JobKind.STOP]),
    )
    last = await session.scalar(failed)
    return last is not None and utcnow() - last < AFTER_FAILURE


def _notice(limit: int) -> timedelta:
    """Return how long before an idle action to warn: around five minutes, in proportion to the limit."""
    return timedelta(seconds=max(limit / 10, min(300, limit / 2)))
