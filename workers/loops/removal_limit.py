"""Limits removals without confirmation. If many objects lost their rows at once, the rows are wrong."""

from collections.abc import Iterable

import structlog

from app.core.redis_names import redis_key
from workers.context import WorkerContext
from workers.turns import take_turn

log = structlog.get_logger(__name__)

LOG_AGAIN_SECONDS = 600
# At most this many, and at most a third of the objects; one is always permitted.
FEW = 3
MAX_NAMES = 20
REMEDY = "restore the database that has their rows, or run `spawner orphans`"


def is_few(count: int, there: int) -> bool:
    """Return whether `count` of `there` objects may be removed without confirmation."""
    return count <= min(FEW, max(1, there // 3))


async def within_limit(context: WorkerContext, kind: str, names: Iterable[str], there: int) -> bool:
    """Return whether all of these may be removed; if not, log it with names, once in ten minutes."""
    held = sorted(names)
    if is_few(len(held), there):
        return True
    if await _is_news(context, kind):
        log.error("orphans_held", kind=kind, count=len(held), of=there, names=held[:MAX_NAMES], remedy=REMEDY)
    return False


async def log_foreign(context: WorkerContext, names: Iterable[str]) -> None:
    """Log objects with our instance's name from another database, once in ten minutes."""
    foreign = sorted(names)
    if foreign and await _is_news(context, "foreign"):
        log.error("engine_holds_foreign_workspaces", count=len(foreign), names=foreign[:MAX_NAMES], remedy=REMEDY)


async def _is_news(context: WorkerContext, kind: str) -> bool:
    key = redis_key(context.resources.settings.instance, "orphans", "held", kind)
    return await take_turn(context.resources.redis, key, LOG_AGAIN_SECONDS)
