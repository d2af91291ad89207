"""Logs of workspaces: an engine that writes them, a worker that passes them on, and what a reader gets."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from app.core.redis_names import redis_key
from app.core.settings.model import Settings
from app.core.supervise import background_task
from app.resources import Resources
from app.runtime.base import EngineUnavailable, RunState, Status
from tests.api.streaming import Sent, Stream, eventually_so
from tests.conftest import worker_on
from workers.loops.logs import serve_logs

Source = Callable[[int], AsyncGenerator[str, None]]

LOGS = "/api/container/hello/logs"
FOLLOW = f"{LOGS}?follow=true"


class LoggingRuntime:
    """An engine of which only logs are asked; `source` makes the lines."""

    def __init__(self) -> None:
        self.source: Source = numbered(0)
        self.fails = False
        self.asked: list[tuple[str, int, bool]] = []
        self.read = 0
        self.open = 0

    async def status(self, name: str) -> Status:
        if self.fails:
            raise EngineUnavailable
        return Status(RunState.RUNNING)

    async def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        self.asked.append((name, tail, follow))
        self.open += 1
        try:
            async for line in self.source(tail):
                self.read += 1
                yield line
        finally:
            self.open -= 1


def numbered(count: int, *, then: Callable[[], Awaitable[object]] | None = None) -> Source:
    """Lines 0, 1, 2 …, then something else, then the end."""

    async def source(tail: int) -> AsyncGenerator[str, None]:
        for number in range(count):
            yield f"line {number}"
        if then is not None:
            await then()

    return source


async def forever() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    raise EngineUnavailable


async def listeners(redis: Redis) -> int:
    """How many connections are subscribed to a pattern."""
    return sum(int(connection["psub"]) for connection in await redis.client_list())


@asynccontextmanager
async def working(settings: Settings, resources: Resources, engine: Any) -> AsyncIterator[None]:
    """A worker that serves logs; of its engine nothing else is asked."""
    async with worker_on(settings, resources, engine) as worker:
        redis = resources.redis
        before = await listeners(redis)
        async with background_task(asyncio.create_task(serve_logs(worker.context))):

            async def listens() -> bool:
                return await listeners(redis) > before

            await eventually_so(listens)
            yield


async def keys_left(resources: Resources) -> list[bytes]:
    return [key async for key in resources.redis.scan_iter(redis_key(resources.settings.instance, "logs", "*"))]


async def nothing_left(resources: Resources) -> None:
    """Return once no key of any reading is left; a second at most after the reader has gone."""

    async def none() -> bool:
        return not await keys_left(resources)

    await eventually_so(none)


def texts(events: list[Sent]) -> list[str]:
    return [json.loads(event.data)["line"] for event in events if event.name == "log"]


async def lines(stream: Stream, count: int) -> list[Sent]:
    """The next so many lines."""
    found: list[Sent] = []
    while len(found) < count:
        sent = await stream.next()
        assert sent is not None
        if sent.name:
            found.append(sent)
    return found
