"""Workers say that they live and whether their engine answers; the API, which has no way to the engine, reads it."""

import asyncio

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.health.service import WORKER_KEY
from app.runtime.base import RuntimeFault
from workers.context import WorkerContext
from workers.identity import place, worker_name

log = structlog.get_logger(__name__)

INTERVAL = 3
LIFE = 10


async def beats_here(redis: Redis) -> list[str]:
    """What workers of this host last said of their engine: `ok`, or why it does not answer. Raises `SystemExit`."""
    try:
        keys = [key async for key in redis.scan_iter(f"{WORKER_KEY}{place()}:*", count=1000)]
        return [value.decode() for value in await redis.mget(keys) if value] if keys else []
    except (RedisError, OSError):
        raise SystemExit("Redis does not answer") from None


async def beat(context: WorkerContext) -> None:
    """Write the worker's key every three seconds, until cancelled. The key outlives two missed beats."""
    key = f"{WORKER_KEY}{worker_name()}"
    while True:
        try:
            await context.runtime.ping()
            engine = "ok"
        except RuntimeFault as fault:
            engine = fault.code
        try:
            await context.resources.redis.set(key, engine, ex=LIFE)
        except (RedisError, OSError) as error:
            log.warning("heartbeat_lost", error=type(error).__name__)
        await asyncio.sleep(INTERVAL)
