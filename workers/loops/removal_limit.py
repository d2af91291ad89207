"""How much may go without a person's word. Where more has lost its rows at once, the rows are what is wrong."""

from collections.abc import Iterable

import structlog

from app.core.redis_names import redis_key
from workers.context import WorkerContext
from workers.turns import take_turn

log = structlog.get_logger(__name__)

LOG_AGAIN_SECONDS = 600
# So many, and of few things a third.
FEW = 3
MAX_NAMES = 20
REMEDY = "bring back the database that knows them, or run `spawner orphans`"


def is_few(count: int, there: int) -> bool:
    """Whether `count` of the `there` things on the engine may go without a person's word."""
    return count <= min(FEW, max(1, there // 3))


async def within_limit(context: WorkerContext, kind: str, names: Iterable[str], there: int) -> bool:
    """Whether all of these may go by themselves; where they may not, log it once in ten minutes, with names."""
    held = sorted(names)
    if is_few(len(held), there):
        return True
    if await _is_news(context, kind):
        log.error("orphans_held", kind=kind, count=len(held), of=there, names=held[:MAX_NAMES], remedy=REMEDY)
    return False


async def log_foreign(context: WorkerContext, names: Iterable[str]) -> None:
    """Log once in ten minutes what carries our instance's name and is no work of this database."""
    foreign = sorted(names)
    if foreign and await _is_news(context, "foreign"):
        log.error("engine_holds_foreign_workspaces", count=len(foreign), names=foreign[:MAX_NAMES], remedy=REMEDY)


async def _is_news(context: WorkerContext, kind: str) -> bool:
    key = redis_key(context.resources.settings.instance, "orphans", "held", kind)
    return await take_turn(context.resources.redis, key, LOG_AGAIN_SECONDS)
