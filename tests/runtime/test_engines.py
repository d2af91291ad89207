"""What engines answer to the same question, as each of them was heard: judged by status, and by the least text."""

import asyncio
import json
import re
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from app.runtime.base import Event, RunState, SubnetTaken
from app.runtime.docker.objects import confinement_of
from app.runtime.docker.policy import Allowed
from app.runtime.docker.runtime import DockerRuntime
from app.runtime.docker.streams import log_lines
from tests.support.engine import SPEC, VERSION, Peer, Steps, reply
from tests.support.waiting import PATIENCE

WORKSPACE = SPEC.workspace_id
LABELS = {"spawner.instance": "t", "spawner.workspace": str(WORKSPACE), "spawner.network": "workspace"}
ID = 64 * "c"

NETWORK_LOST = {
    "Docker 20.10 and 26": (404, f"network {ID} not found"),
    "Docker 28": (404, f"failed to set up container networking: network {ID} not found"),
    "Podman 5": (500, "unable to find network with name or ID t-net-0: network not found"),
    "one name twice": (400, "network t-net-0 is ambiguous (2 matches found on name)"),
}
SUBNET_USED = {
    "Docker 20.10 and 26": (403, "Pool overlaps with other one on this address space"),
    "Docker 28": (403, "invalid pool request: Pool overlaps with other one on this address space"),
    "Podman 5": (500, "subnet 10.214.0.0/28 is already used on the host or by another config"),
}
IN_USE = {
    "Docker 20.10 and 26": (403, f"error while removing network: network x id {ID} has active endpoints"),
    "Docker 28": (403, 'error while removing network: network x has active endpoints (name:"c" id:"5a3a356a1a22")'),
    "Podman 5": (
        500,
        '"x" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used',
    ),
}
NOT_RUNNING = {
    "Docker 20.10": (409, f"Container {ID} is not running"),
    "Docker 26 and 28": (409, f"container {ID} is not running"),
    "Podman 5": (500, '"exited" is not running, can\'t pause: container state improper'),
    "Podman 5, paused": (500, f'"{ID}" is already paused: container state improper'),
}
NAME_USED = {
    "Docker 20.10, 26 and 28": (409, f'Conflict. The container name "/t-peer" is already in use by container "{ID}".'),
    "Podman 5": (
        500,
        f'container create: creating container storage: the container name "t-peer" is already in use by {ID}. '
        "You have to remove that container to be able to reuse that name: that name is already in use",
    ),
}


class Engine:
    """An engine with one container of SPEC's, which answers some changes as told and remembers all of them."""

    def __init__(self, state: str, answers: dict[str, tuple[int, str]]) -> None:
        self.state: str | None = state
        self.answers = answers
        self.network = True
        self.network_mode = SPEC.network.name
        self.asked: list[str] = []

    async def __call__(self, method: str, path: str, writer: asyncio.StreamWriter) -> None:
        path = re.sub(r"^/(v[0-9.]+/)?", "", path.partition("?")[0])
        writer.write(self._look(path) if method == "GET" else self._change(f"{method} {path}"))
        await writer.drain()

    def _change(self, asked: str) -> bytes:
        self.asked.append(asked)
        if asked in self.answers:
            status, message = self.answers[asked]
            return reply(status, {"message": message})
        if asked == "DELETE containers/c":
            self.state = None
        elif asked.endswith("/start"):
            self.state = "running"
        return reply(201, {"Id": "made"})

    def _look(self, path: str) -> bytes:
        if path == "version":
            return reply(200, VERSION)
        if path == "containers/json":
            return reply(200, [])
        if path == "networks":
            return reply(200, [{"Id": "n", "Name": "x", "Created": "", "Labels": LABELS, "IPAM": {"Config": []}}])
        if path.startswith("networks/"):
            found = {"Name": SPEC.network.name, "Labels": LABELS, "Containers": {}}
            return reply(200, found) if self.network else reply(404, {"message": "network not found"})
        if self.state is None:
            return reply(404, {"message": "No such container"})
        made_as = {"spawner.incarnation": "1", "spawner.confinement": confinement_of(SPEC, Allowed())}
        found = {
            "Id": "c", "Image": "i", "Config": {"Labels": LABELS | made_as},
            "State": {"Status": self.state, "ExitCode": 0, "OOMKilled": False, "Pid": 0},
            "HostConfig": {"NetworkMode": self.network_mode},
            "NetworkSettings": {"Networks": {"t-net-0": {"IPAddress": "10.214.0.2"}}},
        }  # fmt: skip
        return reply(200, found)


async def engine_of(peer: Peer, state: str, **answers: tuple[int, str]) -> tuple[Engine, DockerRuntime]:
    engine = Engine(state, answers)
    return engine, DockerRuntime(await peer(engine), publish="never", starts=1)


@pytest.mark.parametrize("answer", NETWORK_LOST.values(), ids=NETWORK_LOST)
async def test_a_container_whose_network_is_gone_is_made_anew(
    answer: tuple[int, str], peer: Peer, steps: Steps
) -> None:
    engine, runtime = await engine_of(peer, "exited", **{"POST containers/c/start": answer})
    assert (await runtime.ensure_running(SPEC, steps)).host == "10.214.0.2"
    # A second try comes first, after the network was looked for.
    assert engine.asked[:3] == ["POST containers/c/start", "POST containers/c/start", "DELETE containers/c"]
    assert engine.asked[-1] == "POST containers/made/start"
    await runtime.aclose()


@pytest.mark.parametrize("answer", SUBNET_USED.values(), ids=SUBNET_USED)
async def test_a_subnet_that_something_else_has_is_passed_over(
    answer: tuple[int, str], peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.runtime.docker.networks.IN_FLIGHT_SECONDS", 0.1)
    engine, runtime = await engine_of(peer, "exited", **{"POST networks/create": answer})
    engine.network = False
    with pytest.raises(SubnetTaken):
        await runtime.ensure_network("t", SPEC.network)
    await runtime.aclose()


async def test_a_network_that_another_call_made_meanwhile_is_taken(peer: Peer) -> None:
    """Docker from 20.10 to 28 says so with one status."""
    answer = (409, "network with name t-net-0 already exists")
    engine, runtime = await engine_of(peer, "exited", **{"POST networks/create": answer})
    engine.network = False
    await runtime.ensure_network("t", SPEC.network)
    assert engine.asked == ["POST networks/create"]
    await runtime.aclose()


@pytest.mark.parametrize("answer", IN_USE.values(), ids=IN_USE)
async def test_a_network_that_is_used_stays(answer: tuple[int, str], peer: Peer) -> None:
    engine, runtime = await engine_of(peer, "running", **{"DELETE networks/x": answer})
    await runtime.remove_network("x")
    assert engine.asked.count("DELETE networks/x") == len(engine.asked)
    await runtime.aclose()


@pytest.mark.parametrize("answer", NOT_RUNNING.values(), ids=NOT_RUNNING)
async def test_a_container_that_ended_meanwhile_is_looked_at_again(answer: tuple[int, str], peer: Peer) -> None:
    engine, runtime = await engine_of(peer, "running", **{"POST containers/c/pause": answer})
    pausing = asyncio.ensure_future(runtime.ensure_paused(SPEC.name, WORKSPACE))
    while "POST containers/c/pause" not in engine.asked:
        await asyncio.sleep(0)
    engine.state = "exited"
    async with asyncio.timeout(PATIENCE):
        assert (await pausing).state is RunState.EXITED
    await runtime.aclose()


@pytest.mark.parametrize("answer", NAME_USED.values(), ids=NAME_USED)
async def test_a_name_that_another_call_took_meanwhile_is_looked_at_again(
    answer: tuple[int, str], peer: Peer, steps: Steps
) -> None:
    engine, runtime = await engine_of(peer, "running", **{"POST containers/create": answer})
    engine.state = None
    launching = asyncio.ensure_future(runtime.ensure_running(SPEC, steps))
    while "POST containers/create" not in engine.asked:
        await asyncio.sleep(0)
    engine.state = "running"
    async with asyncio.timeout(PATIENCE):
        assert (await launching).container_id == "c"
    await runtime.aclose()


@pytest.mark.parametrize("mode", [SPEC.network.name, "bridge"], ids=["Docker", "Podman 5"])
async def test_a_container_that_never_ran_is_started_whatever_its_network_is_called(
    mode: str, peer: Peer, steps: Steps
) -> None:
    engine, runtime = await engine_of(peer, "created")
    engine.network_mode = mode
    assert (await runtime.ensure_running(SPEC, steps)).container_id == "c"
    assert engine.asked == ["POST containers/c/start"]
    await runtime.aclose()


@pytest.mark.parametrize("state", ["stopped", "exited"], ids=["Podman 5", "Docker"])
async def test_a_container_that_has_just_ended_has_ended(state: str, peer: Peer) -> None:
    _, runtime = await engine_of(peer, state)
    assert (await runtime.status(SPEC.name)).state is RunState.EXITED
    await runtime.aclose()


async def test_a_paused_container_is_woken_to_be_stopped(peer: Peer) -> None:
    """Podman answers a stop of a paused one with 500 "is running or paused, refusing to clean up"."""
    engine, runtime = await engine_of(peer, "paused")
    await runtime.ensure_stopped(SPEC.name, WORKSPACE)
    assert engine.asked == ["POST containers/c/unpause", "POST containers/c/stop"]
    await runtime.aclose()


async def test_a_container_that_does_not_run_has_no_usage(peer: Peer) -> None:
    """Podman says so with an error whose status is 200."""

    async def podman(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        stopped = {"cause": "container is stopped", "message": "container is stopped", "response": 500}
        writer.write(reply(200, stopped if "/stats" in path else VERSION))
        await writer.drain()

    runtime = DockerRuntime(await peer(podman), publish="never", starts=1)
    assert await runtime.usage(SPEC.name) is None
    await runtime.aclose()


async def test_podmans_word_for_a_container_that_is_gone_is_understood(peer: Peer) -> None:
    told: list[dict[str, Any]] = [
        {"Action": action, "timeNano": 1_700_000_000_000_000_000, "Actor": {"Attributes": LABELS}}
        for action in ("start", "remove")
    ]

    async def podman(method: str, path: str, writer: asyncio.StreamWriter) -> None:
        if "/events" not in path:
            writer.write(reply(200, VERSION))
        else:
            lines = "".join(json.dumps(item) + "\n" for item in told).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + lines)
        await writer.drain()

    runtime = DockerRuntime(await peer(podman), publish="never", starts=1)
    seen: list[Event] = [event async for event in runtime.events("t")]
    assert [(event.workspace_id, event.action) for event in seen] == [(WORKSPACE, "start"), (WORKSPACE, "destroy")]
    await runtime.aclose()


async def test_lines_of_both_streams_come_whole_though_podman_sends_them_in_parts() -> None:
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), 1 << 16, loop=loop)
    for stream, part in ((2, b"no such"), (1, b"written\n"), (2, b" file\n"), (1, b"rest")):
        content.feed_data(bytes((stream, 0, 0, 0)) + len(part).to_bytes(4, "big") + part)
    content.feed_eof()
    assert [line async for line in log_lines(content)] == ["written", "no such file", "rest"]
