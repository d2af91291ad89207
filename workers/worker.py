"""arq's worker, woken when a message comes instead of asking Redis fifty times a second, and told of what is over."""

import asyncio
import contextlib
from functools import partial
from typing import Any

import arq.worker
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.outbox import REVOKED_CHANNEL, WORKER_CHANNELS
from app.core.pubsub import listen
from app.core.settings.model import Settings
from app.core.supervise import background_loop
from app.resources import make_redis
from workers.context import WorkerContext
from workers.options import worker_options
from workers.queue_failures import log_as_event

arq.worker.logger.addFilter(log_as_event)


class Worker(arq.worker.Worker):
    """Looks into the queue at each notification, and every half second whatever happens."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(**{**worker_options(settings), **options})
        self._redis_url = settings.redis_url
        # A message whose worker died before it claimed the row is taken up by another one after this time. A claimed
        # one has left the queue by then, and a mail's row lets one through.
        self.in_progress_timeout_s = settings.lease_seconds

    async def main(self) -> None:
        """Work until cancelled, or until nothing is left if the worker is to end then."""
        if self.burst:
            await super().main()
            return
        news = asyncio.Event()
        async with (
            make_redis(self._redis_url) as redis,
            background_loop("queue_news", partial(self._listen, redis, news)),
            background_loop("queue_poll", partial(self._look, news)),
        ):
            await super().main()

    async def _look(self, news: asyncio.Event) -> None:
        """Start what waits, once the worker itself has started. What comes during one look is one more look."""
        while True:
            await news.wait()
            news.clear()
            if "worker" in self.ctx and self._pool is not None:
                with contextlib.suppress(RedisError, OSError):
                    await self._poll_iteration()

    async def _listen(self, redis: Redis, news: asyncio.Event) -> None:
        """Hear of new messages, and of jobs in our hands that were ended from outside."""
        async for heard in listen(redis, WORKER_CHANNELS):
            context: WorkerContext | None = self.ctx.get("worker")
            if context is not None and not heard.channel:
                context.revocations.notify_all()
            if context is not None and heard.channel == REVOKED_CHANNEL:
                context.revocations.notify(heard.text)
            else:
                news.set()
