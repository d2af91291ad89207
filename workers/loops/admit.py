"""Admits waiting launches when there is room: a loop in each worker.

Whichever worker writes first admits, and the others look again: there is no leader to replace when a worker is killed,
frozen or cut off. Messages from Redis only save waiting.
"""

import asyncio
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.logging import cause
from app.core.outbox import admission_channel
from app.core.pubsub import listen
from app.core.supervise import background_loop
from app.core.waiting import wait_and_clear
from app.models import utcnow
from app.workspaces import admission
from app.workspaces.jobs.leases import send_unclaimed
from workers.context import WorkerContext
from workers.jobs.checkpoints import Checkpoint, reached

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
# An admitted job that no worker has claimed for so long is sent again: its message may be lost.
UNCLAIMED = timedelta(seconds=0.5)


async def admit_forever(context: WorkerContext) -> None:
    """Make a pass at each wake-up, and one every second whatever happens to Redis, until cancelled."""
    woken = asyncio.Event()
    clock = asyncio.get_running_loop().time
    polled = clock()
    async with background_loop("admission_wakeups", partial(_listen, context, woken)):
        while True:
            try:
                await admit(context)
                if clock() - polled >= POLL_SECONDS:
                    polled = clock()
                    await resend(context)
            except (SQLAlchemyError, OSError) as error:
                log.warning("not_admitted", **cause(error))
            await wait_and_clear(woken, POLL_SECONDS)


async def admit(context: WorkerContext) -> int:
    """Admit what waits and has room; returns how many launches. Costs one read where nothing waits. May race."""
    resources = context.resources
    async with resources.reads() as session:
        while (admitted := await admission.admit(session, resources)) is None:
            log.debug("admission_raced")
    if admitted:
        await reached(Checkpoint.ADMITTED)
        log.info("admitted", launches=admitted)
    await resources.outbox.flush(session)
    return admitted


async def resend(context: WorkerContext) -> None:
    """Send again what was admitted and is not claimed: the worker that admitted it may have lost Redis."""
    async with context.resources.unit_of_work() as session:
        await send_unclaimed(session, utcnow() - UNCLAIMED)


async def _listen(context: WorkerContext, woken: asyncio.Event) -> None:
    async for _ in listen(context.resources.redis, admission_channel(context.resources.settings.instance)):
        woken.set()
