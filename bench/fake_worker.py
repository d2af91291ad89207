"""A worker whose engine needs two seconds for a launch and none of the machine's processors."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, cast

import uvloop

from app.core import logging
from app.core.settings.reading import load_settings
from app.runtime.base import EngineSize, Report, Runtime
from app.runtime.spec import WorkspaceSpec
from tests.support.fakes import FakeRuntime, http_peer
from workers.context import WorkerContext
from workers.options import worker_options
from workers.worker import Worker

LAUNCH_SECONDS = 2.0


async def slow(spec: WorkspaceSpec, report: Report) -> None:
    """Take as long as a cluster does."""
    await asyncio.sleep(LAUNCH_SECONDS)


def faked(startup: Callable[[dict[str, Any]], Awaitable[None]]) -> Callable[[dict[str, Any]], Any]:
    """Start as ever, then put another engine in place."""

    async def start(ctx: dict[str, Any]) -> None:
        await startup(ctx)
        opened: AsyncExitStack = ctx["stack"]
        runtime = FakeRuntime(await opened.enter_async_context(http_peer()))
        runtime.engine_size = EngineSize(memory_bytes=1 << 40, cpus=1000, disk_free_bytes=1 << 40)
        runtime.before = slow
        context: WorkerContext = ctx["worker"]
        ctx["worker"] = replace(context, runtime=cast(Runtime, runtime))

    return start


if __name__ == "__main__":
    settings = load_settings()
    logging.configure(pretty=True)
    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(settings, on_startup=faked(worker_options(settings)["on_startup"])).run()
