"""arq's options for our queues, and the worker's resources and background tasks."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
from arq import func

from app.core.outbox import JobName, deserialize, queue_key, serialize, worker_redis
from app.core.redis_names import redis_key
from app.core.settings.model import Settings
from app.core.startup import freeze_heap
from app.core.supervise import background_loop
from app.health.processes import register
from workers.context import WorkerContext, open_context
from workers.doctor.examine import log_engine_findings
from workers.identity import worker_name
from workers.jobs.drive import drive_workspace
from workers.jobs.send_mail import send_link
from workers.loops.admit import admit_forever
from workers.loops.egress import watch_egress
from workers.loops.engine_events import watch
from workers.loops.heartbeat import beat
from workers.loops.logs import serve_logs
from workers.loops.prepull import prepull
from workers.loops.reconcile import reconcile_engine_forever, reconcile_rows_forever
from workers.loops.retention import retention_forever
from workers.loops.warm_seats import keep_warm

log = structlog.get_logger(__name__)

# For arq only: each job has its own deadline, which pull progress extends.
JOB_TIMEOUT = 6 * 3600
# Poll interval of the queue, for deferred messages and lost notifications.
POLL_SECONDS = 0.5


def queue_options(settings: Settings) -> dict[JobName, dict[str, Any]]:
    """Return the arguments of `arq.worker.Worker` for each queue."""
    offered = {
        JobName.LAUNCH: (drive_workspace, settings.worker_jobs),
        JobName.END: (drive_workspace, settings.worker_stops),
        JobName.SEND_LINK: (send_link, settings.worker_mails),
    }
    return {
        name: {
            "functions": [func(function, name=name)],
            "redis_pool": worker_redis(settings.redis_url),
            "queue_name": queue_key(settings.instance, name),
            "job_serializer": serialize,
            "job_deserializer": deserialize,
            "max_jobs": slots,
            # Far above a fleet's running jobs: messages held by other workers would hide waiting ones.
            "queue_read_limit": max(1000, slots * 50),
            "poll_delay": POLL_SECONDS,
            "job_timeout": JOB_TIMEOUT,
            # A kept result would block the same message id.
            "keep_result": 0,
            "max_tries": 5,
            "job_completion_wait": settings.drain_seconds,
            "health_check_key": redis_key(settings.instance, "health", name, worker_name()),
            "log_results": False,
        }
        for name, (function, slots) in offered.items()
    }


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[WorkerContext]:
    """Open the jobs' resources, and run the worker's background tasks."""
    async with open_context(settings) as context, AsyncExitStack() as stack:
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
            keep_warm,
            prepull,
        ):
            await stack.enter_async_context(background_loop(lasting.__name__, partial(lasting, context)))
        for name, work in {
            "log_engine_findings": partial(log_engine_findings, context),
            "register": partial(register, context.resources, "worker"),
        }.items():
            await stack.enter_async_context(background_loop(name, work, essential=False))
        log.info(
            "worker_ready", launches=settings.worker_jobs, stops=settings.worker_stops, mails=settings.worker_mails
        )
        freeze_heap()
        yield context
