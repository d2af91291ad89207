"""Admits queued launches when capacity becomes free: a loop in each worker.

The first worker to write admits, the others read again: there is no leader to replace. Messages from Redis only shorten
the wait.
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
# An admitted job unclaimed for this long is resent: its message may be lost.
UNCLAIMED = timedelta(seconds=0.5)


async def admit_forever(context: WorkerContext) -> None:
    """Run a pass at each wake-up, and every second even without Redis, until cancelled."""
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
    """Admit queued launches that fit; returns their number. Costs one read if nothing waits. Safe to race."""
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
    """Resend admitted jobs that are not claimed: the admitting worker may have lost Redis."""
    async with context.resources.unit_of_work() as session:
        await send_unclaimed(session, utcnow() - UNCLAIMED)


async def _listen(context: WorkerContext, woken: asyncio.Event) -> None:
    async for _ in listen(context.resources.redis, admission_channel(context.resources.settings.instance)):
        woken.set()
