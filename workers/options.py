"""How arq runs our workers: what they offer, and what they hold open."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog
from arq import func

from app.core.outbox import QUEUE, JobName, deserialize, serialize, worker_redis
from app.core.settings.model import Settings
from app.core.supervise import background_loop
from app.health.processes import register
from workers.context import open_context
from workers.doctor.examine import log_engine_findings
from workers.identity import worker_name
from workers.jobs.drive import drive_workspace
from workers.jobs.send_mail import send_link
from workers.loops.admit import admit_forever
from workers.loops.egress import watch_egress
from workers.loops.engine_events import watch
from workers.loops.heartbeat import beat
from workers.loops.logs import serve_logs
from workers.loops.reconcile import reconcile_engine_forever, reconcile_rows_forever
from workers.loops.retention import retention_forever

log = structlog.get_logger(__name__)

# A bound for arq only: each job has a deadline of its own, which a pull that moves extends.
JOB_TIMEOUT = 6 * 3600
# How often a worker looks into the queue without being told to: for messages that were put off, and lost notifications.
POLL_SECONDS = 0.5


def worker_options(settings: Settings) -> dict[str, Any]:
    """Arguments of `arq.worker.Worker`."""
    return {
        "functions": [
            func(drive_workspace, name=JobName.DRIVE),
            func(send_link, name=JobName.SEND_LINK),
        ],
        "on_startup": _startup(settings),
        "on_shutdown": _shutdown,
        "redis_settings": worker_redis(settings.redis_url),
        "queue_name": QUEUE,
        "job_serializer": serialize,
        "job_deserializer": deserialize,
        "max_jobs": settings.worker_jobs,
        # Far above what a fleet runs at once: running mail jobs stay in arq's queue and would hide waiting ones.
        "queue_read_limit": max(1000, settings.worker_jobs * 50),
        "poll_delay": POLL_SECONDS,
        "job_timeout": JOB_TIMEOUT,
        # A kept result would block the same message id.
        "keep_result": 0,
        "max_tries": 5,
        "job_completion_wait": settings.drain_seconds,
        "health_check_key": f"spawner:health:{worker_name()}",
        "log_results": False,
    }


def _startup(settings: Settings) -> Callable[[dict[str, Any]], Any]:
    async def startup(ctx: dict[str, Any]) -> None:
        stack = AsyncExitStack()
        context = await stack.enter_async_context(open_context(settings))
        stack.push_async_callback(context.deliveries.close)
        for lasting in (
            beat,
            admit_forever,
            watch,
            watch_egress,
            reconcile_rows_forever,
            reconcile_engine_forever,
            retention_forever,
            serve_logs,
        ):
            await stack.enter_async_context(background_loop(lasting.__name__, partial(lasting, context)))
        for name, work in {
            "log_engine_findings": partial(log_engine_findings, context),
            "register": partial(register, context.resources, "worker"),
        }.items():
            await stack.enter_async_context(background_loop(name, work, essential=False))
        ctx["worker"] = context
        ctx["stack"] = stack
        log.info("worker_ready", jobs=settings.worker_jobs)

    return startup


async def _shutdown(ctx: dict[str, Any]) -> None:
    # A start that failed opened nothing that it left open.
    if "stack" in ctx:
        await ctx["stack"].aclose()
