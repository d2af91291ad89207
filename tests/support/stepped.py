"""Workers that a test moves on call by call, on an engine that is slow, fails, answers late, or acts for the dead."""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.mail.sender import SmtpMailer
from app.resources import Resources
from app.runtime.base import EngineUnavailable, Runtime, RuntimeFault
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE
from workers.context import WorkerContext

Call = Callable[[], Awaitable[Any]]


class Answer(enum.Enum):
    """How the engine takes a call."""

    DONE = enum.auto()
    LATE = enum.auto()
    REFUSED = enum.auto()
    LOST = enum.auto()
    BROKEN = enum.auto()


class _Sessions:
    """A worker's way to the database; it ends with the worker, and knows whether anything is under way."""

    def __init__(self, resources: Resources) -> None:
        self._sessions = resources.sessions
        self.dead = False
        self.open = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[AsyncSession]:
        if self.dead:
            raise OSError("this worker is dead")
        self.open += 1
        try:
            async with self._sessions() as session:
                yield session
        finally:
            self.open -= 1


async def _ready(*_: object) -> int:
    return 200


class SteppedWorker:
    """One worker process with one task in its hands. It waits before each call to the engine, and after a late one."""

    CALLS = frozenset({"ensure_running", "ensure_paused", "ensure_stopped", "ensure_absent", "status"})

    def __init__(self, resources: Resources, engine: FakeRuntime) -> None:
        self._engine = engine
        self._sessions = _Sessions(resources)
        self._parked: asyncio.Future[Answer] | None = None
        self.pending: Call | None = None
        own = replace(resources, sessions=cast(Any, self._sessions))
        mailer = SmtpMailer(resources.settings.smtp_url, resources.settings.mail_from)
        self.context = WorkerContext(own, cast(Runtime, self), mailer, _ready)
        self.task: asyncio.Task[object]

    def begin(self, work: Callable[[WorkerContext], Coroutine[Any, Any, object]]) -> None:
        self.task = asyncio.create_task(work(self.context))

    @property
    def busy(self) -> bool:
        """Whether it moves by itself right now."""
        return self._sessions.open > 0 or not (self.task.done() or self._parked)

    def go_on(self, answer: Answer) -> None:
        """Let the engine take the call that is waited for."""
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(answer)

    async def die(self) -> Call | None:
        """SIGKILL: nothing more is written. Returns the call that was on its way to the engine, if any."""
        left = self.pending if self._parked is not None else None
        self._sessions.dead = True
        self.task.cancel()
        await asyncio.wait({self.task})
        return left

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._engine, name)
        if name not in self.CALLS:
            return method

        async def call(*arguments: Any) -> Any:
            answer = await self._park(lambda: method(*arguments))
            if answer is Answer.REFUSED:
                raise EngineUnavailable
            if answer is Answer.BROKEN:
                raise RuntimeFault
            result = await method(*arguments)
            if answer is Answer.LATE:
                await self._park(None)
            if answer is Answer.LOST:
                raise EngineUnavailable
            return result

        return call

    async def _park(self, call: Call | None) -> Answer:
        self.pending = call
        self._parked = asyncio.get_running_loop().create_future()
        try:
            return await self._parked
        finally:
            self._parked = None


async def settle(workers: list[SteppedWorker]) -> None:
    """Wait until every worker waits for its engine, or has ended."""
    quiet = 0
    async with asyncio.timeout(PATIENCE):
        while quiet < 4:
            quiet = 0 if any(worker.busy for worker in workers) else quiet + 1
            await asyncio.sleep(0.0005)


async def finish(call: Call) -> None:
    """The engine does what a dead worker had asked for."""
    with contextlib.suppress(RuntimeFault):
        await call()
