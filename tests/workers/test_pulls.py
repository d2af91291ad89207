"""One pull of an image at a time, however many wait for it."""

import asyncio

import pytest

from app.models import JobState, JobStep
from app.resources import Resources, make_redis
from app.runtime.base import ImagePullFailed, Phase, Progress, Report
from tests.conftest import TestWorker
from tests.factories import make_user
from tests.fakes import FakeRuntime
from tests.support.driving import accept, drive, read
from tests.workers.test_workspaces import has_state, until
from workers.jobs.pull import PULL_KEY, pull

HELLO = "spawner/hello:1"


async def test_launches_that_wait_for_one_image_pull_it_once_and_all_see_its_bytes(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.missing = {HELLO}
    jobs = [await accept(resources, await make_user(resources, f"user{number}")) for number in range(8)]
    enough = asyncio.Event()

    async def slow(image: str, report: Report) -> None:
        await report(Progress(Phase.PULLING, 30_000_000, 60_000_000))
        await enough.wait()

    runtime.before_pull = slow
    driving = [asyncio.create_task(drive(worker, job)) for job in jobs]

    async def all_see_bytes() -> bool:
        for job in jobs:
            _, _, events = await read(resources, job)
            if "30.0 of 60.0 MB" not in [event.detail for event in events if event.step is JobStep.PULLING]:
                return False
        return True

    await until(all_see_bytes)
    enough.set()
    await asyncio.gather(*driving)
    assert runtime.pulled == [HELLO]
    assert all([await has_state(resources, job, JobState.SUCCEEDED) for job in jobs])


async def test_a_leader_whose_pull_fails_leaves_the_lead_to_the_next(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.missing = {HELLO}
    tries = 0

    async def fails_once(image: str, report: Report) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ImagePullFailed

    runtime.before_pull = fails_once

    async def report(progress: Progress) -> None:
        return None

    outcomes = await asyncio.gather(*(pull(worker.context, HELLO, report) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(ImagePullFailed) == 1
    assert runtime.pulled == [HELLO]


async def test_the_lead_is_given_up_when_the_leader_is_cancelled(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    begun = asyncio.Event()

    async def endless(image: str, report: Report) -> None:
        begun.set()
        await asyncio.Event().wait()

    runtime.before_pull = endless

    async def report(progress: Progress) -> None:
        return None

    leading = asyncio.create_task(pull(worker.context, HELLO, report))
    await begun.wait()
    assert await resources.redis.exists(f"{PULL_KEY}{HELLO}")
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    assert not await resources.redis.exists(f"{PULL_KEY}{HELLO}")


async def test_without_redis_nobody_waits_for_anybody(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.missing = {HELLO}

    async def report(progress: Progress) -> None:
        return None

    nowhere = make_redis("redis://127.0.0.1:1/0")
    object.__setattr__(resources, "redis", nowhere)
    await pull(worker.context, HELLO, report)
    await nowhere.aclose()
    assert runtime.pulled == [HELLO]
