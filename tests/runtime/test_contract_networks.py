"""What every runtime promises (app.runtime.base.Runtime), on its real engine: a network for one workspace."""

import asyncio
from dataclasses import replace

import pytest

from app.runtime.base import RunState, Runtime, SubnetTaken
from app.runtime.spec import Network
from tests.support.engine import Steps, Workspaces


def inside(host: str, network: Network) -> bool:
    """Whether an address may be of this /28; the tests' subnets are sixteen addresses apart."""
    start = network.subnet.partition("/")[0]
    return (
        host.rpartition(".")[0] == start.rpartition(".")[0]
        and 0 < int(host.split(".")[3]) - int(start.split(".")[3]) < 15
    )


async def test_a_network_that_was_made_ahead_is_used(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    await runtime.ensure_network(spec.instance, spec.network)
    await runtime.ensure_network(spec.instance, spec.network)
    endpoint = await runtime.ensure_running(spec, steps)
    assert inside(endpoint.host, spec.network)
    inventory = await runtime.list_owned(spec.instance)
    assert (inventory.networks, inventory.containers[0].network) == ([spec.network.name], spec.network.name)


async def test_a_network_that_is_missing_is_made(runtime: Runtime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    endpoint = await runtime.ensure_running(spec, steps)
    assert inside(endpoint.host, spec.network)
    assert (await runtime.list_owned(spec.instance)).networks == [spec.network.name]


async def test_one_network_asked_for_eight_times_at_once_is_one(runtime: Runtime, workspace: Workspaces) -> None:
    network = workspace.network()
    await asyncio.gather(*(runtime.ensure_network(workspace.instance, network) for _ in range(8)))
    assert (await runtime.list_owned(workspace.instance)).networks == [network.name]
    await runtime.remove_network(network.name)
    assert (await runtime.list_owned(workspace.instance)).networks == []


async def test_a_subnet_that_another_network_has_is_taken(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    first, second = workspace(), workspace()
    await runtime.ensure_running(first, steps)
    network = Network(second.network.name, first.network.subnet)
    with pytest.raises(SubnetTaken):
        await runtime.ensure_network(second.instance, network)
    with pytest.raises(SubnetTaken):
        await runtime.ensure_running(replace(second, network=network), steps)
    assert (await runtime.status(second.name)).state is RunState.ABSENT
    await runtime.ensure_running(second, steps)
    assert len((await runtime.list_owned(first.instance)).containers) == 2


@pytest.mark.parametrize("state", ["running", "paused", "stopped"])
async def test_a_network_in_which_another_workspace_is_or_was_is_taken(
    runtime: Runtime, workspace: Workspaces, steps: Steps, state: str
) -> None:
    first = workspace()
    second = workspace(network=first.network)
    endpoint = await runtime.ensure_running(first, steps)
    if state == "paused":
        await runtime.ensure_paused(first.name, first.workspace_id)
    elif state == "stopped":
        await runtime.ensure_stopped(first.name, first.workspace_id)
    with pytest.raises(SubnetTaken):
        await runtime.ensure_running(second, steps)
    assert (await runtime.status(second.name)).state is RunState.ABSENT
    assert (await runtime.ensure_running(first, steps)).container_id == endpoint.container_id
    await runtime.ensure_absent(first.name, first.workspace_id)
    assert inside((await runtime.ensure_running(second, steps)).host, second.network)


async def test_of_four_launches_into_one_network_at_once_one_runs_at_most(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    network = workspace.network()
    await runtime.ensure_network(workspace.instance, network)
    specs = [workspace(network=network) for _ in range(4)]
    outcomes = await asyncio.gather(*(runtime.ensure_running(spec, steps) for spec in specs), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, SubnetTaken)]
    assert len(refused) >= 3
    containers = (await runtime.list_owned(workspace.instance)).containers
    assert len(containers) == len(specs) - len(refused)


async def test_a_stopped_workspace_starts_in_the_network_that_it_has(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    first = await runtime.ensure_running(spec, steps)
    await runtime.ensure_stopped(spec.name, spec.workspace_id)
    again = await runtime.ensure_running(replace(spec, network=workspace.network()), steps)
    assert again.container_id == first.container_id
    assert inside(again.host, spec.network)


async def test_a_larger_incarnation_moves_into_the_network_that_it_is_given(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await runtime.ensure_running(spec, steps)
    moved = replace(spec, revision=2, network=workspace.network())
    assert inside((await runtime.ensure_running(moved, steps)).host, moved.network)
    await runtime.remove_network(spec.network.name)
    assert (await runtime.list_owned(spec.instance)).networks == [moved.network.name]


async def test_removing_what_is_not_there_is_fine(runtime: Runtime, workspace: Workspaces) -> None:
    await runtime.remove_network(workspace.network().name)
    await runtime.remove_volume(workspace.volume().name)
