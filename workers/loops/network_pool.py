"""Keeps networks ready for the next launches, and the rows of networks true to the engine."""

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

# A network made in advance takes the engine a tenth of a second: a pass makes so many at most.
BATCH = 8


async def reconcile_networks(context: WorkerContext, inventory: Inventory) -> int:
    """Correct what rows say of networks, then make what the pool lacks, or give up what it has too many of.

    Says how many were made. Nothing is made while launches are under way: they would wait for it.
    """
    resources = context.resources
    await _correct(context, inventory)
    starting = select(func.count()).where(Job.is_live, Job.kind.in_(STARTING))
    free = select(func.count()).where(Network.is_free, Network.ready)
    async with resources.reads() as session:
        busy, ready = await session.scalar(starting), await session.scalar(free) or 0
    size = resources.settings.network_pool
    if ready > 2 * size:
        await _shrink(context, ready - size)
    made = 0
    while not busy and ready + made < size and made < BATCH and await _make_one(context):
        made += 1
    return made


async def _correct(context: WorkerContext, inventory: Inventory) -> None:
    """A row says `ready` of what the engine lists as ours, and only of that. What has rested is forgotten.

    A network in which somebody else's container still is will be ready once that is gone.
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
    """Forget some that nobody has, the highest first; then they are nobody's, and go."""
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
