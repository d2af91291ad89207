"""What a launch's job writes, and what that costs: steps that follow each other at once are one statement."""

import asyncio

import pytest
from sqlalchemy import select, text, update

from app.models import Job, JobState, JobStep, Network, Workspace, WorkspaceStatus
from app.resources import Resources
from app.runtime.base import Phase, Progress, Report
from app.runtime.spec import WorkspaceSpec
from app.workspaces.jobs import leases, outcomes
from app.workspaces.jobs.leases import Claim, LeaseLost
from app.workspaces.jobs.outcomes import Line
from tests.conftest import TestWorker
from tests.support.driving import accept, drive, read, until
from tests.support.fakes import FakeRuntime
from tests.support.statements import counted

# The claim takes three, the outcome one, and each of three steps one where the engine is slow.
MOST = 7


async def claimed(resources: Resources) -> tuple[Job, Claim]:
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        held = await leases.claim(session, resources, job.id)
    assert held is not None
    return job, held


async def add_ready_network(resources: Resources) -> None:
    async with resources.unit_of_work() as session:
        session.add(Network(index=0, ready=True))


async def test_a_launch_costs_the_worker_seven_statements(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    await add_ready_network(resources)
    job = await accept(resources)
    async with counted(resources.engine, resources.reader) as statements:
        await drive(worker, job)
    (row, _, _) = await read(resources, job)
    assert row.state is JobState.SUCCEEDED
    admission = [one for one in statements if "admission_passes" in one]
    assert len(statements) - len(admission) <= MOST, "\n".join(statements)


async def test_steps_of_a_slow_engine_show_while_it_works(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    go_on = asyncio.Event()

    async def slow(spec: WorkspaceSpec, report: Report) -> None:
        await report(Progress(Phase.CREATING))
        await go_on.wait()

    runtime.before = slow
    job = await accept(resources)

    async def creating() -> bool:
        _, workspace, events = await read(resources, job)
        return workspace.status is WorkspaceStatus.CREATING and events[-1].step is JobStep.CREATING

    driving = asyncio.create_task(drive(worker, job))
    await until(creating)
    go_on.set()
    await driving
    _, workspace, events = await read(resources, job)
    assert workspace.status is WorkspaceStatus.RUNNING
    times = [event.at for event in events]
    assert times == sorted(times)


async def test_a_job_that_ends_while_its_step_waits_for_the_row_writes_nothing(resources: Resources) -> None:
    job, held = await claimed(resources)

    async def waits() -> bool:
        async with resources.reads() as look:
            return bool(await look.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    async with resources.sessions() as session:
        await session.execute(select(Workspace.id).where(Workspace.id == job.workspace_id).with_for_update())
        now = job.created_at
        async with asyncio.TaskGroup() as group:

            async def write() -> None:
                with pytest.raises(LeaseLost):
                    async with resources.unit_of_work() as other:
                        await outcomes.steps(other, held, [Line(JobStep.CREATING, now), Line(JobStep.STARTING, now)])

            group.create_task(write())
            await until(waits)
            await session.execute(update(Job).where(Job.id == job.id).values(state=JobState.SUPERSEDED))
            row = update(Workspace).where(Workspace.id == job.workspace_id)
            await session.execute(row.values(generation=Workspace.generation + 1))
            await session.commit()
    _, workspace, events = await read(resources, job)
    assert workspace.status is WorkspaceStatus.QUEUED
    assert [event.step for event in events] == [JobStep.QUEUED, JobStep.CLAIMED]
