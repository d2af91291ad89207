"""Start-up errors: one line each, no traceback. And what a started process does once."""

import gc
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class StartRefused(Exception):
    """The process must not start; the message has one line per reason, with its remedy."""


class PlainStart:
    """ASGI middleware: for a refused start the server logs only the reason."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def plain(message: Message) -> None:
            _, refused, reason = message.get("message", "").rpartition(f"{StartRefused.__name__}: ")
            if message["type"] == "lifespan.startup.failed" and refused:
                message["message"] = reason.strip()
            await send(message)

        await self.app(scope, receive, plain)


@cache
def freeze_heap() -> None:
    """Exclude all that a started process holds, such as modules and statements, from garbage collection.

    A full collection looks at 180,000 objects otherwise: 0.1 s in which the process answers nobody. Only the first call
    of a process counts.
    """
    gc.collect()
    gc.freeze()
