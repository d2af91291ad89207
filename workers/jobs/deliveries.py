"""Mails in this worker's hands. They run beside its jobs and take no job's place: a server may need ten minutes."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

log = structlog.get_logger(__name__)

# For those under way when the worker ends. One that is cut off is taken up by another worker.
CLOSE_SECONDS = 5


class Deliveries:
    """The deliveries of one worker, by the request's id: `slots` at once. Further ones wait here, unclaimed."""

    def __init__(self, slots: int = 50) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def start(self, id: UUID, deliver: Callable[[], Awaitable[None]]) -> None:
        """Run `deliver` beside the jobs, unless one for the same request runs or waits here."""
        if id in self._tasks:
            return
        self._tasks[id] = task = asyncio.create_task(self._run(id, deliver))
        task.add_done_callback(lambda _: self._tasks.pop(id))

    async def _run(self, id: UUID, deliver: Callable[[], Awaitable[None]]) -> None:
        async with self._slots:
            try:
                await deliver()
            except Exception:
                # The row is the truth: the reconciler hands it out again.
                log.exception("mail_not_delivered", link_request=str(id))

    async def finish(self) -> None:
        """Wait until nothing is left."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    async def close(self) -> None:
        """Give what is under way a moment, then cut it off."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=CLOSE_SECONDS)
        while self._tasks:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.wait(tuple(self._tasks.values()), timeout=0.1)
