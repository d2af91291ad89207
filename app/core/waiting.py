"""Waiting for an event that says that something should be read again."""

import asyncio
import contextlib


async def wait_and_clear(event: asyncio.Event, seconds: float) -> None:
    """Return once `event` is set, or after `seconds`. The event is clear then: read what it announces afterwards.

    Not `asyncio.wait_for`: up to Python 3.11 it loses a cancellation that comes together with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
