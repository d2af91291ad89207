"""What happens to containers without anybody asking is noticed; what rows and engine disagree on is healed."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from app.models import DesiredState, Job, JobKind, Network, User, Volume, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime import spec
from app.runtime.base import EngineUnavailable, Event, Inventory, RunState
from app.workspaces import service
from app.workspaces.observe import RESTARTS
from app.workspaces.ownership import installation_id
from app.workspaces.views import view_workspace
from tests.conftest import TestWorker
from tests.support.driving import accept, admit_waiting, drive, only, row_of, run_one, until
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE
from workers.loops.engine_events import watch
from workers.loops.network_pool import REMOVED
from workers.loops.reconcile import reconcile_engine


async def jobs_of(resources: Resources, workspace: Workspace) -> list[Job]:
    async with resources.unit_of_work() as session:
        query = select(Job).where(Job.workspace_id == workspace.id).order_by(Job.created_at)
        return list(await session.scalars(query))


async def test_a_workspace_that_died_shows_why(resources: Resources, worker: TestWorker, runtime: FakeRuntime) -> None:
    workspace = await run_one(resources, worker)
    runtime.end(only(runtime), exit_code=3)
    await reconcile_engine(worker.context)
    dead = await row_of(resources, workspace)
    assert (dead.status, dead.error_code, dead.exit_code) == (WorkspaceStatus.ERROR, "exited", 3)
    assert (dead.desired_state, dead.host, dead.reserved_memory) == (DesiredState.STOPPED, None, None)


async def test_one_that_ran_out_of_memory_says_so(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    runtime.exit_code, runtime.out_of_memory = 137, True
    runtime.end(only(runtime))
    await reconcile_engine(worker.context)
    assert (await row_of(resources, workspace)).error_code == "out_of_memory"


async def test_one_that_ended_in_order_is_stopped_and_no_failure(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker, restarts="on-failure")
    runtime.end(only(runtime), exit_code=0)
    await reconcile_engine(worker.context)
    ended = await row_of(resources, workspace)
    assert (ended.status, ended.error_code) == (WorkspaceStatus.STOPPED, None)


async def test_one_that_was_removed_by_hand_is_made_anew(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker, restarts="on-failure")
    runtime.vanish(only(runtime))
    await reconcile_engine(worker.context)
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.QUEUED
    async with worker.running(reconciling=False):

        async def runs() -> bool:
            return (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING

        await until(runs)
    last = (await jobs_of(resources, workspace))[-1]
    assert (last.kind, last.by_system) == (JobKind.LAUNCH, True)


async def test_one_that_keeps_dying_is_given_up_after_growing_pauses(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker, restarts="on-failure")
    pauses = []
    for _ in range(RESTARTS):
        runtime.end(only(runtime), exit_code=1)
        await reconcile_engine(worker.context)
        job = (await jobs_of(resources, workspace))[-1]
        pauses.append(round((job.run_at - job.created_at).total_seconds()))
        await admit_waiting(resources)
        assert (await jobs_of(resources, workspace))[-1].run_at == job.run_at
        async with resources.unit_of_work() as session:
            await session.execute(update(Job).where(Job.id == job.id).values(run_at=utcnow()))
        await drive(worker, job)
    assert pauses == [1, 2, 4, 8, 16]
    runtime.end(only(runtime), exit_code=1)
    await reconcile_engine(worker.context)
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.ERROR


async def test_one_that_held_for_long_counts_its_restarts_anew(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker, restarts="on-failure")
    async with resources.unit_of_work() as session:
        long_ago = utcnow() - timedelta(minutes=11)
        await session.execute(update(Workspace).values(restarts=RESTARTS, started_at=long_ago))
    runtime.end(only(runtime))
    await reconcile_engine(worker.context)
    again = await row_of(resources, workspace)
    assert (again.status, again.restarts) == (WorkspaceStatus.QUEUED, 1)


async def test_a_pause_by_hand_and_its_end_are_seen(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    runtime.state[only(runtime)].state = RunState.PAUSED
    await reconcile_engine(worker.context)
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.PAUSED
    runtime.state[only(runtime)].state = RunState.RUNNING
    await reconcile_engine(worker.context)
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING


async def test_an_event_corrects_the_row_within_two_seconds(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    watching = asyncio.create_task(watch(worker.context))
    try:
        runtime.end(only(runtime), exit_code=9)
        runtime.happened.put_nowait(Event(workspace.id, "die", utcnow()))
        async with asyncio.timeout(PATIENCE):
            while (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING:
                await asyncio.sleep(0.02)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert (await row_of(resources, workspace)).exit_code == 9


async def test_after_a_break_of_the_events_everything_is_looked_at(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    watching = asyncio.create_task(watch(worker.context))
    try:
        await asyncio.sleep(0)
        runtime.end(only(runtime))
        runtime.happened.put_nowait(None)

        async def noticed() -> bool:
            return (await row_of(resources, workspace)).status is WorkspaceStatus.ERROR

        await until(noticed)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_what_runs_though_it_is_to_be_stopped_is_stopped(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with resources.unit_of_work() as session:
        await session.execute(
            update(Workspace).values(status=WorkspaceStatus.ERROR, desired_state=DesiredState.STOPPED)
        )
    await reconcile_engine(worker.context)
    await worker.drain()
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.STOPPED
    assert runtime.state[only(runtime)].state is RunState.EXITED


async def test_rows_from_a_backup_that_were_on_their_way_are_driven_there(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with resources.unit_of_work() as session:
        await session.execute(delete(Job))
        await session.execute(update(Workspace).values(status=WorkspaceStatus.CREATING, reserved_memory=None))
    await reconcile_engine(worker.context)
    await worker.drain()
    healed = await row_of(resources, workspace)
    assert healed.status is WorkspaceStatus.RUNNING
    assert healed.reserved_memory


async def test_a_backup_that_knows_an_older_container_learns_of_the_newer_one(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with resources.unit_of_work() as session:
        user = await session.get_one(User, workspace.user_id)
        await service.request(session, resources, user, "hello", JobKind.RESTART)
    await worker.drain()
    async with resources.unit_of_work() as session:
        await session.execute(delete(Job))
        old = {"generation": 1, "revision": 1, "status": WorkspaceStatus.STOPPED, "desired_state": DesiredState.STOPPED}
        await session.execute(update(Workspace).values(**old))
        await service.request(session, resources, user, "hello")
    await worker.drain()
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING
    assert runtime.created == 2


async def test_containers_and_networks_that_no_row_wants_go_after_the_time_of_grace(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    object.__setattr__(resources, "settings", resources.settings.model_copy(update={"network_pool": 0}))
    async with resources.unit_of_work() as session:
        await session.execute(delete(Network))
        await session.execute(delete(Workspace).where(Workspace.id == workspace.id))
    await reconcile_engine(worker.context)
    assert len(runtime.containers) == 1
    object.__setattr__(resources, "settings", resources.settings.model_copy(update={"orphan_seconds": 0}))
    for _ in range(2):
        await reconcile_engine(worker.context)
    assert (runtime.containers, runtime.networks) == ({}, {})


async def test_a_volume_without_a_row_gets_one_and_its_time(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    runtime.volumes["lost"] = (resources.settings.instance, workspace.id)
    runtime.volumes["nobodys"] = (resources.settings.instance, uuid4())
    async with resources.reads() as session:
        runtime.volume_installations["nobodys"] = await installation_id(session)
    await reconcile_engine(worker.context)
    async with resources.unit_of_work() as session:
        rows = {volume.name: volume for volume in await session.scalars(select(Volume))}
    assert (rows["lost"].workspace_id, rows["lost"].delete_at) == (workspace.id, None)
    assert rows["nobodys"].delete_at is not None
    assert set(runtime.volumes) == {"lost", "nobodys"}


async def test_the_pool_is_filled_while_nobody_launches_and_serves_the_next(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    for _ in range(3):
        await reconcile_engine(worker.context)
    assert len(runtime.networks) == resources.settings.network_pool
    before = dict(runtime.networks)
    await run_one(resources, worker)
    assert runtime.networks == before


async def test_no_network_is_made_once_somebody_launches(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_network = runtime.ensure_network

    async def launch_after_the_second(instance: str, network: spec.Network) -> None:
        await ensure_network(instance, network)
        if len(runtime.networks) == 2:
            await accept(resources)

    monkeypatch.setattr(runtime, "ensure_network", launch_after_the_second)
    for _ in range(2):
        await reconcile_engine(worker.context)
    assert len(runtime.networks) == 2


async def test_surplus_networks_are_removed_a_few_in_each_pass(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    await reconcile_engine(worker.context)
    made = len(runtime.networks)
    object.__setattr__(resources, "settings", resources.settings.model_copy(update={"network_pool": 4}))
    left = []
    for _ in range(3):
        await reconcile_engine(worker.context)
        left.append(len(runtime.networks))
    assert left == [made - REMOVED, made - 2 * REMOVED, made - 2 * REMOVED]


async def test_a_network_that_the_engine_lost_is_forgotten(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    for _ in range(2):
        await reconcile_engine(worker.context)
    runtime.networks.clear()
    await reconcile_engine(worker.context)
    async with resources.unit_of_work() as session:
        ready = {row.index for row in await session.scalars(select(Network).where(Network.ready))}
    assert len(ready) == len(runtime.networks)


async def test_an_engine_that_is_away_changes_no_row(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)

    async def away(instance: str) -> Inventory:
        raise EngineUnavailable

    runtime.list_owned = away  # type: ignore[method-assign]
    runtime.containers.clear()
    await reconcile_engine(worker.context)
    assert (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING


async def test_a_newer_image_shows_as_outdated_until_a_restart_takes_it(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    async with resources.unit_of_work() as session:
        user = await session.get_one(User, workspace.user_id)

    async def outdated() -> bool:
        await reconcile_engine(worker.context)
        async with resources.unit_of_work() as session:
            template = resources.catalog.default
            return (await view_workspace(session, resources, user, template, "en")).outdated

    assert not await outdated()
    runtime.digests["spawner/hello:1"] = "sha256:1"
    assert await outdated()
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, "hello", JobKind.RESTART)
    await worker.drain()
    assert not await outdated()
