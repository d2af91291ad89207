"""Keeps a pool of networks for the next launches, and networks' rows in agreement with the engine."""

import structlog
from sqlalchemy import delete, func, select, update

from app.core.db import among
from app.models import Job, Network, Workspace, utcnow
from app.runtime.base import Inventory, SubnetTaken
from app.workspaces import networks
from app.workspaces.container_spec import network, network_index
from app.workspaces.networks import NoSubnet
from app.workspaces.ownership import installation_id
from app.workspaces.states import STARTING
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

# Networks created or removed per pass: each takes the engine a tenth of a second or two.
MADE, REMOVED = 64, 16
_STARTING = select(Job.id).where(Job.is_live, Job.kind.in_(STARTING)).exists()
_READY = select(func.count()).where(Network.is_free, Network.ready).scalar_subquery()


async def reconcile_networks(context: WorkerContext, inventory: Inventory) -> int:
    """Correct networks' rows, then create missing pool networks or remove surplus ones.

    Returns the number created. Calls no engine during launches, which would wait for it, and stops creating as soon as
    one begins.
    """
    await _correct(context, inventory)
    size = context.resources.settings.network_pool
    made = 0
    while (ready := await _ready_while_idle(context)) is not None:
        if ready > 2 * size:
            await _shrink(context, min(ready - size, REMOVED))
            break
        if ready >= size or made == MADE or not await _make_one(context):
            break
        made += 1
    return made


async def _ready_while_idle(context: WorkerContext) -> int | None:
    """Return the number of ready networks; None during launches."""
    async with context.resources.reads() as session:
        ready: int | None = await session.scalar(select(_READY).where(~_STARTING))
        return ready


async def _correct(context: WorkerContext, inventory: Inventory) -> None:
    """Set `ready` for exactly the networks that the engine lists as ours. Drop expired quarantines.

    A network with another workspace's container becomes ready once that is gone.
    """
    settings = context.resources.settings
    inside = {network_index(settings, owned.network or ""): owned.workspace_id for owned in inventory.containers}
    async with context.resources.unit_of_work() as session:
        installation = await installation_id(session)
        own = [name for name in inventory.networks if inventory.installations.get(name, installation) == installation]
        there = {index for name in own if (index := network_index(settings, name)) is not None}
        holder = func.coalesce(Network.seat_id, Workspace.engine_id)
        query = select(Network, holder).outerjoin(Workspace, Workspace.id == Network.workspace_id)
        for row, owner in await session.execute(query.with_for_update(of=Network, skip_locked=True)):
            row.ready = row.index in there and inside.get(row.index, owner) == owner
        lost = Network.is_free & ~Network.ready & ~among(Network.index, there)
        await session.flush()
        await session.execute(
            delete(Network).where(lost, func.coalesce(Network.quarantined_until, utcnow()) <= utcnow())
        )


async def _make_one(context: WorkerContext) -> bool:
    resources = context.resources
    async with resources.unit_of_work() as session:
        try:
            index = await networks.reserve(session, resources)
        except NoSubnet:
            return False
        wanted = network(resources.settings, index, await installation_id(session))
    try:
        await context.runtime.ensure_network(resources.settings.instance, wanted)
    except SubnetTaken:
        log.warning("subnet_taken", index=index)
        async with resources.unit_of_work() as session:
            await networks.quarantine(session, index)
        return True
    async with resources.unit_of_work() as session:
        await session.execute(update(Network).where(Network.index == index).values(ready=True))
    return True


async def _shrink(context: WorkerContext, count: int) -> None:
    """Delete rows of free networks, highest index first, then remove the networks."""
    resources = context.resources
    surplus = (
        select(Network.index)
        .where(Network.is_free, Network.ready)
        .order_by(Network.index.desc())
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    async with resources.unit_of_work() as session:
        indices = list(await session.scalars(surplus))
        await session.execute(delete(Network).where(among(Network.index, indices)))
    for index in indices:
        await context.runtime.remove_network(network(resources.settings, index).name)
