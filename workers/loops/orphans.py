"""Removes this database's engine objects without rows.

Objects of deleted accounts are removed without confirmation. Of others a pass removes only a few: if many lost their
rows, the rows are probably wrong, and `spawner orphans` asks a person.
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

# Concurrent removals: a container may take ten seconds to stop, and a pass is limited.
AT_ONCE = 8
LINGER = timedelta(minutes=1)


async def remove_orphans(context: WorkerContext, inventory: Inventory) -> int:
    """Remove containers and networks without rows; returns their number.

    Each must have been an orphan for the grace time. Workspaces whose row does not want a container are driven by jobs.
    Volumes hold files: one without a row gets a row, and is deleted when that expires.
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
    # Empty networks can be recreated, and one with a container stays: a few per pass need no confirmation.
    chosen = [name for name in containers if name in due] + [name for name in networks if name in due][:FEW]
    removed = await asyncio.gather(*(_remove(context, turn, name, containers.get(name)) for name in chosen))
    return sum(removed)


def _networks(context: WorkerContext, inventory: Inventory, ownership: Ownership) -> list[str]:
    unused = ownership.unused(context.resources.settings, inventory)
    return [name for name in unused if inventory.installations.get(name) == ownership.installation]


async def _remove(context: WorkerContext, turn: asyncio.Semaphore, name: str, workspace_id: UUID | None) -> bool:
    """Remove a container, or a network if no workspace is given; False if it stays for now."""
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
    """Return the orphans whose grace time has passed; forgets objects that are no longer orphans."""
    # redis-py annotates its commands for sync and async clients alike.
    redis: Any = context.resources.redis
    # When each orphan was first seen. If Redis loses it, the grace time restarts.
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
    """Remove expired volumes, and the rows of volumes that are gone; returns the number of removed volumes.

    A volume in use stays until a later pass. A volume of another database stays whatever its name. The row outlives the
    volume by a minute: a cancelled launch may still be creating it, so its name is not reused.
    """
    resources = context.resources
    async with resources.unit_of_work() as session:
        ownership = await read_ownership(session, inventory)
        # Waits for a launch that is just taking back one of them.
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
