"""Workspaces that nobody uses rest, those that work do not, and what cannot be read is never taken for rest."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.models import Job, JobEvent, JobKind, JobState, JobStep, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import EngineUnavailable, Inventory, RunState, Usage
from app.workspaces import service
from app.workspaces.idle import stop_idle
from tests.conftest import TestWorker
from tests.support.driving import accept
from tests.support.fakes import FakeRuntime
from workers.loops.idle import reconcile_idle

NOTHING = Inventory([], [], [])
PAUSES = {"idle_pause": 600, "idle_stop": 3600}


@pytest.fixture
def limits() -> dict[str, int]:
    """The limits of the default template."""
    return PAUSES


@pytest.fixture
def resources(resources: Resources, limits: dict[str, int]) -> Resources:
    """The bundle, with limits for the default template."""
    hello, *others = resources.catalog.templates
    catalog = replace(resources.catalog, templates=(hello.model_copy(update=limits), *others))
    return replace(resources, catalog=catalog)


@pytest.fixture
async def name(resources: Resources, worker: TestWorker, runtime: FakeRuntime) -> str:
    """The container of a workspace that runs and was looked at a moment ago."""
    await accept(resources)
    await worker.drain()
    (name,) = runtime.containers
    assert await reconcile_idle(worker.context, NOTHING) == 0
    return name


async def change(resources: Resources, **values: Any) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(**values))


def ago(seconds: float) -> Any:
    return utcnow() - timedelta(seconds=seconds)


async def read(resources: Resources) -> Workspace:
    async with resources.unit_of_work() as session:
        return (await session.scalars(select(Workspace))).one()


async def last_job(resources: Resources) -> tuple[Job, list[JobEvent]]:
    async with resources.unit_of_work() as session:
        job = (await session.scalars(select(Job).order_by(Job.created_at.desc()).limit(1))).one()
        events = await session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id))
        return job, list(events)


async def test_one_that_is_idle_is_paused_and_then_stopped_and_says_why(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str
) -> None:
    await change(resources, started_at=ago(601), active_at=ago(601))
    assert await reconcile_idle(worker.context, NOTHING) == 1
    await worker.drain()
    row = await read(resources)
    assert (row.status, row.rest_reason) == (WorkspaceStatus.PAUSED, "idle_pause")
    assert runtime.state[name].state is RunState.PAUSED
    job, events = await last_job(resources)
    assert (job.kind, job.by_system, job.state) == (JobKind.PAUSE, True, JobState.SUCCEEDED)
    assert (events[0].step, events[0].detail) == (JobStep.QUEUED, "idle_pause")

    await change(resources, started_at=ago(3601), active_at=ago(3599))
    assert await reconcile_idle(worker.context, NOTHING) == 0
    await change(resources, active_at=ago(3600))
    assert await reconcile_idle(worker.context, NOTHING) == 1
    await worker.drain()
    row = await read(resources)
    assert (row.status, row.rest_reason) == (WorkspaceStatus.STOPPED, "idle_stop")
    assert runtime.state[name].state is RunState.EXITED


@pytest.mark.parametrize("grown", [Usage(3.0, 0), Usage(0.0, 100_000)], ids=["processor", "frames"])
async def test_one_that_works_is_not_paused(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str, grown: Usage
) -> None:
    await change(resources, started_at=ago(601), active_at=ago(601), sampled_at=ago(31))
    runtime.state[name].usage = grown
    assert await reconcile_idle(worker.context, NOTHING) == 0
    row = await read(resources)
    assert row.status is WorkspaceStatus.RUNNING
    assert row.active_at is not None
    assert row.active_at > ago(10)
    assert (row.cpu_seconds, row.network_bytes) == (grown.cpu_seconds, grown.network_bytes)


async def test_an_open_connection_without_frames_does_not_keep_it(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str
) -> None:
    await change(resources, started_at=ago(601), active_at=ago(601), sampled_at=ago(31))
    runtime.state[name].usage = Usage(0.4, 600)
    assert await reconcile_idle(worker.context, NOTHING) == 1


async def test_counters_are_read_once_an_interval(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str
) -> None:
    first = (await read(resources)).sampled_at
    runtime.state[name].usage = Usage(9.0, 9)
    await reconcile_idle(worker.context, NOTHING)
    assert (await read(resources)).sampled_at == first


async def test_counters_that_cannot_be_read_never_count_as_idle(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(name: str) -> Usage | None:
        raise EngineUnavailable

    usage = runtime.usage
    monkeypatch.setattr(runtime, "usage", away)
    await change(resources, started_at=ago(9999), active_at=ago(3000), sampled_at=ago(2000))
    assert await reconcile_idle(worker.context, NOTHING) == 0
    # Nor does the first look afterwards: what happened in between is not known.
    monkeypatch.setattr(runtime, "usage", usage)
    assert await reconcile_idle(worker.context, NOTHING) == 0
    row = await read(resources)
    assert row.active_at is not None
    assert row.active_at > ago(10)


@pytest.mark.parametrize("limits", [{"max_lifetime": 600}])
async def test_the_longest_life_ends_also_one_that_works(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str
) -> None:
    await change(resources, started_at=ago(601), active_at=ago(0))
    assert await reconcile_idle(worker.context, NOTHING) == 1
    await worker.drain()
    row = await read(resources)
    assert (row.status, row.rest_reason) == (WorkspaceStatus.STOPPED, "max_lifetime")


@pytest.mark.parametrize("limits", [{}])
async def test_without_a_limit_nothing_is_read_and_nothing_rests(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, name: str
) -> None:
    await change(resources, started_at=ago(10**7), active_at=ago(10**7))
    assert await reconcile_idle(worker.context, NOTHING) == 0
    assert (await read(resources)).sampled_at is None


async def test_one_that_was_used_since_it_was_found_idle_is_left_alone(
    resources: Resources, worker: TestWorker, name: str
) -> None:
    row = await read(resources)
    async with resources.unit_of_work() as session:
        assert await stop_idle(session, resources, row.id) is None
    assert (await last_job(resources))[0].kind is JobKind.LAUNCH


async def test_one_that_a_job_is_changing_is_left_alone(resources: Resources, worker: TestWorker, name: str) -> None:
    row = await read(resources)
    async with resources.unit_of_work() as session:
        locked = await session.get_one(Workspace, row.id, with_for_update=True)
        await service.begin(session, resources, locked, JobKind.LAUNCH)
    await change(resources, started_at=ago(601), active_at=ago(601))
    assert await reconcile_idle(worker.context, NOTHING) == 0
    async with resources.unit_of_work() as session:
        assert await stop_idle(session, resources, row.id) is None


async def test_a_pause_that_failed_is_not_tried_at_every_look(
    resources: Resources, worker: TestWorker, name: str
) -> None:
    await change(resources, started_at=ago(601), active_at=ago(601))
    assert await reconcile_idle(worker.context, NOTHING) == 1
    async with resources.unit_of_work() as session:
        await session.execute(
            update(Job).where(Job.kind == JobKind.PAUSE).values(state=JobState.FAILED, finished_at=utcnow())
        )
    assert await reconcile_idle(worker.context, NOTHING) == 0
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.kind == JobKind.PAUSE).values(finished_at=ago(601)))
    assert await reconcile_idle(worker.context, NOTHING) == 1


async def test_what_somebody_asks_for_clears_the_reason(resources: Resources, worker: TestWorker, name: str) -> None:
    await change(resources, started_at=ago(601), active_at=ago(601))
    await reconcile_idle(worker.context, NOTHING)
    await worker.drain()
    row = await read(resources)
    async with resources.unit_of_work() as session:
        user = (await session.scalars(select(User))).one()
        await service.request(session, resources, user, "hello")
    await worker.drain()
    after = await read(resources)
    assert (after.status, after.rest_reason) == (WorkspaceStatus.RUNNING, None)
    # A pause is no end: its longest life goes on from its start.
    assert after.started_at == row.started_at
