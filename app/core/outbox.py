"""Enqueues jobs and notifies pollers; the only arq client.

Sends nothing before the commit. If Redis is unavailable then, the rows remain and the reconciler sends them later: no
accepted job is lost.
"""

import enum
import json
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import structlog
from arq.connections import ArqRedis
from arq.constants import expires_extra_ms, job_key_prefix
from arq.jobs import serialize_job
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.logging import cause
from app.core.redis_answers import answer_in_time
from app.core.redis_names import redis_key

log = structlog.get_logger(__name__)

CHANGED = "changed"
ENDED = "ended"


class JobName(enum.StrEnum):
    """The functions that workers offer; jobs travel by name. Each has a queue of its own: none waits for another."""

    LAUNCH = "launch_workspace"
    END = "end_workspace"
    SEND_LINK = "send_link"


def queue_key(instance: str, name: JobName) -> str:
    """The sorted set in which arq keeps the ids of a function's messages, by when each is due."""
    return redis_key(instance, "queue", name)


def news_channel(instance: str, name: JobName | Literal["*"]) -> str:
    """Where workers hear that a function's queue has something new; `*` is the pattern for all that they hear of."""
    return redis_key(instance, "news", name)


def revoked_channel(instance: str) -> str:
    """Where workers hear which job was ended from outside."""
    return redis_key(instance, "news", "revoked")


def admission_channel(instance: str) -> str:
    """Tells the workers that a launch waits for admission, or that there may be room for one."""
    return redis_key(instance, "admission")


def job_channel(instance: str, job_id: UUID | str) -> str:
    """Where those who wait for a job hear of it."""
    return redis_key(instance, "job", str(job_id))


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


def worker_redis(url: str) -> ArqRedis:
    """A worker's connections: each exchange has five seconds, and is repeated for a minute where Redis is away."""
    # A missing socket or an unknown host is a plain OSError. A lost race for a message (WatchError) is no failure.
    away: list[type[Exception]] = [OSError, exceptions.ConnectionError, exceptions.TimeoutError]
    retry = Retry(ExponentialBackoff(cap=1, base=0.05), 60)
    redis: ArqRedis = ArqRedis.from_url(
        url, socket_connect_timeout=1, socket_timeout=5, retry=retry, retry_on_error=away
    )
    redis.job_serializer, redis.job_deserializer = serialize, deserialize
    return redis


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


def _put(pipe: Pipeline, instance: str, message: _Message) -> None:
    """Write a message as arq reads it: its content under a key, its id in the queue by the time that it is due.

    arq names keys by the id alone, so the installation's name is part of it.
    """
    message_id = f"{instance}:{message.name}:{message.id}:{message.attempt}"
    now = int(time.time() * 1000)
    defer = int(message.defer.total_seconds() * 1000) if message.defer else 0
    content = serialize_job(message.name, (str(message.id),), {}, None, now, serializer=serialize)
    pipe.set(f"{job_key_prefix}{message_id}", content, px=defer + expires_extra_ms, nx=True)
    pipe.zadd(queue_key(instance, message.name), {message_id: now + defer}, nx=True)


class Outbox:
    """Sends what a committed session noted."""

    def __init__(self, redis: Redis, instance: str) -> None:
        self._redis = redis
        self._instance = instance

    async def take(self, name: JobName, message: str) -> None:
        """Take a claimed job's message out of its queue, where arq leaves it until the job has ended.

        There every worker would ask for it again at each poll. The claim's lease is what makes the job durable. Redis
        being down is no matter: the message is found claimed.
        """
        try:
            await answer_in_time(lambda: self._redis.zrem(queue_key(self._instance, name), message))
        except (exceptions.RedisError, OSError) as error:
            log.warning("queue_unreachable", **cause(error))

    async def flush(self, session: AsyncSession) -> None:
        """Send and forget. Redis being down is logged, not raised: the rows are the truth. One that hangs costs the
        request what `answer_in_time` allows, however much there is to send.
        """
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
            _put(pipe, self._instance, message)
        for name in {message.name for message in messages if message.defer is None}:
            pipe.publish(news_channel(self._instance, name), "new")
        if admission:
            pipe.publish(admission_channel(self._instance), "look")
        for job_id in revoked:
            pipe.publish(revoked_channel(self._instance), str(job_id))
        for job_id, news in announced.items():
            pipe.publish(job_channel(self._instance, job_id), news)
        try:
            await answer_in_time(pipe.execute)
        except (exceptions.RedisError, OSError) as error:
            log.warning("queue_unreachable", messages=len(messages), **cause(error))
