"""Pauses and stops idle workspaces: reads counters, then starts due actions."""

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

# Containers queried concurrently.
AT_ONCE = 50


async def reconcile_idle(context: WorkerContext, _: Inventory) -> int:
    """Record use, pause and stop idle workspaces; returns their number. Idempotent."""
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
    """Read the counters that are due. Unreadable ones stay unchanged."""
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
