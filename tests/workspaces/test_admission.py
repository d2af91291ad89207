"""Limits hold whatever comes at once; who finds no room waits, in turn."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.catalog.templates import Limits
from app.core.settings.model import Settings
from app.models import EngineCapacity, Job, JobKind, JobState, User, Workspace, utcnow
from app.resources import Resources
from app.workspaces import service
from app.workspaces.capacity import Allocation, limiting_resource
from app.workspaces.errors import CapacityRunning, QuotaUserRunning, Refused
from app.workspaces.jobs.subscriptions import JobSubscriptions
from app.workspaces.views import view_job
from tests.conftest import TestWorker
from tests.support.crowd import crowd
from tests.support.driving import admit_waiting
from tests.support.factories import make_user
from tests.support.waiting import PATIENCE
from workers.loops.reconcile import reconcile_rows

MEGABYTE = 1 << 20
SMALL = Limits.model_construct(memory=64 * MEGABYTE, cpus=0.5, pids=64)


def limit(resources: Resources, **values: object) -> None:
    """Change settings of the bundle."""
    object.__setattr__(resources, "settings", resources.settings.model_copy(update=values))


async def ask(resources: Resources, user: User, template: str = "hello", kind: JobKind = JobKind.LAUNCH) -> Job:
    """Ask, and let a pass judge what waits; returns the job as it is then."""
    async with resources.unit_of_work() as session:
        asked = (await service.request(session, resources, user, template, kind)).job
    assert asked is not None
    await admit_waiting(resources)
    async with resources.unit_of_work() as session:
        return await session.get_one(Job, asked.id)


async def many(resources: Resources, count: int, prefix: str = "user") -> list[User]:
    return [await make_user(resources, f"{prefix}{number}") for number in range(count)]


async def count(resources: Resources, *criteria: object) -> int:
    async with resources.unit_of_work() as session:
        return await session.scalar(select(func.count()).select_from(Job).where(*criteria)) or 0  # type: ignore[arg-type]


async def let_in(resources: Resources) -> list[str]:
    """The owners of admitted jobs, in the order in which they were let in."""
    query = select(User.slug).join(Job, Job.user_id == User.id).where(Job.admitted_at.is_not(None))
    async with resources.unit_of_work() as session:
        return list(await session.scalars(query.order_by(Job.admitted_at, Job.created_at)))


async def facts(resources: Resources, **values: object) -> None:
    """Let a worker have seen an engine."""
    known = {"memory_bytes": 8 << 30, "cpus": 4, "disk_free_bytes": None, **values}
    async with resources.unit_of_work() as session:
        await session.merge(EngineCapacity(id=1, **known))


NOTHING = Allocation(0, 0, 0.0, 0, has_memory=None, has_cpus=None, free_disk=None)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (NOTHING, None),
        (Allocation(0, 0, 0.0, 32, None, None, None), "capacity_launches"),
        (Allocation(5, 0, 0.0, 0, None, None, None), "capacity_running"),
        (Allocation(0, 1000 * MEGABYTE, 0.0, 0, 1063 * MEGABYTE, None, None), "capacity_memory"),
        (Allocation(0, 1000 * MEGABYTE, 0.0, 0, 1064 * MEGABYTE, None, None), None),
        (Allocation(0, 0, 19.6, 0, None, 2, None), "capacity_cpu"),
        (Allocation(0, 0, 19.5, 0, None, 2, None), None),
        (Allocation(0, 0, 0.0, 0, None, None, 1023 * MEGABYTE), "capacity_disk"),
        (Allocation(0, 0, 0.0, 0, None, None, 1024 * MEGABYTE), None),
    ],
)
def test_the_limit_that_leaves_no_room_is_named(taken: Allocation, expected: str | None) -> None:
    settings = Settings.model_construct(
        launches_at_once=32, running_limit=5, memory_overcommit=1.0, cpu_overcommit=10.0, min_free_disk_mb=1024
    )
    assert limiting_resource(settings, taken, SMALL, reserved=False) == expected


def test_what_is_counted_already_needs_only_a_turn() -> None:
    settings = Settings.model_construct(launches_at_once=1, running_limit=1)
    assert limiting_resource(settings, Allocation(1, 0, 0.0, 0, None, None, None), SMALL, reserved=True) is None
    assert (
        limiting_resource(settings, Allocation(1, 0, 0.0, 1, None, None, None), SMALL, reserved=True)
        == "capacity_launches"
    )


async def test_200_launches_at_once_never_pass_the_limit_and_none_is_lost(resources: Resources) -> None:
    limit(resources, running_limit=20, launches_at_once=1000, queue_limit=1000)
    users = await many(resources, 200)
    await crowd(ask(resources, user) for user in users)
    assert await count(resources, Job.admitted_at.is_not(None)) == 20
    assert await count(resources, Job.admitted_at.is_(None), Job.blocked_by == "capacity_running") == 180
    async with resources.unit_of_work() as session:
        reserved = select(func.count()).where(Workspace.reserved_memory.is_not(None))
        assert await session.scalar(reserved) == 20


async def test_memory_that_is_promised_never_passes_what_the_engine_has(resources: Resources) -> None:
    await facts(resources, memory_bytes=640 * MEGABYTE)
    users = await many(resources, 40)
    await crowd(ask(resources, user) for user in users)
    async with resources.unit_of_work() as session:
        assert await session.scalar(select(func.sum(Workspace.reserved_memory))) == 640 * MEGABYTE


async def test_a_users_own_limit_refuses_by_its_name_even_at_once(resources: Resources) -> None:
    alice = await make_user(resources)
    async with resources.unit_of_work() as session:
        await session.execute(update(User).values(running_limit=1))

    async def one(template: str) -> bool:
        try:
            await ask(resources, alice, template)
        except QuotaUserRunning:
            return False
        return True

    accepted = await asyncio.gather(*(one(template) for template in ("hello", "jupyter")))
    assert sorted(accepted) == [False, True]


async def test_a_full_engine_queues_up_to_a_bound_and_then_refuses_by_the_limits_name(resources: Resources) -> None:
    limit(resources, running_limit=1, queue_limit=2)
    users = await many(resources, 4)
    for user in users[:3]:
        await ask(resources, user)
    with pytest.raises(CapacityRunning) as refused:
        await ask(resources, users[3])
    assert refused.value.headers == {"Retry-After": "30"}
    assert await count(resources) == 3


async def test_a_refused_launch_leaves_nothing(resources: Resources) -> None:
    limit(resources, running_limit=1, queue_limit=0)
    first, second = await many(resources, 2)
    await ask(resources, first)
    with pytest.raises(Refused):
        await ask(resources, second)
    async with resources.unit_of_work() as session:
        assert await session.scalar(select(func.count()).select_from(Workspace)) == 1


async def test_who_stops_lets_the_next_one_in(resources: Resources, worker: TestWorker) -> None:
    limit(resources, running_limit=1)
    first, second = await many(resources, 2)
    await ask(resources, first)
    waiting = await ask(resources, second)
    await worker.drain()
    assert await count(resources, Job.id == waiting.id, Job.state == JobState.QUEUED) == 1
    await ask(resources, first, kind=JobKind.STOP)
    await worker.drain()
    assert await count(resources, Job.id == waiting.id, Job.state == JobState.SUCCEEDED) == 1


async def test_a_failed_launch_lets_the_next_one_in(resources: Resources, worker: TestWorker) -> None:
    limit(resources, running_limit=1)
    first, second = await many(resources, 2)
    failing = await ask(resources, first)
    waiting = await ask(resources, second)
    async with resources.unit_of_work() as session:
        await session.execute(update(Workspace).where(Workspace.id == failing.workspace_id).values(template="gone"))
    await worker.drain()
    assert await count(resources, Job.id == failing.id, Job.state == JobState.FAILED) == 1
    assert await count(resources, Job.id == waiting.id, Job.state == JobState.SUCCEEDED) == 1


async def test_ten_launches_of_one_user_do_not_stand_before_anothers_first(
    resources: Resources, worker: TestWorker
) -> None:
    limit(resources, launches_at_once=1)
    blocker_, greedy, modest = [await make_user(resources, slug) for slug in ("blocker", "greedy", "modest")]
    await ask(resources, blocker_)
    await ask(resources, greedy, "hello")
    await ask(resources, greedy, "jupyter")
    last = await ask(resources, modest, "hello")
    async with resources.unit_of_work() as session:
        position = (await view_job(session, resources, await session.get_one(Job, last.id), "en")).position
    # One is let in and not claimed yet; of greedy's two only the first comes before modest's.
    assert position == 3
    await worker.drain()
    assert await let_in(resources) == ["blocker", "greedy", "modest", "greedy"]


async def test_a_large_workspace_at_the_front_is_not_passed_by_small_ones(resources: Resources) -> None:
    await facts(resources, memory_bytes=1100 * MEGABYTE)
    users = await many(resources, 3)
    await ask(resources, users[0], "hello")
    await ask(resources, users[1], "jupyter")
    await facts(resources, memory_bytes=1087 * MEGABYTE)
    waiting = [await ask(resources, users[2], "jupyter"), await ask(resources, users[0], "jupyter")]
    small = await ask(resources, users[1], "hello")
    assert await admit_waiting(resources) == 0
    for job in (*waiting, small):
        assert await count(resources, Job.id == job.id, Job.admitted_at.is_(None)) == 1


async def test_a_launch_that_waited_too_long_for_room_says_what_it_waited_for(
    resources: Resources, worker: TestWorker
) -> None:
    limit(resources, running_limit=1)
    first, second = await many(resources, 2)
    await ask(resources, first)
    waiting = await ask(resources, second)
    async with resources.unit_of_work() as session:
        late = utcnow() - timedelta(seconds=1)
        await session.execute(update(Job).where(Job.id == waiting.id).values(deadline=late))
    await reconcile_rows(worker.context)
    assert await count(resources, Job.id == waiting.id, Job.error_code == "capacity_running") == 1


async def test_who_waits_is_told_at_once_that_it_is_now_for_something_else(resources: Resources) -> None:
    limit(resources, running_limit=1)
    first, second = await many(resources, 2)
    await ask(resources, first)
    waiting = await ask(resources, second)
    limit(resources, running_limit=0)
    await facts(resources, memory_bytes=MEGABYTE)
    watch = JobSubscriptions(resources.redis, resources.settings.instance)
    async with watch.running(resources):
        with watch.changes(waiting.id) as changed:
            # Who has just subscribed is woken, too.
            await asyncio.wait_for(changed.wait(), PATIENCE)
            changed.clear()
            assert await admit_waiting(resources) == 0
            await asyncio.wait_for(changed.wait(), PATIENCE)
    await admit_waiting(resources)
    async with resources.unit_of_work() as session:
        job = await session.get_one(Job, waiting.id)
    assert (job.blocked_by, job.version) == ("capacity_memory", waiting.version + 1)


async def test_a_restart_of_a_running_workspace_needs_no_room(resources: Resources, worker: TestWorker) -> None:
    limit(resources, running_limit=1)
    alice = await make_user(resources)
    await ask(resources, alice)
    await worker.drain()
    restart = await ask(resources, alice, kind=JobKind.RESTART)
    assert restart.admitted_at is not None
