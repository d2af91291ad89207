"""Rows of networks: one per workspace and warm seat, taken from the ready ones, else allocated from the range.

The reconciler makes rows and engine agree: it creates networks in advance and removes surplus ones.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Integer, Uuid, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate

from app.models import Network, utcnow
from app.resources import Resources
from app.workspaces.container_spec import subnet_count

# One lock id per database: new subnets are allocated by one transaction at a time.
SUBNET_LOCK = 7_201_002
# Quarantine of a subnet that something else on the host uses.
REST = timedelta(days=1)

# A network's owner: a `workspace_id` or a `seat_id`.
Holder = Mapping[str, UUID]
NOBODY: Holder = {}


class NoSubnet(Exception):
    """Every /28 of the configured range is taken."""


def _taken() -> ReturningUpdate[int]:
    """Give the first ready network to a holder."""
    free = (
        select(Network.index)
        .where(Network.is_free, Network.ready)
        .order_by(Network.index)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    holder = {name: bindparam(name, type_=Uuid()) for name in ("workspace_id", "seat_id")}
    row = update(Network).where(Network.index == free).values(**holder).returning(Network.index)
    return row.execution_options(synchronize_session=False)


_TAKEN = _taken()


async def allocate(session: AsyncSession, resources: Resources, holder: Holder) -> int:
    """Return the index of a network for a holder without one: a ready one, or a new one.

    Raises `NoSubnet` if the range is used up.
    """
    taken = await session.scalar(_TAKEN, {"workspace_id": None, "seat_id": None, **holder})
    return taken if taken is not None else await reserve(session, resources, holder)


async def reserve(session: AsyncSession, resources: Resources, holder: Holder = NOBODY, *, after: int = -1) -> int:
    """Take the lowest index above `after` without a row. Raises `NoSubnet`."""
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SUBNET_LOCK})
    all_above = func.generate_series(after + 1, subnet_count(resources.settings) - 1, type_=Integer)
    candidate = all_above.column_valued("candidate")
    known = select(Network.index).where(Network.index == candidate).exists()
    free = await session.scalar(select(func.min(candidate)).where(~known))
    if free is None:
        raise NoSubnet
    await session.execute(insert(Network).values(index=free, ready=False, **holder))
    return free


async def replace(session: AsyncSession, resources: Resources, index: int, holder: Holder, *, after: int) -> int:
    """Quarantine the holder's network, which is in conflict, and allocate a new one above `after`."""
    await quarantine(session, index)
    return await reserve(session, resources, holder, after=after)


async def quarantine(session: AsyncSession, index: int) -> None:
    """Quarantine the subnet for a day: something else on the host uses it."""
    row = update(Network).where(Network.index == index)
    await session.execute(row.values(workspace_id=None, seat_id=None, ready=False, quarantined_until=utcnow() + REST))


async def release(session: AsyncSession, holder: Holder) -> None:
    """Release the network of a removed container for the next launch, which recreates it if missing."""
    row = update(Network).filter_by(**holder)
    await session.execute(row.values(workspace_id=None, seat_id=None, ready=True))
