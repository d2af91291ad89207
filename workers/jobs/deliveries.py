"""Running mail deliveries. They use no job slots: a server may take ten minutes."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

log = structlog.get_logger(__name__)

# Grace at shutdown. Another worker retries an interrupted delivery.
CLOSE_SECONDS = 5


class Deliveries:
    """The deliveries of one worker by request id, `slots` at once. Others wait here unclaimed."""

    def __init__(self, slots: int = 50) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def start(self, id: UUID, deliver: Callable[[], Awaitable[None]]) -> None:
        """Run `deliver` in the background, unless one for the same request runs or waits here."""
        if id in self._tasks:
            return
        self._tasks[id] = task = asyncio.create_task(self._run(id, deliver))
        task.add_done_callback(lambda _: self._tasks.pop(id))

    async def _run(self, id: UUID, deliver: Callable[[], Awaitable[None]]) -> None:
        async with self._slots:
            try:
                await deliver()
            except Exception:
                # The reconciler requeues it: the row is authoritative.
                log.exception("mail_not_delivered", link_request=str(id))

    async def finish(self) -> None:
        """Wait until all deliveries have ended."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    async def close(self) -> None:
        """Give running deliveries a moment, then cancel them."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=CLOSE_SECONDS)
        while self._tasks:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.wait(tuple(self._tasks.values()), timeout=0.1)
