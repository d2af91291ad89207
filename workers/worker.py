"""A worker process: for each queue a worker of arq's with slots of its own, all over one context.

They are woken when a message comes instead of asking Redis fifty times a second, and told of what is over.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import arq.worker
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.core.outbox import JobName, news_channel, revoked_channel
from app.core.pubsub import listen
from app.core.settings.model import Settings
from app.core.supervise import background_loop
from app.resources import make_redis
from workers.context import WorkerContext
from workers.options import queue_options
from workers.queue_failures import log_as_event

arq.worker.logger.addFilter(log_as_event)


class QueueWorker(arq.worker.Worker):
    """Looks into one queue at each notification, and every half second whatever happens."""

    def __init__(self, settings: Settings, context: WorkerContext, **options: Any) -> None:
        super().__init__(**options, ctx={"worker": context}, handle_signals=False)
        # A message whose worker died before it claimed the row is taken up by another one after this time. A claimed
        # one has left the queue by then, and a mail's row lets one through.
        self.in_progress_timeout_s = settings.lease_seconds
        self.news = asyncio.Event()

    async def look(self) -> None:
        """Start what waits, at each notification. What comes during one look is one more look."""
        while True:
            await self.news.wait()
            self.news.clear()
            if self._pool is not None:
                with contextlib.suppress(RedisError, OSError):
                    await self._poll_iteration()

    async def close(self) -> None:
        """End the jobs in hand, and disconnect. May be repeated."""
        for task in self.tasks.values():
            task.cancel()
        # arq's own way raises where a message was cancelled before its function began.
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        await super().close()


class Worker:
    """Works off every queue until it is told to stop, or in a burst until nothing is left. No queue waits for another.

    `opening` opens what the jobs use, and closes it once the last of them has ended. `on_drained` is called when no
    job is taken any more and those in hand had their time to finish.
    """

    def __init__(self, settings: Settings, opening: AbstractAsyncContextManager[WorkerContext], **changes: Any) -> None:
        self._settings = settings
        self._opening = opening
        self._options = {name: {**options, **changes} for name, options in queue_options(settings).items()}
        self._burst = bool(changes.get("burst"))
        self._signals: tuple[signal.Signals, ...] = ()
        self._queues: dict[JobName, QueueWorker] = {}
        self.on_drained: Callable[[], object] = lambda: None

    def run(self) -> None:
        """Be the process: SIGTERM and SIGINT drain it."""
        self._signals = (signal.SIGTERM, signal.SIGINT)
        # The loop that uvicorn runs the API on, too: a third less of the processor for the same work.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self.main())

    async def main(self) -> None:
        """Work until cancelled or drained, or until a queue's worker fails."""
        async with self._opening as context, AsyncExitStack() as stack:
            for name, options in self._options.items():
                self._queues[name] = worker = QueueWorker(self._settings, context, **options)
                stack.push_async_callback(worker.close)
            for number in self._signals:
                asyncio.get_running_loop().add_signal_handler(number, self.drain, number)
            stack.callback(lambda: self.on_drained())
            if not self._burst:
                await stack.enter_async_context(self._woken(context))
            async with asyncio.TaskGroup() as group:
                for worker in self._queues.values():
                    worker.main_task = group.create_task(worker.main())

    def drain(self, number: signal.Signals) -> None:
        """Take nothing new, give the jobs in hand DRAIN_SECONDS, hand back those that are left, and end."""
        for worker in self._queues.values():
            worker.handle_sig_wait_for_completion(number)

    @asynccontextmanager
    async def _woken(self, context: WorkerContext) -> AsyncIterator[None]:
        async with make_redis(self._settings.redis_url) as redis, AsyncExitStack() as stack:
            await stack.enter_async_context(background_loop("queue_news", partial(self._listen, redis, context)))
            for worker in self._queues.values():
                await stack.enter_async_context(background_loop("queue_poll", worker.look))
            yield

    async def _listen(self, redis: Redis, context: WorkerContext) -> None:
        """Hear of new messages, and of jobs in our hands that were ended from outside."""
        instance = self._settings.instance
        queues = {news_channel(instance, name): worker for name, worker in self._queues.items()}
        async for heard in listen(redis, news_channel(instance, "*")):
            if not heard.channel:
                context.revocations.notify_all()
                for worker in queues.values():
                    worker.news.set()
            elif heard.channel == revoked_channel(instance):
                context.revocations.notify(heard.text)
            elif heard.channel in queues:
                queues[heard.channel].news.set()
