"""Receives notifications through Redis. They may be lost: they shorten waiting, and nothing may depend on them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from app.core.logging import cause

log = structlog.get_logger(__name__)

PAUSE = 0.5
# Seconds of silence before a ping, and the ping's timeout.
QUIET_SECONDS = 10


class Notification(NamedTuple):
    """A received message. Both fields are empty right after a subscription, when messages may have been missed."""

    channel: str
    text: str


async def listen(redis: Redis, pattern: str) -> AsyncIterator[Notification]:
    """Yield messages of the matching channels for ever; resubscribes after each lost connection."""
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.psubscribe(pattern)
                while True:
                    message = await _next(subscription)
                    # The client reconnects and resubscribes by itself.
                    if message["type"] == "psubscribe":
                        yield Notification("", "")
                    elif message["type"] == "pmessage":
                        yield Notification(message["channel"].decode(), message["data"].decode())
        except (RedisError, OSError) as error:
            log.warning("notifications_interrupted", pattern=pattern, **cause(error))
            await asyncio.sleep(PAUSE)


async def _next(subscription: PubSub) -> dict[str, Any]:
    """Return the next message. Raises `TimeoutError` if Redis does not answer a ping."""
    for _ in range(2):
        message: dict[str, Any] | None = await subscription.get_message(timeout=QUIET_SECONDS)
        if message is not None:
            return message
        await subscription.ping()
    raise TimeoutError("Redis does not answer")
