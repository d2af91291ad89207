"""What Docker's objects look like, and an engine that is away, frozen, or breaks off."""

import asyncio
import json
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

import aiodocker
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.base import (
    EngineUnavailable,
    ImageMissing,
    ImagePullFailed,
    RunState,
    RuntimeFault,
    SubnetTaken,
    Volume,
    WorkspaceSpec,
)
from app.runtime.docker import DockerRuntime
from app.runtime.docker_pull import Layers, pull
from tests.runtime.support import DOCKER_URL, Answer, Peer, Steps, Workspaces, eventually, reply

VERSION = {"Version": "20.10.24", "ApiVersion": "1.41"}
SPEC = WorkspaceSpec(
    instance="t",
    workspace_id=uuid4(),
    name="t-peer",
    incarnation=1,
    image="example/app:1",
    port=1,
    subnet="10.214.0.0/28",
    memory_bytes=1 << 25,
    cpus=1,
    pids=8,
)


@pytest.fixture
async def docker() -> Any:
    runtime = DockerRuntime(DOCKER_URL, publish="never", starts=16)
    yield runtime
    await runtime.aclose()


async def inspect(engine: aiodocker.Docker, name: str) -> dict[str, Any]:
    return await engine.containers.container(name).show()


async def test_limits_and_hardening_are_the_engines(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace(user="1000", read_only=True, cpus=0.25, pids=20, memory_bytes=40 << 20)
    await docker.ensure_running(spec, steps)
    container = await inspect(engine, spec.name)
    host = container["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 40 << 20
    assert (host["NanoCpus"], host["PidsLimit"]) == (250_000_000, 20)
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
    assert (host["Init"], host["ReadonlyRootfs"], list(host["Tmpfs"])) == (True, True, ["/tmp"])
    assert host["RestartPolicy"]["Name"] == "no"
    assert not host["PortBindings"]
    assert not host["Binds"]
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
    volume = Volume(f"{workspace.instance}-{uuid4().hex}", "/data")
    spec = workspace(volume=volume, labels={"spawner.route": "alice-hello"}, incarnation=4)
    await docker.ensure_running(spec, steps)
    wanted = {
        "spawner.instance": spec.instance,
        "spawner.workspace": str(spec.workspace_id),
        "spawner.route": "alice-hello",
    }
    container = await inspect(engine, spec.name)
    network = await (await engine.networks.get(spec.name)).show()
    stored = await (await engine.volumes.get(volume.name)).show()
    assert network["Labels"] == stored["Labels"] == wanted
    assert container["Config"]["Labels"] == {**wanted, "spawner.incarnation": "4", "spawner.port": "8080"}
    assert network["IPAM"]["Config"] == [{"Subnet": spec.subnet}]
    assert list(container["NetworkSettings"]["Networks"]) == [spec.name]


async def test_a_published_workspace_listens_on_loopback_only(
    engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    runtime = DockerRuntime(DOCKER_URL, publish="loopback", starts=16)
    spec = workspace()
    endpoint = await runtime.ensure_running(spec, steps)
    bindings = (await inspect(engine, spec.name))["NetworkSettings"]["Ports"]["8080/tcp"]
    assert [(item["HostIp"], item["HostPort"]) for item in bindings] == [("127.0.0.1", str(endpoint.port))]
    assert endpoint.host == "127.0.0.1"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{endpoint.port}/bin/busybox")).status_code == 200
    (owned,) = await runtime.list_owned(spec.instance)
    assert owned.status.endpoint == endpoint
    await runtime.aclose()


async def test_a_paused_workspace_is_unpaused(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    stream = docker.events(spec.instance)
    endpoint = await docker.ensure_running(spec, steps)
    await engine.containers.container(spec.name).pause()
    assert (await docker.status(spec.name)).state is RunState.PAUSED
    assert await docker.ensure_running(spec, steps) == endpoint
    await engine.containers.container(spec.name).pause()
    await docker.ensure_stopped(spec.name)
    assert (await docker.status(spec.name)).state is RunState.EXITED
    async with asyncio.timeout(10):
        assert [(await anext(stream)).action for _ in range(3)] == ["start", "pause", "unpause"]


async def test_anonymous_volumes_go_with_the_container(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_running(spec, steps)
    await docker.ensure_running(replace(spec, incarnation=2), steps)
    (mount,) = (await inspect(engine, spec.name))["Mounts"]
    await docker.ensure_absent(spec.name)
    names = [volume["Name"] for volume in (await engine.volumes.list())["Volumes"] or []]
    assert mount["Name"] not in names


async def test_a_stopped_workspace_whose_network_was_removed_runs_again(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_running(spec, steps)
    await docker.ensure_stopped(spec.name)
    await (await engine.networks.get(spec.name)).delete()
    endpoint = await docker.ensure_running(spec, steps)
    assert (await docker.status(spec.name)).endpoint == endpoint


async def test_a_network_that_was_left_is_used_with_its_own_subnet(
    docker: DockerRuntime, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_running(spec, steps)
    moved = replace(spec, subnet=workspace().subnet, incarnation=2)
    endpoint = await docker.ensure_running(moved, steps)
    assert endpoint.host.rpartition(".")[0] == spec.subnet.rpartition(".")[0]


async def test_two_networks_of_one_name_become_one(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    labels = {"spawner.instance": spec.instance, "spawner.workspace": str(spec.workspace_id)}
    for _ in range(2):
        ipam = {"Config": [{"Subnet": workspace().subnet}]}
        await engine.networks.create({"Name": spec.name, "IPAM": ipam, "Labels": labels})
    await docker.ensure_running(spec, steps)
    named = await engine.networks.list(filters={"name": spec.name})
    assert len(named) == 1


async def test_a_network_without_a_container_is_listed_as_absent_and_can_be_removed(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    await docker.ensure_running(spec, steps)
    await engine.containers.container(spec.name).delete(force=True, v=True)
    (owned,) = await docker.list_owned(spec.instance)
    assert (owned.name, owned.status.state) == (spec.name, RunState.ABSENT)
    await docker.ensure_absent(spec.name)
    assert await docker.list_owned(spec.instance) == []


async def test_what_belongs_to_somebody_else_is_left_alone(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps, image: str
) -> None:
    spec = workspace()
    foreign = await engine.containers.create({"Image": image}, name=spec.name)
    try:
        ending = docker.ensure_absent(spec.name), docker.ensure_stopped(spec.name)
        for call in (docker.ensure_running(spec, steps), *ending):
            with pytest.raises(RuntimeFault, match="belongs to somebody else"):
                await call
        assert (await inspect(engine, spec.name))["Id"] == foreign.id
    finally:
        await foreign.delete(force=True, v=True)


async def test_a_foreign_network_of_our_name_is_not_joined(
    docker: DockerRuntime, engine: aiodocker.Docker, workspace: Workspaces, steps: Steps
) -> None:
    spec = workspace()
    foreign = await engine.networks.create({"Name": spec.name, "IPAM": {"Config": [{"Subnet": spec.subnet}]}})
    try:
        with pytest.raises(RuntimeFault, match="belongs to somebody else"):
            await docker.ensure_running(spec, steps)
        with pytest.raises(SubnetTaken):
            await docker.ensure_running(replace(workspace(), subnet=spec.subnet), steps)
    finally:
        await foreign.delete()


@pytest.mark.parametrize("url", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"])
async def test_an_engine_that_is_away_is_unavailable(url: str, steps: Steps) -> None:
    runtime = DockerRuntime(url, publish="never", starts=16)
    for call in (
        runtime.ping(), runtime.ensure_running(SPEC, steps), runtime.ensure_stopped("x"), runtime.ensure_absent("x"),
        runtime.status("x"), runtime.list_owned("t"), anext(runtime.logs("x")),
        anext(runtime.logs("x", follow=True)), anext(runtime.events("t")),
    ):  # fmt: skip
        with pytest.raises(EngineUnavailable):
            await call
    await runtime.aclose()


async def test_a_frozen_engine_is_unavailable_in_time(peer: Peer, steps: Steps) -> None:
    async def nothing(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    runtime = DockerRuntime(await peer(nothing), publish="never", starts=16, call_seconds=0.5)
    began = time.monotonic()
    for call in (
        runtime.ping(), runtime.ensure_running(SPEC, steps), runtime.ensure_stopped("x"), runtime.ensure_absent("x"),
        runtime.status("x"), runtime.list_owned("t"), anext(runtime.logs("x")),
        anext(runtime.logs("x", follow=True)), anext(runtime.events("t")),
    ):  # fmt: skip
        with pytest.raises(EngineUnavailable):
            await call
    assert time.monotonic() - began < 10
    await runtime.aclose()


async def test_what_is_no_engine_is_unavailable(peer: Peer, steps: Steps) -> None:
    async def page(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()

    runtime = DockerRuntime(await peer(page), publish="never", starts=16)
    for call in (runtime.ping(), runtime.ensure_running(SPEC, steps), runtime.list_owned("t")):
        with pytest.raises(EngineUnavailable):
            await call
    await runtime.aclose()


def pulling(*lines: dict[str, Any], pause: float = 0, then: float = 0, whole: bool = True) -> Answer:
    """Play an engine without the image, whose pull says `lines` and then waits or breaks."""

    async def answer(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if path.endswith("/version"):
            writer.write(reply(200, VERSION))
        elif "/images/create" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            for line in lines:
                data = json.dumps(line).encode() + b"\r\n"
                writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                await writer.drain()
                await asyncio.sleep(pause)
            await asyncio.sleep(then)
            writer.write(b"0\r\n\r\n" if whole else b"ff\r\n{")
        elif "/networks" in path:
            writer.write(reply(201, {"Id": "n"}) if method == "POST" else reply(200, []))
        else:
            writer.write(reply(404, {"message": "No such image: example/app:1"}))
        await writer.drain()

    return answer


def layer(name: str, done: int, total: int) -> dict[str, Any]:
    return {"id": name, "status": "Downloading", "progressDetail": {"current": done, "total": total}}


BEGIN = {"id": "1", "status": "Pulling from example/app"}


async def test_a_pull_reports_bytes_over_all_layers(peer: Peer, steps: Steps) -> None:
    lines = [layer(name, done, 100) for done in range(0, 100, 5) for name in ("a", "b")]
    script = pulling(BEGIN, *lines, {"id": "a", "status": "Pull complete"}, pause=0.02)
    docker = aiodocker.Docker(await peer(script))
    began = time.monotonic()
    await pull(docker, SPEC.image, steps)
    seconds = time.monotonic() - began
    await docker.close()
    done = [step.done_bytes or 0 for step in steps.seen]
    assert done == sorted(done)
    assert (steps.seen[-1].done_bytes, steps.seen[-1].total_bytes) == (195, 200)
    assert 3 <= len(steps.seen) <= seconds / 0.25 + 2


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (pulling({"error": "denied: requested access to the resource is denied"}), ImageMissing),
        (pulling(BEGIN, {"error": "manifest for example/app:1 not found"}), ImageMissing),
        (pulling({"error": "toomanyrequests: slow down"}), ImagePullFailed),
        (pulling(BEGIN, layer("a", 1, 9), {"error": "unexpected EOF"}), ImagePullFailed),
        (pulling(BEGIN, layer("a", 1, 9), whole=False), ImagePullFailed),
        (pulling(BEGIN, layer("a", 1, 9)), ImagePullFailed),
    ],
)
async def test_a_pull_that_does_not_bring_the_image_is_an_error(
    peer: Peer, steps: Steps, script: Answer, fault: type[RuntimeFault]
) -> None:
    runtime = DockerRuntime(await peer(script), publish="never", starts=16)
    with pytest.raises(fault):
        await runtime.ensure_running(SPEC, steps)
    await runtime.aclose()


async def test_a_pull_that_stalls_is_an_error(peer: Peer, steps: Steps) -> None:
    docker = aiodocker.Docker(await peer(pulling(BEGIN, layer("a", 1, 9), then=30)))
    with pytest.raises(ImagePullFailed, match="nothing came"):
        await pull(docker, SPEC.image, steps, stall_seconds=0.2)
    await docker.close()


async def test_a_registry_that_never_answers_is_a_missing_image(peer: Peer, steps: Steps) -> None:
    docker = aiodocker.Docker(await peer(pulling(then=30)))
    with pytest.raises(ImageMissing, match="no registry answered"):
        await pull(docker, SPEC.image, steps, first_answer_seconds=0.2)
    await docker.close()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.integers(50, 60), st.booleans())))
def test_pulled_bytes_never_shrink_and_never_pass_the_total(moves: list[tuple[str, int, int, bool]]) -> None:
    layers, last = Layers(), 0
    for name, done, total, complete in moves:
        layers.add({"id": name, "status": "Pull complete"} if complete else layer(name, done, total))
        progress = layers.progress
        assert progress.done_bytes is not None
        assert progress.total_bytes is not None
        assert last <= progress.done_bytes <= progress.total_bytes
        last = progress.done_bytes
