"""Which images are being built right now. Whoever builds keeps a key alive in Redis; no key, no build.

A build that dies lets its key expire. Redis being away means "not known": a hint is lost, nothing else.
"""

from collections.abc import Sequence
from typing import Literal

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.logging import cause

log = structlog.get_logger(__name__)

IMAGE_KEY = "spawner:image:"
ImageState = Literal["building", "failed"]
BUILDING: ImageState = "building"
FAILED: ImageState = "failed"


async def image_states(redis: Redis, images: Sequence[str]) -> dict[str, ImageState]:
    """For each image that has a note: `building`, or `failed` when its last build did."""
    try:
        notes = await redis.mget([f"{IMAGE_KEY}{image}" for image in images])
    except (RedisError, OSError) as error:
        log.warning("image_states_unknown", **cause(error))
        return {}
    return {
        image: FAILED if note.startswith(FAILED.encode()) else BUILDING
        for image, note in zip(images, notes, strict=True)
        if note
    }
