"""Limits a request's waits for Redis to a quarter of a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Time is counted in slices: while this process stands still, one passes, however long that takes.
SLICE_SECONDS = 0.01
SLICES = 25
# While another exchange is late.
SLICES_LATE = 3
# Late exchanges from which on Redis is no longer asked.
MAX_LATE = 100
_late: set[asyncio.Future[Any]] = set()


async def answer_in_time(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `ask` or raise its error; raises `TimeoutError` after a quarter of a second.

    The exchange then continues in the background until the client's own timeouts. A slow Redis still receives the
    message, and the connection serves the next request. While an exchange is late, others wait 30 ms each: a request
    with several exchanges waits once.
    """
    if len(_late) >= MAX_LATE:
        raise TimeoutError("Redis does not answer")
    exchange = asyncio.ensure_future(ask())
    try:
        await _wait(exchange, SLICES_LATE if _late else SLICES)
    finally:
        if not exchange.done():
            _late.add(exchange)
            exchange.add_done_callback(_forget)
    if not exchange.done():
        raise TimeoutError("Redis does not answer in time")
    return exchange.result()


async def _wait(exchange: asyncio.Future[Any], slices: int) -> None:
    for _ in range(slices):
        await asyncio.wait({exchange}, timeout=SLICE_SECONDS)
        if exchange.done():
            return


def _forget(exchange: asyncio.Future[Any]) -> None:
    _late.discard(exchange)
    if not exchange.cancelled():
        # Retrieves the error to avoid asyncio's warning.
        exchange.exception()
