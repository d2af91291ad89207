"""Background tasks of a process, and the signal that ends it."""

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

# Seconds from a failure of a background loop to its next start: doubled each time, the first again after a good run.
FIRST_PAUSE = 1.0
MAX_PAUSE = 10.0
# A run without a failure for so long is a good one. Longer than any loop's own interval.
GOOD_SECONDS = 120.0
# So many failures without a good run in between, and an essential loop is a reason to restart the process.
MAX_FAILURES = 5
# How often each background loop of this process has failed.
FAILURES: Counter[str] = Counter()
# Of each essential loop that runs and has failed: its failures without a good run, and when they are forgiven.
_troubled: dict[str, tuple[int, float]] = {}


def failing_loops() -> list[str]:
    """The essential background loops of this process that keep failing, by name."""
    now = time.monotonic()
    return sorted(name for name, (count, until) in _troubled.items() if count >= MAX_FAILURES and now < until)


async def run_forever(name: str, work: Callable[[], Coroutine[Any, Any, None]], *, essential: bool = True) -> None:
    """Run `work`, and start it again after each unexpected exception, which is logged and counted in `FAILURES`.

    Returns when `work` returns. A cancellation passes. One that is `essential` and keeps failing is one of
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
    """Run `work` beside the block by `run_forever`, and end it with the block."""
    async with background_task(asyncio.create_task(run_forever(name, work, essential=essential), name=name)):
        yield


@asynccontextmanager
async def background_task(work: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Let a task run beside the block, and end it with the block."""
    try:
        yield
    finally:
        # Libraries swallow a cancellation that comes at the wrong moment (redis-py while it connects): ask until it
        # is heard.
        while not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=0.1)


@contextmanager
def on_shutdown_signal(leave: Callable[[], None], stop: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call both on the event loop when the process is told to stop, before the server acts on it. May call twice.

    Between the two the process goes on as before for some `seconds`, so that the proxy can notice and send requests
    elsewhere. SIGINT and a second signal do not wait. The server waits for open requests before it ends the lifespan:
    long-polls must be let go earlier. Outside of the main thread no signal arrives, and nothing is done.
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

    # Only where a server handles signals: elsewhere this would take their default effect away.
    ours = [number for number, handler in previous.items() if callable(handler)]
    for number in ours:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, previous[number])
