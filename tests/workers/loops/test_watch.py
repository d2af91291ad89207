"""One worker follows the engine's events, asks the database once for many, and leaves to jobs what jobs hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import update

from app.core.supervise import background_task
from app.models import Job, JobState, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import Event, Report, RunState, Status
from app.runtime.spec import WorkspaceSpec
from tests.conftest import TestWorker
from tests.support.driving import accept, has_state, only, row_of, run_one, until
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.statements import counted
from workers.loops.engine_events import News, look, watch


@asynccontextmanager
async def watching(*workers: TestWorker) -> AsyncIterator[None]:
    """The watch of so many workers."""
    if not workers:
        yield
        return
    async with background_task(asyncio.create_task(watch(workers[0].context))), watching(*workers[1:]):
        yield


def news_of(*events: tuple[UUID, str]) -> News:
    news = News()
    for workspace_id, action in events:
        news.add(Event(workspace_id, action, utcnow()))
    return news


def looks(statements: list[str]) -> list[str]:
    return [one for one in statements if "ANY (" in one and "LEFT OUTER JOIN jobs" in one]


async def test_a_launch_with_two_workers_costs_one_statement_for_its_events(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    job = await accept(resources)
    async with counted(resources.engine, resources.reader) as statements:

        async def looked() -> bool:
            return bool(looks(statements))

        async def start(spec: WorkspaceSpec, report: Report) -> None:
            for _ in range(5):
                runtime.happened.put_nowait(Event(spec.workspace_id, "start", utcnow()))
            await until(looked)

        runtime.before = start
        async with watching(worker, worker), worker.running(reconciling=False):
            await until(lambda: has_state(resources, job, JobState.SUCCEEDED))
    assert len(looks(statements)) == 1


async def test_one_statement_asks_for_all_that_had_news_and_no_engine_for_what_jobs_hold(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await accept(resources, await make_user(resources, f"user{number}")) for number in range(5)]
    asked: list[str] = []

    async def status(name: str) -> Status:
        asked.append(name)
        return Status(RunState.ABSENT)

    monkeypatch.setattr(runtime, "status", status)
    news = news_of(*((job.workspace_id, action) for job in jobs for action in ("die", "destroy", "start")))
    async with counted(resources.engine, resources.reader) as statements:
        await look(worker.context, news)
    assert (len(statements), asked, news.actions) == (1, [], {})


async def test_an_event_that_changes_nothing_writes_nothing(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with counted(resources.engine, resources.reader) as statements:
        await look(worker.context, news_of((workspace.id, "start")))
    assert len(statements) == 1


async def test_a_container_that_ends_under_its_launch_is_noticed_when_the_launch_has_ended(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(state=JobState.RUNNING))
    runtime.end(only(runtime), exit_code=9)
    news = news_of((workspace.id, "die"))
    await look(worker.context, news)
    assert set(news.actions) == {workspace.id}
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(state=JobState.SUCCEEDED))
    await look(worker.context, news)
    assert (await row_of(resources, workspace)).exit_code == 9


async def test_a_database_that_is_away_loses_no_event(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = await run_one(resources, worker)
    runtime.end(only(runtime), exit_code=9)
    news = news_of((workspace.id, "die"))
    with monkeypatch.context() as patched:
        patched.setattr("workers.loops.engine_events._read", away)
        await look(worker.context, news)
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING
    await look(worker.context, news)
    assert (await row_of(resources, workspace)).exit_code == 9


async def away(*_: object) -> None:
    raise OSError("no database")


async def test_what_happened_while_nobody_led_is_seen_by_the_next_leader(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with watching(worker):
        await until(lambda: leads(resources))
    runtime.end(only(runtime), exit_code=9)

    async def noticed() -> bool:
        return (await row_of(resources, workspace)).exit_code == 9

    async with watching(worker, worker):
        await until(noticed)


async def leads(resources: Resources) -> bool:
    return bool(await resources.redis.exists(f"spawner:{resources.settings.instance}:engine_events"))


async def test_a_failure_at_one_workspace_keeps_no_other_from_being_looked_at(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await accept(resources, await make_user(resources, f"user{number}"))
    await worker.drain()
    names = sorted(runtime.containers)
    specs = [runtime.containers[name] for name in names]
    for name in names:
        runtime.end(name, exit_code=9)
    status = runtime.status

    async def fails_for_the_first(name: str) -> Status:
        if name == names[0]:
            raise OSError("no engine")
        return await status(name)

    monkeypatch.setattr(runtime, "status", fails_for_the_first)
    await look(worker.context, news_of(*((spec.workspace_id, "die") for spec in specs)))
    async with resources.reads() as session:
        rows = {spec.name: await session.get_one(Workspace, spec.workspace_id) for spec in specs}
    assert [rows[name].last_exit_status for name in names] == [None, 9, 9]
