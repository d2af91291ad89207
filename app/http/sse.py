"""Server-Sent Events (WHATWG HTML, 9.2) with a time limit, ended when the client disconnects."""

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

# Grace in seconds for the client to receive the last events.
GRACE_SECONDS = 15
# Milliseconds before browsers reconnect: about the duration of a restart.
RETRY = 1000

Chunks = AsyncGenerator[bytes, None]


def event(name: str, data: str, id: str) -> bytes:
    """Encode one event; `data` is single-line JSON."""
    return format_sse_event(event=name, data_str=data, id=id)


KEEP_ALIVE = KEEPALIVE_COMMENT


class EventStream(EventSourceResponse):
    """Sends events until they end, the client disconnects, or `seconds` plus a grace have passed.

    In all cases the events are closed before the request ends. A client that stops reading is disconnected.
    """

    def __init__(self, first: bytes, rest: Chunks, *, seconds: float) -> None:
        # Buffering proxies would delay events.
        super().__init__(_begun(first, rest), headers={"X-Accel-Buffering": "no"})
        self._rest = rest
        self._seconds = seconds + GRACE_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI has it
        # Starlette cancels repeatedly, which would interrupt the generator's cleanup.
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
    """Respond with events for at most `seconds`; the events enforce that limit themselves.

    Awaits the first event: its errors become ordinary error responses. Without any event the status is 204, which stops
    browsers from reconnecting. Later errors end the stream; a reconnecting client receives the error.
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
