"""Stop, restart, delete and cancel: legal from any state, the newer one wins, and nothing is left behind."""

import asyncio

import httpx
import pytest
from sqlalchemy import func, select, update

from app.models import (
    DesiredState,
    Job,
    JobKind,
    JobState,
    Network,
    User,
    Workspace,
    WorkspaceStatus,
)
from app.resources import Resources
from app.runtime.base import Report, RunState
from app.runtime.spec import WorkspaceSpec
from app.workspaces import service
from app.workspaces.errors import NotCancellable
from tests.conftest import TestWorker
from tests.support.crowd import crowd
from tests.support.driving import drive, has_state, until
from tests.support.factories import make_user, sign_in
from tests.support.fakes import FakeRuntime

KINDS = (JobKind.LAUNCH, JobKind.RESTART, JobKind.STOP, JobKind.DELETE)


async def ask(resources: Resources, user: User, kind: JobKind = JobKind.LAUNCH) -> Job | None:
    async with resources.unit_of_work() as session:
        return (await service.request(session, resources, user, "hello", kind)).job


async def launched(resources: Resources, worker: TestWorker) -> User:
    """A user whose workspace runs."""
    user = await make_user(resources)
    await ask(resources, user)
    await worker.drain()
    return user


async def workspace_of(resources: Resources, user: User) -> Workspace:
    async with resources.unit_of_work() as session:
        return (await session.scalars(select(Workspace).where(Workspace.user_id == user.id))).one()


async def cancel(resources: Resources, user: User, job: Job) -> Job:
    async with resources.unit_of_work() as session:
        return await service.cancel(session, resources, user, job.id)


async def live_jobs(resources: Resources) -> int:
    async with resources.unit_of_work() as session:
        live = Job.state.in_([JobState.QUEUED, JobState.RUNNING])
        return await session.scalar(select(func.count()).select_from(Job).where(live)) or 0


async def test_a_stopped_workspace_keeps_its_container_and_starts_again(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await launched(resources, worker)
    await ask(resources, user, JobKind.STOP)
    assert (await workspace_of(resources, user)).status is WorkspaceStatus.STOPPING
    await worker.drain()
    stopped = await workspace_of(resources, user)
    assert (stopped.status, stopped.desired_state, stopped.host) == (
        WorkspaceStatus.STOPPED,
        DesiredState.STOPPED,
        None,
    )
    assert stopped.reserved_memory is None
    await ask(resources, user)
    await worker.drain()
    assert (await workspace_of(resources, user)).status is WorkspaceStatus.RUNNING
    assert runtime.created == 1


async def test_a_deleted_workspace_is_gone_and_its_network_serves_the_next(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await launched(resources, worker)
    await ask(resources, user, JobKind.DELETE)
    await worker.drain()
    deleted = await workspace_of(resources, user)
    assert (deleted.status, deleted.desired_state) == (WorkspaceStatus.NOT_CREATED, DesiredState.ABSENT)
    assert runtime.containers == {}
    async with resources.unit_of_work() as session:
        assert [row.workspace_id for row in await session.scalars(select(Network))] == [None]
    await ask(resources, await make_user(resources, "bob"))
    await worker.drain()
    assert [spec.network.name for spec in runtime.containers.values()] == list(runtime.networks)


@pytest.mark.parametrize("status", WorkspaceStatus)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_request_is_legal_from_every_state_and_comes_to_its_end(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, status: WorkspaceStatus, kind: JobKind
) -> None:
    user = await launched(resources, worker)
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(status=status))
    job = await ask(resources, user, kind)
    await worker.drain()
    ended = {JobKind.STOP: WorkspaceStatus.STOPPED, JobKind.DELETE: WorkspaceStatus.NOT_CREATED}
    expected = ended.get(kind, WorkspaceStatus.RUNNING) if job else status
    assert (await workspace_of(resources, user)).status is expected
    assert await live_jobs(resources) == 0


@pytest.mark.parametrize("kind", [JobKind.RESTART, JobKind.STOP, JobKind.DELETE])
async def test_a_newer_request_supersedes_a_launch_that_is_stuck_at_the_engine(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, kind: JobKind
) -> None:
    async def hang(spec: WorkspaceSpec, report: Report) -> None:
        if spec.revision == 1:
            await asyncio.Event().wait()

    runtime.before = hang
    user = await make_user(resources)
    stuck = await ask(resources, user)
    assert stuck is not None
    async with worker.running(reconciling=False):
        await until(lambda: has_state(resources, stuck, JobState.RUNNING))
        newer = await ask(resources, user, kind)
        assert newer is not None
        await until(lambda: has_state(resources, newer, JobState.SUCCEEDED))
    assert await has_state(resources, stuck, JobState.SUPERSEDED)
    assert len(runtime.containers) == (1 if kind is JobKind.RESTART else 0)


async def test_two_workers_never_act_on_one_workspace(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    inside = 0

    async def count(spec: WorkspaceSpec, report: Report) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0)
        inside -= 1

    runtime.before = count
    user = await make_user(resources)
    async with worker.running(reconciling=False):
        jobs = [await ask(resources, user, kind) for kind in (JobKind.LAUNCH, JobKind.RESTART) * 5]
        last = jobs[-1]
        assert last is not None
        await until(lambda: has_state(resources, last, JobState.SUCCEEDED))
    assert len(runtime.containers) == 1


async def test_a_cancelled_launch_that_waits_leaves_the_workspace_as_it_was(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await make_user(resources)
    job = await ask(resources, user)
    assert job is not None
    assert (await cancel(resources, user, job)).state is JobState.CANCELLED
    workspace = await workspace_of(resources, user)
    assert (workspace.status, workspace.reserved_memory) == (WorkspaceStatus.NOT_CREATED, None)
    await worker.drain()
    assert runtime.calls == 0


async def test_a_cancelled_restart_that_waits_leaves_the_workspace_running(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await launched(resources, worker)
    before = (await workspace_of(resources, user)).container_id
    job = await ask(resources, user, JobKind.RESTART)
    assert job is not None
    await cancel(resources, user, job)
    workspace = await workspace_of(resources, user)
    assert (workspace.status, workspace.container_id) == (WorkspaceStatus.RUNNING, before)
    await worker.drain()
    assert runtime.created == 1


async def test_a_launch_cancelled_in_flight_leaves_nothing_behind(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    started = asyncio.Event()

    async def half(spec: WorkspaceSpec, report: Report) -> None:
        started.set()

    runtime.before, runtime.port = half, 1
    user = await make_user(resources)
    job = await ask(resources, user)
    assert job is not None
    async with worker.running(reconciling=False):
        await started.wait()
        await cancel(resources, user, job)

        async def at_rest() -> bool:
            return (await workspace_of(resources, user)).status is WorkspaceStatus.NOT_CREATED

        await until(at_rest)
    assert await has_state(resources, job, JobState.CANCELLED)
    assert runtime.containers == {}


async def test_a_restart_cancelled_in_flight_comes_to_rest_stopped(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await launched(resources, worker)
    runtime.port = 1
    for spec in runtime.state.values():
        spec.state = RunState.RUNNING
    job = await ask(resources, user, JobKind.RESTART)
    assert job is not None
    async with worker.running(reconciling=False):
        await until(lambda: has_state(resources, job, JobState.RUNNING))
        await cancel(resources, user, job)

        async def at_rest() -> bool:
            return (await workspace_of(resources, user)).status is WorkspaceStatus.STOPPED

        await until(at_rest)


async def test_a_launch_that_took_over_from_a_stop_and_is_cancelled_comes_to_rest_stopped(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await launched(resources, worker)
    stopping = await ask(resources, user, JobKind.STOP)
    assert stopping is not None
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == stopping.id).values(engine_contacted=True))
    job = await ask(resources, user)
    assert job is not None
    await cancel(resources, user, job)
    await worker.drain()
    assert (await workspace_of(resources, user)).status is WorkspaceStatus.STOPPED
    assert [container.state for container in runtime.state.values()] == [RunState.EXITED]


async def test_a_stop_that_has_begun_cannot_be_cancelled(resources: Resources, worker: TestWorker) -> None:
    user = await launched(resources, worker)
    job = await ask(resources, user, JobKind.STOP)
    assert job is not None
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).where(Job.id == job.id).values(engine_contacted=True))
    with pytest.raises(NotCancellable):
        await cancel(resources, user, job)


async def test_cancelling_twice_or_too_late_changes_nothing(resources: Resources, worker: TestWorker) -> None:
    user = await make_user(resources)
    job = await ask(resources, user)
    assert job is not None
    await drive(worker, job)
    assert (await cancel(resources, user, job)).state is JobState.SUCCEEDED
    assert (await workspace_of(resources, user)).status is WorkspaceStatus.RUNNING


async def test_a_foreign_job_cannot_be_cancelled(client: httpx.AsyncClient, resources: Resources) -> None:
    alice, bob = await sign_in(resources, "alice"), await sign_in(resources, "bob")
    job = await ask(resources, alice.user)
    assert job is not None
    answer = await client.post(f"/api/jobs/{job.id}/cancel", headers=bob.headers)
    assert answer.status_code == 404
    assert await has_state(resources, job, JobState.QUEUED)


async def test_what_never_was_cannot_be_stopped_or_deleted(client: httpx.AsyncClient, resources: Resources) -> None:
    alice = await sign_in(resources)
    assert (await client.post("/api/container/hello/stop", headers=alice.headers)).status_code == 404
    assert (await client.delete("/api/container/hello", headers=alice.headers)).status_code == 404


async def test_100_requests_of_all_kinds_at_once_end_with_one_live_job_at_most(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await launched(resources, worker)
    async with worker.running(reconciling=False):
        await crowd(ask(resources, user, KINDS[number % 4]) for number in range(100))

        async def quiet() -> bool:
            return await live_jobs(resources) == 0

        await until(quiet)
    workspace = await workspace_of(resources, user)
    alive = {status for status in WorkspaceStatus if status in (WorkspaceStatus.RUNNING, WorkspaceStatus.STOPPED)}
    assert (workspace.status in alive) == bool(runtime.containers)
