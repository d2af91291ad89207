"""Takes away what carries our label on the engine and no row wants."""

import asyncio
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import delete, select

from app.models import Network, Volume, Workspace, utcnow
from app.runtime.base import Inventory, RuntimeFault
from app.workspaces.spec import network_index
from app.workspaces.volumes import adopt
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

# When each orphan was first seen. A Redis that lost it starts the time of grace anew.
ORPHANS_KEY = "spawner:orphans"
# A container may take ten seconds to end: a pass that removed one after the other would have no time for the rest.
AT_ONCE = 8
LINGER = timedelta(minutes=1)


async def remove_orphans(context: WorkerContext, inventory: Inventory) -> int:
    """Remove containers of workspaces that have no row, and networks that have none; says how many.

    Each must have been an orphan for the time of grace. A workspace whose row does not want its container is driven by
    a job. Volumes are somebody's files: one without a row gets a row, and goes when that has had its time.
    """
    resources = context.resources
    labelled = {owned.workspace_id for owned in inventory.containers}
    labelled |= {volume.workspace_id for volume in inventory.volumes}
    async with resources.unit_of_work() as session:
        known = set(await session.scalars(select(Workspace.id).where(Workspace.id.in_(labelled))))
        indices = set(await session.scalars(select(Network.index)))
        await adopt(session, resources, inventory.volumes, known)
    containers = {owned.name: owned.workspace_id for owned in inventory.containers if owned.workspace_id not in known}
    networks = {name for name in inventory.networks if network_index(resources.settings, name) not in indices}
    due = await _due(context, [*containers, *networks])
    turn = asyncio.Semaphore(AT_ONCE)
    removed = await asyncio.gather(*(_remove(context, turn, name, containers.get(name)) for name in due))
    return sum(removed)


async def _remove(context: WorkerContext, turn: asyncio.Semaphore, name: str, workspace_id: UUID | None) -> bool:
    """Remove a container, or a network where no workspace is named; False where it stays for now."""
    try:
        async with turn:
            if workspace_id is not None:
                await context.runtime.ensure_absent(name, workspace_id)
            else:
                await context.runtime.remove_network(name)
    except RuntimeFault as fault:
        log.warning("orphan_stays", name=name, code=fault.code)
        return False
    return True


async def _due(context: WorkerContext, names: Iterable[str]) -> list[str]:
    """Those of the orphans whose time of grace is over; what is an orphan no more is forgotten."""
    # redis-py types its commands for both of its clients.
    redis: Any = context.resources.redis
    now, names = time.time(), set(names)
    noted = {name.decode(): float(since) for name, since in (await redis.hgetall(ORPHANS_KEY)).items()}
    if gone := noted.keys() - names:
        await redis.hdel(ORPHANS_KEY, *gone)
    if fresh := names - noted.keys():
        await redis.hset(ORPHANS_KEY, mapping=dict.fromkeys(fresh, now))
    grace = context.resources.settings.orphan_seconds
    return [name for name in names if now - noted.get(name, now) >= grace]


async def remove_volumes(context: WorkerContext, inventory: Inventory) -> int:
    """Remove the volumes whose time has come, and the rows of those that are gone; says how many of the former.

    One that a container still uses stays, and is asked for again the next time. The row outlives the volume by a
    minute: its name is given to nobody while a launch that was called off may still be making it.
    """
    resources = context.resources
    async with resources.unit_of_work() as session:
        # The locks wait for a launch that takes one of them back at this moment.
        query = select(Volume.name).where(Volume.delete_at <= utcnow()).with_for_update()
        due = set(await session.scalars(query))
    there = {volume.name for volume in inventory.volumes}
    for name in due & there:
        await context.runtime.remove_volume(name)
    if gone := due - there:
        async with resources.unit_of_work() as session:
            await session.execute(delete(Volume).where(Volume.name.in_(gone), Volume.delete_at <= utcnow() - LINGER))
    return len(due & there)
