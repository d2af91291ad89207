"""Launches that lack their image fetch it, each with its own progress; the engine fetches each layer once."""

import asyncio
from functools import partial

from app.models import JobState, JobStep
from app.resources import Resources
from app.runtime.base import ImagePullFailed, Phase, Progress, Report
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.driving import accept, drive, has_state, read, until
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE

HELLO = "spawner/hello:1"


async def test_launches_that_wait_for_one_image_all_see_its_bytes(
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
    assert all([await has_state(resources, job, JobState.SUCCEEDED) for job in jobs])


async def test_a_pull_that_fails_fails_no_other_launch(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.missing = {HELLO}
    jobs = [await accept(resources, await make_user(resources, f"user{number}")) for number in range(3)]
    tries = 0

    async def fails_once(image: str, report: Report) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ImagePullFailed

    runtime.before_pull = fails_once
    async with worker.running(reconciling=False):
        await asyncio.gather(
            *(until(partial(has_state, resources, job, JobState.SUCCEEDED)) for job in jobs),
        )
    assert sorted([(await read(resources, job))[0].attempts for job in jobs]) == [1, 1, 2]


async def test_a_pull_ends_with_the_launch_that_is_cancelled(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.missing = {HELLO}
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(image: str, report: Report) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    runtime.before_pull = endless
    user = await make_user(resources)
    job = await accept(resources, user)
    async with worker.running(reconciling=False):
        await begun.wait()
        async with resources.unit_of_work() as session:
            await service.cancel(session, resources, user, job.id)
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
    assert runtime.pulled == []
