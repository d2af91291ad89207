"""Waits for job changes, by notifications through Redis instead of polling the database."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from uuid import UUID

from redis.asyncio import Redis

from app.accounts.session_monitor import SessionMonitor
from app.core.fair_share import FairShare
from app.core.outbox import ENDED, job_channel
from app.core.pubsub import listen
from app.core.shared_reads import SharedReads
from app.core.supervise import background_loop
from app.resources import Resources
from app.workspaces.errors import TooManyStreams

# Delay that merges consecutive steps; a job's end has no delay.
TOGETHER_SECONDS = 0.5
# Per process, all accounts together.
MAX_WAITING = 2000
# Waiting clients may use half of the process's read connections at once.
SHARE_OF_CONNECTIONS = 2


class JobSubscriptions:
    """One subscription per process for all polling clients.

    Notifications may be lost (Redis restarts): each new subscription wakes all waiters, and every wait has a timeout.
    `session_monitor` ends waits of ended sessions. `reads` shares the waiters' reads, for a process with this number
    of read connections.
    """

    def __init__(self, redis: Redis, instance: str, read_connections: int = 5) -> None:
        self._redis = redis
        self._instance = instance
        self._places: FairShare[UUID] = FairShare(MAX_WAITING)
        self.reads = SharedReads(max(1, read_connections // SHARE_OF_CONNECTIONS))
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.session_monitor = SessionMonitor()
        self.closing = False

    @asynccontextmanager
    async def running(self, resources: Resources) -> AsyncIterator[None]:
        """Listen during the block; at its end wake all waiters, so that shutdown does not wait."""
        monitor = background_loop("session_monitor", partial(self.session_monitor.watch, resources))
        async with background_loop("job_subscriptions", self._listen), monitor:
            try:
                yield
            finally:
                self.close()
                await self.reads.finish()

    @contextmanager
    def place(self, user_id: UUID, most: int) -> Iterator[None]:
        """Hold one of the process's places for waiters, at most `most` per account. Raises `TooManyStreams`."""
        if not self._places.take(user_id, most):
            raise TooManyStreams
        try:
            yield
        finally:
            self._places.give_back(user_id)

    def close(self) -> None:
        """Shut down: wake all waiters and admit no more. Idempotent."""
        self.closing = True
        self._wake_all()

    @contextmanager
    def changes(self, job_id: object) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the job changes; register before reading the row, to miss no change."""
        event = asyncio.Event()
        self._waiting[str(job_id)].add(event)
        try:
            yield event
        finally:
            self._waiting[str(job_id)].discard(event)
            if not self._waiting[str(job_id)]:
                del self._waiting[str(job_id)]

    async def _listen(self) -> None:
        async for news in listen(self._redis, job_channel(self._instance, "*")):
            if not news.channel:
                self._wake_all()
            elif news.text == ENDED:
                self._wake(news.channel)
            else:
                # Steps often come in pairs: one wake-up for both.
                asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._wake, news.channel)

    def _wake(self, channel: str) -> None:
        for event in self._waiting.get(channel.rpartition(":")[2], ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
