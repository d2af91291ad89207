"""Warm seats over time: filled, replaced, given up, adopted, and never shown before they are somebody's."""

import asyncio

from sqlalchemy import func, select

from app.models import EngineCapacity, Network, SeatState, utcnow
from app.models import WorkspaceStatus as Status
from app.resources import Resources
from app.runtime.base import EngineUnavailable, Event
from app.workspaces import service
from app.workspaces.container_spec import container_name, seat_name
from app.workspaces.seat_plan import plan
from tests.conftest import TestWorker
from tests.support.clocks import Time
from tests.support.driving import failing, row_of
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from tests.support.seats import fill, read_seats, want
from tests.support.statements import counted
from workers.jobs import checkpoints
from workers.jobs.checkpoints import Checkpoint
from workers.jobs.drive import drive_workspace
from workers.loops.engine_events import reconcile_workspace
from workers.loops.warm_seats import work


async def test_seats_are_filled_up_to_what_the_catalogue_wants(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 3)
    for _ in range(2):
        await fill(resources, worker)
    ready = await read_seats(resources)
    assert [seat.state for seat in ready] == [SeatState.READY] * 3
    assert set(runtime.containers) == {seat_name(resources.settings, seat.id) for seat in ready}
    for spec in runtime.containers.values():
        assert not {"SPAWNER_USER_SLUG", "SPAWNER_ROUTE"} & spec.environment.keys()


async def test_a_pass_leaves_seats_their_containers_networks_and_volumes(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    want(resources, 2, "jupyter")
    await fill(resources, worker)
    before = (set(runtime.containers), set(runtime.volumes))
    for _ in range(3):
        await worker.reconcile()
        time.pass_(seconds=60)
    assert (set(runtime.containers), set(runtime.volumes)) == before
    assert len(await read_seats(resources, SeatState.READY)) == 2
    async with resources.reads() as session:
        held = select(func.count()).where(Network.seat_id.is_not(None), Network.ready)
        assert await session.scalar(held) == 2


async def test_fewer_wanted_or_another_entry_replace_seats(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 3)
    await fill(resources, worker)
    want(resources, 1)
    await fill(resources, worker)
    (kept,) = await read_seats(resources)
    want(resources, 1, environment={"COLOUR": "blue"})
    await fill(resources, worker)
    await fill(resources, worker)
    (other,) = await read_seats(resources)
    assert other.id != kept.id
    (spec,) = runtime.containers.values()
    assert spec.environment["COLOUR"] == "blue"
    want(resources, 0)
    await fill(resources, worker)
    assert await read_seats(resources) == []
    assert runtime.containers == {}
    assert runtime.volumes == {}


async def test_another_image_behind_the_name_replaces_seats(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1)
    await fill(resources, worker)
    (old,) = await read_seats(resources)
    runtime.digests[resources.catalog.default.image] = "sha256:1"
    await worker.reconcile()
    await fill(resources, worker)
    await fill(resources, worker)
    (new,) = await read_seats(resources, SeatState.READY)
    assert (new.id != old.id, new.image_digest) == (True, "sha256:1")


async def test_what_fails_is_begun_again_after_growing_pauses(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    want(resources, 1)
    runtime.before = failing(EngineUnavailable("away"), EngineUnavailable("away"))
    pauses = []
    for _ in range(2):
        await fill(resources, worker)
        (seat,) = await read_seats(resources)
        assert (seat.state, seat.error_code) == (SeatState.FAILED, "engine_unavailable")
        pauses.append(round((seat.run_at - utcnow()).total_seconds()))
        await fill(resources, worker)
        assert (await read_seats(resources))[0].failures == len(pauses)
        time.pass_(seconds=pauses[-1] + 1)
    assert pauses == [2, 4]
    await fill(resources, worker)
    (ready,) = await read_seats(resources)
    assert (ready.state, ready.id) == (SeatState.READY, seat.id)


async def test_a_seat_that_dies_or_is_frozen_is_handed_to_nobody(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 3)
    await fill(resources, worker)
    died, frozen, fine = await read_seats(resources)
    runtime.end(seat_name(resources.settings, died.id))
    await runtime.ensure_paused(seat_name(resources.settings, frozen.id), frozen.id)
    # One by its event, the other by a look.
    await reconcile_workspace(worker.context, died.id)
    await worker.reconcile()
    assert [seat.id for seat in await read_seats(resources, SeatState.READY)] == [fine.id]
    assert {seat.id for seat in await read_seats(resources, SeatState.FAILED)} == {died.id, frozen.id}


async def test_no_seat_is_begun_without_room_or_while_launches_wait(resources: Resources, worker: TestWorker) -> None:
    want(resources, 5)
    memory = resources.catalog.default.limits.memory
    async with resources.unit_of_work() as session:
        session.add(EngineCapacity(memory_bytes=3 * memory, cpus=100, disk_free_bytes=None))
    await fill(resources, worker)
    assert len(await read_seats(resources)) == 3


async def test_a_launch_of_something_else_gets_the_room_of_seats(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 20)
    limits = {template.key: template.limits.memory for template in resources.catalog.templates}
    async with resources.unit_of_work() as session:
        session.add(EngineCapacity(memory_bytes=limits["jupyter"] + limits["hello"], cpus=100, disk_free_bytes=None))
    await fill(resources, worker)
    assert len(await read_seats(resources, SeatState.READY)) == 17
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "jupyter")
    await worker.drain()
    assert (await row_of(resources, user)).status is Status.QUEUED
    assert len(await read_seats(resources, SeatState.READY)) == 1
    await work(worker.context)
    await worker.drain()
    assert (await row_of(resources, user)).status is Status.RUNNING
    await fill(resources, worker)
    assert len(runtime.containers) == 2


async def test_a_worker_that_dies_while_it_starts_a_seat_leaves_it_to_the_next(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    want(resources, 1)
    started = asyncio.Event()

    async def hang(*_: object) -> None:
        started.set()
        await asyncio.Event().wait()

    runtime.before = hang
    filling = asyncio.create_task(fill(resources, worker))
    await started.wait()
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    runtime.before = failing()
    await fill(resources, worker)
    (seat,) = await read_seats(resources)
    assert (seat.state, list(runtime.containers)) == (SeatState.READY, [seat_name(resources.settings, seat.id)])


async def test_a_claim_that_breaks_off_before_or_after_the_new_name_is_finished_once(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    want(resources, 2)
    await fill(resources, worker)
    for slug, at in (("alice", Checkpoint.CLAIMED), ("bob", Checkpoint.NAMED)):
        user = await make_user(resources, slug)
        async with resources.unit_of_work() as session:
            job = (await service.request(session, resources, user, "hello")).job
            assert job is not None
        await break_off(worker, str(job.id), at)
        # Nobody looks at it as a workspace that died, and no pass takes it away.
        await worker.reconcile()
        assert (await row_of(resources, user)).status is Status.RUNNING
        time.pass_(seconds=60)
        await worker.reconcile()
        await worker.drain()
        row = await row_of(resources, user)
        assert row.status is Status.RUNNING
        assert container_name(resources.settings, slug, "hello") in runtime.containers
    assert runtime.created == 2
    assert len(runtime.containers) == 2


async def break_off(worker: TestWorker, job_id: str, at: Checkpoint) -> None:
    """Let the worker die, as it were, at a point of the job: its lease stays until it runs out."""
    there, never = asyncio.Event(), asyncio.Event()

    async def listen(checkpoint: Checkpoint, _: object) -> None:
        if checkpoint is at:
            there.set()
            raise BrokenOff

    checkpoints.listeners.append(listen)
    try:
        await asyncio.gather(
            drive_workspace({"worker": worker.context, "job_id": "a message"}, job_id), return_exceptions=True
        )
        assert there.is_set()
        assert not never.is_set()
    finally:
        checkpoints.listeners.remove(listen)


class BrokenOff(OSError):
    """What a connection that is cut raises: the lease runs out, and the job is taken up again."""


async def test_what_a_claim_left_under_the_seats_name_is_removed_once_its_job_has_ended(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    want(resources, 1)
    await fill(resources, worker)
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "hello")
    want(resources, 0)
    # No worker comes: the deadline passes.
    time.pass_(seconds=resources.settings.launch_seconds + 1)
    await worker.reconcile()
    assert (await row_of(resources, user)).status is Status.ERROR
    await fill(resources, worker)
    assert runtime.containers == {}
    assert await read_seats(resources) == []


async def test_rows_of_seats_go_once_their_containers_are_workspaces(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1, "jupyter")
    await fill(resources, worker)
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "jupyter")
    want(resources, 0, "jupyter")
    await fill(resources, worker)
    assert [seat.state for seat in await read_seats(resources)] == [SeatState.CLAIMED]
    await worker.drain()
    await fill(resources, worker)
    assert await read_seats(resources) == []
    assert list(runtime.containers) == [container_name(resources.settings, "alice", "jupyter")]
    assert len(runtime.volumes) == 1
    assert (await row_of(resources, user)).status is Status.RUNNING


async def test_events_and_passes_find_a_claimed_container_by_its_seat(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    want(resources, 1, restart="never")
    await fill(resources, worker)
    user = await make_user(resources)
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "hello")
    await worker.drain()
    row = await row_of(resources, user)
    assert row.seat_id is not None
    runtime.end(container_name(resources.settings, "alice", "hello"), exit_code=3)
    await reconcile_workspace(worker.context, Event(row.seat_id, "die", utcnow()).workspace_id)
    row = await row_of(resources, user)
    assert (row.status, row.error_code) == (Status.ERROR, "exited")


async def test_containers_of_seats_whose_rows_are_lost_go(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    want(resources, 1)
    await fill(resources, worker)
    (seat,) = await read_seats(resources)
    async with resources.unit_of_work() as session:
        await session.delete(await session.merge(seat))
    object.__setattr__(resources.settings, "orphan_seconds", 0)
    await worker.reconcile()
    assert runtime.containers == {}


async def test_plans_meet_without_beginning_a_seat_twice(resources: Resources) -> None:
    want(resources, 4)

    async def one() -> None:
        async with resources.unit_of_work() as session:
            await plan(session, resources)

    await asyncio.gather(*(one() for _ in range(6)))
    assert len(await read_seats(resources)) == 4


async def test_a_pass_with_nothing_to_do_asks_once(resources: Resources, worker: TestWorker) -> None:
    async with counted(resources.engine, resources.reader) as statements:
        await work(worker.context)
    assert len(statements) == 1, statements
