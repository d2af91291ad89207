"""Waits for an event with a timeout."""

import asyncio
import contextlib


async def wait_and_clear(event: asyncio.Event, seconds: float) -> None:
    """Return once `event` is set, or after `seconds`. Clears the event: read its data afterwards.

    Not `asyncio.wait_for`: up to Python 3.11 it loses a cancellation that arrives together with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
