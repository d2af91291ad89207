"""Files outlive their workspace as long as they should, and no longer."""

from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, update

from app.models import JobKind, Volume, Workspace, utcnow
from app.resources import Resources
from app.workspaces import service
from app.workspaces.jobs import leases
from app.workspaces.ownership import installation_id
from app.workspaces.volumes import VolumePolicy
from tests.conftest import TestWorker
from tests.support.driving import admit_waiting
from tests.support.factories import SignedIn, sign_in
from tests.support.fakes import FakeRuntime
from workers.loops.orphans import remove_volumes

KEEP, DELETE = VolumePolicy.KEEP, VolumePolicy.DELETE


async def ask(resources: Resources, who: SignedIn, kind: JobKind, volume: VolumePolicy | None = None) -> UUID:
    async with resources.unit_of_work() as session:
        accepted = await service.request(session, resources, who.user, "jupyter", kind, volume=volume)
        assert accepted.job is not None
        return accepted.job.id


async def do(worker: TestWorker, who: SignedIn, kind: JobKind, volume: VolumePolicy | None = None) -> None:
    await ask(worker.context.resources, who, kind, volume)
    await worker.drain()


async def rows(resources: Resources) -> list[Volume]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(Volume).order_by(Volume.created_at)))


async def the_row(resources: Resources) -> Volume:
    (row,) = await rows(resources)
    return row


def mounted(runtime: FakeRuntime) -> str:
    (spec,) = runtime.containers.values()
    assert spec.volume is not None
    return spec.volume.name


async def set_delete_at(resources: Resources, ago: timedelta) -> None:
    async with resources.unit_of_work() as session:
        await session.execute(update(Volume).values(delete_at=utcnow() - ago))


async def test_kept_files_wait_for_the_next_launch_and_are_kept_again(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    name = mounted(runtime)
    assert (await the_row(resources)).delete_at is None
    await do(worker, alice, JobKind.DELETE, KEEP)
    row = await the_row(resources)
    assert runtime.containers == {}
    assert row.delete_at is not None
    assert timedelta(days=29) < row.delete_at - utcnow() < timedelta(days=30)
    await worker.reconcile()
    await do(worker, alice, JobKind.LAUNCH)
    assert mounted(runtime) == name
    assert list(runtime.volumes) == [name]
    assert (await the_row(resources)).delete_at is None


async def test_files_that_are_deleted_with_their_workspace_are_gone_after_the_next_look(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    await do(worker, alice, JobKind.DELETE, DELETE)
    await worker.reconcile()
    assert runtime.volumes == {}
    await worker.reconcile()
    assert len(await rows(resources)) == 1
    await set_delete_at(resources, timedelta(minutes=2))
    await worker.reconcile()
    assert await rows(resources) == []


async def test_a_launch_right_after_files_were_deleted_begins_without_them(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    old = mounted(runtime)
    await do(worker, alice, JobKind.DELETE, DELETE)
    await do(worker, alice, JobKind.LAUNCH)
    fresh = mounted(runtime)
    assert fresh != old
    assert set(runtime.volumes) == {old, fresh}
    await worker.reconcile()
    assert set(runtime.volumes) == {fresh}
    await do(worker, alice, JobKind.RESTART)
    assert mounted(runtime) == fresh


async def test_a_launch_that_overtakes_the_deletion_of_files_begins_without_them_too(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    old = mounted(runtime)
    await ask(resources, alice, JobKind.DELETE, DELETE)
    await do(worker, alice, JobKind.LAUNCH)
    assert mounted(runtime) != old
    await worker.reconcile()
    assert set(runtime.volumes) == {mounted(runtime)}


@pytest.mark.parametrize("policy", [KEEP, DELETE])
async def test_a_deletion_that_is_called_off_leaves_the_files(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn, policy: VolumePolicy
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    job = await ask(resources, alice, JobKind.DELETE, policy)
    async with resources.unit_of_work() as session:
        await service.cancel(session, resources, alice.user, job)
    assert (await the_row(resources)).delete_at is None
    await ask(resources, alice, JobKind.DELETE, policy)
    await do(worker, alice, JobKind.STOP)
    await worker.reconcile()
    assert (await the_row(resources)).delete_at is None
    assert list(runtime.volumes) == [mounted(runtime)]


async def test_a_first_launch_that_is_cancelled_leaves_no_volume_for_ever(
    resources: Resources, worker: TestWorker, alice: SignedIn
) -> None:
    job = await ask(resources, alice, JobKind.LAUNCH)
    await admit_waiting(resources)
    async with resources.unit_of_work() as session:
        held = await leases.claim(session, resources, job)
        assert held is not None
    async with resources.unit_of_work() as session:
        await service.cancel(session, resources, alice.user, job)
        await leases.release(session, held)
    await worker.drain()
    assert (await the_row(resources)).delete_at is not None


async def test_kept_files_go_when_their_time_is_over(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    await do(worker, alice, JobKind.DELETE, KEEP)
    await set_delete_at(resources, timedelta(minutes=2))
    await worker.reconcile()
    assert runtime.volumes == {}
    await worker.reconcile()
    assert await rows(resources) == []


async def test_files_that_a_container_still_uses_stay_until_it_is_gone(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    await ask(resources, alice, JobKind.DELETE, DELETE)
    await remove_volumes(worker.context, await runtime.list_owned(resources.settings.instance))
    assert list(runtime.volumes) == [mounted(runtime)]
    await worker.drain()
    await worker.reconcile()
    assert runtime.volumes == {}


async def test_a_volume_whose_row_was_lost_is_adopted_by_its_workspace(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    async with resources.unit_of_work() as session:
        await session.delete(await session.get_one(Volume, (await the_row(resources)).id))
    await worker.reconcile()
    row = await the_row(resources)
    assert (row.name, row.user_id, row.template) == (mounted(runtime), alice.user.id, "jupyter")
    assert row.workspace_id is not None
    assert row.delete_at is None


async def test_a_volume_beside_the_one_that_its_workspace_has_is_kept_for_a_while(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    own = mounted(runtime)
    (spec,) = runtime.containers.values()
    runtime.volumes["other"] = (spec.instance, spec.workspace_id)
    await worker.reconcile()
    other = next(row for row in await rows(resources) if row.name == "other")
    assert (other.user_id, other.workspace_id) == (alice.user.id, None)
    assert other.delete_at is not None
    await do(worker, alice, JobKind.RESTART)
    assert mounted(runtime) == own


async def test_a_volume_of_a_workspace_that_nobody_knows_is_kept_for_a_while(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    runtime.volumes["lost"] = (resources.settings.instance, uuid4())
    async with resources.reads() as session:
        runtime.volume_installations["lost"] = await installation_id(session)
    await worker.reconcile()
    row = await the_row(resources)
    assert (row.name, row.user_id, row.workspace_id) == ("lost", None, None)
    assert row.delete_at is not None
    assert row.delete_at > utcnow() + timedelta(days=29)
    assert list(runtime.volumes) == ["lost"]


async def test_the_list_shows_what_is_kept_and_nobody_elses(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn
) -> None:
    async def listed(who: SignedIn) -> list[dict[str, object]]:
        volumes: list[dict[str, object]] = (await client.get("/api/volumes", headers=who.headers)).json()["volumes"]
        return volumes

    assert await listed(alice) == []
    await do(worker, alice, JobKind.LAUNCH)
    (volume,) = await listed(alice)
    assert (volume["type"], volume["in_use"], volume["delete_at"]) == ("jupyter", True, None)
    assert await listed(await sign_in(resources, "bob")) == []
    await do(worker, alice, JobKind.DELETE, KEEP)
    (volume,) = await listed(alice)
    assert volume["in_use"] is False
    assert volume["delete_at"] is not None


async def test_files_are_deleted_on_purpose_once_no_container_has_them(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime, alice: SignedIn
) -> None:
    bob = await sign_in(resources, "bob")
    await do(worker, alice, JobKind.LAUNCH)
    path = f"/api/volumes/{(await the_row(resources)).id}"
    await do(worker, alice, JobKind.STOP)
    refused = await client.delete(path, headers=alice.headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "volume_in_use")
    assert (await client.delete(path, headers=bob.headers)).status_code == 404
    await do(worker, alice, JobKind.DELETE, KEEP)
    assert (await client.delete(path, headers=alice.headers)).status_code == 204
    assert (await client.get("/api/volumes", headers=alice.headers)).json() == {"volumes": []}
    assert (await client.delete(path, headers=alice.headers)).status_code == 404
    await worker.reconcile()
    assert runtime.volumes == {}


async def test_a_workspace_that_is_about_to_launch_has_its_files_in_use(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn
) -> None:
    await do(worker, alice, JobKind.LAUNCH)
    await do(worker, alice, JobKind.DELETE, KEEP)
    await ask(resources, alice, JobKind.LAUNCH)
    answer = await client.delete(f"/api/volumes/{(await the_row(resources)).id}", headers=alice.headers)
    assert answer.status_code == 409
    async with resources.sessions() as session:
        assert (await session.scalars(select(Workspace.desired_state))).one() == "running"
