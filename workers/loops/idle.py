"""Lets workspaces rest that nobody uses: reads their counters, then begins what has become due."""

import asyncio
from uuid import UUID

import structlog

from app.models import utcnow
from app.runtime.base import Inventory, RuntimeFault
from app.workspaces import idle
from app.workspaces.container_spec import container_name
from app.workspaces.idle import Sample
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

# How many containers are asked for at once.
AT_ONCE = 50


async def reconcile_idle(context: WorkerContext, _: Inventory) -> int:
    """Note who works, pause and stop who does not; says how many. May be repeated."""
    await _sample(context)
    resources = context.resources
    async with resources.reads() as session:
        candidates = await idle.find_due(session, resources)
    resting = 0
    for workspace_id in candidates:
        async with resources.unit_of_work() as session:
            resting += await idle.stop_idle(session, resources, workspace_id) is not None
    return resting


async def _sample(context: WorkerContext) -> None:
    """Read the counters that are to be read now. One that cannot be read is left as it was."""
    resources = context.resources
    async with resources.reads() as session:
        unread = await idle.unread(session, resources)
    if not unread:
        return
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(workspace_id: UUID, slug: str, template: str) -> tuple[UUID, Sample] | None:
        try:
            async with turn:
                usage = await context.runtime.usage(container_name(resources.settings, slug, template))
        except RuntimeFault as fault:
            log.warning("usage_not_read", workspace_id=str(workspace_id), code=fault.code)
            return None
        return (workspace_id, Sample(utcnow(), usage.cpu_seconds, usage.network_bytes)) if usage is not None else None

    answers = await asyncio.gather(*(ask(*row) for row in unread))
    async with resources.unit_of_work() as session:
        await idle.record_samples(session, resources, dict(answer for answer in answers if answer is not None))
