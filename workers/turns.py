"""Agreement among workers about which of them does something, through a key in Redis that expires."""

from redis.asyncio import Redis
from redis.exceptions import RedisError


async def take_turn(redis: Redis, key: str, seconds: int) -> bool:
    """Whether nobody took `key` in the last `seconds`; this caller has it now. True while Redis does not answer."""
    try:
        return bool(await redis.set(key, 1, nx=True, ex=seconds))
    except (RedisError, OSError):
        return True
