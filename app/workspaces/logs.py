"""A container's log for its owner. Only workers reach the engine: what they read comes through Redis.

The reader writes a request, tells every worker of it, and keeps a key alive for as long as it reads. The first worker
to take the request puts the lines into a stream, of which the reader deletes what it has read: its length is how far
the reader is behind, and the worker waits when that is too far. Every key has a life of seconds. A sorted set for each
account counts its readings, over all processes.
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

# Seconds that keys live without being renewed: a request that nobody took, a side that went silent.
REQUEST_LIFE = 30
SIDE_LIFE = 5
STREAM_LIFE = 30
# Of one account at once, over all processes; each may hold a worker's connection to the engine, and memory of Redis.
MAX_READINGS = 5
# How long a reading counts that its process does not speak of any more.
COUNT_LIFE = 15
# What an entry of the stream holds: that the engine has answered, a line, or why no more come.
BEGUN, LINE, END = "begun", "line", "end"
ENDED = "ended"

ANSWER_SECONDS = 5
ROUND_SECONDS = 1
READ_SECONDS = 20
BATCH = 200
# Of an answer that is not followed: what is older than its last megabyte is left out.
MAX_BYTES = 1 << 20


class LogRequest(BaseModel):
    """What a worker is asked for."""

    workspace_id: UUID
    tail: int
    follow: bool


class LogKeys(NamedTuple):
    """The keys of one reading."""

    request: str
    worker: str
    reader: str
    stream: str


class LogLine(NamedTuple):
    """A line without its end. Ids grow in the order of lines, across readings too."""

    id: str
    text: str


def logs_channel(instance: str) -> str:
    """Where workers hear of requests."""
    return redis_key(instance, "logs", "new")


def log_keys(instance: str, id: str) -> LogKeys:
    """The keys of the reading with this id."""
    stream = redis_key(instance, "logs", id)
    return LogKeys(f"{stream}:request", f"{stream}:worker", f"{stream}:reader", stream)


def readings_key(instance: str, user_id: UUID) -> str:
    """Where the readings of an account are counted: their ids, by when each ends unless it is renewed."""
    return redis_key(instance, "logs", "of", str(user_id))


async def find_logged(resources: Resources, user_id: UUID, template: str) -> UUID:
    """The caller's workspace of a template that may have a log; raises `UnknownTemplate`, `NoContainer`."""
    async with resources.reads() as session:
        workspace = await find_workspace(session, user_id, template)
    if workspace is None or status_of(workspace) == WorkspaceStatus.NOT_CREATED:
        find_template(resources.catalog, template)
        raise NoContainer
    return workspace.id


async def read_log(resources: Resources, user_id: UUID, template: str, *, tail: int) -> list[str]:
    """The last lines of a workspace's log, oldest first, a megabyte at most.

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
    """Yield lines as they come, an empty list at first and when none came for a while; None once the log has ended.

    Ends early after ten minutes, and when the process is told to stop. Raises what `read_log` does, and
    `Unauthorized` for a caller whose session has ended.
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
    """Yield lines as they come, an empty list at first and whenever a second passes without."""
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
    """Count one reading more of an account; raises `TooManyStreams` where that is one too many.

    The count stands before it is judged: of several that come at once none gets past the others.
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
    """Ask until a worker has the engine's answer; returns where to read on. Raises `LogsUnavailable`."""
    keys = log_keys(instance, reading)
    # Once a second: workers that had to subscribe anew may have missed it.
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
    """Take the entries after `last` out of the stream; none if a second passes without."""
    answer = await redis.xread({keys.stream: last}, count=count, block=ROUND_SECONDS * 1000)
    if not answer:
        return []
    [(_, entries)] = answer
    await redis.xdel(keys.stream, *(entry for entry, _ in entries))
    return [
        (entry.decode(), {name.decode(): value.decode() for name, value in fields.items()}) for entry, fields in entries
    ]


async def _stay(redis: Redis, key: str, counted: str, reading: str) -> None:
    """Keep the reader's key and its place in the count alive, also while the client is slow to take what it got."""
    clock = asyncio.get_running_loop().time
    until = clock() + MAX_SECONDS
    while clock() < until:
        with suppress(RedisError, OSError):
            await redis.set(key, "", ex=SIDE_LIFE)
            await redis.zadd(counted, {reading: utcnow().timestamp() + COUNT_LIFE})
            await redis.expire(counted, 2 * COUNT_LIFE)
        await asyncio.sleep(ROUND_SECONDS)


async def read_log_or_kept(resources: Resources, user_id: UUID, template: str, *, tail: int) -> list[str]:
    """The last lines of a workspace's log; of one that failed and has no container, those that its job kept.

    Raises what `read_log` raises.
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
