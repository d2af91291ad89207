"""Driving a job: outcomes, retries, leases, and workers that die."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.catalog.images import image_key
from app.core.outbox import Outbox
from app.models import Job, JobKind, JobState, JobStep, Network, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import ContainerExited, EngineUnavailable, ImageMissing, Phase, Progress, Report, SubnetTaken
from app.runtime.spec import WorkspaceSpec
from app.workspaces import service
from app.workspaces.jobs import leases
from app.workspaces.jobs.leases import LeaseLost
from tests.conftest import TestWorker
from tests.support.driving import accept, drive, failing, has_state, read, until
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime, http_peer
from tests.support.queues import messages
from tests.support.waiting import PATIENCE


async def test_a_transient_engine_error_is_tried_again(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.before = failing(EngineUnavailable(), EngineUnavailable())
    job = await accept(resources)
    async with worker.running(reconciling=False):
        await until(lambda: has_state(resources, job, JobState.SUCCEEDED))
    _, _, events = await read(resources, job)
    retries = [event.detail for event in events if event.step is JobStep.RETRYING]
    assert retries == ["engine_unavailable", "engine_unavailable"]


async def test_a_transient_error_that_outlasts_the_deadline_fails_with_its_cause(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.before = failing(EngineUnavailable())
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(deadline=utcnow() + timedelta(seconds=0.5)))
    await drive(worker, job)
    row, workspace, _ = await read(resources, job)
    assert (row.state, row.error_code) == (JobState.FAILED, "engine_unavailable")
    assert (workspace.status, workspace.error_code) == (WorkspaceStatus.ERROR, "engine_unavailable")


async def test_a_missing_image_fails_at_once(resources: Resources, worker: TestWorker, runtime: FakeRuntime) -> None:
    async def nowhere(image: str, report: Report) -> None:
        raise ImageMissing

    runtime.missing, runtime.before_pull = {"spawner/hello:1"}, nowhere
    job = await accept(resources)
    await drive(worker, job)
    row, workspace, _ = await read(resources, job)
    assert (row.state, row.error_code, row.attempts) == (JobState.FAILED, "image_missing", 1)
    assert workspace.host is None


async def test_a_missing_image_that_is_being_built_is_waited_for(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    await resources.redis.set(image_key(resources.settings.instance, "spawner/hello:1"), "building")
    runtime.before = failing(ImageMissing())
    job = await accept(resources)
    async with worker.running(reconciling=False):
        await until(lambda: has_state(resources, job, JobState.SUCCEEDED))
    assert (await read(resources, job))[0].attempts == 2


async def test_a_container_that_exits_is_removed_and_the_job_says_exited(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.port, runtime.exit_code = 1, 3
    job = await accept(resources)
    await drive(worker, job)
    row, _, events = await read(resources, job)
    assert (row.state, row.error_code) == (JobState.FAILED, "exited")
    assert events[-1].detail == "exit code 3"
    assert runtime.containers == {}


async def test_a_container_that_ends_at_its_start_is_told_from_one_that_ran_out_of_memory(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.before = failing(ContainerExited())
    runtime.exit_code, runtime.out_of_memory = 137, True
    job = await accept(resources)
    await drive(worker, job)
    row, _, _ = await read(resources, job)
    assert (row.state, row.error_code) == (JobState.FAILED, "out_of_memory")


async def test_an_application_that_answers_500_is_not_ready(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    job = await accept(resources)
    async with http_peer(500) as port:
        runtime.port = port
        driving = asyncio.create_task(drive(worker, job))
        await until(lambda: has_step(resources, job, JobStep.PROBING))
        runtime.exit_code = 1
        await driving
    row, _, _ = await read(resources, job)
    assert row.error_code == "exited"


async def has_step(resources: Resources, job: Job, step: JobStep) -> bool:
    return (await read(resources, job))[0].step is step


async def test_a_subnet_that_the_host_uses_already_is_passed_over(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.before = failing(SubnetTaken(), SubnetTaken(), SubnetTaken())
    job = await accept(resources)
    await drive(worker, job)
    row, workspace, _ = await read(resources, job)
    assert row.state is JobState.SUCCEEDED
    assert await networks_of(resources) == {workspace.id: 7}
    assert [spec.network.subnet for spec in runtime.containers.values()] == ["10.215.0.112/28"]


async def test_a_range_without_a_free_subnet_is_a_failure_that_says_so(
    resources: Resources, worker: TestWorker
) -> None:
    first = await accept(resources)
    await drive(worker, first)
    small = resources.settings.model_copy(update={"network_range": "10.215.0.0/28"})
    object.__setattr__(resources, "settings", small)
    second = await accept(resources, await make_user(resources, "bob"))
    await drive(worker, second)
    row, _, _ = await read(resources, second)
    assert (row.state, row.error_code) == (JobState.FAILED, "no_subnet")


async def test_concurrent_launches_get_subnets_of_their_own(resources: Resources, worker: TestWorker) -> None:
    jobs = [await accept(resources, await make_user(resources, f"user{number}")) for number in range(12)]
    await asyncio.gather(*(drive(worker, job) for job in jobs))
    assert sorted((await networks_of(resources)).values()) == list(range(12))


async def networks_of(resources: Resources) -> dict[UUID, int]:
    """The indices of the networks that workspaces have."""
    query = select(Network.workspace_id, Network.index).where(Network.workspace_id.is_not(None))
    async with resources.unit_of_work() as session:
        return {workspace_id: index for workspace_id, index in await session.execute(query) if workspace_id}


async def test_a_job_that_runs_twice_at_once_makes_one_container(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    job = await accept(resources)
    await asyncio.gather(*(drive(worker, job) for _ in range(10)))
    row, _, _ = await read(resources, job)
    assert (row.state, row.attempts) == (JobState.SUCCEEDED, 1)
    assert runtime.calls == 1


async def test_a_claimed_job_leaves_the_queue_that_every_worker_reads(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    waiting: list[str] = []

    async def look(spec: WorkspaceSpec, report: Report) -> None:
        waiting.extend(await messages(resources))

    runtime.before = look
    await accept(resources)
    assert len(await messages(resources)) == 1
    await worker.drain()
    assert waiting == []


async def test_pull_progress_shows_bytes_and_moves_the_deadline(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    async def pull(spec: WorkspaceSpec, report: Report) -> None:
        await report(Progress(Phase.PULLING, 0, 100_000_000))
        await report(Progress(Phase.PULLING, 50_000_000, 100_000_000))

    runtime.before = pull
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(Job).values(deadline=utcnow() + timedelta(seconds=5)))
    await drive(worker, job)
    row, _, events = await read(resources, job)
    assert [event.detail for event in events if event.step is JobStep.PULLING] == ["50.0 of 100.0 MB"]
    assert row.deadline > utcnow() + timedelta(seconds=60)


async def test_a_worker_that_lost_its_lease_writes_nothing(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    job = await accept(resources)

    async def steal(spec: WorkspaceSpec, report: Report) -> None:
        async with resources.unit_of_work() as session:
            expired = utcnow() - timedelta(seconds=1)
            await session.execute(update(Job).where(Job.id == job.id).values(lease_until=expired))
            assert await leases.claim(session, resources, job.id) is not None

    runtime.before = steal
    await drive(worker, job)
    row, workspace, _ = await read(resources, job)
    assert (row.state, row.attempts) == (JobState.RUNNING, 2)
    assert workspace.status is WorkspaceStatus.QUEUED


async def test_a_lease_is_renewed_while_a_slow_launch_goes_on(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    slow = asyncio.Event()

    async def wait(spec: WorkspaceSpec, report: Report) -> None:
        await slow.wait()

    runtime.before = wait
    job = await accept(resources)
    driving = asyncio.create_task(drive(worker, job))
    await until(lambda: has_state(resources, job, JobState.RUNNING))
    first = (await read(resources, job))[0].lease_until
    assert first is not None

    async def renewed() -> bool:
        lease = (await read(resources, job))[0].lease_until
        return lease is not None and lease > first

    await until(renewed)
    slow.set()
    await driving
    assert await has_state(resources, job, JobState.SUCCEEDED)


async def test_a_superseded_launch_lets_go_before_the_newer_job_begins(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    stuck = asyncio.Event()

    async def hang(spec: WorkspaceSpec, report: Report) -> None:
        if spec.revision == 1:
            await stuck.wait()

    runtime.before = hang
    user = await make_user(resources)
    first = await accept(resources, user)
    driving = asyncio.create_task(drive(worker, first))
    await until(lambda: has_state(resources, first, JobState.RUNNING))
    async with resources.unit_of_work() as session:
        second = (await service.request(session, resources, user, "hello", kind=JobKind.RESTART)).job
    assert second is not None
    await drive(worker, second)
    assert await has_state(resources, second, JobState.QUEUED)
    worker.context.revocations.notify(str(first.id))
    await driving
    await worker.drain()
    assert await has_state(resources, first, JobState.SUPERSEDED)
    assert await has_state(resources, second, JobState.SUCCEEDED)
    assert [spec.revision for spec in runtime.containers.values()] == [2]


async def test_a_job_whose_work_ends_as_it_is_revoked_is_let_go(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    async def revoke(job: Job, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        worker.context.revocations.notify(str(job.id))

    revoking: list[asyncio.Task[None]] = []

    async def lose(spec: WorkspaceSpec, report: Report) -> None:
        revoking.append(asyncio.create_task(revoke(job, turns)))
        raise LeaseLost

    runtime.before = lose
    for turns in range(20):
        job = await accept(resources, await make_user(resources, f"user{turns}"))
        async with asyncio.timeout(PATIENCE):
            await drive(worker, job)
        await revoking.pop()
        assert (await read(resources, job))[0].lease is None


async def test_a_worker_that_is_told_to_stop_hands_its_job_back(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    async def hang(spec: WorkspaceSpec, report: Report) -> None:
        await asyncio.Event().wait()

    runtime.before = hang
    job = await accept(resources)
    driving = asyncio.create_task(drive(worker, job))
    await until(lambda: has_state(resources, job, JobState.RUNNING))
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    row, _, _ = await read(resources, job)
    assert (row.state, row.lease) == (JobState.QUEUED, None)
    runtime.before = failing()
    await worker.drain()
    assert await has_state(resources, job, JobState.SUCCEEDED)


async def test_a_worker_that_is_told_to_stop_while_redis_hears_of_its_claim_hands_the_job_back(
    resources: Resources, worker: TestWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await accept(resources)
    with monkeypatch.context() as slow:
        sending = asyncio.Event()

        async def hang(*_: object) -> None:
            if not sending.is_set():
                sending.set()
                await asyncio.Event().wait()

        slow.setattr(Outbox, "flush", hang)
        driving = asyncio.create_task(drive(worker, job))
        await sending.wait()
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
    row, _, _ = await read(resources, job)
    assert (row.state, row.lease) == (JobState.QUEUED, None)


async def test_a_template_that_left_the_catalogue_is_a_failure_that_says_so(
    resources: Resources, worker: TestWorker
) -> None:
    job = await accept(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).values(template="gone"))
    await drive(worker, job)
    assert (await read(resources, job))[0].error_code == "template_gone"


async def test_the_container_is_told_who_and_where_it_is_and_no_secret(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, settings: Any
) -> None:
    job = await accept(resources)
    await drive(worker, job)
    (spec,) = runtime.containers.values()
    assert spec.environment == {
        "SPAWNER_USER_SLUG": "alice",
        "SPAWNER_TEMPLATE": "hello",
        "SPAWNER_ROUTE": "alice-hello",
        "SPAWNER_BASE_PATH": "/",
        "SPAWNER_PUBLIC_URL": "http://localhost:8080",
    }
    assert settings.secret_key not in repr(spec)
