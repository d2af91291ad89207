"""Agreement among workers about which of them does something, through keys in Redis that expire."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.supervise import background_loop

# A leader renews its lease each half second and has lost it one and a half after the last time. Each other worker asks
# for it each half second, so that one that died or froze is replaced within two.
RENEW_SECONDS = 0.5
LEASE_SECONDS = 1.5

# Take the lease, or renew it; 0 where another holds it.
_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


async def take_turn(redis: Redis, key: str, seconds: int) -> bool:
    """Whether nobody took `key` in the last `seconds`; this caller has it now. True while Redis does not answer."""
    try:
        return bool(await redis.set(key, 1, nx=True, ex=seconds))
    except (RedisError, OSError):
        return True


async def lead(redis: Redis, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` while this worker holds the lease `key`, until cancelled; else wait for the lease.

    Two may work at once: a leader that was frozen, until it asks again, and everybody while Redis does not answer. What
    a leader does must allow that.
    """
    me = secrets.token_hex(8)
    try:
        while True:
            if await _hold(redis, key, me):
                async with background_loop(f"{key}:leader", work):
                    await _keep(redis, key, me)
            await asyncio.sleep(RENEW_SECONDS)
    finally:
        await _ask(redis, _RELEASE, key, me)


async def _keep(redis: Redis, key: str, me: str) -> None:
    """Renew the lease until another worker has it."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        if not await _hold(redis, key, me):
            return


async def _hold(redis: Redis, key: str, me: str) -> bool:
    return await _ask(redis, _HOLD, key, me, round(LEASE_SECONDS * 1000))


async def _ask(redis: Redis, script: str, key: str, *arguments: str | int) -> bool:
    """What a script says; True where Redis does not answer at once."""
    try:
        async with asyncio.timeout(RENEW_SECONDS):
            # redis-py types its commands for both of its clients.
            answer: Any = redis.eval(script, 1, key, *map(str, arguments))
            return bool(await answer)
    except (RedisError, OSError):
        return True
