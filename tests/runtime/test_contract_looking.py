"""What every runtime promises (app.runtime.base.Runtime), on its real engine: looking, counting, following."""

import asyncio

import pytest

from app.runtime.base import Event, Inventory, OwnedVolume, RunState, Runtime
from app.runtime.spec import WorkspaceSpec
from tests.support.engine import Steps, Workspaces, eventually, fetch
from tests.support.waiting import PATIENCE


async def collect(runtime: Runtime, spec: WorkspaceSpec, *, follow: bool = False) -> list[str]:
    return [line async for line in runtime.logs(spec.name, follow=follow)]


async def test_log_lines_come_whole_and_in_order(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace(script="for i in 1 2 3 4 5; do echo line $i; done; echo üü; exec busybox sleep 60")
    await runtime.ensure_running(spec, steps)
    expected = [f"line {number}" for number in range(1, 6)] + ["üü"]

    async def complete() -> bool:
        return await collect(runtime, spec) == expected

    await eventually(complete)
    assert [line async for line in runtime.logs(spec.name, tail=2)] == expected[-2:]


async def test_followed_logs_end_with_the_container(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace(script="echo begin; busybox sleep 0.5; echo end")
    await runtime.ensure_running(spec, steps)
    async with asyncio.timeout(PATIENCE):
        assert await collect(runtime, spec, follow=True) == ["begin", "end"]


async def test_events_of_owned_containers_are_seen(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    stream = runtime.events(spec.instance)
    other = runtime.events("another")
    await runtime.ensure_running(spec, steps)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    await runtime.ensure_absent(spec.name, spec.workspace_id)
    seen: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for event in stream:
            assert event == Event(spec.workspace_id, event.action, event.at)
            seen.append(event.action)
            if event.action == "destroy":
                break
    assert seen == ["start", "die", "destroy"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await anext(other)


async def test_a_listing_agrees_with_a_look(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    await runtime.ensure_running(spec, steps)
    (owned,) = (await runtime.list_owned(spec.instance)).containers
    assert owned.workspace_id == spec.workspace_id
    assert owned.status == await runtime.status(spec.name)


async def test_the_engine_answers_a_ping(runtime: Runtime) -> None:
    await runtime.ping()


async def test_everything_of_an_installation_is_listed_and_nothing_of_another(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec, spare = workspace(volume=workspace.volume()), workspace.network()
    await runtime.ensure_network(spec.instance, spare)
    await runtime.ensure_running(spec, steps)
    await runtime.ensure_paused(spec.name, spec.workspace_id)
    inventory = await runtime.list_owned(spec.instance)
    (owned,) = inventory.containers
    assert (owned.name, owned.network, owned.status.state) == (spec.name, spec.network.name, RunState.PAUSED)
    assert sorted(inventory.networks) == sorted([spec.network.name, spare.name])
    assert spec.volume is not None
    assert inventory.volumes == [OwnedVolume(spec.workspace_id, spec.volume.name)]
    assert await runtime.list_owned("another") == Inventory([], [], [])


async def test_the_engine_says_what_it_has(runtime: Runtime) -> None:
    size = await runtime.size()
    assert size.memory_bytes > 256 << 20
    assert size.cpus >= 1
    assert size.disk_free_bytes is None or size.disk_free_bytes > 0


async def test_usage_grows_while_a_container_works_and_ends_with_it(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(script="busybox httpd -p 8080 -h /; while :; do :; done")
    endpoint = await runtime.ensure_running(spec, steps)
    first = await runtime.usage(spec.name)
    assert first is not None
    await fetch(endpoint, "/bin/busybox")

    async def grown() -> bool:
        usage = await runtime.usage(spec.name)
        assert usage is not None
        transferred = usage.network_bytes - first.network_bytes
        return usage.cpu_seconds > first.cpu_seconds + 0.2 and transferred > 100_000

    await eventually(grown)
    await runtime.ensure_paused(spec.name, spec.workspace_id)
    assert await runtime.usage(spec.name) is not None
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert await runtime.usage(spec.name) is None
    assert await runtime.usage(f"{spec.name}-nowhere") is None


async def test_where_a_container_takes_connections_is_seen_on_its_engines_host(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    silent = workspace(script="exec busybox sleep 60")
    await runtime.ensure_running(silent, steps)
    assert await runtime.listening(silent.name) == []
    spec = workspace(script="busybox httpd -h / -p 127.0.0.1:9000; busybox httpd -h / -p 9001; exec busybox sleep 60")
    await runtime.ensure_running(spec, steps)

    async def both() -> bool:
        places = await runtime.listening(spec.name)
        return places is not None and "127.0.0.1:9000" in places and any(item.endswith(":9001") for item in places)

    await eventually(both)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert await runtime.listening(spec.name) is None
    assert await runtime.listening("nobody") is None


async def test_a_program_that_the_kernel_killed_is_counted_and_told_though_the_container_goes_on(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    # `tail` keeps all of a line that never ends.
    spec = workspace(script="busybox tail /dev/zero & exec busybox sleep 600")
    stream = runtime.events(spec.instance)
    await runtime.ensure_running(spec, steps)

    async def counted() -> bool:
        return (await runtime.memory_kills(spec.name) or 0) >= 1

    await eventually(counted)
    assert (await runtime.status(spec.name)).state is RunState.RUNNING
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    assert await runtime.memory_kills(spec.name) is None
    told = []
    async with asyncio.timeout(PATIENCE):
        async for event in stream:
            assert event.workspace_id == spec.workspace_id
            told.append(event.action)
            if event.action == "die":
                break
    # Where the engine does not say so, nobody hears of it.
    assert ("oom" in told) is (await runtime.report()).tells_memory_kills
