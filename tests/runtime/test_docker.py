"""What Docker's objects look like, and objects of others beside them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiodocker
import pytest

from app.runtime.base import Inventory, RunState, RuntimeFault, SubnetTaken
from app.runtime.docker.calls import EngineRefused
from app.runtime.docker.objects import confinement_of, container_body
from app.runtime.docker.runtime import DockerRuntime
from app.runtime.spec import Network, WorkspaceSpec
from tests.support.engine import ALLOWED, DOCKER_URL, Steps, Workspaces, eventually
from tests.support.http import direct_client
from tests.support.waiting import PATIENCE


@pytest.fixture
async def docker() -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime(DOCKER_URL, publish="never", starts=16, allowed=ALLOWED)
    yield runtime
    await runtime.aclose()


@pytest.fixture
async def podman(docker: DockerRuntime) -> bool:
    """Whether the engine is Podman, which describes some things in words of its own."""
    return (await docker.report()).product == "Podman"


async def inspect(engine: aiodocker.Docker, name: str) -> dict[str, Any]:
    return await engine.containers.container(name).show()


async def test_limits_and_hardening_are_the_engines(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps, *, podman: bool
) -> None:
    spec = workspace(user="1000", read_only=True, cpus=0.25, pids=20, memory_bytes=40 << 20)
    await docker.ensure_running(spec, steps)
    container = await inspect(engine, spec.name)
    host = container["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 40 << 20
    assert (host["NanoCpus"], host["CpuShares"], host["PidsLimit"]) == (250_000_000, 16, 20)
    assert not host["CapAdd"]
    assert not host["Privileged"]
    if podman:
        # It names what it takes away of its own default, and of two files for logs it keeps one.
        assert "ALL" not in host["CapDrop"]
        async with engine.session.get(f"{engine.docker_host}/v5.0.0/libpod/containers/{spec.name}/json") as answer:
            native = await answer.json()
        assert (native["EffectiveCaps"], native["BoundingCaps"]) == (None, None)
        assert native["HostConfig"]["LogConfig"]["Size"] == "10MB"
        assert host["SecurityOpt"] == ["no-new-privileges", f"seccomp={ALLOWED.seccomp_file}"]
        # The image's own volume.
        assert [item.split(":")[1] for item in host["Binds"]] == ["/anonymous"]
    else:
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ALLOWED.security
        assert not host["Binds"]
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
    assert (host["Init"], host["ReadonlyRootfs"], list(host["Tmpfs"])) == (True, True, ["/tmp"])
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["PortBindings"]
    assert container["Config"]["User"] == "1000"
    assert container["Config"]["Hostname"] == spec.name


async def test_the_limits_hold_inside(docker: DockerRuntime, workspace: Workspaces, steps: Steps) -> None:
    look = "busybox grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs' /proc/self/status"
    write = "echo x > /file; echo x > /tmp/file && echo written"
    spec = workspace(script=f"{look}; {write}; busybox sleep 60", read_only=True)
    await docker.ensure_running(spec, steps)
    lines: list[str] = []

    async def complete() -> bool:
        lines[:] = [line async for line in docker.logs(spec.name)]
        return "written" in lines

    await eventually(complete)
    caps = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("Cap", "NoNew"))}
    assert caps == {"CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}
    assert any("Read-only file system" in line for line in lines)


async def test_every_object_carries_the_labels(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    volume = workspace.volume()
    spec = workspace(volume=volume, labels={"spawner.route": "alice-hello"}, revision=4)
    await docker.ensure_running(spec, steps)
    wanted = {
        "spawner.instance": spec.instance,
        "spawner.workspace": str(spec.workspace_id),
        "spawner.route": "alice-hello",
    }
    container = await inspect(engine, spec.name)
    network = await (await engine.networks.get(spec.network.name)).show()
    stored = await (await engine.volumes.get(volume.name)).show()
    assert stored["Labels"] == wanted
    assert network["Labels"] == {"spawner.instance": spec.instance, "spawner.network": "workspace"}
    own = {"spawner.incarnation": "4", "spawner.port": "8080", "spawner.confinement": confinement_of(spec, ALLOWED)}
    assert container["Config"]["Labels"] == {**wanted, **own}
    assert [item["Subnet"] for item in network["IPAM"]["Config"]] == [spec.network.subnet]
    assert list(container["NetworkSettings"]["Networks"]) == [spec.network.name]


async def test_a_published_workspace_listens_on_loopback_only(
    engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    runtime = DockerRuntime(DOCKER_URL, publish="loopback", starts=16, allowed=ALLOWED)
    spec = workspace()
    endpoint = await runtime.ensure_running(spec, steps)
    bindings = (await inspect(engine, spec.name))["NetworkSettings"]["Ports"]["8080/tcp"]
    assert [(item["HostIp"], item["HostPort"]) for item in bindings] == [("127.0.0.1", str(endpoint.port))]
    assert endpoint.host == "127.0.0.1"
    async with direct_client() as client:
        assert (await client.get(f"http://127.0.0.1:{endpoint.port}/bin/busybox")).status_code == 200
    (owned,) = (await runtime.list_owned(spec.instance)).containers
    assert owned.status.endpoint == endpoint
    await runtime.aclose()


async def paused(docker: DockerRuntime, spec: WorkspaceSpec) -> None:
    """Pause it as a job does: again where the trouble may pass."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await docker.ensure_paused(spec.name, spec.workspace_id)
            except RuntimeFault as fault:
                if not fault.transient:
                    raise
            else:
                return


@pytest.mark.parametrize(
    ("said", "transient"),
    [
        ("Cannot pause container x: OCI runtime pause failed: unable to freeze: unknown", True),
        ("OCI runtime create failed: exec: no such file or directory: unknown", False),
    ],
)
def test_a_pause_for_which_the_machine_was_too_busy_is_tried_again(said: str, transient: bool) -> None:
    assert EngineRefused(500, said).transient is transient


async def test_a_paused_workspace_is_unpaused(docker: DockerRuntime, workspace: Workspaces, steps: Steps) -> None:
    spec = workspace()
    stream = docker.events(spec.instance)
    endpoint = await docker.ensure_running(spec, steps)
    await paused(docker, spec)
    assert (await docker.status(spec.name)).state is RunState.PAUSED
    assert await docker.ensure_running(spec, steps) == endpoint
    await paused(docker, spec)
    await docker.ensure_stopped(spec.name, spec.workspace_id)
    assert (await docker.status(spec.name)).state is RunState.EXITED
    async with asyncio.timeout(PATIENCE):
        assert [(await anext(stream)).action for _ in range(3)] == ["start", "pause", "unpause"]


async def test_anonymous_volumes_go_with_the_container(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_running(spec, steps)
    await docker.ensure_running(replace(spec, revision=2), steps)
    mounts = (await inspect(engine, spec.name))["Mounts"]
    terminals = {"/dev/pts"} if ALLOWED.bounds_terminals else set()
    assert {mount["Destination"] for mount in mounts} == {"/anonymous"} | terminals
    await docker.ensure_absent(spec.name, spec.workspace_id)
    names = [volume["Name"] for volume in (await engine.volumes.list())["Volumes"] or []]
    assert not {mount["Name"] for mount in mounts} & set(names)


async def test_a_stopped_workspace_whose_network_was_removed_runs_again(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_running(spec, steps)
    await docker.ensure_stopped(spec.name, spec.workspace_id)
    await (await engine.networks.get(spec.network.name)).delete()
    endpoint = await docker.ensure_running(spec, steps)
    assert (await docker.status(spec.name)).endpoint == endpoint


async def test_two_networks_of_one_name_become_one(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    labels = {"spawner.instance": spec.instance, "spawner.network": "workspace"}
    for _ in range(2):
        ipam = {"Config": [{"Subnet": workspace.network().subnet}]}
        try:
            await engine.networks.create({"Name": spec.network.name, "IPAM": ipam, "Labels": labels})
        except aiodocker.DockerError as refused:
            # From 25 on an engine makes no second one, which is as good.
            if refused.status != 409:
                raise
    await docker.ensure_running(spec, steps)
    named = await engine.networks.list(filters={"name": spec.network.name})
    assert len(named) == 1


async def test_what_belongs_to_somebody_else_is_left_alone(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps, image: str
) -> None:
    spec = workspace()
    foreign = await engine.containers.create({"Image": image}, name=spec.name)
    try:
        for call in (docker.ensure_running(spec, steps), docker.status(spec.name)):
            with pytest.raises(RuntimeFault, match="belongs to somebody else"):
                await call
        await docker.ensure_stopped(spec.name, spec.workspace_id)
        await docker.ensure_absent(spec.name, spec.workspace_id)
        assert (await inspect(engine, spec.name))["Id"] == foreign.id
    finally:
        await foreign.delete(force=True, v=True)


async def test_a_foreign_network_of_our_name_is_not_joined(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    ipam = {"Config": [{"Subnet": spec.network.subnet}]}
    foreign = await engine.networks.create({"Name": spec.network.name, "IPAM": ipam})
    try:
        with pytest.raises(RuntimeFault, match="belongs to somebody else"):
            await docker.ensure_running(spec, steps)
        overlapping = Network(workspace.network().name, spec.network.subnet)
        with pytest.raises(SubnetTaken):
            await docker.ensure_running(workspace(network=overlapping), steps)
        await docker.remove_network(spec.network.name)
        assert (await engine.networks.get(spec.network.name)).id == foreign.id
        assert await docker.list_owned(spec.instance) == Inventory([], [], [])
    finally:
        await foreign.delete()


async def test_a_network_is_not_shared_with_a_container_of_somebody_else(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps, image: str
) -> None:
    spec = workspace()
    await docker.ensure_network(spec.instance, spec.network)
    body: dict[str, Any] = {"Image": image, "HostConfig": {"NetworkMode": spec.network.name}}
    foreign = await engine.containers.create(body, name=f"{spec.name}-foreign")
    try:
        with pytest.raises(SubnetTaken):
            await docker.ensure_running(spec, steps)
        await docker.remove_network(spec.network.name)
        assert await docker.list_owned(spec.instance) == Inventory([], [spec.network.name], [])
    finally:
        await foreign.delete(force=True, v=True)
    await docker.ensure_running(spec, steps)


async def test_what_was_made_and_never_looked_at_is_looked_at_before_it_runs(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    first = workspace()
    spec = workspace(network=first.network)
    await docker.ensure_running(first, steps)
    await engine.containers.create(container_body(spec, ALLOWED, publish=False), name=spec.name)
    with pytest.raises(SubnetTaken):
        await docker.ensure_running(spec, steps)
    left = await engine.containers.create(container_body(spec, ALLOWED, publish=False), name=spec.name)
    moved = replace(spec, network=workspace.network())
    assert (await docker.ensure_running(moved, steps)).container_id != left.id
    assert list((await inspect(engine, spec.name))["NetworkSettings"]["Networks"]) == [moved.network.name]


async def test_what_an_earlier_version_left_is_used_listed_and_removed(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    labels = {"spawner.instance": spec.instance, "spawner.workspace": str(spec.workspace_id)}
    ipam = {"Config": [{"Subnet": workspace.network().subnet}]}
    await engine.networks.create({"Name": spec.name, "IPAM": ipam, "Labels": labels})
    old = await docker.ensure_running(replace(spec, network=Network(spec.name, spec.network.subnet)), steps)
    await docker.ensure_stopped(spec.name, spec.workspace_id)
    assert (await docker.ensure_running(spec, steps)).container_id == old.container_id
    await docker.ensure_running(replace(spec, revision=2), steps)
    assert set((await docker.list_owned(spec.instance)).networks) == {spec.name, spec.network.name}
    await docker.remove_network(spec.name)
    assert (await docker.list_owned(spec.instance)).networks == [spec.network.name]


async def test_a_launch_into_a_network_that_is_there_makes_none(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_network(spec.instance, spec.network)
    before = (await engine.networks.get(spec.network.name)).id
    await docker.ensure_running(spec, steps)
    await docker.ensure_absent(spec.name, spec.workspace_id)
    await docker.ensure_running(spec, steps)
    assert (await engine.networks.get(spec.network.name)).id == before


async def test_a_volume_that_is_not_a_workspaces_is_left_alone(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces
) -> None:
    foreign = await engine.volumes.create({"Name": workspace.volume().name})
    await docker.remove_volume(foreign.name)
    assert (await engine.volumes.get(foreign.name)).name == foreign.name
    await foreign.delete()
