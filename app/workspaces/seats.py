"""Rows of warm seats: containers that run in advance, and their claims.

A claim takes a seat in the transaction that accepts a launch: the workspace gets the seat's id, address, network and
volume. The launch's worker renames the container; none is created.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, delete, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.catalog.templates import Catalog, Limits, Template
from app.core.settings.model import Settings
from app.models import HAS_LIVE_JOB, Job, Network, Seat, SeatState, Volume, Workspace, utcnow
from app.runtime.base import Endpoint
from app.workspaces import networks
from app.workspaces.container_spec import FIRST_REVISION, seat_revision, seat_volume

# States that reserve memory and CPU. A claimed seat's reservation is its workspace's.
PROMISING = (SeatState.STARTING, SeatState.READY, SeatState.ENDING)
# Maximum backoff: a failed seat restarts after 2, 4, 8 … seconds.
MAX_PAUSE = 600
REMOVAL_PAUSE = timedelta(seconds=5)
# A seat ready for this long resets the count.
HELD = timedelta(minutes=10)


async def claim(session: AsyncSession, settings: Settings, template: Template, workspace: Workspace) -> Seat | None:
    """Take a ready seat for a locked workspace without engine objects; None if there is none.

    Excludes workspaces with a network or files, and all while launches of the template wait for capacity. Concurrent
    claims get different seats and do not wait for each other.
    """
    ready = (Seat.template == template.key, Seat.state == SeatState.READY)
    oldest = (
        select(Seat.id)
        .where(*ready, Seat.revision == seat_revision(settings, template))
        .order_by(Seat.ready_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    has_network = select(Network.index).where(Network.workspace_id == workspace.id).exists()
    has_files = select(Volume.id).where(Volume.workspace_id == workspace.id).exists()
    waits = select(Job.id).where(Job.template == template.key, Job.is_live, Job.blocked_by.is_not(None)).exists()
    row = update(Seat).where(Seat.id == oldest.scalar_subquery(), *ready, ~has_network, ~has_files, ~waits)
    taken = row.values(state=SeatState.CLAIMED, claimed_at=utcnow()).returning(Seat).cte("taken")
    network = update(Network).where(Network.seat_id == taken.c.id).values(workspace_id=workspace.id, seat_id=None)
    both = select(Seat).from_statement(select(taken).add_cte(network.cte("network")))
    seat: Seat | None = await session.scalar(both)
    if seat is None:
        return None
    if template.volume:
        name = seat_volume(settings, seat.id)
        session.add(Volume(name=name, user_id=workspace.user_id, workspace_id=workspace.id, template=template.key))
    return seat


def is_complete(catalog: Catalog, seat: Seat) -> bool:
    """Return whether the container may serve its user before a worker has run `on_claim`."""
    template = catalog.get(seat.template)
    return template is not None and not template.on_claim


def taken_over(seat: Seat) -> dict[str, Any]:
    """Return the columns that a workspace takes from its seat."""
    now = utcnow()
    return {
        "seat_id": seat.id,
        "revision": FIRST_REVISION,
        "reserved_memory": seat.memory,
        "reserved_cpus": seat.cpus,
        "host": seat.host,
        "port": seat.port,
        "container_id": seat.container_id,
        "image_digest": seat.image_digest,
        "started_at": now,
        "active_at": now,
        "memory_kills": 0,
    }


async def give_up(session: AsyncSession, limits: Limits) -> None:
    """End seats until their reservations make room for a launch; counts seats that are ending already first."""
    first = case((Seat.state == SeatState.ENDING, 0), (Seat.state == SeatState.STARTING, 1), else_=2)

    def before(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
        """Sum over the seats that end earlier."""
        sooner = func.sum(column).over(order_by=(first, Seat.ready_at.desc(), Seat.id), rows=(None, -1))
        return func.coalesce(sooner, literal(0))

    promising = (
        select(Seat.id, before(Seat.memory).label("memory"), before(Seat.cpus).label("cpus"))
        .where(Seat.state.in_(PROMISING))
        .subquery()
    )
    chosen = select(promising.c.id).where(or_(promising.c.memory < limits.memory, promising.c.cpus < limits.cpus))
    row = update(Seat).where(Seat.id.in_(chosen), Seat.state.in_((SeatState.STARTING, SeatState.READY)))
    row = row.values(state=SeatState.ENDING, run_at=utcnow())
    await session.execute(row, execution_options={"synchronize_session": False})


def _due(now: datetime) -> Select[UUID]:
    """Select a seat that must be started or removed, and that no worker holds."""
    return (
        select(Seat.id)
        .where(Seat.state.in_((SeatState.STARTING, SeatState.ENDING)))
        .where(Seat.run_at <= now, or_(Seat.lease_until.is_(None), Seat.lease_until < now))
        .order_by(Seat.created_at)
        .limit(1)
    )


async def is_any_due(session: AsyncSession) -> bool:
    """Return whether a seat must be started or removed."""
    return await session.scalar(_due(utcnow())) is not None


async def take_up(session: AsyncSession, seconds: float) -> Seat | None:
    """Lease a seat that must be started or removed; None if there is none."""
    now = utcnow()
    due = _due(now).with_for_update(skip_locked=True)
    row = update(Seat).where(Seat.id == due.scalar_subquery()).values(lease_until=now + timedelta(seconds=seconds))
    return await session.scalar(row.returning(Seat))


async def renew(session: AsyncSession, seat_id: UUID, seconds: float | None) -> None:
    """Extend the lease; None releases it."""
    until = utcnow() + timedelta(seconds=seconds) if seconds is not None else None
    await session.execute(update(Seat).where(Seat.id == seat_id).values(lease_until=until))


async def postpone(session: AsyncSession, seat_id: UUID) -> None:
    """Retry the removal later."""
    await session.execute(update(Seat).where(Seat.id == seat_id).values(run_at=utcnow() + REMOVAL_PAUSE))


async def network_of(session: AsyncSession, seat_id: UUID) -> int | None:
    """Return the index of a seat's network."""
    return await session.scalar(select(Network.index).where(Network.seat_id == seat_id))


async def is_ready(session: AsyncSession, seat_id: UUID, endpoint: Endpoint) -> None:
    """Record that the probe succeeded: a launch may take the seat. A seat that is ending stays so."""
    row = update(Seat).where(Seat.id == seat_id, Seat.state == SeatState.STARTING)
    await session.execute(
        row.values(
            state=SeatState.READY,
            ready_at=utcnow(),
            error_code=None,
            host=endpoint.host,
            port=endpoint.port,
            container_id=endpoint.container_id,
            image_digest=endpoint.image_digest,
        )
    )


async def has_failed(session: AsyncSession, seat_id: UUID, code: str) -> None:
    """Record that the seat failed to start, or crashed. Ignores a claimed seat, whose workspace handles that."""
    query = select(Seat).where(Seat.id == seat_id, Seat.state.in_((SeatState.STARTING, SeatState.READY)))
    seat = await session.scalar(query.with_for_update())
    if seat is None:
        return
    if seat.state == SeatState.READY and seat.ready_at is not None and utcnow() - seat.ready_at > HELD:
        seat.failures = 0
    seat.failures += 1
    seat.state, seat.error_code = SeatState.FAILED, code
    seat.run_at = utcnow() + timedelta(seconds=min(2**seat.failures, MAX_PAUSE))


async def forget(session: AsyncSession, seat_id: UUID) -> None:
    """Delete the row of a seat whose container is gone or taken, and free its network."""
    await networks.release(session, {"seat_id": seat_id})
    await session.execute(delete(Seat).where(Seat.id == seat_id))


async def end_claimed(session: AsyncSession) -> None:
    """End claimed seats whose workspace's job has ended, or whose workspace is gone.

    A container that still has the seat's name then belongs to nobody; usually there is none.
    """
    waiting = select(Workspace.id).where(Workspace.seat_id == Seat.id, HAS_LIVE_JOB).exists()
    row = update(Seat).where(Seat.state == SeatState.CLAIMED, ~waiting)
    await session.execute(row.values(state=SeatState.ENDING, memory=0, cpus=0))


async def list_ready(session: AsyncSession) -> Sequence[UUID]:
    """Return the ids of ready seats."""
    return (await session.scalars(select(Seat.id).where(Seat.state == SeatState.READY))).all()


async def has_volume_row(session: AsyncSession, name: str) -> bool:
    """Return whether a seat's volume belongs to a workspace."""
    return await session.scalar(select(Volume.id).where(Volume.name == name)) is not None


@dataclass(slots=True)
class SeatCounts:
    """A template's warm seats. `claimed` counts workspaces that took one; they count against limits."""

    wanted: int = 0
    starting: int = 0
    ready: int = 0
    failed: int = 0
    ending: int = 0
    claimed: int = 0


async def count(session: AsyncSession, catalog: Catalog) -> dict[str, SeatCounts]:
    """Count seats of templates that want or have some."""
    found = {one.key: SeatCounts(wanted=one.warm) for one in catalog.templates if one.warm}
    unclaimed = select(Seat.template, Seat.state, func.count()).where(Seat.state != SeatState.CLAIMED)
    claimed = select(Workspace.template, literal(SeatState.CLAIMED.value), func.count())
    claimed = claimed.where(Workspace.seat_id.is_not(None), Workspace.reserved_memory.is_not(None))
    for query in (unclaimed.group_by(Seat.template, Seat.state), claimed.group_by(Workspace.template)):
        for template, state, number in await session.execute(query):
            setattr(found.setdefault(template, SeatCounts()), state, number)
    return found
