"""Admission by the workers' loops: whichever worker makes the pass, however many do, and whatever dies meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.settings.model import Settings
from app.core.supervise import background_loop
from app.models import EngineCapacity, Job, JobKind, User, Workspace
from app.resources import Resources, open_resources
from app.workspaces import admission, service
from tests.conftest import TestWorker, worker_on
from tests.support.clocks import Time
from tests.support.crowd import crowd
from tests.support.driving import accept, until
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.queues import queued
from tests.support.statements import counted
from workers.context import WorkerContext
from workers.loops import admit as loop
from workers.loops.admit import admit, admit_forever, resend

MEGABYTE = 1 << 20
HOUR = 3600.0
NOBODY = "redis://127.0.0.1:1/0"


def limit(*bundles: Resources, **values: object) -> None:
    """Change settings of the bundles."""
    for resources in bundles:
        object.__setattr__(resources, "settings", resources.settings.model_copy(update=values))


async def ask(resources: Resources, user: User, kind: JobKind = JobKind.LAUNCH) -> Job:
    async with resources.unit_of_work() as session:
        job = (await service.request(session, resources, user, "hello", kind)).job
    assert job is not None
    return job


async def many(resources: Resources, count: int) -> list[User]:
    return [await make_user(resources, f"user{number}") for number in range(count)]


async def count(resources: Resources, *criteria: object) -> int:
    async with resources.reads() as session:
        return await session.scalar(select(func.count(Job.id)).where(*criteria)) or 0  # type: ignore[arg-type]


async def version(resources: Resources, job: Job) -> tuple[bool, int]:
    """Whether the job is admitted, and its version."""
    async with resources.reads() as session:
        row = await session.execute(select(Job.admitted_at.is_not(None), Job.version).where(Job.id == job.id))
        admitted, number = row.one()
        return admitted, number


@asynccontextmanager
async def another_worker(settings: Settings, runtime: FakeRuntime) -> AsyncIterator[WorkerContext]:
    """A second worker's context, with connections of its own."""
    async with open_resources(settings) as resources, worker_on(settings, resources, runtime) as made:
        yield made.context


@asynccontextmanager
async def admitting(*contexts: WorkerContext) -> AsyncIterator[None]:
    """The loop of each of these workers, beside the block."""
    async with AsyncExitStack() as stack:
        for context in contexts:
            await stack.enter_async_context(background_loop("admit_forever", partial(admit_forever, context)))
        yield


async def test_two_loops_at_once_admit_everybody_once(
    settings: Settings, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    async with another_worker(settings, runtime) as other:
        limit(resources, other.resources, launches_at_once=1000, queue_limit=1000)
        users = await many(resources, 60)
        async with admitting(worker.context, other):
            jobs = await crowd(ask(resources, user) for user in users)

            async def all_admitted() -> bool:
                return await count(resources, Job.admitted_at.is_not(None)) == len(jobs)

            await until(all_admitted)
    assert {await version(resources, job) for job in jobs} == {(True, 2)}


async def test_two_loops_at_once_pass_no_limit(
    settings: Settings, resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    async with another_worker(settings, runtime) as other:
        limit(resources, other.resources, launches_at_once=1000, queue_limit=1000, running_limit=7)
        async with resources.unit_of_work() as session:
            session.add(EngineCapacity(id=1, memory_bytes=5 * 64 * MEGABYTE, cpus=64))
        users = await many(resources, 40)
        async with admitting(worker.context, other):
            await crowd(ask(resources, user) for user in users)

            async def all_judged() -> bool:
                return not await count(resources, Job.admitted_at.is_(None), Job.blocked_by.is_(None))

            await until(all_judged)
    assert await count(resources, Job.admitted_at.is_not(None)) == 5
    async with resources.reads() as session:
        assert await session.scalar(select(func.sum(Workspace.reserved_memory))) == 5 * 64 * MEGABYTE


async def test_of_two_passes_that_judge_the_same_queue_one_writes(resources: Resources) -> None:
    limit(resources, running_limit=2)
    for user in await many(resources, 4):
        await ask(resources, user)
    async with resources.reads() as first, resources.reads() as second:
        judgements = [await admission.judge(session, resources) for session in (first, second)]
        assert judgements[0] is not None
        assert judgements[1] is not None
        written = await asyncio.gather(
            admission.write(first, resources, judgements[0]), admission.write(second, resources, judgements[1])
        )
    assert sorted(written, key=str) == [2, None]
    assert await count(resources, Job.admitted_at.is_not(None)) == 2


async def test_a_pass_whose_connection_is_killed_is_made_by_another_worker(
    settings: Settings, resources: Resources, worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine
) -> None:
    job = await ask(resources, await make_user(resources))
    async with another_worker(settings, runtime) as other, other.resources.reads() as session:
        judged = await admission.judge(session, other.resources)
        assert judged is not None
        own = await session.scalar(text("SELECT pg_backend_pid()"))
        async with owner.connect() as connection:
            assert await connection.scalar(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
        with pytest.raises(SQLAlchemyError):
            await admission.write(session, other.resources, judged)
    assert await admit(worker.context) == 1
    assert await version(resources, job) == (True, 2)


async def test_a_job_that_ends_while_a_pass_judges_it_is_not_admitted(resources: Resources, worker: TestWorker) -> None:
    first, second = await many(resources, 2)
    ended, kept = await ask(resources, first), await ask(resources, second)
    async with resources.reads() as session:
        judged = await admission.judge(session, resources)
        assert judged is not None
        async with resources.unit_of_work() as other:
            await service.cancel(other, resources, first, ended.id)
        assert await admission.write(session, resources, judged) == 1
    assert await version(resources, kept) == (True, 2)
    assert not (await version(resources, ended))[0]
    async with resources.reads() as session:
        assert await session.scalar(select(func.count(Workspace.reserved_memory))) == 1


async def test_a_pass_waits_for_no_row_that_a_request_holds(resources: Resources, worker: TestWorker) -> None:
    first, second = await many(resources, 2)
    busy, free = await ask(resources, first), await ask(resources, second)
    async with resources.unit_of_work() as session:
        await session.get_one(Workspace, busy.workspace_id, with_for_update={"key_share": True})
        assert await admit(worker.context) == 1
        assert await version(resources, free) == (True, 2)
        assert not (await version(resources, busy))[0]
    assert await admit(worker.context) == 1


async def test_what_a_worker_without_redis_admits_another_one_sends(
    settings: Settings, resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    job = await ask(resources, await make_user(resources))
    async with another_worker(settings.model_copy(update={"redis_url": NOBODY}), runtime) as cut_off:
        assert await admit(cut_off) == 1
    assert await queued(resources) == set()
    await resend(worker.context)
    assert await queued(resources) == set(), "its message may still be on its way"
    time.pass_(seconds=2)
    await resend(worker.context)
    assert await queued(resources) == {f"launch_workspace:{job.id}"}


async def test_a_loop_that_hears_nothing_looks_by_itself(
    settings: Settings, resources: Resources, runtime: FakeRuntime
) -> None:
    async with another_worker(settings.model_copy(update={"redis_url": NOBODY}), runtime) as deaf, admitting(deaf):
        job = await ask(resources, await make_user(resources))

        async def admitted() -> bool:
            return (await version(resources, job))[0]

        await until(admitted)


async def test_a_launch_and_whatever_makes_room_wake_the_loop(
    resources: Resources, worker: TestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "POLL_SECONDS", HOUR)
    limit(resources, running_limit=1)
    first, second = await many(resources, 2)
    async with worker.running(reconciling=False):
        launched, waiting = await ask(resources, first), await ask(resources, second)

        async def started(job: Job) -> bool:
            return bool(await count(resources, Job.id == job.id, Job.state == "succeeded"))

        await until(partial(started, launched))
        await ask(resources, first, JobKind.STOP)
        await until(partial(started, waiting))


@pytest.mark.parametrize("waiting", [2, 40])
async def test_a_pass_costs_as_many_statements_for_forty_as_for_two(
    resources: Resources, worker: TestWorker, waiting: int
) -> None:
    limit(resources, running_limit=waiting - 1, queue_limit=1000, launches_at_once=1000)
    for user in await many(resources, waiting):
        await ask(resources, user)
    async with counted(resources.engine, resources.reader) as statements:
        assert await admit(worker.context) == waiting - 1
    # Whether anything waits, what is taken, the line; what is admitted, and what the rest waits for.
    assert len(statements) == 5


async def test_a_pass_with_nothing_to_do_costs_one_statement(resources: Resources, worker: TestWorker) -> None:
    await accept(resources)
    async with counted(resources.engine, resources.reader) as statements:
        assert await admit(worker.context) == 0
    assert len(statements) == 1
