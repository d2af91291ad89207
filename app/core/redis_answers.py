"""Limits a request's waits for Redis to a quarter of a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

WAIT_SECONDS = 0.24
# For an answer that is there already while this process was too busy to read it.
GRACE_SECONDS = 0.01
# For a response that arrived while this process was too busy to read it.
MAX_LATE = 100
_late: set[asyncio.Future[Any]] = set()


async def answer_in_time(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` does. Raises what it raises, and `TimeoutError` once a request has waited enough.

    The exchange goes on beside the request then, until the client's own time-outs end it: a Redis that is only slow
    still gets the message, and the connection that was made for it serves the next request. While one exchange is late
    no other is waited for, so that a request with several of them waits once.
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
    await asyncio.wait({exchange}, timeout=seconds)


def _forget(exchange: asyncio.Future[Any]) -> None:
    _late.discard(exchange)
    if not exchange.cancelled():
        # Nobody looks at it any more; asyncio would complain.
        exchange.exception()
