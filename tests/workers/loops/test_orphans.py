"""A worker takes away only what its own database made, and never much of it without a person's word."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.admin.account_deletion import delete_user
from app.models import AuditEntry, DesiredState, Job, Network, User, Volume, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import RunState
from app.workspaces import service
from tests.conftest import TestWorker
from tests.support.factories import make_user
from tests.support.fakes import FakeRuntime
from workers.doctor import examine
from workers.loops.removal_limit import is_few
from workers.unclaimed import FOREIGN, LOST, UNASKED, UNMARKED, find_unclaimed, remove_unclaimed

Run = Callable[..., Awaitable[list[User]]]
PASSES = 3


@pytest.fixture
def run(resources: Resources, worker: TestWorker) -> Run:
    """Launch a workspace with a volume for each of so many users."""
    resources.settings.orphan_seconds = 0
    resources.settings.network_pool = 0

    async def launched(count: int, prefix: str = "user") -> list[User]:
        users = [await make_user(resources, f"{prefix}{number}") for number in range(count)]
        for user in users:
            async with resources.unit_of_work() as session:
                await service.request(session, resources, user, "jupyter")
        await worker.drain()
        return users

    return launched


async def become_another(owner: AsyncEngine) -> None:
    """The database is a fresh one: migrated, with an id of its own and no rows."""
    async with owner.begin() as connection:
        await connection.execute(text("DELETE FROM users"))
        await connection.execute(text("DELETE FROM volumes"))
        await connection.execute(text("DELETE FROM networks"))
        await connection.execute(text("UPDATE installation SET uid = gen_random_uuid()"))


async def passes(worker: TestWorker) -> None:
    for _ in range(PASSES):
        await worker.reconcile()
        await worker.drain()


async def test_a_worker_with_another_database_removes_nothing_and_gives_nothing_a_time_to_live(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine, run: Run
) -> None:
    await run(9)
    before = (set(runtime.containers), set(runtime.networks), set(runtime.volumes))
    assert [len(found) for found in before] == [9, 9, 9]
    await become_another(owner)
    await passes(worker)
    assert (set(runtime.containers), set(runtime.networks), set(runtime.volumes)) == before
    async with resources.reads() as session:
        assert list(await session.scalars(select(Volume.name))) == []


async def test_a_launch_under_a_name_that_another_database_has_leaves_its_container_alone(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine, run: Run
) -> None:
    await run(1)
    (before,) = runtime.containers.values()
    await become_another(owner)
    await run(1)
    assert list(runtime.containers.values()) == [before]
    with structlog.testing.capture_logs() as said:
        await passes(worker)
    (line,) = [line for line in said if line["event"] == "engine_holds_foreign_workspaces"]
    assert line["names"] == [before.name]
    found = {finding.name: finding for finding in await examine.findings(worker.context)}
    assert (found["workspaces"].level, "1 belong to another database" in found["workspaces"].text) == ("fail", True)
    async with resources.reads() as session:
        assert list(await session.scalars(select(Job.error_code))) == ["name_taken"]


async def test_networks_of_another_database_are_passed_over(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine, run: Run
) -> None:
    await run(2)
    foreign = dict(runtime.networks)
    await become_another(owner)
    resources.settings.network_pool = 3
    await passes(worker)
    async with resources.reads() as session:
        ready = list(await session.scalars(select(Network.index).where(Network.ready)))
    assert len(ready) == 3
    assert not {f"{resources.settings.instance}.{index}" for index in ready} & foreign.keys()


async def test_rows_that_are_lost_all_at_once_cost_no_container_until_a_person_says_so(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    await run(9)
    async with resources.unit_of_work() as session:
        await session.execute(delete(Workspace))
    with structlog.testing.capture_logs() as said:
        await passes(worker)
    assert len(runtime.containers) == 9
    (held,) = [line for line in said if line["event"] == "orphans_held"]
    assert (held["kind"], held["count"], held["of"]) == ("container", 9, 9)
    assert sorted(held["names"]) == sorted(runtime.containers)
    found = [item for item in await find_unclaimed(worker.context) if item.kind == "container"]
    assert {(item.name, item.reason, item.state) for item in found} == {
        (name, LOST, "running") for name in runtime.containers
    }
    for item in found:
        await remove_unclaimed(worker.context, item)
    assert runtime.containers == {}
    async with resources.reads() as session:
        told = await session.execute(select(AuditEntry.actor, AuditEntry.action).where(AuditEntry.actor == "command"))
    assert [tuple(row) for row in told] == [("command", "orphan_removed")] * 9


async def test_a_single_orphan_goes_and_the_log_names_it(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    (*_, lost) = await run(4)
    (name,) = [name for name in runtime.containers if lost.slug in name]
    async with resources.unit_of_work() as session:
        await session.execute(delete(Workspace).where(Workspace.user_id == lost.id))
    with structlog.testing.capture_logs() as said:
        await passes(worker)
    assert len(runtime.containers) == 3
    assert [line["name"] for line in said if line["event"] == "orphan_removed" and line["kind"] == "container"] == [
        name
    ]


async def test_deleting_accounts_is_the_word_that_all_their_containers_go(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    users = await run(9)
    for user in users[:8]:
        async with resources.unit_of_work() as session:
            await delete_user(session, user.id, actor="command")
    await passes(worker)
    assert len(runtime.containers) == 1


async def test_what_an_earlier_version_made_is_adopted_where_a_row_knows_it_and_else_left_alone(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    known, unknown = await run(2)
    for spec in runtime.containers.values():
        object.__setattr__(spec, "installation", None)
    runtime.volume_installations.clear()
    async with resources.unit_of_work() as session:
        await session.execute(delete(Workspace).where(Workspace.user_id == unknown.id))
        await session.execute(delete(Volume))
    await passes(worker)
    assert len(runtime.containers) == 2
    async with resources.unit_of_work() as session:
        (row,) = await session.scalars(select(Volume))
        assert row.user_id == known.id
        await delete_user(session, known.id, actor="command")
    await passes(worker)
    (left,) = runtime.containers
    assert unknown.slug in left
    assert {(item.name, item.reason) for item in await find_unclaimed(worker.context) if item.kind == "container"} == {
        (left, UNMARKED)
    }


async def test_rows_of_a_backup_stop_no_more_than_a_few_of_what_was_launched_since(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    await run(9)
    async with resources.unit_of_work() as session:
        await session.execute(delete(Job))
        await session.execute(
            update(Workspace).values(status=WorkspaceStatus.STOPPED, desired_state=DesiredState.STOPPED)
        )
    await passes(worker)
    assert {runtime.state[name].state for name in runtime.containers} == {RunState.RUNNING}
    found = await find_unclaimed(worker.context)
    assert [item.reason for item in found] == [UNASKED] * 9
    await remove_unclaimed(worker.context, found[0])
    await worker.drain()
    assert runtime.state[found[0].name].state is RunState.EXITED


async def test_volumes_that_were_found_without_rows_do_not_go_all_at_once(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    async with resources.reads() as session:
        uid = str(await session.scalar(text("SELECT uid FROM installation")))
    for number in range(9):
        runtime.volumes[f"lost{number}"] = (resources.settings.instance, uuid4())
        runtime.volume_installations[f"lost{number}"] = uid
    resources.settings.orphan_seconds = 0
    await passes(worker)
    async with resources.unit_of_work() as session:
        await session.execute(update(Volume).values(delete_at=utcnow() - timedelta(minutes=5)))
    await passes(worker)
    assert len(runtime.volumes) == 9
    async with resources.unit_of_work() as session:
        await session.execute(update(Volume).where(Volume.name != "lost0").values(found_at=None))
    await passes(worker)
    assert runtime.volumes == {}


async def test_a_found_volume_that_is_used_is_not_listed_and_goes_with_its_account_like_any_other(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    users = await run(9)
    async with resources.unit_of_work() as session:
        await session.execute(delete(Volume))
    await passes(worker)
    assert await find_unclaimed(worker.context) == []
    async with resources.unit_of_work() as session:
        await session.execute(update(Volume).values(found_at=utcnow()))
    for user in users:
        async with resources.unit_of_work() as session:
            await delete_user(session, user.id, actor="command")
    for _ in range(2):
        await passes(worker)
    assert (runtime.containers, runtime.volumes) == ({}, {})


async def test_another_databases_things_are_listed_as_such(
    worker: TestWorker, runtime: FakeRuntime, owner: AsyncEngine, run: Run
) -> None:
    await run(1)
    assert await find_unclaimed(worker.context) == []
    await become_another(owner)
    found = await find_unclaimed(worker.context)
    assert [item.kind for item in found] == ["container", "network", "volume"]
    assert all(item.reason.startswith(FOREIGN) for item in found)
    for item in found:
        await remove_unclaimed(worker.context, item)
    assert (runtime.containers, runtime.networks, runtime.volumes) == ({}, {}, {})


def test_few_is_three_or_a_third_whichever_is_less() -> None:
    assert [most for there in (0, 1, 3, 6, 9, 300) for most in [max(n for n in range(9) if is_few(n, there))]] == [
        *(1, 1, 1, 2, 3, 3)
    ]


async def test_passes_that_meet_remove_each_thing_once_or_twice_and_fail_at_nothing(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, run: Run
) -> None:
    (*_, lost) = await run(4)
    async with resources.unit_of_work() as session:
        await session.execute(delete(Workspace).where(Workspace.user_id == lost.id))
    await worker.reconcile()
    await asyncio.gather(*(worker.reconcile() for _ in range(3)))
    assert len(runtime.containers) == 3
