"""Reads containers' logs for requests in Redis (`app.workspaces.logs`), without using job slots."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import aclosing, suppress

import structlog
from pydantic import ValidationError
from redis.exceptions import RedisError
from redis.typing import EncodableT, FieldT
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.core.logging import cause
from app.core.pubsub import listen
from app.core.supervise import background_task
from app.models import User, Workspace
from app.runtime.base import RuntimeFault
from app.security.redaction import Redactor
from app.workspaces.container_spec import container_name
from app.workspaces.logs import (
    BEGUN,
    END,
    ENDED,
    LINE,
    SIDE_LIFE,
    STREAM_LIFE,
    LogKeys,
    LogRequest,
    log_keys,
    logs_channel,
)
from workers.context import WorkerContext
from workers.identity import worker_name

log = structlog.get_logger(__name__)

MAX_READINGS = 50
LINE_CHARACTERS = 4096
# Maximum lag of a reader in lines and bytes: beyond it the engine is not read. The stream's cap is higher.
MAX_BEHIND = 1000
MAX_BEHIND_BYTES = 256 * 1024
MAX_STREAM = 2000
BATCH = 200
LOOK_SECONDS = 1
# Between two checks of a lagging reader.
BEHIND_SECONDS = 0.2
# Between two batches of a followed log: at most 4,000 lines a second, and time for the worker's jobs.
PAUSE_SECONDS = 0.05

STOPPING = "worker_stopping"
FAILED = "failed"


Entry = dict[FieldT, EncodableT]


class _ReaderGone(Exception):
    """The reader has gone."""


async def serve_logs(context: WorkerContext) -> None:
    """Take requests until cancelled; a full worker leaves them to others."""
    redis, instance = context.resources.redis, context.resources.settings.instance
    redactor = Redactor(context.resources.settings)
    readings: set[asyncio.Task[None]] = set()
    try:
        async for news in listen(redis, logs_channel(instance)):
            if not news.text or len(readings) >= MAX_READINGS:
                continue
            with suppress(RedisError, OSError, ValidationError):
                keys = log_keys(instance, news.text)
                request = await _take(context, keys)
                if request is not None:
                    reading = _Reading(context, redactor, keys, request)
                    task = asyncio.create_task(reading.run())
                    readings.add(task)
                    task.add_done_callback(readings.discard)
    finally:
        for task in tuple(readings):
            task.cancel()
        await asyncio.gather(*readings, return_exceptions=True)


async def _take(context: WorkerContext, keys: LogKeys) -> LogRequest | None:
    """Return the request if it still stands and this worker is the first to take it."""
    redis = context.resources.redis
    asked = await redis.get(keys.request)
    if asked is None:
        return None
    request = LogRequest.model_validate_json(asked)
    return request if await redis.set(keys.worker, worker_name(), nx=True, ex=SIDE_LIFE) else None


class _Reading:
    """One log on its way from the engine to its reader.

    One task reads from the engine into a short queue, another writes to Redis. While the writer waits for the reader,
    the queue is full and the engine is not read.
    """

    def __init__(self, context: WorkerContext, redactor: Redactor, keys: LogKeys, request: LogRequest) -> None:
        self._context = context
        self._redis = context.resources.redis
        self._redactor = redactor
        self._keys = keys
        self._request = request
        self._queue: asyncio.Queue[str | None] = asyncio.Queue(BATCH)
        # Sizes of the stream's entries, oldest first: its reader removes from the front.
        self._sizes: deque[int] = deque()

    async def run(self) -> None:
        """Read until the log ends or the reader has gone. Raises nothing."""
        reason = STOPPING
        try:
            name = await self._name()
            if name is not None:
                await self._context.runtime.status(name)
            await self._write(_entry(BEGUN, ""))
            reason = ENDED if name is None else await self._pass_on(name)
        except _ReaderGone:
            return
        except RuntimeFault as fault:
            log.info("log_not_read", code=fault.code, error=str(fault))
            reason = fault.code
        except (RedisError, SQLAlchemyError, OSError) as error:
            log.warning("log_reading_failed", **cause(error))
            reason = FAILED
        except Exception:
            log.exception("log_reading_failed")
            reason = FAILED
        finally:
            with suppress(_ReaderGone, RedisError, OSError):
                await self._append(_entry(END, reason))

    async def _name(self) -> str | None:
        """Return the container's name; None if the workspace is gone."""
        resources = self._context.resources
        query = select(User.slug, Workspace.template).join(User, User.id == Workspace.user_id)
        async with resources.reads() as session:
            row = (await session.execute(query.where(Workspace.id == self._request.workspace_id))).one_or_none()
        return container_name(resources.settings, row.slug, row.template) if row else None

    async def _pass_on(self, name: str) -> str:
        """Forward the log to its end; returns the reason."""
        engine = asyncio.create_task(self._read(name))
        async with background_task(engine):
            while True:
                lines = await self._next()
                await self._write(*(_entry(LINE, line) for line in lines if line is not None))
                if None in lines:
                    await engine
                    return ENDED
                if self._request.follow:
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, name: str) -> None:
        """Read from the engine; queues None at the end, also after an error."""
        request = self._request
        try:
            async with aclosing(self._context.runtime.logs(name, tail=request.tail, follow=request.follow)) as lines:
                async for line in lines:
                    await self._queue.put(line)
        except Exception:
            await self._queue.put(None)
            raise
        await self._queue.put(None)

    async def _next(self) -> list[str | None]:
        """Return the lines available now; empty after a second without lines. None marks the end of the log."""
        lines: list[str | None] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                lines.append(self._shown(await self._queue.get()))
            while not self._queue.empty():
                lines.append(self._shown(self._queue.get_nowait()))
        return lines

    def _shown(self, line: str | None) -> str | None:
        """Return the line as its owner may see it. Redacts before truncating: a cut secret would not match."""
        if line is None:
            return None
        text = self._redactor.redact(line.removesuffix("\r"))
        return text if len(text) <= LINE_CHARACTERS else text[:LINE_CHARACTERS] + " …"

    async def _write(self, *entries: Entry) -> None:
        """Append in parts, and wait while the reader lags too far. Raises `_ReaderGone`."""
        for part in _parts(entries):
            await self._append(*part)
            while len(self._sizes) >= MAX_BEHIND or sum(self._sizes) >= MAX_BEHIND_BYTES:
                await asyncio.sleep(BEHIND_SECONDS)
                await self._append()

    async def _append(self, *entries: Entry) -> None:
        """Append to the stream, renew it, and measure the reader's lag. Raises `_ReaderGone`."""
        keys = self._keys
        async with self._redis.pipeline(transaction=True) as pipe:
            for entry in entries:
                pipe.xadd(keys.stream, entry, maxlen=MAX_STREAM, approximate=True)
            pipe.expire(keys.stream, STREAM_LIFE)
            pipe.expire(keys.worker, SIDE_LIFE)
            pipe.xlen(keys.stream)
            pipe.exists(keys.reader)
            *_, behind, read = await pipe.execute()
        if not read:
            await self._redis.delete(keys.stream, keys.worker)
            raise _ReaderGone
        self._sizes.extend(_size(entry) for entry in entries)
        while len(self._sizes) > behind:
            self._sizes.popleft()


def _size(entry: Entry) -> int:
    return sum(len(str(value).encode()) for value in entry.values())


def _parts(entries: tuple[Entry, ...]) -> Iterator[list[Entry]]:
    """Split entries into parts of at most a reader's allowed lag, plus one line. Yields at least one."""
    part: list[Entry] = []
    size = 0
    for entry in entries:
        if part and size + _size(entry) > MAX_BEHIND_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += _size(entry)
    yield part


def _entry(kind: str, text: str) -> Entry:
    return {kind: text}
