"""Drives workspaces: claims a job, calls the engine without an open session, writes the outcome."""

import asyncio
import contextlib
import time
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.core.logging import bind, cause
from app.core.supervise import background_loop, background_task
from app.core.waiting import wait_and_clear
from app.models import JobKind, utcnow
from app.runtime.base import RuntimeFault
from app.workspaces.jobs import leases
from app.workspaces.jobs.leases import Claim, LeaseLost
from app.workspaces.states import STARTING, job_name
from workers.context import WorkerContext, context_of
from workers.jobs import stop
from workers.jobs.checkpoints import Checkpoint, reached
from workers.jobs.fail import fail_job
from workers.jobs.launch import launch
from workers.jobs.take_over import take_over

log = structlog.get_logger(__name__)

MAX_BACKOFF = 30


async def drive_workspace(ctx: dict[str, Any], id: str) -> None:
    """Execute one job of a workspace. Concurrent runs are safe: only one claims the job."""
    context = context_of(ctx)
    bind(job_id=id)
    held: Claim | None = None
    try:
        # Commits the claim before the block ends: flushing to Redis may be slow.
        async with context.resources.unit_of_work() as session:
            held = await leases.claim(session, context.resources, UUID(id))
        if held is not None:
            await _attempt(context, held, message=ctx["job_id"])
    except asyncio.CancelledError:
        if held is not None:
            await asyncio.shield(_hand_back(context, held))
        raise


async def _attempt(context: WorkerContext, held: Claim, *, message: str) -> None:
    """Execute a claimed job and log its end."""
    workspace = held.workspace
    bind(kind=held.kind, workspace_id=str(workspace.id), user_id=str(workspace.user_id), attempt=held.attempt)
    began, ended = time.monotonic(), "failed"
    await reached(Checkpoint.CLAIMED, held)
    try:
        await context.resources.outbox.take(job_name(held.kind), message)
        await _with_lease(context, held)
        ended = "driven"
    except LeaseLost:
        ended = "lease_lost"
        await _release(context, held)
    except asyncio.CancelledError:
        ended = "handed_back"
        raise
    finally:
        log.info("job_attempt_ended", how=ended, ms=round((time.monotonic() - began) * 1000, 1))


async def _with_lease(context: WorkerContext, held: Claim) -> None:
    """Drive while renewing the lease.

    If the job ends early, cancels the driving, which waits for pending engine calls. The lease is kept until then, so
    that no other worker starts.
    """
    with context.revocations.of(held.job_id) as revoked:
        over = asyncio.Event()
        ended = asyncio.create_task(over.wait())
        renewal = background_loop("lease_renewal", partial(_renew, context, held, revoked, over), essential=False)
        drive = asyncio.create_task(_drive(context, held))
        drive.add_done_callback(_consume_exception)
        async with background_task(ended), renewal, background_task(drive):
            await asyncio.wait({drive, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not drive.done():
                raise LeaseLost
            await drive


def _consume_exception(drive: asyncio.Task[None]) -> None:
    """Retrieve the exception of an abandoned job's work, to avoid asyncio's warning."""
    if not drive.cancelled():
        drive.exception()


async def _renew(context: WorkerContext, held: Claim, revoked: asyncio.Event, over: asyncio.Event) -> None:
    """Renew the lease until cancelled; sets `over` once the job has ended or the lease is lost.

    Retries an unavailable database until the lease would expire.
    """
    pause = context.resources.settings.lease_seconds / 3
    failures = 0
    while True:
        await wait_and_clear(revoked, pause)
        try:
            async with context.resources.unit_of_work() as session:
                if not await leases.renew(session, context.resources, held):
                    over.set()
            failures = 0
        except LeaseLost:
            over.set()
            return
        except (SQLAlchemyError, OSError) as error:
            failures += 1
            log.warning("lease_not_renewed", **cause(error))
            if failures == 3:
                over.set()


async def _hand_back(context: WorkerContext, held: Claim) -> None:
    """At shutdown, return the job to the queue at once."""
    with contextlib.suppress(SQLAlchemyError, OSError):
        try:
            async with context.resources.unit_of_work() as session:
                await leases.retry(session, held, delay=timedelta(0), detail="worker_stopping")
        except LeaseLost:
            await _release(context, held)


async def _release(context: WorkerContext, held: Claim) -> None:
    """Release the lease of an ended job without pending engine calls. If this fails, the lease expires."""
    with contextlib.suppress(SQLAlchemyError, OSError):
        async with context.resources.unit_of_work() as session:
            await leases.release(session, held)


async def _drive(context: WorkerContext, held: Claim) -> None:
    """Execute the job and write the outcome.

    An engine error becomes a retry or a failure with a code. A bug fails the job with `internal_error`, without retry.
    If database or Redis are unavailable, the lease expires and the job is claimed again.
    """
    try:
        if held.seat is not None:
            await take_over(context, held, held.seat)
        if held.kind in STARTING:
            await launch(context, held)
        else:
            await ENDINGS[held.kind](context, held)
    except RuntimeFault as fault:
        if fault.transient:
            await _retry(context, held, fault)
        else:
            await fail_job(context, held, fault.code, str(fault))
    except (LeaseLost, SQLAlchemyError, RedisError, OSError):
        raise
    except Exception as error:
        log.exception("job_crashed", kind=held.kind, attempt=held.attempt)
        await fail_job(context, held, "internal_error", f"{type(error).__name__}: {error}")
    await reached(Checkpoint.WRITTEN, held)


ENDINGS = {JobKind.PAUSE: stop.pause, JobKind.STOP: stop.stop, JobKind.DELETE: stop.delete}


async def _retry(context: WorkerContext, held: Claim, fault: RuntimeFault) -> None:
    """Retry after 1, 2, 4 … 30 seconds; if that would exceed the deadline, fail now with the actual cause."""
    delay = timedelta(seconds=min(2 ** (held.attempt - 1), MAX_BACKOFF))
    if utcnow() + delay >= held.deadline:
        await fail_job(context, held, fault.code, str(fault))
        return
    log.warning(
        "job_retried", kind=held.kind, code=fault.code, error=str(fault), attempt=held.attempt, seconds=delay.seconds
    )
    async with context.resources.unit_of_work() as session:
        await leases.retry(session, held, delay=delay, detail=fault.code)
