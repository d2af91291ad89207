"""Background loops outlive what nobody expected."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import arq.worker
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from structlog.testing import capture_logs

from app.accounts import denials
from app.accounts.denials import Denials
from app.accounts.session_monitor import SessionMonitor
from app.core import supervise
from app.core.outbox import JobName
from app.core.pubsub import Notification
from app.core.settings.model import Settings
from app.core.supervise import FAILURES, MAX_FAILURES, background_loop, failing_loops, run_forever
from app.gateway import websocket_relay
from app.gateway.websocket_relay import Relay
from app.health.router import router as health
from app.workspaces.jobs import subscriptions
from app.workspaces.jobs.subscriptions import JobSubscriptions
from workers import options, worker
from workers.worker import QueueWorker, Worker

# What a worker runs beside its jobs, as its module names it.
WORKER_LOOPS = [
    "beat", "admit_forever", "watch", "watch_egress", "reconcile_rows_forever", "reconcile_engine_forever",
    "retention_forever", "keep_warm",
    "prepull",
    "serve_logs", "log_engine_findings", "register",
]  # fmt: skip


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE", 0.01)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_loop_that_fails_is_logged_with_its_traceback_counted_and_started_again() -> None:
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise KeyError("unexpected")

    before = FAILURES["tested"]
    with capture_logs() as logged:
        await run_forever("tested", work)
    assert len(runs) == 3
    assert FAILURES["tested"] == before + 2
    failed = [line for line in logged if line["event"] == "background_loop_failed"]
    assert [(line["loop"], line["exc_info"]) for line in failed] == [("tested", True)] * 2
    assert failed[1]["pause"] == 2 * failed[0]["pause"]


async def test_a_loop_ends_with_its_block() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with background_loop("tested", work):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_mistake_in_the_relay_does_not_end_the_revocation_of_websockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    async def held(resources: object, entries: list[object]) -> set[object]:
        asked.append(entries)
        if len(asked) == 1:
            raise KeyError("unexpected")
        return set()

    monkeypatch.setattr(websocket_relay, "still_held", held)
    monkeypatch.setattr(websocket_relay, "LOOK_SECONDS", 0.01)
    relay, cut = Relay(), asyncio.Event()
    relay._open[Mock()] = {Mock(abort=cut.set)}
    settings = SimpleNamespace(relay_bind="127.0.0.1", relay_host="", user_websockets=10)
    async with relay.running(SimpleNamespace(settings=settings)):  # type: ignore[arg-type]
        await until(cut.is_set)
        relay._open.clear()
    assert len(asked) >= 2


async def test_a_mistake_of_the_session_monitor_leaves_nobody_waiting_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, looked = SessionMonitor(), asyncio.Event()
    calls: list[int] = []

    async def check(resources: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("unexpected")
        looked.set()

    monkeypatch.setattr("app.accounts.session_monitor.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(monitor, "check_waiters", check)

    async def watch() -> None:
        await monitor.watch(SimpleNamespace())  # type: ignore[arg-type]

    task = asyncio.create_task(run_forever("session_monitor", watch))
    await until(looked.is_set)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_check_that_fails_by_a_mistake_lets_nothing_stay_open_unchecked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = AsyncMock(side_effect=KeyError("always"))
    monkeypatch.setattr(websocket_relay, "still_held", held)
    monkeypatch.setattr(websocket_relay, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(websocket_relay, "BLIND_SECONDS", 0.05)
    relay, cut = Relay(), asyncio.Event()
    relay._open[Mock()] = {Mock(abort=cut.set)}
    settings = SimpleNamespace(relay_bind="127.0.0.1", relay_host="", user_websockets=10)
    async with relay.running(SimpleNamespace(settings=settings)):  # type: ignore[arg-type]
        await until(cut.is_set)
        relay._open.clear()


async def test_whom_nobody_can_judge_by_a_mistake_of_ours_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, wake = SessionMonitor(), asyncio.Event()
    monkeypatch.setattr("app.accounts.session_monitor.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("app.accounts.session_monitor.BLIND_SECONDS", 0.05)
    monkeypatch.setattr(monitor, "check_waiters", AsyncMock(side_effect=KeyError("always")))

    async def watch() -> None:
        await monitor.watch(SimpleNamespace())  # type: ignore[arg-type]

    with monitor.present(Mock(token_id=None), wake) as waiter:
        async with background_loop("session_monitor", watch):
            await until(wake.is_set)
    assert waiter.over


async def test_counts_of_refusals_are_written_after_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, calls, before = Denials(), Counter[str](), FAILURES["denials"]

    async def write(*_: object) -> None:
        calls["write"] += 1
        if calls["write"] == 1:
            raise KeyError("unexpected")

    monkeypatch.setattr(denials, "COUNT_SECONDS", 0.01)
    monkeypatch.setattr(refusals, "_write", write)
    async with refusals.running(SimpleNamespace()):  # type: ignore[arg-type]
        await until(lambda: calls["write"] > 1)
    assert FAILURES["denials"] == before + 1


def news_that_fails_once(heard: Counter[str], channel: str) -> Callable[..., AsyncIterator[Notification]]:
    async def listen(*_: object) -> AsyncIterator[Notification]:
        heard["subscribed"] += 1
        if heard["subscribed"] == 1:
            raise KeyError("unexpected")
        while True:
            yield Notification(channel, "")
            await asyncio.sleep(0.01)

    return listen


async def test_followers_of_a_job_are_woken_after_a_mistake_of_its_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, before = Counter[str](), FAILURES["job_subscriptions"]
    monkeypatch.setattr(subscriptions, "listen", news_that_fails_once(heard, ""))
    waiting = JobSubscriptions(Mock(), "spawner")
    with waiting.changes("one") as changed:
        async with waiting.running(SimpleNamespace()):  # type: ignore[arg-type]
            await until(changed.is_set)
    assert (heard["subscribed"], FAILURES["job_subscriptions"]) == (2, before + 1)


@pytest.mark.parametrize("name", WORKER_LOOPS)
async def test_a_mistake_ends_no_loop_of_a_worker(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    runs, goes_on, before = Counter[str](), asyncio.Event(), FAILURES[name]

    def playing(loop: str) -> Callable[..., Any]:
        async def body(*_: object) -> None:
            runs[loop] += 1
            if loop == name and runs[loop] == 1:
                raise KeyError("unexpected")
            if loop == name:
                goes_on.set()
            await asyncio.sleep(3600)

        body.__name__ = loop
        return body

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Any]:
        yield SimpleNamespace(resources=SimpleNamespace(), deliveries=SimpleNamespace(close=AsyncMock()))

    monkeypatch.setattr(options, "open_context", opened)
    for loop in WORKER_LOOPS:
        monkeypatch.setattr(options, loop, playing(loop))
    with capture_logs() as logged:
        async with options.open_worker(Mock()):
            await until(goes_on.is_set)
            await until(lambda: all(runs[loop] for loop in WORKER_LOOPS))
    assert runs == Counter(WORKER_LOOPS) + Counter([name])
    assert FAILURES[name] == before + 1
    failed = [line for line in logged if line["event"] == "background_loop_failed"]
    assert [(line["loop"], line["exc_info"]) for line in failed] == [(name, True)]


async def test_a_worker_hears_of_messages_and_looks_for_them_after_a_mistake(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, looked = Counter[str](), Counter[str]()
    before = FAILURES["queue_news"], FAILURES["queue_poll"]

    async def look(self: QueueWorker) -> None:
        looked[self.queue_name] += 1
        if looked.total() == 1:
            raise KeyError("unexpected")

    async def main(self: QueueWorker) -> None:
        self._pool = AsyncMock()
        await until(lambda: len(looked) == len(JobName) and min(looked.values()) > 1)

    monkeypatch.setattr(arq.worker.Worker, "main", main)
    monkeypatch.setattr(arq.worker.Worker, "_poll_iteration", look)
    monkeypatch.setattr(worker, "listen", news_that_fails_once(heard, ""))
    await Worker(settings, nullcontext(Mock())).main()
    assert (FAILURES["queue_news"], FAILURES["queue_poll"]) == (before[0] + 1, before[1] + 1)


async def livez() -> tuple[int, str]:
    app = FastAPI()
    app.include_router(health)
    async with AsyncClient(transport=ASGITransport(app=app), base_url="http://test") as client:
        answer = await client.get("/livez")
        return answer.status_code, answer.json()["status"]


async def test_a_process_whose_essential_loop_keeps_failing_does_not_call_itself_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "MAX_PAUSE", 0.01)
    before = FAILURES["essential"], FAILURES["other"]

    async def fails() -> None:
        raise KeyError("always")

    async with background_loop("other", fails, essential=False):
        await until(lambda: FAILURES["other"] >= before[1] + MAX_FAILURES)
        assert (failing_loops(), await livez()) == ([], (200, "ok"))
        async with background_loop("essential", fails):
            await until(lambda: FAILURES["essential"] >= before[0] + MAX_FAILURES)
            assert (failing_loops(), await livez()) == (["essential"], (503, "failing"))
    assert await livez() == (200, "ok")


async def test_a_loop_that_has_run_well_for_a_while_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "MAX_PAUSE", 0.01)
    monkeypatch.setattr(supervise, "GOOD_SECONDS", 0.5)
    runs: list[int] = []

    async def work() -> None:
        runs.append(1)
        if len(runs) <= MAX_FAILURES:
            raise KeyError("at first")
        await asyncio.sleep(3600)

    async with background_loop("recovering", work):
        await until(lambda: bool(failing_loops()))
        await until(lambda: not failing_loops())
        assert len(runs) == MAX_FAILURES + 1
