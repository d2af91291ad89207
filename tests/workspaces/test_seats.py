"""Claims of warm seats: who gets one, what becomes of it, and that nobody gets another's."""

import asyncio

import pytest
from sqlalchemy import select

from app.models import Job, JobEvent, JobKind, JobState, JobStep, Network, SeatState, User, Volume, Workspace
from app.models import WorkspaceStatus as Status
from app.resources import Resources
from app.workspaces import service
from app.workspaces.container_spec import container_name, seat_name
from app.workspaces.errors import QuotaUserRunning
from app.workspaces.service import Accepted
from app.workspaces.volumes import VolumePolicy
from tests.conftest import TestWorker
from tests.support.driving import row_of
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.seats import fill, read_seats, want
from tests.support.waiting import PATIENCE


async def ask(
    resources: Resources,
    user: User,
    kind: JobKind = JobKind.LAUNCH,
    template: str = "hello",
    volume: VolumePolicy | None = None,
) -> Accepted:
    async with resources.unit_of_work() as session:
        return await service.request(session, resources, user, template, kind, volume=volume)


async def read_workspaces(resources: Resources) -> list[Workspace]:
    async with resources.reads() as session:
        return list(await session.scalars(select(Workspace)))


async def test_a_launch_takes_a_ready_seat_and_runs_at_once(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1)
    await fill(resources, worker)
    (seat,) = await read_seats(resources, SeatState.READY)
    user = await make_user(resources)
    accepted = await ask(resources, user)
    row = await row_of(resources, user)
    assert (row.status, row.host, row.port, row.container_id) == (Status.RUNNING, seat.host, seat.port, "container-1")
    assert (accepted.workspace.status, row.seat_id) == (Status.RUNNING, seat.id)
    assert row.reserved_memory == seat.memory

    await worker.drain()
    assert runtime.created == 1
    assert list(runtime.containers) == [container_name(resources.settings, "alice", "hello")]
    row = await row_of(resources, user)
    assert (row.status, row.container_id, row.generation) == (Status.RUNNING, "container-1", 1)
    async with resources.reads() as session:
        job = (await session.scalars(select(Job))).one()
        timeline = await session.execute(select(JobEvent.step, JobEvent.detail).order_by(JobEvent.id))
        steps = [tuple(line) for line in timeline]
        network = (await session.scalars(select(Network).where(Network.workspace_id == row.id))).one()
    assert (job.state, job.kind) == (JobState.SUCCEEDED, JobKind.LAUNCH)
    assert steps == [(JobStep.QUEUED, "warm_seat"), (JobStep.CLAIMED, None), (JobStep.READY, None)]
    assert network.seat_id is None


async def test_fifty_launches_share_five_seats_without_one_being_given_twice(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 5)
    await fill(resources, worker)
    users = [await make_user(resources, f"user{number}") for number in range(50)]
    # As many at once as there are connections to the database.
    turn = asyncio.Semaphore(resources.settings.database_pool)

    async def launch(user: User) -> None:
        async with turn:
            await ask(resources, user)

    await asyncio.gather(*map(launch, users))
    async with resources.reads() as session:
        taken = [row.seat_id for row in await session.scalars(select(Workspace)) if row.seat_id is not None]
    assert len(taken) == len(set(taken)) == 5
    assert set(taken) == {seat.id for seat in await read_seats(resources, SeatState.CLAIMED)}

    # A busy machine loses leases: what lost one is taken up again.
    async with asyncio.timeout(6 * PATIENCE):
        rows = await read_workspaces(resources)
        while {row.status for row in rows} != {Status.RUNNING}:
            await worker.drain()
            await worker.reconcile()
            rows = await read_workspaces(resources)
    assert len({row.container_id for row in rows}) == 50
    assert set(runtime.containers) == {container_name(resources.settings, user.slug, "hello") for user in users}


async def test_a_seat_brings_its_volume_along(resources: Resources, worker: TestWorker, runtime: FakeRuntime) -> None:
    want(resources, 1, "jupyter")
    await fill(resources, worker)
    (name,) = runtime.volumes
    user = await make_user(resources)
    await ask(resources, user, template="jupyter")
    await worker.drain()
    await worker.reconcile()
    async with resources.reads() as session:
        volume = (await session.scalars(select(Volume))).one()
    row = await row_of(resources, user)
    assert (volume.name, volume.user_id, volume.workspace_id, volume.delete_at) == (name, user.id, row.id, None)
    await ask(resources, user, JobKind.RESTART, "jupyter")
    await worker.drain()
    (spec,) = runtime.containers.values()
    assert spec.volume is not None
    assert spec.volume.name == name
    await ask(resources, user, JobKind.DELETE, "jupyter", volume=VolumePolicy.DELETE)
    await worker.drain()
    await worker.reconcile()
    assert runtime.volumes == {}


async def test_who_has_files_gets_a_container_of_their_own(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    user = await make_user(resources)
    await ask(resources, user, template="jupyter")
    await worker.drain()
    await ask(resources, user, JobKind.DELETE, "jupyter")
    await worker.drain()
    want(resources, 1, "jupyter")
    await fill(resources, worker)
    await ask(resources, user, template="jupyter")
    await worker.drain()
    assert (await row_of(resources, user)).seat_id is None
    assert len(await read_seats(resources, SeatState.READY)) == 1
    assert len(runtime.containers) == 2


@pytest.mark.parametrize("kind", [JobKind.STOP, JobKind.DELETE, JobKind.PAUSE, JobKind.RESTART])
async def test_what_is_asked_before_the_container_has_its_name_reaches_it(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, kind: JobKind
) -> None:
    want(resources, 1)
    await fill(resources, worker)
    user = await make_user(resources)
    await ask(resources, user)
    await ask(resources, user, kind)
    await worker.drain()
    name = container_name(resources.settings, "alice", "hello")
    row = await row_of(resources, user)
    wanted = {
        JobKind.STOP: (Status.STOPPED, [name]),
        JobKind.DELETE: (Status.NOT_CREATED, []),
        JobKind.PAUSE: (Status.PAUSED, [name]),
        JobKind.RESTART: (Status.RUNNING, [name]),
    }
    assert (row.status, list(runtime.containers)) == wanted[kind]
    assert runtime.created == 2 if kind is JobKind.RESTART else 1


async def test_a_cancelled_launch_removes_the_seat_that_it_took(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1)
    await fill(resources, worker)
    user = await make_user(resources)
    accepted = await ask(resources, user)
    assert accepted.job is not None
    async with resources.unit_of_work() as session:
        await service.cancel(session, resources, user, accepted.job.id)
    await worker.drain()
    assert (await row_of(resources, user)).status is Status.NOT_CREATED
    assert runtime.containers == {}


async def test_a_seat_that_died_unseen_is_started_again_for_its_workspace(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 2)
    await fill(resources, worker)
    dead, gone = await read_seats(resources, SeatState.READY)
    runtime.end(seat_name(resources.settings, dead.id))
    runtime.vanish(seat_name(resources.settings, gone.id))
    users = [await make_user(resources, slug) for slug in ("alice", "bob")]
    for user in users:
        await ask(resources, user)
    await worker.drain()
    await worker.reconcile()
    for user in users:
        assert (await row_of(resources, user)).status is Status.RUNNING
    assert set(runtime.containers) == {container_name(resources.settings, user.slug, "hello") for user in users}


async def test_a_workspace_that_took_a_seat_takes_another_after_its_deletion(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1)
    user = await make_user(resources)
    taken = set()
    for _ in range(3):
        await fill(resources, worker)
        await ask(resources, user)
        await worker.drain()
        taken.add((await row_of(resources, user)).seat_id)
        await ask(resources, user, JobKind.RESTART)
        await ask(resources, user, JobKind.DELETE)
        await worker.drain()
    assert len(taken) == 3
    assert None not in taken


async def test_a_users_own_limit_holds_for_seats(resources: Resources, worker: TestWorker) -> None:
    want(resources, 1, "jupyter")
    await fill(resources, worker)
    user = await make_user(resources)
    object.__setattr__(resources.settings, "user_running_limit", 1)
    await ask(resources, user)
    with pytest.raises(QuotaUserRunning):
        await ask(resources, user, template="jupyter")
    assert len(await read_seats(resources, SeatState.READY)) == 1


async def test_a_hook_tells_the_container_whose_it_is_before_anybody_reaches_it(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1, on_claim=("/bin/claim", "{user}", "{workspace_url}"))
    await fill(resources, worker)
    user = await make_user(resources)
    await ask(resources, user)
    assert (await row_of(resources, user)).status is Status.QUEUED
    await worker.drain()
    assert (await row_of(resources, user)).status is Status.RUNNING
    ((name, command, environment),) = runtime.executed
    assert name == container_name(resources.settings, "alice", "hello")
    assert command == ("/bin/claim", "alice", "http://alice-hello.localhost:8080/")
    assert environment["SPAWNER_USER_SLUG"] == "alice"
    assert runtime.created == 1


@pytest.mark.parametrize("code", [1, None])
async def test_a_hook_that_fails_leaves_a_launch_without_a_seat(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, code: int | None
) -> None:
    want(resources, 1, on_claim=("/bin/claim",))
    await fill(resources, worker)
    runtime.command_exits = code
    user = await make_user(resources)
    await ask(resources, user)
    await worker.drain()
    assert (await row_of(resources, user)).status is Status.RUNNING
    (spec,) = runtime.containers.values()
    assert (runtime.created, spec.environment["SPAWNER_USER_SLUG"]) == (2, "alice")
