"""Image builds in progress. A build refreshes its key in Redis; the key expires if the build dies.

Without Redis the state is unknown: only a hint is lost.
"""

from collections.abc import Sequence
from typing import Literal

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.logging import cause
from app.core.redis_answers import answer_in_time
from app.core.redis_names import redis_key

log = structlog.get_logger(__name__)

ImageState = Literal["building", "failed"]
BUILDING: ImageState = "building"
FAILED: ImageState = "failed"


def image_key(instance: str, image: str) -> str:
    """Return the key of an image's build state."""
    return redis_key(instance, "image", image)


async def image_states(redis: Redis, instance: str, images: Sequence[str]) -> dict[str, ImageState]:
    """Return the state of each image with a key: `building`, or `failed` after a failed build."""
    try:
        keys = [image_key(instance, image) for image in images]
        notes = await answer_in_time(lambda: redis.mget(keys))
    except (RedisError, OSError) as error:
        log.warning("image_states_unknown", **cause(error))
        return {}
    return {
        image: FAILED if note.startswith(FAILED.encode()) else BUILDING
        for image, note in zip(images, notes, strict=True)
        if note
    }
