"""Merges equal reads requested at the same time, and bounds concurrent reads."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

Read = TypeVar("Read")


class SharedReads:
    """Joins equal reads that have not started yet.

    A read starts after all its callers have asked, so it reflects everything they saw before. At most `at_once` run
    concurrently, which leaves database connections for other work.
    """

    def __init__(self, at_once: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._next: dict[Hashable, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def read(self, key: Hashable, work: Callable[[], Awaitable[Read]]) -> Read:
        """Return the result of `work` or raise its error; equal keys mean equal work."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._run(key, work))
            self._next[key] = task
            self._tasks.add(task)
            task.add_done_callback(self._forget)
        # A cancelled caller does not cancel the read for the others.
        return cast("Read", await asyncio.shield(task))

    async def finish(self) -> None:
        """Wait for running reads."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, key: Hashable, work: Callable[[], Awaitable[Read]]) -> Read:
        async with self._places:
            del self._next[key]
            return await work()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieves the error of a read without callers, to avoid asyncio's warning.
            task.exception()
