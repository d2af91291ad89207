"""A worker as it is, which dies where the suite wants it, and believes what the suite tells of clock and disk."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from app.core import logging
from app.core.settings.model import Settings
from app.core.settings.reading import load_settings
from app.models import JobKind
from app.runtime.base import Endpoint, EngineSize, ImageMissing, Report, Runtime
from app.runtime.spec import WorkspaceSpec
from app.workspaces.jobs.leases import Claim
from tests.chaos.control import Control, Fate, from_environment
from workers.context import WorkerContext
from workers.jobs import checkpoints
from workers.jobs.checkpoints import Checkpoint
from workers.options import open_worker
from workers.worker import Worker

STARTING = (JobKind.LAUNCH, JobKind.RESTART)


class ToldRuntime:
    """The real engine, but for what the suite says of its disk and its images."""

    def __init__(self, runtime: Runtime, control: Control) -> None:
        self._runtime = runtime
        self._control = control
        self._missed: set[str] = set()

    async def size(self) -> EngineSize:
        size = await self._runtime.size()
        return replace(size, disk_free_bytes=0) if self._control.disk_is_full else size

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        """An image is missing once where a worker is to die after a pull."""
        if any(self._control.armed(kind, Checkpoint.PULLED) for kind in STARTING) and spec.name not in self._missed:
            self._missed.add(spec.name)
            raise ImageMissing
        self._missed.discard(spec.name)
        return await self._runtime.ensure_running(spec, report)

    async def pull(self, image: str, report: Report) -> None:
        """It was there all the time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


def dies_at(control: Control) -> checkpoints.Listener:
    """SIGKILL this process at the first armed point that a job comes by; let an armed pass meet its fate."""

    async def listener(checkpoint: Checkpoint, held: Claim | None) -> None:
        if held is not None:
            if control.disarm(held.kind, checkpoint):
                os.kill(os.getpid(), signal.SIGKILL)
            return
        for fate in Fate:
            if control.disarm(fate, checkpoint):
                control.strike(fate, os.getpid())
                if fate is not Fate.CUT_OFF:
                    os.kill(os.getpid(), signal.SIGKILL if fate is Fate.KILLED else signal.SIGSTOP)

    return listener


def cut_off(control: Control) -> None:
    """Let every exchange of this process with Redis fail while the suite says so."""

    def guarded(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def exchange(self: AbstractConnection, *arguments: Any, **options: Any) -> Any:
            if control.struck(Fate.CUT_OFF, os.getpid()):
                await self.disconnect(nowait=True)
                raise exceptions.ConnectionError("cut off by the suite")
            return await method(self, *arguments, **options)

        return exchange

    for name in ("connect", "send_packed_command", "read_response"):
        setattr(AbstractConnection, name, guarded(getattr(AbstractConnection, name)))


@asynccontextmanager
async def told(settings: Settings, control: Control) -> AsyncIterator[WorkerContext]:
    """Open as ever, then put the suite between the jobs and the engine."""
    async with open_worker(settings) as context:
        yield replace(context, runtime=cast(Runtime, ToldRuntime(context.runtime, control)))


if __name__ == "__main__":
    control = from_environment()
    settings = load_settings()
    logging.configure(pretty=True)
    checkpoints.listeners.append(dies_at(control))
    cut_off(control)
    Worker(settings, told(settings, control)).run()
