"""Redis hangs, is slow, refuses or restarts: what requests wait for, and what becomes of what they accepted."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app import resources as bundle
from app.core import pubsub, redis_answers
from app.core.pubsub import listen
from app.core.settings.model import Settings
from app.core.supervise import background_task
from app.main import create_app
from app.models import JobState, WorkspaceStatus
from app.resources import Resources, make_redis, open_resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from tests.conftest import TestWorker
from tests.support.browsers import make_browser, make_workspace
from tests.support.driving import accept, has_state, until
from tests.support.factories import SignedIn, make_user
from tests.support.fakes import FakeRuntime
from tests.support.pages import HTMX
from tests.support.queues import messages
from tests.support.redis_proxy import RedisProxy, redis_proxy
from tests.support.waiting import PATIENCE

LAUNCH = "/api/container/launch/hello"
BOUND = 0.25


@pytest.fixture
async def proxy(settings: Settings) -> AsyncIterator[RedisProxy]:
    async with redis_proxy(settings.redis_url) as opened:
        yield opened


@pytest.fixture
def behind(settings: Settings, proxy: RedisProxy) -> Settings:
    """Settings of an installation whose Redis is behind the proxy."""
    return settings.model_copy(update={"redis_url": proxy.url})


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis's client would wait for hours: what answers all the same has a deadline of its own."""
    monkeypatch.setattr(bundle, "make_redis", lambda url: Redis.from_url(url, socket_timeout=7200))


@pytest.fixture
async def api(behind: Settings, resources: Resources, alice: SignedIn) -> AsyncIterator[httpx.AsyncClient]:
    """Alice's browser at an API whose Redis is behind the proxy."""
    async with open_resources(behind) as opened:
        app: FastAPI = create_app(behind)
        app.state.resources = opened
        app.state.watch = JobSubscriptions(opened.redis, behind.instance)
        async with make_browser(app, alice) as browser:
            yield browser


@dataclass
class Waits:
    """How long requests would have waited for Redis, all exchanges together, had each wait been used up."""

    slices: list[int] = field(default_factory=list)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    made, wait = Waits(), redis_answers._wait

    async def noted(exchange: asyncio.Future[object], slices: int) -> None:
        made.slices.append(slices)
        await wait(exchange, slices)

    monkeypatch.setattr(redis_answers, "_wait", noted)
    return made


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("POST", "/home/workspaces/hello/launch", None, 200),
        ("POST", "/sign-in", {"email": "alice@example.org"}, 503),
        ("GET", "/", None, 200),
        ("GET", "/api/templates", None, 200),
        ("GET", "/api/container/status", None, 200),
        ("GET", "/api/container/hello/logs", None, 503),
    ],
)
async def test_a_redis_that_hangs_costs_a_request_a_quarter_of_a_second_at_most(
    api: httpx.AsyncClient,
    proxy: RedisProxy,
    resources: Resources,
    alice: SignedIn,
    waits: Waits,
    method: str,
    path: str,
    fields: dict[str, str] | None,
    status: int,
) -> None:
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    proxy.answering.clear()
    headers = {**HTMX, **(alice.headers if "/api/" in path else {})}
    async with asyncio.timeout(PATIENCE):
        answer = await api.request(method, path, data=fields, headers=headers)
    assert answer.status_code == status, answer.text
    # Each further exchange costs what one costs while another is late.
    assert sum(n for n in waits.slices if n > redis_answers.SLICES_LATE) * redis_answers.SLICE_SECONDS <= BOUND


@pytest.mark.usefixtures("endless")
async def test_what_is_accepted_while_redis_hangs_is_begun_when_it_answers_again(
    api: httpx.AsyncClient, proxy: RedisProxy, resources: Resources, alice: SignedIn, worker: TestWorker
) -> None:
    proxy.answering.clear()
    with capture_logs() as logged:
        answer = await api.post(LAUNCH, headers=alice.headers)
    assert answer.status_code == 202
    assert len([line for line in logged if line["event"] == "queue_unreachable"]) == 1
    await resources.redis.flushall()
    await worker.reconcile()
    await worker.drain()
    status = await api.get(answer.json()["status_url"], headers=alice.headers)
    assert status.json()["state"] == "succeeded"


@pytest.mark.usefixtures("endless")
async def test_a_redis_that_hangs_is_not_asked_without_end(
    api: httpx.AsyncClient,
    proxy: RedisProxy,
    resources: Resources,
    alice: SignedIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_answers, "MAX_LATE", 2)
    proxy.answering.clear()
    for _ in range(4):
        assert (await api.get("/api/templates", headers=alice.headers)).status_code == 200
    assert len(redis_answers._late) == 2


async def test_a_slow_redis_gets_every_message(
    api: httpx.AsyncClient, proxy: RedisProxy, resources: Resources, alice: SignedIn
) -> None:
    """Slower than a request waits, so that the first connection alone takes longer."""
    await make_workspace(resources, alice.user, WorkspaceStatus.RUNNING)
    proxy.delay = 0.3
    answer = await api.post("/api/container/hello/stop", headers=alice.headers)
    assert answer.status_code == 202, answer.text

    async def arrived() -> bool:
        return len(await messages(resources)) == 1

    await until(arrived)


async def test_a_redis_that_refuses_costs_no_launch(
    api: httpx.AsyncClient, proxy: RedisProxy, alice: SignedIn, waits: Waits
) -> None:
    await proxy.stop()
    assert (await api.post(LAUNCH, headers=alice.headers)).status_code == 202
    assert (await api.post("/sign-in", data={"email": "alice@example.org"})).status_code == 503
    await proxy.start()


@pytest.mark.parametrize("how", ["hangs", "restarts"])
async def test_a_worker_outlives_a_redis_that_is_away_for_a_while(
    how: str, behind: Settings, proxy: RedisProxy, resources: Resources, runtime: FakeRuntime, worker: TestWorker
) -> None:
    process = TestWorker(behind, worker.context)
    async with process.running(reconciling=False):
        first = await accept(resources)
        await until(lambda: has_state(resources, first, JobState.SUCCEEDED))
        if how == "hangs":
            proxy.answering.clear()
        else:
            await proxy.stop()
        second = await accept(resources, await make_user(resources, "bob"))
        asked = proxy.asked
        if how == "hangs":
            # The worker gives the exchange up and asks again: the connection may be a dead one.
            async def asks_again() -> bool:
                return proxy.asked > asked + 1

            await until(asks_again)
            proxy.answering.set()
        else:
            await proxy.start()
        await until(lambda: has_state(resources, second, JobState.SUCCEEDED))


async def test_who_listens_notices_that_redis_has_gone_silent(
    behind: Settings, proxy: RedisProxy, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And wakes everybody once it listens again: something may have been missed."""
    monkeypatch.setattr(pubsub, "QUIET_SECONDS", 0.2)
    heard: list[str] = []

    async def hear() -> None:
        async for news in listen(redis, "news"):
            heard.append(news.text)

    async def subscribed() -> bool:
        return bool(heard)

    async with make_redis(behind.redis_url) as redis, background_task(asyncio.create_task(hear())):
        await until(subscribed)
        heard.clear()
        proxy.answering.clear()
        with capture_logs() as logged:

            async def noticed() -> bool:
                return any(line["event"] == "notifications_interrupted" for line in logged)

            await until(noticed)
        proxy.answering.set()
        await until(subscribed)
    assert set(heard) == {""}


async def test_a_process_that_stands_still_refuses_no_exchange_that_goes_on() -> None:
    async def ask() -> str:
        for _ in range(4):
            await asyncio.sleep(0.01)
        return "answer"

    async def stand_still() -> None:
        while True:
            time.sleep(0.15)  # noqa: ASYNC251  # what a busy processor does to all tasks
            await asyncio.sleep(0)

    standing = asyncio.create_task(stand_still())
    try:
        assert await redis_answers.answer_in_time(ask) == "answer"
    finally:
        standing.cancel()
