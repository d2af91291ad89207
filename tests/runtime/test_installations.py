"""What every runtime promises (app.runtime.base.Runtime), on its real engine: two databases under one name."""

from dataclasses import replace
from uuid import uuid4

import pytest

from app.runtime.base import NameTaken, OwnedVolume, RunState, Runtime, SubnetTaken
from tests.support.engine import Steps, Workspaces

OURS, THEIRS = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


async def test_what_a_database_made_is_listed_with_its_id(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    network = replace(workspace.network(), installation=OURS)
    spec = workspace(volume=workspace.volume(), installation=OURS, network=network)
    await runtime.ensure_running(spec, steps)
    inventory = await runtime.list_owned(spec.instance)
    assert [item.installation for item in inventory.containers] == [OURS]
    assert spec.volume is not None
    assert inventory.volumes == [OwnedVolume(spec.workspace_id, spec.volume.name, OURS)]
    assert inventory.installations == {network.name: OURS}


@pytest.mark.parametrize("before", [OURS, None])
async def test_a_container_and_a_volume_of_another_database_are_not_replaced(
    runtime: Runtime, workspace: Workspaces, steps: Steps, before: str | None
) -> None:
    spec = workspace(volume=workspace.volume(), installation=before)
    endpoint = await runtime.ensure_running(spec, steps)
    other = replace(spec, workspace_id=uuid4(), installation=THEIRS, network=workspace.network())
    with pytest.raises(NameTaken):
        await runtime.ensure_running(other, steps)
    status = await runtime.status(spec.name)
    assert (status.state, status.container_id) == (RunState.RUNNING, endpoint.container_id)
    # The same files under another container's name.
    files = replace(workspace(installation=THEIRS), volume=spec.volume)
    with pytest.raises(NameTaken):
        await runtime.ensure_running(files, steps)
    assert (await runtime.status(files.name)).state is RunState.ABSENT


async def test_what_an_earlier_version_made_serves_its_workspace(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(volume=workspace.volume())
    endpoint = await runtime.ensure_running(spec, steps)
    upgraded = replace(spec, installation=OURS, network=replace(spec.network, installation=OURS))
    assert await runtime.ensure_running(upgraded, steps) == endpoint
    newer = await runtime.ensure_running(replace(upgraded, revision=2), steps)
    assert newer.container_id != endpoint.container_id
    assert [item.installation for item in (await runtime.list_owned(spec.instance)).containers] == [OURS]


async def test_a_network_of_another_database_counts_as_taken(
    runtime: Runtime, workspace: Workspaces, steps: Steps
) -> None:
    network = replace(workspace.network(), installation=OURS)
    await runtime.ensure_network(workspace.instance, network)
    await runtime.ensure_network(workspace.instance, network)
    with pytest.raises(SubnetTaken):
        await runtime.ensure_network(workspace.instance, replace(network, installation=THEIRS))
    with pytest.raises(SubnetTaken):
        await runtime.ensure_running(workspace(network=replace(network, installation=THEIRS)), steps)
