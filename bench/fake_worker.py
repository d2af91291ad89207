"""A worker whose engine needs two seconds for a launch and none of the machine's processors."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import uvloop

import workers.context
from app.core import logging
from app.core.settings.reading import load_settings
from app.runtime.base import EngineSize, Report
from app.runtime.spec import WorkspaceSpec
from tests.support.fakes import FakeRuntime, http_peer
from workers.options import worker_options
from workers.worker import Worker

LAUNCH_SECONDS = 2.0
SIZE = EngineSize(memory_bytes=1 << 40, cpus=1000, disk_free_bytes=1 << 40)


async def slow(spec: WorkspaceSpec, report: Report) -> None:
    """Take as long as a cluster does."""
    await asyncio.sleep(LAUNCH_SECONDS)


def with_peer(startup: Callable[[dict[str, Any]], Awaitable[None]], runtime: FakeRuntime) -> Callable[..., Any]:
    """Start as ever, and one server more: what every workspace's probe asks."""

    async def start(ctx: dict[str, Any]) -> None:
        await startup(ctx)
        opened: AsyncExitStack = ctx["stack"]
        runtime.port = await opened.enter_async_context(http_peer())

    return start


if __name__ == "__main__":
    settings = load_settings()
    logging.configure(pretty=True)
    runtime = FakeRuntime(0)
    runtime.engine_size, runtime.before = SIZE, slow
    workers.context.make_runtime = lambda *_, **__: runtime  # type: ignore[attr-defined]  # all parts hold this one
    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(settings, on_startup=with_peer(worker_options(settings)["on_startup"], runtime)).run()
