"""The audit trail does not grow for ever."""

from typing import Any

import structlog

from app.audit import trail
from workers.context import context_of

log = structlog.get_logger(__name__)


async def prune_audit(ctx: dict[str, Any]) -> None:
    """Remove what is older than AUDIT_DAYS, in steps. May be repeated."""
    resources = context_of(ctx).resources
    removed = 0
    while True:
        async with resources.unit_of_work() as session:
            step = await trail.prune(session, resources.settings.audit_days)
        removed += step
        if not step:
            break
    if removed:
        log.info("audit_pruned", removed=removed)
