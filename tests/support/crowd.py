"""Many at once, as far as one process has connections for them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import httpx

from tests.support.waiting import PATIENCE

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


async def persist(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """Ask as clients are told to: after a 503, which changed nothing, again once its Retry-After is over."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await ask()).status_code == 503:
            await asyncio.sleep(int(answer.headers["Retry-After"]))
    return answer
