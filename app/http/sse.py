"""Answering with Server-Sent Events (WHATWG HTML, 9.2): one connection, bounded, let go when the client is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog
from fastapi import Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from app.core.errors import AppError, is_transient
from app.core.logging import cause

log = structlog.get_logger(__name__)

# Seconds that a client has to take what was sent, past the end of the events themselves.
GRACE_SECONDS = 15
# Milliseconds after which browsers come back: soon, as a restart of the service takes about that long.
RETRY = 1000

Chunks = AsyncGenerator[bytes, None]


def event(name: str, data: str, id: str) -> bytes:
    """One event; `data` is JSON on one line."""
    return format_sse_event(event=name, data_str=data, id=id)


KEEP_ALIVE = KEEPALIVE_COMMENT


class EventStream(EventSourceResponse):
    """Sends events until they end, the client goes away, or `seconds` and a grace have passed.

    Whichever it is, the events are closed before the request ends. A client that does not read is cut off.
    """

    def __init__(self, first: bytes, rest: Chunks, *, seconds: float) -> None:
        # Proxies that buffer answers would hold events back.
        super().__init__(_begun(first, rest), headers={"X-Accel-Buffering": "no"})
        self._rest = rest
        self._seconds = seconds + GRACE_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI has it
        # Starlette's own way cancels again and again, and would not let what reads clean up.
        sending = asyncio.create_task(self.stream_response(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._rest.aclose()
        if not sending.cancelled():
            sending.result()


async def answer(chunks: Chunks, *, seconds: float) -> Response:
    """Answer with events, for `seconds` at most; that limit is the events' own to keep.

    The first one is awaited here: what it raises is answered as any error. No event at all is 204, which tells
    browsers not to come back. Later errors end the stream: whoever comes back is told.
    """
    try:
        first = await anext(chunks)
    except StopAsyncIteration:
        return Response(status_code=204)
    return EventStream(first, chunks, seconds=seconds)


async def _begun(first: bytes, rest: Chunks) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RETRY) + first
    try:
        async with aclosing(rest):
            async for chunk in rest:
                yield chunk
    except AppError as error:
        log.info("stream_ended", code=error.code)
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("stream_interrupted", **cause(error))


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
