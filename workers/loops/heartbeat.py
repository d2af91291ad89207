"""Reports that the worker lives and whether its engine answers: to the API through Redis, to probes by a file."""

import asyncio
import errno
import os
import re
import time
from contextlib import suppress
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from app.core.logging import cause
from app.core.settings.model import Settings
from app.core.supervise import failing_loops
from app.health.presence import announce, presence_key
from app.runtime.base import RuntimeFault
from workers.context import WorkerContext
from workers.identity import place, worker_name
from workers.liveness import LIFE_SECONDS, heartbeat_path, is_private

log = structlog.get_logger(__name__)

INTERVAL = 3
LIFE = 10


async def beat(context: WorkerContext) -> None:
    """Write the worker's file and Redis every three seconds, until cancelled. Both survive two missed beats."""
    redis, key = context.resources.redis, presence_key(context.resources.settings, "workers")
    file = HeartbeatFile(context.resources.settings)
    try:
        while True:
            try:
                await context.runtime.ping()
                engine = "ok"
            except RuntimeFault as fault:
                engine = fault.code
            # The file first: Redis may be slow, which a restart would not cure.
            file.write("loop_failing" if failing_loops() else engine)
            try:
                await announce(redis, key, worker_name(), engine, LIFE)
            except (RedisError, OSError) as error:
                log.warning("heartbeat_lost", **cause(error))
            await asyncio.sleep(INTERVAL)
    finally:
        file.remove()


class HeartbeatFile:
    """This worker's file. A write error is logged once; the probe then fails."""

    def __init__(self, settings: Settings) -> None:
        self._path = Path(heartbeat_path(str(settings.heartbeat_dir), settings.instance, place(), os.getpid()))
        self._folder = self._path.parent
        self._ours = re.compile(rf"\.?{re.escape(settings.instance)}\..+\.[0-9]+")
        self._said = False

    def write(self, engine: str) -> None:
        """Write the engine's state atomically."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(str(self._folder)):
                raise PermissionError(errno.EPERM, "others may write to it")
            fresh = self._path.with_name(f".{self._path.name}")
            fresh.write_text(engine)
            fresh.replace(self._path)
            self._sweep()
        except OSError as error:
            if not self._said:
                remedy = "set SPAWNER_HEARTBEAT_DIR to a folder that only the worker's user owns"
                log.warning("heartbeat_file_unusable", folder=str(self._folder), error=error.strerror, remedy=remedy)
            self._said = True

    def remove(self) -> None:
        """Remove the file of a worker that ends normally."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            self._said = True

    def _sweep(self) -> None:
        """Remove the files of killed workers, and no others."""
        for other in self._folder.iterdir():
            # Another worker may remove it concurrently.
            with suppress(FileNotFoundError):
                if self._ours.fullmatch(other.name) and time.time() - other.stat().st_mtime > 20 * LIFE_SECONDS:
                    other.unlink()
