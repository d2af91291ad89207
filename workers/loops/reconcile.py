"""Makes jobs durable, and keeps rows and engine in agreement.

Resends lost messages, takes jobs from dead workers, then compares all engine objects with the rows. Every part is
idempotent, and a failing part does not stop the others.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.magic_links import requeue_links
from app.core.logging import cause
from app.core.outbox import wake_admission
from app.core.redis_names import redis_key
from app.models import (
    EngineCapacity,
    Image,
    utcnow,
)
from app.runtime.base import EgressUnenforceable, EngineSize, Inventory, RuntimeFault
from app.workspaces.jobs.leases import requeue
from app.workspaces.jobs.outcomes import fail_overdue
from workers.context import WorkerContext
from workers.loops.engine_events import compare
from workers.loops.idle import reconcile_idle
from workers.loops.network_pool import reconcile_networks
from workers.loops.orphans import remove_orphans, remove_volumes
from workers.loops.warm_seats import reconcile_seats
from workers.turns import take_turn

log = structlog.get_logger(__name__)

# One lock id per database: one pass over the rows at a time, across workers.
RECONCILE_LOCK = 7_201_001
# Timeout of a pass. The next one continues.
PASS_SECONDS = 30


async def reconcile_rows_forever(context: WorkerContext) -> None:
    """Run the rows' passes until cancelled."""
    await _keep(context, "rows", reconcile_rows)


async def reconcile_engine_forever(context: WorkerContext) -> None:
    """Run the engine's passes until cancelled, separately: the rows' passes never wait for an engine."""
    await _keep(context, "engine", reconcile_engine)


async def _keep(context: WorkerContext, part: str, one_pass: Callable[[WorkerContext], Awaitable[None]]) -> None:
    every = context.resources.settings.reconcile_seconds
    while True:
        await asyncio.sleep(every - time.time() % every)
        try:
            if await is_ours(context, part):
                async with asyncio.timeout(PASS_SECONDS):
                    await one_pass(context)
        except (RuntimeFault, SQLAlchemyError, RedisError, OSError) as error:
            log.warning("not_reconciled", part=part, **cause(error))


async def is_ours(context: WorkerContext, part: str) -> bool:
    """Return whether this worker runs the interval's pass: the first one to ask.

    Without Redis every worker does, since job deadlines still apply; passes may run concurrently.
    """
    settings = context.resources.settings
    every = settings.reconcile_seconds
    key = redis_key(settings.instance, "reconcile", part, str(round(time.time() / every)))
    return await take_turn(context.resources.redis, key, 2 * every)


async def reconcile_rows(context: WorkerContext) -> None:
    """Run the parts that need no engine. Does nothing during another pass."""
    resources = context.resources
    async with resources.unit_of_work() as session:
        if not await session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": RECONCILE_LOCK}):
            return
        waiting = await requeue(session)
        overdue = await fail_overdue(session)
        links = await requeue_links(session)
    if overdue or waiting or links:
        log.info("reconciled", overdue=overdue, waiting=waiting, links=links)


async def reconcile_engine(context: WorkerContext) -> None:
    """Compare all our engine objects with the rows. Skips an unavailable engine until the next pass."""
    settings = context.resources.settings
    try:
        size = await context.runtime.size()
        images = {
            template.image: await context.runtime.image_digest(template.image)
            for template in context.resources.catalog.templates
        }
        inventory = await context.runtime.list_owned(settings.instance)
    except RuntimeFault as fault:
        log.warning("engine_not_compared", code=fault.code, error=str(fault))
        return
    async with context.resources.unit_of_work() as session:
        await _note(session, size, images)
    parts: list[Callable[[WorkerContext, Inventory], Awaitable[int]]] = [
        reconcile_egress,
        compare,
        reconcile_seats,
        remove_orphans,
        remove_volumes,
        reconcile_idle,
        reconcile_networks,
    ]
    for part in parts:
        try:
            count = await part(context, inventory)
        except (RuntimeFault, SQLAlchemyError, RedisError, OSError) as error:
            log.warning("not_reconciled", part=part.__name__, **cause(error))
        else:
            if count:
                log.info("reconciled", part=part.__name__, count=count)


async def reconcile_egress(context: WorkerContext, _: Inventory) -> int:
    """Restore flushed rules. Without the privilege, this was logged at start."""
    with contextlib.suppress(EgressUnenforceable):
        return await context.runtime.reconcile_egress(context.resources.settings.instance)
    return 0


async def _note(session: AsyncSession, size: EngineSize, images: dict[str, str | None]) -> None:
    """Record the engine's capacity and images, for admission and for lists."""
    facts = {
        "memory_bytes": size.memory_bytes,
        "cpus": size.cpus,
        "disk_free_bytes": size.disk_free_bytes,
        "seen_at": utcnow(),
    }
    row = insert(EngineCapacity).values(id=1, **facts)
    await session.execute(row.on_conflict_do_update(index_elements=["id"], set_=facts))
    wake_admission(session)
    for name, digest in images.items():
        if digest is not None:
            row = insert(Image).values(name=name, digest=digest, seen_at=utcnow())
            await session.execute(
                row.on_conflict_do_update(index_elements=["name"], set_={"digest": digest, "seen_at": utcnow()})
            )
