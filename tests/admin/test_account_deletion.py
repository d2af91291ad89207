"""Deleting an account takes everything with it, on the engine too."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select, update

from app.accounts.errors import LastAdmin
from app.admin.account_deletion import delete_user
from app.core.errors import NotFound
from app.models import Job, LinkPurpose, LinkRequest, Network, Session, User, Volume, Workspace, utcnow
from app.resources import Resources
from app.runtime.base import Report
from app.runtime.spec import WorkspaceSpec
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.driving import admit_waiting
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.fakes import FakeRuntime
from tests.support.waiting import PATIENCE


async def launch(resources: Resources, user: User, template: str = "jupyter") -> None:
    async with resources.unit_of_work() as session:
        await service.request(session, resources, user, template)


async def delete(resources: Resources, user: User) -> None:
    async with resources.unit_of_work() as session:
        await delete_user(session, user.id, actor="command")


async def count(resources: Resources, table: type[User | Workspace | Job | Session | LinkRequest | Volume]) -> int:
    async with resources.sessions() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def networks(resources: Resources) -> dict[int, tuple[bool, bool]]:
    """Of each index, whether somebody has it and whether it is ready."""
    async with resources.sessions() as session:
        return {row.index: (row.workspace_id is not None, row.ready) for row in await session.scalars(select(Network))}


async def test_containers_networks_and_volumes_of_a_deleted_user_go(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn
) -> None:
    resources.settings.orphan_seconds = 0
    alice = await sign_in(resources)
    await launch(resources, alice.user)
    await launch(resources, alice.user, "hello")
    await worker.drain()
    assert await networks(resources) == {0: (True, False), 1: (True, False)}
    async with resources.unit_of_work() as session:
        request = LinkRequest(email=alice.user.email, purpose=LinkPurpose.LOGIN, locale="en", expires_at=utcnow())
        session.add(request)

    path = f"/api/admin/users/{alice.user.id}"
    assert (await client.delete(path, headers=root.headers)).status_code == 204
    assert (await client.get("/api/user/me", headers=alice.headers)).status_code == 401
    assert (await client.delete(path, headers=root.headers)).status_code == 404
    for table in (Workspace, Job, LinkRequest):
        assert await count(resources, table) == 0
    assert await count(resources, Session) == 1
    # The containers are still there: nobody else is given their networks.
    assert await networks(resources) == {0: (False, False), 1: (False, False)}
    assert len(runtime.containers) == 2

    await worker.reconcile()
    assert runtime.containers == {}
    assert runtime.volumes == {}
    await worker.reconcile()
    assert await networks(resources) | {0: (False, True), 1: (False, True)} == await networks(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(Volume).values(delete_at=utcnow() - timedelta(minutes=2)))
    await worker.reconcile()
    assert await count(resources, Volume) == 0


async def test_a_namesake_of_a_deleted_user_never_sees_their_files(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn
) -> None:
    first = await make_user(resources)
    await launch(resources, first)
    await worker.drain()
    (old,) = runtime.volumes
    await delete(resources, first)
    second = await make_user(resources)
    await launch(resources, second)
    await worker.drain()
    (spec,) = runtime.containers.values()
    assert spec.volume is not None
    assert spec.volume.name != old


async def test_a_worker_that_is_launching_for_a_deleted_user_lets_go(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn
) -> None:
    resources.settings.orphan_seconds = 0
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def before(spec: WorkspaceSpec, report: Report) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    runtime.before = before
    alice = await make_user(resources)
    await launch(resources, alice)
    async with worker.running(reconciling=False):
        await asyncio.wait_for(begun.wait(), PATIENCE)
        await delete(resources, alice)
        await asyncio.wait_for(cancelled.wait(), PATIENCE)
    await worker.reconcile()
    assert runtime.containers == {}
    assert await count(resources, Job) == 0


async def test_room_that_a_deleted_user_had_is_given_to_who_waits(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, root: SignedIn
) -> None:
    resources.settings.running_limit = 1
    alice, bob = await make_user(resources), await make_user(resources, "bob")
    await launch(resources, alice)
    await launch(resources, bob)
    assert await admit_waiting(resources) == 1
    async with resources.sessions() as session:
        assert await session.scalar(select(Job.blocked_by).where(Job.user_id == bob.id)) is not None
    await delete(resources, alice)
    await worker.drain()
    assert [spec.environment["SPAWNER_USER_SLUG"] for spec in runtime.containers.values()] == ["bob"]


async def test_the_last_admin_stays(resources: Resources, root: SignedIn) -> None:
    with pytest.raises(LastAdmin):
        await delete(resources, root.user)
    other = await make_user(resources, "other", is_admin=True)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).where(User.id == other.id).values(blocked_at=utcnow()))
    with pytest.raises(LastAdmin):
        await delete(resources, root.user)
    await delete(resources, other)
    assert await count(resources, User) == 1


async def test_of_two_admins_who_delete_each_other_one_stays(resources: Resources, root: SignedIn) -> None:
    other = await make_user(resources, "other", is_admin=True)
    outcomes = await asyncio.gather(delete(resources, root.user), delete(resources, other), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [LastAdmin]
    assert await count(resources, User) == 1


async def test_deleting_whom_nobody_knows_is_not_found(resources: Resources, root: SignedIn) -> None:
    alice = await make_user(resources)
    await delete(resources, alice)
    with pytest.raises(NotFound):
        await delete(resources, alice)
