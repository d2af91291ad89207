"""A container's log for its owner. Only workers reach the engine: their lines arrive through Redis.

The reader writes a request, notifies all workers, and keeps a key alive while it reads. The first worker to take the
request appends lines to a stream. The reader deletes what it has read, so the stream's length is its lag, and the
worker waits if that is too long. All keys expire within seconds. A sorted set per account counts its readings across
processes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from typing import NamedTuple
from uuid import UUID, uuid4

from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.accounts.principal import Principal
from app.catalog.templates import find_template
from app.core.redis_answers import answer_in_time
from app.core.redis_names import redis_key
from app.core.supervise import background_task
from app.models import WorkspaceStatus, utcnow
from app.resources import Resources
from app.workspaces.errors import LogsUnavailable, NoContainer, TooManyStreams
from app.workspaces.jobs.follow import KEEP_ALIVE_SECONDS, MAX_SECONDS, confirm_shared
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.views import find_workspace, last_failure, status_of

# Seconds until unrenewed keys expire: requests not taken, or a dead side.
REQUEST_LIFE = 30
SIDE_LIFE = 5
STREAM_LIFE = 30
# Per account, across processes; each may hold an engine connection of a worker, and Redis memory.
MAX_READINGS = 5
# Seconds until a reading of a dead process no longer counts.
COUNT_LIFE = 15
# A stream entry's field: the engine has answered, a line, or the reason of the end.
BEGUN, LINE, END = "begun", "line", "end"
ENDED = "ended"

ANSWER_SECONDS = 5
ROUND_SECONDS = 1
READ_SECONDS = 20
BATCH = 200
# Of a log that is not followed: only its last megabyte is returned.
MAX_BYTES = 1 << 20


class LogRequest(BaseModel):
    """The request to a worker."""

    workspace_id: UUID
    tail: int
    follow: bool


class LogKeys(NamedTuple):
    """The Redis keys of one reading."""

    request: str
    worker: str
    reader: str
    stream: str


class LogLine(NamedTuple):
    """A line without its end. Ids increase in line order, also across readings."""

    id: str
    text: str


def logs_channel(instance: str) -> str:
    """Return the workers' channel for requests."""
    return redis_key(instance, "logs", "new")


def log_keys(instance: str, id: str) -> LogKeys:
    """Return the keys of a reading."""
    stream = redis_key(instance, "logs", id)
    return LogKeys(f"{stream}:request", f"{stream}:worker", f"{stream}:reader", stream)


def readings_key(instance: str, user_id: UUID) -> str:
    """Return the key of an account's readings: their ids, scored by expiry."""
    return redis_key(instance, "logs", "of", str(user_id))


async def find_logged(resources: Resources, user_id: UUID, template: str) -> UUID:
    """Return the caller's workspace of a template that may have a log; raises `UnknownTemplate`, `NoContainer`."""
    async with resources.reads() as session:
        workspace = await find_workspace(session, user_id, template)
    if workspace is None or status_of(workspace) == WorkspaceStatus.NOT_CREATED:
        find_template(resources.catalog, template)
        raise NoContainer
    return workspace.id


async def read_log(resources: Resources, user_id: UUID, template: str, *, tail: int) -> list[str]:
    """Return the last lines of a workspace's log, oldest first, at most a megabyte.

    Raises `UnknownTemplate`, `NoContainer`, `LogsUnavailable` and `TooManyStreams`.
    """
    request = LogRequest(workspace_id=await find_logged(resources, user_id, template), tail=tail, follow=False)
    lines: deque[str] = deque()
    size = 0
    try:
        async with asyncio.timeout(READ_SECONDS), aclosing(_read(resources, user_id, request)) as batches:
            async for batch in batches:
                for line in batch:
                    lines.append(line.text)
                    size += len(line.text.encode())
                while size > MAX_BYTES:
                    size -= len(lines.popleft().encode())
    except TimeoutError:
        raise LogsUnavailable from None
    return list(lines)


async def follow_log(
    resources: Resources, watch: JobSubscriptions, caller: Principal, template: str, *, tail: int
) -> AsyncGenerator[list[LogLine] | None, None]:
    """Yield lines as they arrive, an empty list at first and as keep-alive; None once the log has ended.

    Ends after ten minutes and at shutdown. Raises the errors of `read_log`, and `Unauthorized` if the caller's session
    has ended.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + MAX_SECONDS
    request = LogRequest(workspace_id=await find_logged(resources, caller.user.id, template), tail=tail, follow=True)
    said = clock()
    async with AsyncExitStack() as stack:
        stack.enter_context(watch.place(caller.user.id, resources.settings.user_streams))
        presence = stack.enter_context(watch.session_monitor.present(caller, asyncio.Event()))
        batches = await stack.enter_async_context(aclosing(_read(resources, caller.user.id, request)))
        yield await anext(batches)
        async for batch in batches:
            if watch.closing or clock() >= until:
                return
            if presence.over:
                await confirm_shared(resources, watch, caller)
            if batch or clock() - said >= KEEP_ALIVE_SECONDS:
                yield batch
                said = clock()
    yield None


async def _read(resources: Resources, user_id: UUID, request: LogRequest) -> AsyncGenerator[list[LogLine], None]:
    """Yield lines as they arrive, an empty list at first and after each second without lines."""
    redis, instance, reading = resources.redis, resources.settings.instance, uuid4().hex
    keys, counted = log_keys(instance, reading), readings_key(instance, user_id)
    await answer_in_time(lambda: _count(redis, counted, reading))
    await redis.set(keys.reader, "", ex=SIDE_LIFE)
    await redis.set(keys.request, request.model_dump_json(), ex=REQUEST_LIFE)
    try:
        async with background_task(asyncio.create_task(_stay(redis, keys.reader, counted, reading))):
            last = await _begin(redis, instance, reading)
            yield []
            while True:
                entries = await _entries(redis, keys, last)
                lines = [LogLine(entry, fields[LINE]) for entry, fields in entries if LINE in fields]
                if lines or not entries:
                    yield lines
                if not entries and not await redis.exists(keys.worker):
                    raise LogsUnavailable
                for entry, fields in entries[-1:]:
                    last = entry
                    if END in fields:
                        if fields[END] != ENDED:
                            raise LogsUnavailable
                        return
    finally:
        with suppress(RedisError, OSError):
            await redis.zrem(counted, reading)
            await redis.delete(*keys)


async def _count(redis: Redis, counted: str, reading: str) -> None:
    """Count one more reading of an account; raises `TooManyStreams` above the limit.

    Adds before counting, so concurrent calls cannot exceed the limit.
    """
    now = utcnow().timestamp()
    async with redis.pipeline(transaction=True) as pipe:
        pipe.zremrangebyscore(counted, "-inf", now)
        pipe.zadd(counted, {reading: now + COUNT_LIFE})
        pipe.expire(counted, 2 * COUNT_LIFE)
        pipe.zcard(counted)
        *_, readings = await pipe.execute()
    if readings > MAX_READINGS:
        await redis.zrem(counted, reading)
        raise TooManyStreams


async def _begin(redis: Redis, instance: str, reading: str) -> str:
    """Notify workers until one has the engine's response; returns the stream's next position. Raises
    `LogsUnavailable`.
    """
    keys = log_keys(instance, reading)
    # Once a second: resubscribing workers may have missed it.
    for _ in range(ANSWER_SECONDS // ROUND_SECONDS):
        await redis.publish(logs_channel(instance), reading)
        entries = await _entries(redis, keys, "0", count=1)
        if entries:
            last, fields = entries[0]
            if BEGUN not in fields:
                raise LogsUnavailable
            return last
    raise LogsUnavailable


async def _entries(redis: Redis, keys: LogKeys, last: str, *, count: int = BATCH) -> list[tuple[str, dict[str, str]]]:
    """Take the entries after `last` from the stream; empty after a second without entries."""
    answer = await redis.xread({keys.stream: last}, count=count, block=ROUND_SECONDS * 1000)
    if not answer:
        return []
    [(_, entries)] = answer
    await redis.xdel(keys.stream, *(entry for entry, _ in entries))
    return [
        (entry.decode(), {name.decode(): value.decode() for name, value in fields.items()}) for entry, fields in entries
    ]


async def _stay(redis: Redis, key: str, counted: str, reading: str) -> None:
    """Keep the reader's key and count alive, also while the client reads slowly."""
    clock = asyncio.get_running_loop().time
    until = clock() + MAX_SECONDS
    while clock() < until:
        with suppress(RedisError, OSError):
            await redis.set(key, "", ex=SIDE_LIFE)
            await redis.zadd(counted, {reading: utcnow().timestamp() + COUNT_LIFE})
            await redis.expire(counted, 2 * COUNT_LIFE)
        await asyncio.sleep(ROUND_SECONDS)


async def read_log_or_kept(resources: Resources, user_id: UUID, template: str, *, tail: int) -> list[str]:
    """Return the last lines of a workspace's log; for a failed one without container, the lines that its job kept.

    Raises the errors of `read_log`.
    """
    lines = await read_log(resources, user_id, template, tail=tail)
    if lines:
        return lines
    async with resources.reads() as session:
        workspace = await find_workspace(session, user_id, template)
        if workspace is None or workspace.status != WorkspaceStatus.ERROR:
            return lines
        failure = await last_failure(session, user_id, template)
    kept = (failure.log_tail or "").splitlines() if failure is not None else []
    return kept[len(kept) - tail :] if tail < len(kept) else kept
