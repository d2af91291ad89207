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
    """Job functions of the workers, by name. Each has its own queue."""

    LAUNCH = "launch_workspace"
    END = "end_workspace"
    SEND_LINK = "send_link"


def queue_key(instance: str, name: JobName) -> str:
    """Return arq's sorted set of a function's message ids, scored by due time."""
    return redis_key(instance, "queue", name)


def news_channel(instance: str, name: JobName | Literal["*"]) -> str:
    """Return the channel that announces a function's new messages; `*` returns the pattern of all."""
    return redis_key(instance, "news", name)


def revoked_channel(instance: str) -> str:
    """Return the channel that announces jobs ended from outside."""
    return redis_key(instance, "news", "revoked")


def admission_channel(instance: str) -> str:
    """Return the channel that announces queued launches and free capacity."""
    return redis_key(instance, "admission")


def job_channel(instance: str, job_id: UUID | str) -> str:
    """Return the channel that announces a job's changes to its pollers."""
    return redis_key(instance, "job", str(job_id))


@dataclass(frozen=True, slots=True)
class _Message:
    name: JobName
    id: UUID
    attempt: int
    defer: timedelta | None


def serialize(value: dict[str, Any]) -> bytes:
    """Encode a queue message as JSON, never pickle."""
    return json.dumps(value, default=str).encode()


def deserialize(value: bytes) -> dict[str, Any]:
    """Inverse of `serialize`."""
    message: dict[str, Any] = json.loads(value)
    return message


def worker_redis(url: str) -> ArqRedis:
    """Create a worker's client: each exchange times out after 5 s; an unavailable Redis is retried for a minute."""
    # A missing socket or unknown host is a plain OSError. A lost race for a message (WatchError) is no failure.
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
    """Enqueue `name(id)` once the session's transaction has committed; a rollback drops it.

    A message with the same name, id and attempt that is still queued is not sent twice. The job may nevertheless run
    twice concurrently and must tolerate that.
    """
    session.info.setdefault("messages", []).append(_Message(name, id, attempt, defer))


def announce(session: AsyncSession, job_id: UUID, *, ended: bool = False) -> None:
    """Notify the job's pollers after the commit; without delay if it has ended."""
    announced: dict[UUID, str] = session.info.setdefault("announced", {})
    announced[job_id] = ENDED if ended else announced.get(job_id, CHANGED)


def revoke(session: AsyncSession, job_id: UUID) -> None:
    """Tell the job's worker after the commit that the job has ended.

    A worker that misses this learns it at its next lease renewal.
    """
    session.info.setdefault("revoked", []).append(job_id)


def wake_admission(session: AsyncSession) -> None:
    """Trigger an admission pass after the commit: a launch was queued, or capacity became free."""
    session.info["admission"] = True


def _put(pipe: Pipeline, instance: str, message: _Message) -> None:
    """Write a message in arq's format: its content under a key, its id in the queue by due time.

    arq's keys consist of the id alone, so the id includes the installation's name.
    """
    message_id = f"{instance}:{message.name}:{message.id}:{message.attempt}"
    now = int(time.time() * 1000)
    defer = int(message.defer.total_seconds() * 1000) if message.defer else 0
    content = serialize_job(message.name, (str(message.id),), {}, None, now, serializer=serialize)
    pipe.set(f"{job_key_prefix}{message_id}", content, px=defer + expires_extra_ms, nx=True)
    pipe.zadd(queue_key(instance, message.name), {message_id: now + defer}, nx=True)


class Outbox:
    """Sends the messages recorded on a committed session."""

    def __init__(self, redis: Redis, instance: str) -> None:
        self._redis = redis
        self._instance = instance

    async def take(self, name: JobName, message: str) -> None:
        """Remove a claimed job's message, which arq keeps until the job has ended.

        Otherwise every worker would try it again at each poll. The claim's lease makes the job durable. Errors of Redis
        are ignored: the message would find the job claimed.
        """
        try:
            await answer_in_time(lambda: self._redis.zrem(queue_key(self._instance, name), message))
        except (exceptions.RedisError, OSError) as error:
            log.warning("queue_unreachable", **cause(error))

    async def flush(self, session: AsyncSession) -> None:
        """Send the recorded messages and clear them. Redis errors are logged, not raised: the rows are authoritative. A
        hanging Redis costs the request the timeout of `answer_in_time`, for any number of messages.
        """
        messages: list[_Message] = session.info.pop("messages", [])
        announced: dict[UUID, str] = session.info.pop("announced", {})
        revoked: list[UUID] = session.info.pop("revoked", [])
        admission: bool = session.info.pop("admission", False)
        if not (messages or announced or revoked or admission):
            return
        # One round trip for all messages; arq's own method needs three per message. A queued message stays unchanged.
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
