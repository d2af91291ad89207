"""Process announcements in Redis with a time to live: fields of one hash, so that no scan is needed."""

from typing import Literal

from redis.asyncio import Redis

from app.core.redis_names import redis_key
from app.core.settings.model import Settings


def presence_key(settings: Settings, kind: Literal["processes", "workers"]) -> str:
    """Return the hash's key of one kind."""
    return redis_key(settings.instance, kind)


async def announce(redis: Redis, key: str, name: str, text: str, life: int) -> None:
    """Announce a text for `life` seconds. Only Redis's clock counts: those of hosts differ."""
    now, _ = await redis.time()
    async with redis.pipeline(transaction=True) as pipe:
        pipe.hset(key, name, f"{now + life} {text}")
        pipe.expire(key, life)
        await pipe.execute()


async def list_present(redis: Redis, key: str) -> dict[str, str]:
    """Return the live announcements by name; removes expired ones. Raises Redis errors."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hgetall(key)
        (now, _), found = await pipe.execute()
    present, over = {}, []
    for name, value in found.items():
        until, _, text = value.decode().partition(" ")
        if int(until) > now:
            present[name.decode()] = text
        else:
            over.append(name)
    if over:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.hdel(key, *over)
            await pipe.execute()
    return present
