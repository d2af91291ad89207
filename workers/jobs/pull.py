"""One pull of an image at a time, however many workers and launches wait for it."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.catalog.templates import Template
from app.core.logging import cause
from app.runtime.base import Phase, Progress, Report, RuntimeFault
from workers.context import WorkerContext

log = structlog.get_logger(__name__)

PULL_KEY = "spawner:pull:"
# A leader that is silent this long has died: somebody else pulls.
LEASE_SECONDS = 15
LOOK_SECONDS = 0.5
# Only who took the lead may give it up.
GIVE_UP = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"


async def pull(context: WorkerContext, image: str, report: Report) -> None:
    """Fetch an image, or wait while another worker does, with its progress. Raises what the runtime's `pull` does.

    Where Redis is away nobody waits for anybody: the engine itself fetches each layer once.
    """
    redis = context.resources.redis
    while True:
        async with _lead(redis, image) as leads:
            if leads:
                await context.runtime.pull(image, _relay(redis, image, report))
                return
        await _follow(redis, image, report)
        if await context.runtime.image_digest(image) is not None:
            return


async def warm(context: WorkerContext, templates: Sequence[Template], say: Callable[[str], None]) -> bool:
    """Fetch the templates' images, one after the other, and say how each went. False where one is not there then.

    One that is built on the server comes from no registry: it is only looked for.
    """
    complete = True
    for template in templates:
        try:
            if template.build is None:
                await pull(context, template.image, _silent)
            there = await context.runtime.image_digest(template.image) is not None
            outcome = "is there" if there else "is missing; it is built on the server"
        except RuntimeFault as fault:
            there, outcome = False, fault.code
        complete = complete and there
        say(f"{template.key}: {template.image} {outcome}")
    return complete


async def _silent(update: Progress) -> None:
    """Nobody watches this pull."""


@asynccontextmanager
async def _lead(redis: Redis, image: str) -> AsyncIterator[bool]:
    """Take the lead for the block if nobody has it."""
    key, token = f"{PULL_KEY}{image}", secrets.token_hex(8)
    try:
        leads = bool(await redis.set(key, token, nx=True, ex=LEASE_SECONDS))
    except (RedisError, OSError) as error:
        log.warning("pull_alone", image=image, **cause(error))
        yield True
        return
    if not leads:
        yield False
        return
    renewal = asyncio.create_task(_renew(redis, key))
    try:
        yield True
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await redis.eval(GIVE_UP, 1, key, token)  # type: ignore[misc]  # redis-py types it for both clients


async def _renew(redis: Redis, key: str) -> None:
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        with contextlib.suppress(RedisError, OSError):
            await redis.expire(key, LEASE_SECONDS)


def _relay(redis: Redis, image: str, report: Report) -> Report:
    """Report to our own job, and leave the figures where the others look."""

    async def relay(update: Progress) -> None:
        await report(update)
        with contextlib.suppress(RedisError, OSError):
            figures = json.dumps([update.done_bytes, update.total_bytes])
            await redis.set(f"{PULL_KEY}{image}:bytes", figures, ex=LEASE_SECONDS)

    return relay


async def _follow(redis: Redis, image: str, report: Report) -> None:
    """Report somebody else's pull until they have given up the lead."""
    await report(Progress(Phase.PULLING))
    last = None
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            leader, figures = await redis.mget(f"{PULL_KEY}{image}", f"{PULL_KEY}{image}:bytes")
        except (RedisError, OSError):
            return
        if leader is None:
            return
        if figures is not None and figures != last:
            last = figures
            await report(Progress(Phase.PULLING, *json.loads(figures)))
