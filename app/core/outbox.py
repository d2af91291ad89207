"""Hands jobs to the queue and tells pollers of changes; the only file that is a client of arq.

Nothing is sent before the commit. If Redis does not answer then, the rows stay as they are and the reconciler
sends them later: nothing accepted is lost.
"""

import enum
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from arq.connections import RedisSettings
from arq.constants import expires_extra_ms, job_key_prefix
from arq.jobs import serialize_job
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.logging import cause

log = structlog.get_logger(__name__)

QUEUE = "spawner:queue"
# What workers listen to: that the queue has something new, and which job was ended from outside.
WORKER_CHANNELS = "spawner:queue:*"
QUEUE_CHANNEL = "spawner:queue:new"
REVOKED_CHANNEL = "spawner:queue:revoked"
JOB_CHANNEL = "spawner:job:"
# Tells the workers that a launch waits for admission, or that there may be room for one.
ADMISSION_CHANNEL = "spawner:admission"
CHANGED = "changed"
ENDED = "ended"


class JobName(enum.StrEnum):
    """The functions that workers offer; jobs travel by name."""

    DRIVE = "drive_workspace"
    SEND_LINK = "send_link"


@dataclass(frozen=True, slots=True)
class _Message:
    name: JobName
    id: UUID
    attempt: int
    defer: timedelta | None


def serialize(value: dict[str, Any]) -> bytes:
    """Queue messages are JSON, never pickle."""
    return json.dumps(value, default=str).encode()


def deserialize(value: bytes) -> dict[str, Any]:
    """Read what `serialize` wrote."""
    message: dict[str, Any] = json.loads(value)
    return message


def worker_redis(url: str) -> RedisSettings:
    """A worker's connection: it outlives a restart of Redis by a minute instead of dying with it."""
    settings = RedisSettings.from_dsn(url)
    settings.conn_retries = 60
    settings.retry = Retry(ExponentialBackoff(cap=1, base=0.05), 60)
    # A missing socket or an unknown host is a plain OSError. A lost race for a message (WatchError) is no failure.
    settings.retry_on_error = [OSError, exceptions.ConnectionError, exceptions.TimeoutError]
    return settings


def enqueue(
    session: AsyncSession, name: JobName, id: UUID, *, attempt: int = 0, defer: timedelta | None = None
) -> None:
    """Send `name(id)` to a worker once the session's transaction has committed; a rollback drops it.

    A message with the same name, id and attempt that still waits in the queue is not sent twice. Running twice at
    once is possible all the same, and the job must allow it.
    """
    session.info.setdefault("messages", []).append(_Message(name, id, attempt, defer))


def announce(session: AsyncSession, job_id: UUID, *, ended: bool = False) -> None:
    """Wake those who wait for this job, once the transaction has committed; at once if it has ended."""
    announced: dict[UUID, str] = session.info.setdefault("announced", {})
    announced[job_id] = ENDED if ended else announced.get(job_id, CHANGED)


def revoke(session: AsyncSession, job_id: UUID) -> None:
    """Tell the worker that holds this job, once the transaction has committed, that it is over.

    A worker that misses it finds out when it next renews its lease.
    """
    session.info.setdefault("revoked", []).append(job_id)


def wake_admission(session: AsyncSession) -> None:
    """Have waiting launches judged once the transaction has committed: there is one more, or room for one."""
    session.info["admission"] = True


def _put(pipe: Pipeline, message: _Message) -> None:
    """Write a message as arq reads it: its content under a key, its id in the queue by the time that it is due."""
    message_id = f"{message.name}:{message.id}:{message.attempt}"
    now = int(time.time() * 1000)
    defer = int(message.defer.total_seconds() * 1000) if message.defer else 0
    content = serialize_job(message.name, (str(message.id),), {}, None, now, serializer=serialize)
    pipe.set(f"{job_key_prefix}{message_id}", content, px=defer + expires_extra_ms, nx=True)
    pipe.zadd(QUEUE, {message_id: now + defer}, nx=True)


class Outbox:
    """Sends what a committed session noted."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(self, message: str) -> None:
        """Take a claimed job's message out of the queue, where arq leaves it until the job has ended.

        There every worker would ask for it again at each poll. The claim's lease is what makes the job durable. Redis
        being down is no matter: the message is found claimed.
        """
        try:
            await self._redis.zrem(QUEUE, message)
        except (exceptions.RedisError, OSError) as error:
            log.warning("queue_unreachable", **cause(error))

    async def flush(self, session: AsyncSession) -> None:
        """Send and forget. Redis being down is logged, not raised: the rows are the truth."""
        messages: list[_Message] = session.info.pop("messages", [])
        announced: dict[UUID, str] = session.info.pop("announced", {})
        revoked: list[UUID] = session.info.pop("revoked", [])
        admission: bool = session.info.pop("admission", False)
        if not (messages or announced or revoked or admission):
            return
        # One exchange with Redis for all of it; arq's own way takes three for each message. A message that waits is
        # left as it is.
        pipe = self._redis.pipeline()
        for message in messages:
            _put(pipe, message)
        if any(message.defer is None for message in messages):
            pipe.publish(QUEUE_CHANNEL, "new")
        if admission:
            pipe.publish(ADMISSION_CHANNEL, "look")
        for job_id in revoked:
            pipe.publish(REVOKED_CHANNEL, str(job_id))
        for job_id, news in announced.items():
            pipe.publish(f"{JOB_CHANNEL}{job_id}", news)
        try:
            await pipe.execute()
        except (exceptions.RedisError, OSError) as error:
            log.warning("queue_unreachable", messages=len(messages), **cause(error))
