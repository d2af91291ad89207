"""Two installations may use one database of Redis, and hear and see nothing of each other."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from app.catalog.images import image_key, image_states
from app.core.outbox import JobName, announce, enqueue
from app.core.settings.model import Settings
from app.core.supervise import background_task
from app.resources import Resources, make_redis, open_resources
from app.security.errors import RateLimited
from app.workspaces.errors import LogsUnavailable
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.logs import read_log
from tests.api.streaming import make_workspace
from tests.conftest import TestWorker, worker_on
from tests.support.driving import accept
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.logs import LoggingRuntime, working
from tests.support.queues import due
from tests.support.waiting import PATIENCE
from workers.loops.reconcile import is_ours

# What begins with the platform's name or with arq's. `arq:abort` arq reads in common; we never write to it.
NAMED = re.compile(r"(spawner|arq):")
SHARED = {"arq:abort"}


@pytest.fixture
async def other(settings: Settings, resources: Resources) -> AsyncIterator[Resources]:
    """Another installation on the same servers."""
    async with open_resources(settings.model_copy(update={"instance": "other"})) as opened:
        yield opened


@asynccontextmanager
async def commands(settings: Settings) -> AsyncIterator[list[str]]:
    """What Redis is asked while the block runs, word by word."""
    words: list[str] = []
    async with make_redis(settings.redis_url) as redis, redis.monitor() as monitor:

        async def listen() -> None:
            async for said in monitor.listen():
                words.extend(str(said["command"]).split())

        async with background_task(asyncio.create_task(listen())):
            yield words
            # Redis tells of commands in their order: of what came before this one, too.
            async with asyncio.timeout(PATIENCE):
                while "the-last-one" not in words:
                    await redis.echo("the-last-one")
                    await asyncio.sleep(0.01)


async def test_every_name_in_redis_begins_with_the_installations(
    settings: Settings, resources: Resources, worker: TestWorker
) -> None:
    async with commands(settings) as words:
        await resources.limits.count("alice@example.org", "192.0.2.1")
        await resources.limits.may_renew("alice@example.org")
        await image_states(resources.redis, settings.instance, ["spawner/hello:1"])
        await accept(resources)
        await worker.drain()
        await worker.reconcile()
        async with worker.running():
            alice = await make_user(resources, "bob")
            await accept(resources, alice)
            await make_workspace(resources, await make_user(resources, "carol"))
            with pytest.raises(LogsUnavailable):
                await read_log(resources, alice.id, "hello", tail=1)
    names = {word for word in words if NAMED.match(word)} - SHARED
    own = re.compile(rf"spawner:{settings.instance}:|arq:[a-z-]+:{settings.instance}:")
    assert {name for name in names if not own.match(name)} == set()
    assert len(names) > 10


async def test_neither_works_off_the_others_queues(
    resources: Resources, other: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    async with resources.unit_of_work() as session:
        enqueue(session, JobName.END, uuid4())
    async with worker_on(other.settings, other, runtime) as stranger:
        await stranger.drain()
    assert await due(resources) == 1
    await worker.drain()
    assert await due(resources) == 0


async def test_neither_wakes_those_who_wait_at_the_other(resources: Resources, other: Resources) -> None:
    first, second = uuid4(), uuid4()
    theirs = JobSubscriptions(other.redis, other.settings.instance)
    async with theirs.running(other), asyncio.timeout(PATIENCE):
        with theirs.changes(first) as not_woken, theirs.changes(second) as woken:
            # A new subscription wakes all.
            for event in (woken, not_woken):
                await event.wait()
                event.clear()
            for job_id, installation in ((first, resources), (second, other)):
                async with installation.unit_of_work() as session:
                    announce(session, job_id, ended=True)
            await woken.wait()
            assert not not_woken.is_set()


async def test_neither_is_limited_by_the_other(resources: Resources, other: Resources) -> None:
    for _ in range(resources.settings.magic_links_per_hour):
        await resources.limits.count("alice@example.org", "192.0.2.1")
    with pytest.raises(RateLimited):
        await resources.limits.count("alice@example.org", "192.0.2.1")
    await other.limits.count("alice@example.org", "192.0.2.1")
    assert await resources.limits.may_renew("alice@example.org")
    assert await other.limits.may_renew("alice@example.org")


async def test_each_takes_its_own_turns(resources: Resources, other: Resources, runtime: FakeRuntime) -> None:
    taken = []
    for one in (resources, other, resources):
        one.settings.reconcile_seconds = 60
        async with worker_on(one.settings, one, runtime) as worker:
            taken.append(await is_ours(worker.context, "rows"))
    assert taken == [True, True, False]


async def test_neither_reads_the_others_logs(settings: Settings, resources: Resources, other: Resources) -> None:
    alice = await make_user(resources)
    await make_workspace(resources, alice)
    async with working(other.settings, other, LoggingRuntime()):
        with pytest.raises(LogsUnavailable):
            await read_log(resources, alice.id, "hello", tail=1)


async def test_neither_sees_the_others_builds(resources: Resources, other: Resources) -> None:
    await resources.redis.set(image_key(resources.settings.instance, "hello"), "building")
    states = [await image_states(one.redis, one.settings.instance, ["hello"]) for one in (resources, other)]
    assert states == [{"hello": "building"}, {}]
