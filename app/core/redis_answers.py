"""Limits a request's waits for Redis to a quarter of a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

WAIT_SECONDS = 0.24
# For a response that arrived while this process was too busy to read it.
GRACE_SECONDS = 0.03
# Time is counted in these: while this process stands still, one passes, however long that takes.
SLICE_SECONDS = 0.01
# Late exchanges from which on Redis is no longer asked.
MAX_LATE = 100
_late: set[asyncio.Future[Any]] = set()


async def answer_in_time(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `ask` or raise its error; raises `TimeoutError` after a quarter of a second.

    The exchange then continues in the background until the client's own timeouts. A slow Redis still receives the
    message, and the connection serves the next request. While an exchange is late, others do not wait: a request with
    several exchanges waits once.
    """
    if len(_late) >= MAX_LATE:
        raise TimeoutError("Redis does not answer")
    seconds = 0 if _late else WAIT_SECONDS
    exchange = asyncio.ensure_future(ask())
    try:
        await _wait(exchange, seconds)
        if not exchange.done():
            await _wait(exchange, GRACE_SECONDS)
    finally:
        if not exchange.done():
            _late.add(exchange)
            exchange.add_done_callback(_forget)
    if not exchange.done():
        raise TimeoutError("Redis does not answer in time")
    return exchange.result()


async def _wait(exchange: asyncio.Future[Any], seconds: float) -> None:
    for _ in range(round(seconds / SLICE_SECONDS)):
        done, _pending = await asyncio.wait({exchange}, timeout=SLICE_SECONDS)
        if done:
            return


def _forget(exchange: asyncio.Future[Any]) -> None:
    _late.discard(exchange)
    if not exchange.cancelled():
        # Retrieves the error to avoid asyncio's warning.
        exchange.exception()
