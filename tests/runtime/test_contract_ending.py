"""What every runtime promises (app.runtime.base.Runtime), on its real engine: pauses, stops, and what is removed."""

import asyncio
import time
from uuid import uuid4

import pytest

from app.runtime.base import Inventory, RunState, Runtime
from tests.support.engine import Steps, Workspaces, eventually, fetch
from tests.support.waiting import PATIENCE

DEAF = "trap '' TERM; echo deaf; while :; do busybox sleep 0.1; done"
ORDERLY = "trap 'echo bye; exit 0' TERM; echo ready; while :; do busybox sleep 0.05; done"


async def said(runtime: Runtime, name: str, line: str) -> None:
    """Return once the container has written this line."""

    async def seen() -> bool:
        return line in [item async for item in runtime.logs(name)]

    await eventually(seen)


async def test_a_paused_workspace_keeps_its_address_and_goes_on(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    endpoint = await runtime.ensure_running(spec, steps)
    for _ in range(2):
        paused = await runtime.ensure_paused(spec.name, spec.workspace_id)
        assert (paused.state, paused.endpoint) == (RunState.PAUSED, endpoint)
        assert paused == await runtime.status(spec.name)
    assert await runtime.ensure_running(spec, steps) == endpoint
    assert (await runtime.status(spec.name)).state is RunState.RUNNING
    assert await fetch(endpoint, "/bin/busybox")


async def test_pauses_and_launches_at_once_end_in_what_is_asked_last(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    endpoint = await runtime.ensure_running(spec, steps)
    for _ in range(3):
        await asyncio.gather(
            *(runtime.ensure_paused(spec.name, spec.workspace_id) for _ in range(3)),
            *(runtime.ensure_running(spec, steps) for _ in range(3)),
        )
    assert await runtime.ensure_running(spec, steps) == endpoint
    assert (await runtime.status(spec.name)).state is RunState.RUNNING


async def test_a_pause_of_what_does_not_run_says_what_it_found(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    assert (await runtime.ensure_paused(spec.name, spec.workspace_id)).state is RunState.ABSENT
    await runtime.ensure_running(spec, steps)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert (await runtime.ensure_paused(spec.name, spec.workspace_id)).state is RunState.EXITED


@pytest.mark.parametrize("paused", [False, True])
async def test_a_stop_lets_a_container_end_by_itself(
    runtime: Runtime, workspace: Workspaces, steps: Steps, *, paused: bool
) -> None:
    spec = workspace(script=ORDERLY)
    await runtime.ensure_running(spec, steps)
    await said(runtime, spec.name, "ready")
    if paused:
        await runtime.ensure_paused(spec.name, spec.workspace_id)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    status = await runtime.status(spec.name)
    assert (status.state, status.exit_code) == (RunState.EXITED, 0)
    await said(runtime, spec.name, "bye")


async def test_a_stop_ends_after_the_grace_what_does_not_listen_though_it_is_paused(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(script=DEAF)
    await runtime.ensure_running(spec, steps)
    await said(runtime, spec.name, "deaf")
    await runtime.ensure_paused(spec.name, spec.workspace_id)
    began = time.monotonic()
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert 9 < time.monotonic() - began < 40
    assert (await runtime.status(spec.name)).exit_code == 137


async def test_a_paused_container_is_removed_without_a_grace(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(script=DEAF)
    await runtime.ensure_running(spec, steps)
    await said(runtime, spec.name, "deaf")
    await runtime.ensure_paused(spec.name, spec.workspace_id)
    async with asyncio.timeout(PATIENCE):
        await runtime.ensure_absent(spec.name, spec.workspace_id)
    assert (await runtime.status(spec.name)).state is RunState.ABSENT


async def test_absent_twice_is_fine_and_takes_the_container_alone(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(volume=workspace.volume())
    await runtime.ensure_running(spec, steps)
    for _ in range(2):
        await runtime.ensure_absent(spec.name, spec.workspace_id)
        assert (await runtime.status(spec.name)).state is RunState.ABSENT
    left = await runtime.list_owned(spec.instance)
    assert (left.containers, left.networks) == ([], [spec.network.name])
    assert [volume.name for volume in left.volumes] == [spec.volume.name if spec.volume else None]
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert [line async for line in runtime.logs(spec.name)] == []


async def test_removals_at_once_are_fine_and_leave_nothing(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(volume=workspace.volume())
    await runtime.ensure_running(spec, steps)
    assert spec.volume is not None
    await asyncio.gather(*(runtime.ensure_absent(spec.name, spec.workspace_id) for _ in range(4)))
    await asyncio.gather(*(runtime.remove_network(spec.network.name) for _ in range(4)))
    await asyncio.gather(*(runtime.remove_volume(spec.volume.name) for _ in range(4)))
    assert await runtime.list_owned(spec.instance) == Inventory([], [], [])


async def test_a_container_of_another_workspace_under_the_name_is_left_alone(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec, stranger = workspace(), uuid4()
    endpoint = await runtime.ensure_running(spec, steps)
    assert (await runtime.ensure_paused(spec.name, stranger)).state is RunState.ABSENT
    await runtime.ensure_stopped(spec.name, stranger)
    await runtime.ensure_absent(spec.name, stranger)
    status = await runtime.status(spec.name)
    assert (status.state, status.endpoint) == (RunState.RUNNING, endpoint)


@pytest.mark.parametrize("state", ["running", "stopped"])
async def test_what_a_container_uses_stays(runtime: Runtime, workspace: Workspaces, steps: Steps, state: str) -> None:
    spec = workspace(volume=workspace.volume())
    endpoint = await runtime.ensure_running(spec, steps)
    if state == "stopped":
        await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert spec.volume is not None
    await runtime.remove_network(spec.network.name)
    await runtime.remove_volume(spec.volume.name)
    left = await runtime.list_owned(spec.instance)
    assert (left.networks, [volume.name for volume in left.volumes]) == ([spec.network.name], [spec.volume.name])
    assert (await runtime.ensure_running(spec, steps)).container_id == endpoint.container_id
