"""Requests that change something take turns; reads do not, and no slow client holds a turn."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from app.core.settings.model import Settings
from app.http import problems
from app.http.middleware import BodyLimitMiddleware, RequestContextMiddleware
from app.http.turns import TurnsMiddleware
from tests.support.waiting import SOON

AT_ONCE = 2


class Held:
    """Requests that run until they are let go."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.go = asyncio.Event()

    async def until(self, *names: str) -> None:
        async with asyncio.timeout(SOON):
            while self.running != list(names):
                await asyncio.sleep(0.01)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
async def client(held: Held, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.settings = settings
    problems.install(app)

    @app.post("/held/{name}")
    async def hold(name: str) -> str:
        held.running.append(name)
        await held.go.wait()
        return name

    @app.get("/read")
    async def read() -> str:
        return "read"

    @app.post("/echo")
    async def echo(request: Request) -> str:
        return (await request.body()).decode()

    app.add_middleware(TurnsMiddleware, at_once=AT_ONCE)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(RequestContextMiddleware, secure=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as made:
        yield made


async def begin(client: httpx.AsyncClient, held: Held, *names: str) -> list[asyncio.Task[httpx.Response]]:
    """Post these, one after the other; the first ones run."""
    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(client.post(f"/held/{name}")))
        await asyncio.sleep(0.05)
    await held.until(*names[:AT_ONCE])
    return tasks


async def test_more_wait_in_order_while_reads_are_answered(client: httpx.AsyncClient, held: Held) -> None:
    tasks = await begin(client, held, "a", "b", "c", "d")
    async with asyncio.timeout(SOON):
        assert (await client.get("/read")).json() == "read"
        held.go.set()
        assert [(await task).json() for task in tasks] == ["a", "b", "c", "d"]
    assert held.running == ["a", "b", "c", "d"]


async def test_a_turn_that_does_not_come_is_a_503(
    client: httpx.AsyncClient, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = await begin(client, held, "a", "b")
    monkeypatch.setattr("app.http.turns.WAIT_SECONDS", 0)
    refused = await client.post("/held/c")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    held.go.set()
    async with asyncio.timeout(SOON):
        assert [(await task).status_code for task in tasks] == [200, 200]
    assert held.running == ["a", "b"]


async def test_a_request_whose_body_is_on_its_way_holds_no_turn(client: httpx.AsyncClient, held: Held) -> None:
    arrives = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"slow"
        await arrives.wait()
        yield b"ly"

    slow = [asyncio.create_task(client.post("/echo", content=slowly())) for _ in range(AT_ONCE)]
    async with asyncio.timeout(SOON):
        assert (await client.post("/echo", content=b"quick")).json() == "quick"
        arrives.set()
        assert [(await task).json() for task in slow] == ["slowly"] * AT_ONCE


async def test_a_body_that_is_too_large_is_refused_where_it_is_read_alone(
    client: httpx.AsyncClient, held: Held
) -> None:
    large = b"x" * 70_000
    assert (await client.post("/echo", content=large)).status_code == 413
    held.go.set()
    assert (await client.post("/held/a", content=large)).json() == "a"
