"""A workspace that ended by itself, or in which the kernel killed something, says so: API, activity, card, log."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.models import AuditEntry, User, Workspace, WorkspaceStatus, utcnow
from app.resources import Resources
from app.runtime.base import Event
from app.runtime.docker.host_view import memory_kills
from app.web.messages.exits import troubles
from app.workspaces.schemas import WorkspaceOut
from app.workspaces.views import view_workspace
from tests.conftest import TestWorker
from tests.support.clocks import Time
from tests.support.driving import only, row_of, run_one, until
from tests.support.fakes import FakeRuntime
from workers.loops.engine_events import count_memory_kill
from workers.loops.reconcile import reconcile_engine


async def shown(resources: Resources, workspace: Workspace) -> WorkspaceOut:
    async with resources.reads() as session:
        user = await session.get_one(User, workspace.user_id)
        return await view_workspace(session, resources, user, resources.catalog.default, "en")


async def actions(resources: Resources, workspace: Workspace) -> list[tuple[str, str | None]]:
    query = select(AuditEntry.action, AuditEntry.detail).where(AuditEntry.target == str(workspace.id))
    async with resources.reads() as session:
        rows = (await session.execute(query.order_by(AuditEntry.id))).all()
    return [(row.action, row.detail) for row in rows if row.action.startswith("workspace_")]


async def test_one_that_was_killed_and_started_again_says_why(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker, restarts="on-failure")
    assert (await shown(resources, workspace)).last_exit is None
    runtime.exit_code, runtime.out_of_memory = 137, True
    runtime.end(only(runtime))
    await reconcile_engine(worker.context)
    runtime.exit_code = None
    async with worker.running(reconciling=False):

        async def runs() -> bool:
            return (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING

        await until(runs)
    found = await shown(resources, workspace)
    assert found.error is None
    assert found.last_exit is not None
    assert (found.last_exit.code, found.last_exit.exit_code, found.last_exit.restarts) == ("out_of_memory", 137, 1)
    assert "ran out of memory" in found.last_exit.message
    assert ("workspace_restarted", "out_of_memory") in await actions(resources, workspace)
    (said,) = troubles(found, utcnow(), "en")
    assert said.startswith("Started again after ")
    assert troubles(found, utcnow() + timedelta(days=2), "en") == []


async def test_programs_that_the_kernel_killed_are_counted_once_however_many_hear_of_them(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime
) -> None:
    workspace = await run_one(resources, worker)
    first = Event(workspace.id, "oom", utcnow())
    later = Event(workspace.id, "oom", first.at + timedelta(microseconds=1))
    await asyncio.gather(*(count_memory_kill(worker.context, first) for _ in range(3)))
    found = (await shown(resources, workspace)).memory_kills
    assert found is not None
    assert (found.count, found.at) == (1, first.at)
    # From here on the kernel's own counter is in sight.
    runtime.kills = 4
    await asyncio.gather(*(count_memory_kill(worker.context, event) for event in (later, later, first)))
    found = (await shown(resources, workspace)).memory_kills
    assert found is not None
    assert found.count == 4
    killed = [detail for action, detail in await actions(resources, workspace) if action == "workspace_memory_killed"]
    assert killed == ["1 in this run"]
    (said,) = troubles(await shown(resources, workspace), utcnow(), "de")
    assert "insgesamt 4" in said
    await count_memory_kill(worker.context, Event(workspace.user_id, "oom", utcnow()))


async def test_programs_that_are_killed_in_a_loop_leave_one_line_a_minute(
    resources: Resources, worker: TestWorker, runtime: FakeRuntime, time: Time
) -> None:
    workspace = await run_one(resources, worker)
    for seconds in (0, 30, 31):
        time.pass_(seconds=seconds)
        runtime.kills = (runtime.kills or 0) + 1
        await count_memory_kill(worker.context, Event(workspace.id, "oom", utcnow()))
    killed = [detail for action, detail in await actions(resources, workspace) if action == "workspace_memory_killed"]
    assert killed == ["1 in this run", "3 in this run"]


async def test_a_new_run_counts_anew(resources: Resources, worker: TestWorker, runtime: FakeRuntime) -> None:
    workspace = await run_one(resources, worker, restarts="on-failure")
    await count_memory_kill(worker.context, Event(workspace.id, "oom", utcnow()))
    runtime.end(only(runtime))
    await reconcile_engine(worker.context)
    async with worker.running(reconciling=False):

        async def runs() -> bool:
            return (await row_of(resources, workspace)).status is WorkspaceStatus.RUNNING

        await until(runs)
    assert (await shown(resources, workspace)).memory_kills is None


@pytest.mark.parametrize(
    ("group", "file", "text"),
    [
        (
            "4:memory:/docker/abc",
            "memory/docker/abc/memory.oom_control",
            "under_oom 0\noom_kill 3\n",
        ),
        ("0::/system.slice/docker-abc.scope", "system.slice/docker-abc.scope/memory.events", "oom 9\noom_kill 3\n"),
    ],
    ids=["cgroup v1", "cgroup v2"],
)
def test_the_kernels_counter_is_read_in_both_versions(group: str, file: str, text: str, tmp_path: Path) -> None:
    process, counter = tmp_path / "proc/7/cgroup", tmp_path / "cgroup" / file
    for path, content in ((process, f"9:pids:/docker/abc\n{group}\n"), (counter, text)):
        path.parent.mkdir(parents=True)
        path.write_text(content)
    assert memory_kills(7, "abc", tmp_path / "proc", tmp_path / "cgroup") == 3
    assert memory_kills(7, "other", tmp_path / "proc", tmp_path / "cgroup") is None
    counter.unlink()
    assert memory_kills(7, "abc", tmp_path / "proc", tmp_path / "cgroup") is None
