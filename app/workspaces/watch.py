"""Waiting for a job to change, woken by a notification through Redis rather than by asking the database."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.jobs import JOB_CHANNEL

log = structlog.get_logger(__name__)


class JobWatch:
    """One subscription a process, however many clients poll.

    A notification may be lost (Redis restarts): after every new subscription all who wait are woken to look again,
    and nobody waits longer than their own time-out.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while the block runs; at its end everybody is woken, so that shutdown waits for no one."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            # redis-py swallows a cancellation that comes while it connects: ask until it is heard.
            while not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=0.1)
            self.close()

    def close(self) -> None:
        """The process is told to stop: wake everybody, and let nobody wait any more. May be repeated."""
        self.closing = True
        self._wake_all()

    @contextmanager
    def changes(self, job_id: object) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job changes; register before reading the row, so that none is missed."""
        event = asyncio.Event()
        self._waiting[str(job_id)].add(event)
        try:
            yield event
        finally:
            self._waiting[str(job_id)].discard(event)
            if not self._waiting[str(job_id)]:
                del self._waiting[str(job_id)]

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.psubscribe(f"{JOB_CHANNEL}*")
                    self._wake_all()
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=10)
                        if message is not None:
                            self._wake(message["channel"].decode().removeprefix(JOB_CHANNEL))
            except (RedisError, OSError) as error:
                log.warning("watch_interrupted", error=type(error).__name__)
                await asyncio.sleep(0.5)

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
