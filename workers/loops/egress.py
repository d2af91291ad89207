"""Restores egress rules as soon as the kernel reports their removal."""

import asyncio
from contextlib import aclosing

import structlog

from app.runtime.base import EgressUnenforceable, Runtime, RuntimeFault
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

# Delay before reopening the watch. The reconciler also checks the rules.
PAUSE_SECONDS = 1
# Without the privilege, which was logged at start and does not change by itself.
UNENFORCEABLE_SECONDS = 60


async def watch_egress(context: WorkerContext) -> None:
    """Watch until cancelled."""
    await guard(context.runtime, context.resources.settings.instance)


async def guard(runtime: Runtime, instance: str) -> None:
    """Restore removed rules at once; reopens a broken watch. Never returns."""
    while True:
        pause = PAUSE_SECONDS
        try:
            async with aclosing(runtime.egress_removals()) as removals:
                async for _ in removals:
                    if count := await runtime.reconcile_egress(instance):
                        log.warning("egress_rules_put_back", count=count)
        except EgressUnenforceable as fault:
            log.debug("egress_not_watched", error=str(fault))
            pause = PAUSE_SECONDS if fault.transient else UNENFORCEABLE_SECONDS
        except RuntimeFault as fault:
            log.warning("egress_watch_interrupted", code=fault.code, error=str(fault))
        await asyncio.sleep(pause)
