"""Takes away what this database made on the engine and no row wants any more.

What a person decided (an account was deleted) goes by itself. Of the rest a pass removes a few at most: where more has
lost its rows, the rows are what is wrong, and `spawner orphans` asks a person.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import delete, select

from app.core.db import among
from app.core.redis_names import redis_key
from app.models import Volume, utcnow
from app.runtime.base import Inventory, RuntimeFault
from app.workspaces.ownership import Ownership, read_ownership
from app.workspaces.volumes import adopt
from workers.context import WorkerContext
from workers.loops.removal_limit import FEW, log_foreign, within_limit

log = structlog.get_logger(__name__)

# A container may take ten seconds to end: a pass that removed one after the other would have no time for the rest.
AT_ONCE = 8
LINGER = timedelta(minutes=1)


async def remove_orphans(context: WorkerContext, inventory: Inventory) -> int:
    """Remove containers of workspaces that have no row, and networks that have none; says how many.

    Each must have been an orphan for the time of grace. A workspace whose row does not want its container is driven by
    a job. Volumes are somebody's files: one without a row gets a row, and goes when that has had its time.
    """
    resources = context.resources
    async with resources.unit_of_work() as session:
        ownership = await read_ownership(session, inventory)
        own = [volume for volume in inventory.volumes if ownership.owns(volume)]
        await adopt(session, resources, own, ownership.workspaces)
    unwanted = ownership.unwanted(inventory)
    await log_foreign(context, [item.name for item in unwanted if not ownership.owns(item)])
    containers = {item.name: item.workspace_id for item in unwanted if ownership.owns(item)}
    decided = {name for name, workspace_id in containers.items() if workspace_id in ownership.retired}
    if not await within_limit(context, "container", containers.keys() - decided, len(inventory.containers)):
        containers = {name: containers[name] for name in decided}
    networks = _networks(context, inventory, ownership)
    due = set(await _due(context, [*containers, *networks]))
    turn = asyncio.Semaphore(AT_ONCE)
    # An empty network is worth nothing, and one with a container stays: a few a pass need nobody's word.
    chosen = [name for name in containers if name in due] + [name for name in networks if name in due][:FEW]
    removed = await asyncio.gather(*(_remove(context, turn, name, containers.get(name)) for name in chosen))
    return sum(removed)


def _networks(context: WorkerContext, inventory: Inventory, ownership: Ownership) -> list[str]:
    unused = ownership.unused(context.resources.settings, inventory)
    return [name for name in unused if inventory.installations.get(name) == ownership.installation]


async def _remove(context: WorkerContext, turn: asyncio.Semaphore, name: str, workspace_id: UUID | None) -> bool:
    """Remove a container, or a network where no workspace is named; False where it stays for now."""
    kind = "network" if workspace_id is None else "container"
    try:
        async with turn:
            if workspace_id is not None:
                await context.runtime.ensure_absent(name, workspace_id)
            else:
                await context.runtime.remove_network(name)
    except RuntimeFault as fault:
        log.warning("orphan_stays", kind=kind, name=name, code=fault.code, error=str(fault))
        return False
    log.info("orphan_removed", kind=kind, name=name, workspace_id=str(workspace_id) if workspace_id else None)
    return True


async def _due(context: WorkerContext, names: Iterable[str]) -> list[str]:
    """Those of the orphans whose time of grace is over; what is an orphan no more is forgotten."""
    # redis-py types its commands for both of its clients.
    redis: Any = context.resources.redis
    # When each orphan was first seen. A Redis that lost it starts the time of grace anew.
    key = redis_key(context.resources.settings.instance, "orphans")
    now, names = time.time(), set(names)
    noted = {name.decode(): float(since) for name, since in (await redis.hgetall(key)).items()}
    if gone := noted.keys() - names:
        await redis.hdel(key, *gone)
    if fresh := names - noted.keys():
        await redis.hset(key, mapping=dict.fromkeys(fresh, now))
    grace = context.resources.settings.orphan_seconds
    return [name for name in names if now - noted.get(name, now) >= grace]


async def remove_volumes(context: WorkerContext, inventory: Inventory) -> int:
    """Remove the volumes whose time has come, and the rows of those that are gone; says how many of the former.

    One that a container still uses stays, and is asked for again the next time. So does one of another database, of
    whatever name. The row outlives the volume by a minute: its name is given to nobody while a launch that was called
    off may still be making it.
    """
    resources = context.resources
    async with resources.unit_of_work() as session:
        ownership = await read_ownership(session, inventory)
        # The locks wait for a launch that takes one of them back at this moment.
        query = select(Volume.name, Volume.found_at).where(Volume.delete_at <= utcnow()).with_for_update()
        rows = dict((await session.execute(query)).all())
    there = {volume.name for volume in inventory.volumes}
    due = [volume.name for volume in inventory.volumes if volume.name in rows and ownership.owns(volume)]
    found = [name for name in due if rows[name] is not None]
    if not await within_limit(context, "volume", found, len(there)):
        due = [name for name in due if rows[name] is None]
    await _remove_volumes(context, due)
    if gone := rows.keys() - there:
        async with resources.unit_of_work() as session:
            await session.execute(delete(Volume).where(among(Volume.name, gone), Volume.delete_at <= utcnow() - LINGER))
    return len(due)


async def _remove_volumes(context: WorkerContext, names: Sequence[str]) -> None:
    for name in names:
        await context.runtime.remove_volume(name)
        log.info("volume_removed", name=name)
