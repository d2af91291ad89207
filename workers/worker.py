"""A worker process: one arq worker per queue with its own slots, over one context.

Notifications wake them, instead of polling Redis fifty times a second, and report ended jobs.
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
    """Polls one queue at each notification, and every half second."""

    def __init__(self, settings: Settings, context: WorkerContext, **options: Any) -> None:
        super().__init__(**options, ctx={"worker": context}, handle_signals=False)
        # If a worker dies before claiming the row, another takes its message after this time. A claimed message has
        # left the queue by then, and a mail's row is claimed once.
        self.in_progress_timeout_s = settings.lease_seconds
        self.news = asyncio.Event()

    async def look(self) -> None:
        """Start waiting jobs at each notification. Notifications during a poll cause one more."""
        while True:
            await self.news.wait()
            self.news.clear()
            if self._pool is not None:
                with contextlib.suppress(RedisError, OSError):
                    await self._poll_iteration()

    async def close(self) -> None:
        """End running jobs and disconnect. Idempotent."""
        for task in self.tasks.values():
            task.cancel()
        # arq's own method raises if a message was cancelled before its function started.
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()
        await super().close()


class Worker:
    """Runs every queue until stopped, or in a burst until all are empty. Queues are independent.

    `opening` opens the jobs' resources, and closes them after the last job. `on_drained` is called when no jobs are
    taken any more and running ones had their grace.
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
        """Run the process: SIGTERM and SIGINT drain it."""
        self._signals = (signal.SIGTERM, signal.SIGINT)
        # The API's loop under uvicorn too: a third less CPU for the same work.
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self.main())

    async def main(self) -> None:
        """Run until cancelled or drained, or until a queue's worker fails."""
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
        """Take no new jobs, give running ones DRAIN_SECONDS, return the rest to the queue, and end."""
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
        """Receive notifications of new messages, and of held jobs that were ended from outside."""
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
