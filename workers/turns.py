"""Coordinates workers through expiring keys in Redis."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.supervise import background_loop

# A leader renews its lease every half second; it expires after one and a half. Others try to take it every half second,
# so a dead or frozen leader is replaced within two seconds.
RENEW_SECONDS = 0.5
LEASE_SECONDS = 1.5

# Takes or renews the lease; 0 if another holds it.
_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


async def take_turn(redis: Redis, key: str, seconds: int) -> bool:
    """Take `key` for `seconds`; returns False if another has taken it. Returns True while Redis does not answer."""
    try:
        return bool(await redis.set(key, 1, nx=True, ex=seconds))
    except (RedisError, OSError):
        return True


async def lead(redis: Redis, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` while this worker holds the lease `key`, until cancelled; else wait for the lease.

    Two workers may lead at once: a frozen leader until it checks again, and all while Redis does not answer. `work`
    must tolerate that.
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
    """Renew the lease until another worker holds it."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        if not await _hold(redis, key, me):
            return


async def _hold(redis: Redis, key: str, me: str) -> bool:
    return await _ask(redis, _HOLD, key, me, round(LEASE_SECONDS * 1000))


async def _ask(redis: Redis, script: str, key: str, *arguments: str | int) -> bool:
    """Return a script's result; True if Redis does not answer at once."""
    try:
        async with asyncio.timeout(RENEW_SECONDS):
            # redis-py annotates its commands for sync and async clients alike.
            answer: Any = redis.eval(script, 1, key, *map(str, arguments))
            return bool(await answer)
    except (RedisError, OSError):
        return True
