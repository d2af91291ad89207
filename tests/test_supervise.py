"""Background loops outlive what nobody expected."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from app.accounts.attendance import SessionMonitor
from app.core import supervise
from app.core.supervise import FAILURES, background_loop, run_forever
from app.gateway import websocket_relay
from app.gateway.websocket_relay import Relay


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

    monkeypatch.setattr("app.accounts.attendance.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(monitor, "check_waiters", check)

    async def watch() -> None:
        await monitor.watch(SimpleNamespace())  # type: ignore[arg-type]

    task = asyncio.create_task(run_forever("session_monitor", watch))
    await until(looked.is_set)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
