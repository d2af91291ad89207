"""What every runtime promises, on its real engine: another name for a container that runs, and commands in it."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from app.runtime.base import RunState, Runtime
from tests.support.engine import Steps, Workspaces, fetch

CONFINED = "busybox grep -q '^NoNewPrivs:.1$' /proc/self/status && busybox grep -q '^Seccomp:.2$' /proc/self/status"
POWERLESS = "busybox grep -q '^CapEff:.0*$' /proc/self/status && busybox grep -q '^CapBnd:.0*$' /proc/self/status"


async def test_a_container_gets_another_name_and_runs_on(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    seat = replace(spec, name=f"{spec.instance}-seat--{spec.workspace_id.hex}")
    endpoint = await runtime.ensure_running(seat, steps)
    for _ in range(2):
        await runtime.ensure_named(seat.name, spec.workspace_id, spec.name)
        assert (await runtime.status(seat.name)).state is RunState.ABSENT
    again = Steps()
    assert await runtime.ensure_running(spec, again) == endpoint
    assert again.phases == []
    assert [owned.name for owned in (await runtime.list_owned(spec.instance)).containers] == [spec.name]
    assert await fetch(endpoint, "/bin/busybox")
    await runtime.ensure_absent(spec.name, spec.workspace_id)
    assert (await runtime.status(spec.name)).state is RunState.ABSENT


async def test_names_asked_for_at_once_are_given_once(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    seat = replace(spec, name=f"{spec.instance}-seat--{spec.workspace_id.hex}")
    endpoint = await runtime.ensure_running(seat, steps)
    await asyncio.gather(*(runtime.ensure_named(seat.name, spec.workspace_id, spec.name) for _ in range(5)))
    assert (await runtime.status(spec.name)).endpoint == endpoint


async def test_a_name_that_is_taken_or_a_container_of_another_changes_nothing(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    one, other = workspace(), workspace()
    for spec in (one, other):
        await runtime.ensure_running(spec, steps)
    await runtime.ensure_named(one.name, one.workspace_id, other.name)
    await runtime.ensure_named(one.name, uuid4(), f"{one.instance}-stolen")
    await runtime.ensure_named(f"{one.instance}-nothing", one.workspace_id, f"{one.instance}-stolen")
    found = {owned.name: owned.workspace_id for owned in (await runtime.list_owned(one.instance)).containers}
    assert found == {one.name: one.workspace_id, other.name: other.workspace_id}


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('test "$SPAWNER_USER_SLUG" = alice', 0),
        ("exit 7", 7),
        ("test $(busybox id -u) = 1000", 0),
        (f"{CONFINED} && {POWERLESS}", 0),
    ],
    ids=["environment", "exit code", "user", "confinement"],
)
async def test_a_command_runs_in_the_container_as_what_runs_there(
    runtime: Runtime, workspace: Workspaces, steps: Steps, script: str, code: int
) -> None:
    spec = workspace(user="1000")
    await runtime.ensure_running(spec, steps)
    command = ["/bin/busybox", "sh", "-c", script]
    environment = {"SPAWNER_USER_SLUG": "alice"}
    assert await runtime.execute(spec.name, spec.workspace_id, command, environment, seconds=20) == code


async def test_a_command_that_cannot_run_or_does_not_end_has_no_exit_code(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    command = ["/bin/busybox", "sleep", "60"]
    assert await runtime.execute(spec.name, spec.workspace_id, command, {}, seconds=20) is None
    await runtime.ensure_running(spec, steps)
    assert await runtime.execute(spec.name, uuid4(), command, {}, seconds=20) is None
    assert await runtime.execute(spec.name, spec.workspace_id, command, {}, seconds=0.2) is None
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert await runtime.execute(spec.name, spec.workspace_id, command, {}, seconds=20) is None
