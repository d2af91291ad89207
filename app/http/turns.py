"""Bounds how many requests that change something run at once, so that hundreds of them do not delay all others."""

import asyncio
from collections import deque

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import Unavailable
from app.http.dependencies import SAFE_METHODS
from app.http.problems import render

WAIT_SECONDS = 30


class TurnsMiddleware:
    """ASGI middleware: at most `at_once` unsafe requests run at once; others wait in order, and are answered 503 after
    30 s.

    Without it each would run up to its first wait for the database, all in one turn of the event loop. A request takes
    its turn once its body has arrived, so that no slow client holds one. Stands inside `BodyLimitMiddleware`.
    """

    def __init__(self, app: ASGIApp, at_once: int) -> None:
        self.app = app
        self._turns = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        body = await _arrived(receive)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            await render(Request(scope), Unavailable())(scope, body, send)
            return
        try:
            await self.app(scope, body, send)
        finally:
            self._turns.release()


async def _arrived(receive: Receive) -> Receive:
    """Read the body to its end or failure; returns what tells all of it again."""
    messages = deque[Message]()
    failure: Exception | None = None
    try:
        while not messages or messages[-1].get("more_body", False):
            messages.append(await receive())
    except Exception as error:
        # The application answers it where it reads the body, and only there.
        failure = error

    async def again() -> Message:
        if messages:
            return messages.popleft()
        if failure is not None:
            raise failure
        return await receive()

    return again
