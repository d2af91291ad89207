"""Background tasks of a process, and shutdown signals."""

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import structlog

log = structlog.get_logger(__name__)

# Seconds before a failed loop restarts: doubled after each failure, reset after a good run.
FIRST_PAUSE = 1.0
MAX_PAUSE = 10.0
# Duration of a good run, without failure. Longer than any loop's interval.
GOOD_SECONDS = 120.0
# Failures without a good run after which an essential loop counts as failing.
MAX_FAILURES = 5
# Failures of each background loop in this process.
FAILURES: Counter[str] = Counter()
# For each running essential loop that has failed: failures without a good run, and when they reset.
_troubled: dict[str, tuple[int, float]] = {}


def failing_loops() -> list[str]:
    """Return the names of the essential loops that keep failing."""
    now = time.monotonic()
    return sorted(name for name, (count, until) in _troubled.items() if count >= MAX_FAILURES and now < until)


async def run_forever(name: str, work: Callable[[], Coroutine[Any, Any, None]], *, essential: bool = True) -> None:
    """Run `work` and restart it after each exception, which is logged and counted in `FAILURES`.

    Returns when `work` returns; propagates cancellation. An `essential` loop that keeps failing appears in
    `failing_loops`.
    """
    in_a_row = 0
    try:
        while True:
            began = time.monotonic()
            try:
                return await work()
            except Exception:
                in_a_row = 1 if time.monotonic() - began > GOOD_SECONDS else in_a_row + 1
                pause = min(FIRST_PAUSE * 2 ** min(in_a_row - 1, 10), MAX_PAUSE)
                FAILURES[name] += 1
                if essential:
                    _troubled[name] = in_a_row, time.monotonic() + pause + GOOD_SECONDS
                log.exception("background_loop_failed", loop=name, failures=FAILURES[name], pause=pause)
            await asyncio.sleep(pause)
    finally:
        _troubled.pop(name, None)


@asynccontextmanager
async def background_loop(
    name: str, work: Callable[[], Coroutine[Any, Any, None]], *, essential: bool = True
) -> AsyncIterator[None]:
    """Run `work` under `run_forever` during the block; cancel it at the end."""
    async with background_task(asyncio.create_task(run_forever(name, work, essential=essential), name=name)):
        yield


@asynccontextmanager
async def background_task(work: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Run a task during the block; cancel it at the end."""
    try:
        yield
    finally:
        # Libraries may swallow a cancellation (redis-py while connecting): repeat until the task ends.
        while not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=0.1)


@contextmanager
def on_shutdown_signal(leave: Callable[[], None], stop: Callable[[], None], seconds: float) -> Iterator[None]:
    """On a shutdown signal call `leave`, then after `seconds` call `stop`, before the server acts. May call each twice.

    Meanwhile the process keeps serving, so that the proxy can redirect requests. SIGINT and a second signal skip the
    delay. The server ends the lifespan only after open requests: long polls must end earlier. Outside the main thread
    this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    told = 0

    def finish(number: int) -> None:
        stop()
        handler = previous[signal.Signals(number)]
        if callable(handler):
            handler(number, None)

    def begin(number: int) -> None:
        nonlocal told
        told += 1
        leave()
        loop.call_later(seconds if number == signal.SIGTERM and told == 1 else 0, finish, number)

    def heard(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin, number)

    # Only where a server handles signals: elsewhere this would remove their default effect.
    ours = [number for number, handler in previous.items() if callable(handler)]
    for number in ours:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, previous[number])
