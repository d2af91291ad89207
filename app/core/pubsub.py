"""Hearing of changes through Redis. A notification may be lost, so nobody may depend on one: they only save waiting."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.logging import cause

log = structlog.get_logger(__name__)

PAUSE = 0.5


class Notification(NamedTuple):
    """What came in on a channel; both are empty right after a subscription, when something may have been missed."""

    channel: str
    text: str


async def listen(redis: Redis, pattern: str) -> AsyncIterator[Notification]:
    """Yield what is published on the channels that match, for ever; subscribes anew after every break."""
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.psubscribe(pattern)
                yield Notification("", "")
                while True:
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=10)
                    if message is not None:
                        yield Notification(message["channel"].decode(), message["data"].decode())
        except (RedisError, OSError) as error:
            log.warning("notifications_interrupted", pattern=pattern, **cause(error))
            await asyncio.sleep(PAUSE)
