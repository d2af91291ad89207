"""A worker whose engine needs two seconds for a launch and none of the machine's processors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import workers.context
from app.core import logging
from app.core.settings.model import Settings
from app.core.settings.reading import load_settings
from app.runtime.base import EngineSize, Report
from app.runtime.spec import WorkspaceSpec
from tests.support.fakes import FakeRuntime, http_peer
from workers.context import WorkerContext
from workers.options import open_worker
from workers.worker import Worker

LAUNCH_SECONDS = 2.0
SIZE = EngineSize(memory_bytes=1 << 40, cpus=1000, disk_free_bytes=1 << 40)


async def slow(spec: WorkspaceSpec, report: Report) -> None:
    """Take as long as a cluster does."""
    await asyncio.sleep(LAUNCH_SECONDS)


@asynccontextmanager
async def with_peer(settings: Settings, runtime: FakeRuntime) -> AsyncIterator[WorkerContext]:
    """Open as ever, and one server more: what every workspace's probe asks."""
    async with http_peer() as port:
        runtime.port = port
        async with open_worker(settings) as context:
            yield context


if __name__ == "__main__":
    settings = load_settings()
    logging.configure(pretty=True)
    runtime = FakeRuntime(0)
    runtime.engine_size, runtime.before = SIZE, slow
    workers.context.make_runtime = lambda *_, **__: runtime  # type: ignore[attr-defined]  # all parts hold this one
    Worker(settings, with_peer(settings, runtime)).run()
