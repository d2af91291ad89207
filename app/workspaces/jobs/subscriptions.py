"""Waiting for a job to change, woken by a notification through Redis rather than by asking the database."""

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

# How long a step may wait for the next one; the end of a job waits for nothing.
TOGETHER_SECONDS = 0.5
# Of one process, all accounts together.
MAX_WAITING = 2000
# How many of a process's database connections those who wait may use at once: a quarter.
SHARE_OF_POOL = 4


class JobSubscriptions:
    """One subscription a process, however many clients poll.

    A notification may be lost (Redis restarts): after every new subscription all who wait are woken to look again,
    and nobody waits longer than their own time-out. `session_monitor` lets go whose sign-in ends meanwhile. `reads` is
    how those who wait read, `pool` the process's number of database connections.
    """

    def __init__(self, redis: Redis, instance: str, pool: int = 20) -> None:
        self._redis = redis
        self._instance = instance
        self._places: FairShare[UUID] = FairShare(MAX_WAITING)
        self.reads = SharedReads(max(1, pool // SHARE_OF_POOL))
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.session_monitor = SessionMonitor()
        self.closing = False

    @asynccontextmanager
    async def running(self, resources: Resources) -> AsyncIterator[None]:
        """Listen while the block runs; at its end everybody is woken, so that shutdown waits for no one."""
        monitor = background_loop("session_monitor", partial(self.session_monitor.watch, resources))
        async with background_loop("job_subscriptions", self._listen), monitor:
            try:
                yield
            finally:
                self.close()
                await self.reads.finish()

    @contextmanager
    def place(self, user_id: UUID, most: int) -> Iterator[None]:
        """Hold one of the process's places for those who wait, of which an account has `most`. Raises
        `TooManyStreams`.
        """
        if not self._places.take(user_id, most):
            raise TooManyStreams
        try:
            yield
        finally:
            self._places.give_back(user_id)

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
        async for news in listen(self._redis, job_channel(self._instance, "*")):
            if not news.channel:
                self._wake_all()
            elif news.text == ENDED:
                self._wake(news.channel)
            else:
                # Steps often come in pairs: what is close together wakes once.
                asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._wake, news.channel)

    def _wake(self, channel: str) -> None:
        for event in self._waiting.get(channel.rpartition(":")[2], ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
