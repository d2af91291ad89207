"""Many at once, as far as one process has connections for them."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
# Fewer than a process has database connections: a slow machine would let the others time out for want of one.
AT_ONCE = 16


async def crowd(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all of them, sixteen at a time; returns their results in order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(work: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await work

    return await asyncio.gather(*(one(work) for work in works))
