"""One reading for everybody who wants the same at the same time, and few readings at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

Read = TypeVar("Read")


class SharedReads:
    """Joins equal readings that have not begun yet.

    A reading begins after everybody whom it serves has asked: what they saw happen before, they find in it. At most
    `at_once` run at the same time, so that those who follow something leave database connections for everybody else.
    """

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._next: dict[Hashable, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def read(self, key: Hashable, work: Callable[[], Awaitable[Read]]) -> Read:
        """The result of `work`, or its error; equal keys mean equal work."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run(key, work))
            self._next[key] = task
            self._tasks.add(task)
            task.add_done_callback(self._forget)
        # Whoever goes away takes the reading from nobody else.
        return cast("Read", await asyncio.shield(task))

    async def finish(self) -> None:
        """Wait for what is being read."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, key: Hashable, work: Callable[[], Awaitable[Read]]) -> Read:
        async with self._places:
            del self._next[key]
            return await work()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Where nobody waits any more, its error is nobody's.
            task.exception()
