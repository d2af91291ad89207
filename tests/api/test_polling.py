"""Following a job: woken by its changes, let go at shutdown, and nothing held meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from app.core.outbox import announce
from app.core.settings.model import Settings
from app.main import create_app
from app.models import Job
from app.resources import Resources, open_resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from deploy.stack.console import StepFailed, wait_until
from deploy.stack.processes import Process, child
from deploy.stack.services import redis_answers, redis_process, redis_url
from tests.conftest import ROOT
from tests.support.factories import SignedIn
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.processes import environment_of
from tests.support.waiting import PATIENCE, SOON

# Far more than any change takes to arrive, and less than the clients would wait.


@pytest.fixture
async def url(client: httpx.AsyncClient, alice: SignedIn) -> str:
    """Where a job of alice's answers; no worker takes it."""
    answer = await client.post("/api/container/launch/hello", headers=alice.headers)
    return str(answer.json()["status_url"])


async def change(resources: Resources, url: str) -> None:
    """What a worker does at every step."""
    job_id = UUID(url.rpartition("/")[2])
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(version=Job.version + 1, progress=42))
        announce(session, job_id)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


class Poller:
    """Clients that wait for one job at once."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, who: SignedIn, url: str) -> None:
        self.watch: JobSubscriptions = app.state.watch
        self.client, self.who, self.url = client, who, url

    async def get(self, *, seen: str | None = None, wait: float = 0) -> httpx.Response:
        headers = {**self.who.headers, **({"If-None-Match": seen} if seen else {})}
        return await self.client.get(self.url, params={"wait": wait}, headers=headers, timeout=PATIENCE)

    async def waiting(self, number: int, *, seen: str | None = None) -> list[asyncio.Task[httpx.Response]]:
        """Start clients that wait for thirty seconds; return once all of them do."""
        tasks = [asyncio.create_task(self.get(seen=seen, wait=30)) for _ in range(number)]
        await until(lambda: self.asleep() == number)
        return tasks

    def asleep(self) -> int:
        """How many clients have read the row and await its next change."""
        return sum(bool(event._waiters) for event in self.watch._waiting.get(self.url.rpartition("/")[2], ()))


async def answers(tasks: list[asyncio.Task[httpx.Response]]) -> list[httpx.Response]:
    async with asyncio.timeout(SOON):
        return await asyncio.gather(*tasks)


@pytest.fixture
def poller(app: FastAPI, client: httpx.AsyncClient, alice: SignedIn, url: str) -> Poller:
    return Poller(app, client, alice, url)


async def test_an_unchanged_job_is_304_by_its_strong_or_weak_tag_among_others(poller: Poller) -> None:
    etag = (await poller.get()).headers["ETag"]
    assert etag.startswith('"')
    for seen in (etag, f"W/{etag}", f'"other", {etag}', f'W/"other",W/{etag}'):
        answer = await poller.get(seen=seen)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert (await poller.get(seen='"other"')).status_code == 200


async def test_a_tag_belongs_to_one_language(poller: Poller) -> None:
    etag = (await poller.get()).headers["ETag"]
    german = await poller.client.get(
        poller.url, headers={**poller.who.headers, "If-None-Match": etag, "Accept-Language": "de"}
    )
    assert german.status_code == 200


@pytest.mark.parametrize("tagged", [True, False])
async def test_whoever_waits_is_woken_by_a_change(poller: Poller, resources: Resources, tagged: bool) -> None:
    etag = (await poller.get()).headers["ETag"]
    tasks = await poller.waiting(2, seen=etag if tagged else None)
    await change(resources, poller.url)
    for answer in await answers(tasks):
        assert answer.status_code == 200
        assert answer.json()["progress"] == 42
        assert answer.headers["ETag"] != etag


async def test_whoever_missed_a_change_is_answered_at_once(poller: Poller, resources: Resources) -> None:
    etag = (await poller.get()).headers["ETag"]
    await change(resources, poller.url)
    async with asyncio.timeout(SOON):
        assert (await poller.get(seen=etag, wait=30)).status_code == 200


async def test_a_wait_without_a_change_ends_with_304(poller: Poller) -> None:
    etag = (await poller.get()).headers["ETag"]
    assert (await poller.get(seen=etag, wait=0.2)).status_code == 304
    assert (await poller.get(wait=0.2)).status_code == 200


async def test_a_change_of_another_job_wakes_nobody(poller: Poller, resources: Resources) -> None:
    tasks = await poller.waiting(1)
    other = await poller.client.post("/api/container/launch/jupyter", headers=poller.who.headers)
    await change(resources, other.json()["status_url"])
    await asyncio.sleep(0.2)
    assert not tasks[0].done()
    await change(resources, poller.url)
    await answers(tasks)


async def test_a_job_that_has_ended_is_not_waited_for(poller: Poller, resources: Resources) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(state="succeeded", step="ready"))
    async with asyncio.timeout(SOON):
        answer = await poller.get(wait=30)
        assert answer.json()["state"] == "succeeded"
        assert (await poller.get(seen=answer.headers["ETag"], wait=30)).status_code == 304


@asynccontextmanager
async def app_over(settings: Settings) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """The API with settings of its own, listening for changes."""
    async with open_resources(settings) as opened, AsyncExitStack() as exits:
        app = create_app(settings)
        app.state.resources = opened
        app.state.watch = JobSubscriptions(opened.redis, opened.settings.instance)
        await exits.enter_async_context(app.state.watch.running(opened))
        transport = httpx.ASGITransport(app=app)
        yield app, await exits.enter_async_context(httpx.AsyncClient(transport=transport, base_url=settings.public_url))


async def test_waiting_holds_no_database_connection(
    settings: Settings, resources: Resources, alice: SignedIn, url: str
) -> None:
    async with app_over(settings.model_copy(update={"database_pool": 2})) as (app, client):
        poller = Poller(app, client, alice, url)
        tasks = await poller.waiting(20)
        assert app.state.resources.engine.pool.checkedout() == 0
        async with asyncio.timeout(SOON):
            assert (await client.get("/api/user/me", headers=alice.headers)).status_code == 200
        await change(resources, url)
        assert {answer.json()["progress"] for answer in await answers(tasks)} == {42}


async def test_waiting_survives_a_restart_of_redis(
    settings: Settings, resources: Resources, alice: SignedIn, url: str, tmp_path: Path
) -> None:
    private = redis_process(tmp_path / "redis", tmp_path, durable=False)
    own = settings.model_copy(update={"redis_url": redis_url(tmp_path)})

    def started() -> None:
        wait_until(lambda: redis_answers(own.redis_url), PATIENCE, lambda: StepFailed("redis", tmp_path / "log"))

    with child(private, tmp_path / "log"):
        await asyncio.to_thread(started)
        async with app_over(own) as (app, client):
            poller = Poller(app, client, alice, url)
            tasks = await poller.waiting(2)
            os.kill(await redis_pid(app), signal.SIGKILL)
            # The change happens while nobody can be told of it.
            await change(app.state.resources, url)
            with child(private, tmp_path / "log"):
                assert {answer.json()["progress"] for answer in await answers(tasks)} == {42}
                again = await poller.waiting(2)
                await change(app.state.resources, url)
                assert {answer.status_code for answer in await answers(again)} == {200}


async def redis_pid(app: FastAPI) -> int:
    info = await app.state.resources.redis.info("server")
    return int(info["process_id"])


async def test_whoever_waits_is_let_go_when_the_api_is_told_to_stop(
    settings: Settings, resources: Resources, alice: SignedIn, url: str, tmp_path: Path
) -> None:
    port = reserved_port()
    command = (sys.executable, "-m", "uvicorn", "app.main:create_app", "--factory", "--port", str(port))
    with child(Process("api", command, ROOT, environment_of(settings)), tmp_path / "log") as process:
        async with direct_client(f"http://127.0.0.1:{port}") as client:
            await listening(client)
            etag = (await client.get(url, headers=alice.headers)).headers["ETag"]
            headers = {**alice.headers, "If-None-Match": etag}
            tasks = [asyncio.create_task(client.get(url, params={"wait": 30}, headers=headers)) for _ in range(3)]
            await asyncio.sleep(1)
            # One loop answers all: what was sent before this is being waited for.
            await client.get("/livez")
            assert not any(task.done() for task in tasks)
            process.send_signal(signal.SIGTERM)
            assert {answer.status_code for answer in await answers(tasks)} == {304}
        assert await asyncio.to_thread(ended, process) == 0, (tmp_path / "log").read_text()


def ended(process: subprocess.Popen[bytes]) -> int:
    # uvicorn ends by the signal that it was sent once it has shut down.
    code = process.wait(PATIENCE)
    return 0 if code == -signal.SIGTERM else code


async def listening(client: httpx.AsyncClient) -> None:
    async def answers() -> bool:
        try:
            return (await client.get("/livez")).status_code == 200
        except httpx.TransportError:
            return False

    # A process takes seconds to start on a busy machine.
    await bounded(answers, seconds=PATIENCE)


async def bounded(condition: Callable[[], Awaitable[bool]], *, seconds: float = SOON) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.05)
