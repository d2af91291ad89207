"""Nothing accepted is lost: not by a dead worker, not by an empty queue, not by a late one."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.settings.model import Settings
from app.models import Job, JobState, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources, open_resources
from app.runtime.base import Report
from app.runtime.spec import WorkspaceSpec
from app.workspaces.jobs import leases
from app.workspaces.jobs.leases import requeue
from tests.conftest import TestWorker, worker_on
from tests.support.driving import accept, drive, failing, has_state, read, until
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.queues import messages
from workers.loops.reconcile import RECONCILE_LOCK, is_ours, reconcile_rows


async def test_a_job_that_never_reached_redis_is_sent_again(resources: Resources, worker: TestWorker) -> None:
    job = await accept(resources)
    await resources.redis.flushall()
    await worker.drain()
    assert await has_state(resources, job, JobState.QUEUED)
    await worker.reconcile()
    await worker.drain()
    assert await has_state(resources, job, JobState.SUCCEEDED)


async def test_rules_that_were_lost_are_put_back_in_the_next_interval(worker: TestWorker, runtime: FakeRuntime) -> None:
    runtime.rules_lost = 3
    await worker.reconcile()
    assert runtime.rules_lost == 0
    runtime.unenforceable = True
    await worker.reconcile()


async def test_a_job_that_waits_in_the_queue_is_not_sent_twice(resources: Resources, worker: TestWorker) -> None:
    await accept(resources)
    for _ in range(3):
        await worker.reconcile()
    assert len(await messages(resources)) == 1


async def test_a_job_of_a_silent_worker_is_given_to_another(resources: Resources, worker: TestWorker) -> None:
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        assert await leases.claim(session, resources, job.id) is not None
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(lease_until=utcnow() - timedelta(seconds=1)))
    await resources.redis.flushall()
    async with worker.running():
        await until(lambda: has_state(resources, job, JobState.SUCCEEDED))
    row, _, events = await read(resources, job)
    assert row.attempts == 2
    assert "worker_lost" in [event.detail for event in events]


async def test_a_job_whose_worker_stood_still_for_longer_than_its_lease_is_taken_up_again(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    job = await accept(resources)

    async def stand_still(spec: WorkspaceSpec, report: Report) -> None:
        runtime.before = failing()
        async with resources.unit_of_work() as session:
            await session.execute(update(Job).values(lease_until=utcnow() - timedelta(seconds=1)))
        worker.context.revocations.notify_all()
        await asyncio.Event().wait()

    runtime.before = stand_still
    await drive(worker, job)
    assert await has_state(resources, job, JobState.RUNNING)
    await worker.reconcile()
    await worker.drain()
    row, _, events = await read(resources, job)
    assert (row.state, row.attempts) == (JobState.SUCCEEDED, 2)
    assert "worker_lost" in [event.detail for event in events]


async def test_a_job_past_its_deadline_fails_and_its_workspace_says_why(
    resources: Resources, worker: TestWorker
) -> None:
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(deadline=utcnow() - timedelta(seconds=1)))
    await worker.reconcile()
    row, workspace, _ = await read(resources, job)
    assert (row.state, row.error_code) == (JobState.FAILED, "deadline")
    assert (workspace.status, workspace.error_code) == (WorkspaceStatus.ERROR, "deadline")
    await worker.drain()
    assert await has_state(resources, job, JobState.FAILED)


async def test_an_overdue_job_of_an_older_generation_leaves_the_workspace_alone(
    resources: Resources, worker: TestWorker
) -> None:
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(deadline=utcnow() - timedelta(seconds=1)))
        await session.execute(update(Workspace).values(generation=9, status=WorkspaceStatus.RUNNING))
    await reconcile_rows(worker.context)
    _, workspace, _ = await read(resources, job)
    assert workspace.status is WorkspaceStatus.RUNNING


async def test_only_one_reconciler_works_at_a_time(resources: Resources, worker: TestWorker) -> None:
    job = await accept(resources)
    await resources.redis.flushall()
    async with resources.engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": RECONCILE_LOCK})
        await worker.reconcile()
        assert await messages(resources) == []
    await worker.reconcile()
    await worker.drain()
    assert await has_state(resources, job, JobState.SUCCEEDED)


async def test_an_interval_belongs_to_the_worker_that_asks_first(resources: Resources, worker: TestWorker) -> None:
    # None ends between two questions.
    resources.settings.reconcile_seconds = 3600
    asked = [await is_ours(worker.context, part) for part in ("rows", "rows", "engine")]
    assert asked == [True, False, True]


async def test_each_worker_reconciles_while_redis_does_not_answer(
    settings: Settings, resources: Resources, worker: TestWorker
) -> None:
    async with open_resources(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})) as cut_off:
        context = replace(worker.context, resources=cut_off)
        assert [await is_ours(context, "rows") for _ in range(2)] == [True, True]


@pytest.mark.parametrize("error", [ZeroDivisionError(), TimeoutError(), InterfaceError("", None, OSError())])
async def test_a_pass_that_fails_is_followed_by_the_next(
    resources: Resources,
    worker: TestWorker,
    runtime: FakeRuntime,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    job = await accept(resources)
    await resources.redis.flushall()
    asked = 0

    async def fails_once(session: AsyncSession) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise error
        return await requeue(session)

    monkeypatch.setattr("workers.loops.reconcile.requeue", fails_once)
    async with worker.running():
        await until(lambda: has_state(resources, job, JobState.SUCCEEDED))


async def test_jobs_that_take_every_place_of_a_worker_keep_no_pass_from_being_made(
    settings: Settings, resources: Resources, runtime: FakeRuntime
) -> None:
    stuck = asyncio.Event()

    async def hang(spec: WorkspaceSpec, report: Report) -> None:
        await stuck.wait()

    runtime.before = hang
    async with worker_on(settings.model_copy(update={"worker_jobs": 1}), resources, runtime) as worker:
        first = await accept(resources)
        async with worker.running():
            await until(lambda: has_state(resources, first, JobState.RUNNING))
            overdue = await accept(resources, await make_user(resources, "bob"))
            async with resources.unit_of_work() as session:
                past = utcnow() - timedelta(seconds=1)
                await session.execute(update(Job).where(Job.id == overdue.id).values(deadline=past))
            await until(lambda: has_state(resources, overdue, JobState.FAILED))
            assert await has_state(resources, first, JobState.RUNNING)
            stuck.set()
            await until(lambda: has_state(resources, first, JobState.SUCCEEDED))
