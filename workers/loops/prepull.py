"""Pulls the catalogue's images before launches need them."""

import asyncio
from typing import Any

import structlog
from redis.exceptions import RedisError

from app.catalog.images import BUILDING, image_states
from app.core.logging import cause
from app.core.redis_names import redis_key
from app.runtime.base import RuntimeFault, ignore_progress
from workers.context import WorkerContext
from workers.turns import take_turn

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30
# An image that failed is retried after 1, 2, 4 … minutes.
FIRST_PAUSE_SECONDS = 60
MAX_PAUSE_SECONDS = 3600
FAILURES_SECONDS = 86400


async def prepull(context: WorkerContext) -> None:
    """Pull missing images until cancelled."""
    while True:
        for image in wanted(context):
            try:
                await pull_missing(context, image)
            except (RuntimeFault, RedisError, OSError) as error:
                log.warning("images_not_checked", image=image, **cause(error))
        await asyncio.sleep(EVERY_SECONDS)


def turn_key(instance: str, image: str) -> str:
    """Return the key that excludes other workers from pulling the image."""
    return redis_key(instance, "prepull", image)


def wanted(context: WorkerContext) -> list[str]:
    """Return the images to pull. Images with a build are built on the host, never pulled in advance."""
    templates = context.resources.catalog.templates
    built = {template.image for template in templates if template.build is not None}
    return sorted({template.image for template in templates} - built)


async def pull_missing(context: WorkerContext, image: str) -> bool:
    """Pull an image that the engine lacks; returns True on success.

    One worker at a time, with growing pauses after failures.
    """
    if await context.runtime.image_digest(image) is not None:
        return False
    # redis-py annotates its commands for sync and async clients alike.
    redis: Any = context.resources.redis
    instance = context.resources.settings.instance
    turn, failed = turn_key(instance, image), redis_key(instance, "prepull", "failures", image)
    if (await image_states(redis, instance, [image])).get(image) == BUILDING:
        return False
    if not await take_turn(redis, turn, FIRST_PAUSE_SECONDS):
        return False
    try:
        await context.runtime.pull(image, ignore_progress)
    except RuntimeFault as fault:
        failures = await redis.incr(failed)
        pause = min(FIRST_PAUSE_SECONDS << min(failures - 1, 10), MAX_PAUSE_SECONDS)
        await redis.expire(failed, FAILURES_SECONDS)
        await redis.set(turn, 1, ex=pause)
        log.warning("image_not_pulled", image=image, code=fault.code, error=str(fault), failures=failures, pause=pause)
        return False
    await redis.delete(failed)
    log.info("image_pulled", image=image)
    return True
