"""A real engine with a tiny image of our own, and peers that behave badly."""

import asyncio
import io
import itertools
import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import aiodocker
import pytest

from app.runtime.base import Runtime
from app.runtime.docker.firewall import Firewall
from app.runtime.docker.runtime import DockerRuntime
from tests.support.attacks import RANGE, Attack, Prey, build_attacker
from tests.support.engine import ALLOWED, DOCKER_URL, Answer, Peer, Steps, Workspaces, fetch

RUNTIMES = [pytest.param(lambda: DockerRuntime(DOCKER_URL, publish="never", starts=16, allowed=ALLOWED), id="docker")]


@pytest.fixture(params=RUNTIMES)
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Runtime]:
    """Every runtime that keeps the contract, each on its real engine."""
    made: Runtime = request.param()
    yield made
    await made.aclose()


@pytest.fixture
async def engine() -> AsyncIterator[aiodocker.Docker]:
    """The engine, to look at what a runtime did."""
    async with aiodocker.Docker(DOCKER_URL) as docker:
        yield docker


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of two megabytes: busybox, directories that root and user 1000 own, and an anonymous volume.

    Root without capabilities writes to /srv. Podman gives the top of an image that was imported the mode 0555.
    """
    busybox = _busybox(tmp_path_factory.mktemp("busybox")).read_bytes()
    name = f"spawner-test/busybox:{secrets.token_hex(4)}"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, owner in (("bin", 0), ("data", 1000), ("srv", 0), ("anonymous", 0)):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, owner, owner
            tar.addfile(folder)
        program = tarfile.TarInfo("bin/busybox")
        program.mode, program.size = 0o755, len(busybox)
        tar.addfile(program, io.BytesIO(busybox))
    command = json.dumps(["/bin/busybox", "sh", "-c", 'eval "$SCRIPT"'])
    changes = [f"CMD {command}", "ENV PATH=/bin", "VOLUME /anonymous"]
    options = [part for change in changes for part in ("--change", change)]
    docker = ["docker", "--host", DOCKER_URL]
    subprocess.run([*docker, "import", *options, "-", name], input=archive.getvalue(), check=True, capture_output=True)
    yield name
    subprocess.run([*docker, "image", "rm", "--force", name], check=True, capture_output=True)


def _busybox(folder: Path) -> Path:
    """Find a static busybox on this machine, or take it out of Debian's package."""
    installed = shutil.which("busybox")
    if installed and b"static" in subprocess.run(["file", "-bL", installed], capture_output=True).stdout:
        return Path(installed)
    try:
        subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, check=True, capture_output=True)
        package = next(folder.glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError, StopIteration):
        pytest.fail("These tests need a static busybox: install Debian's busybox-static.", pytrace=False)
    return next(folder.glob("**/bin/busybox"))


@pytest.fixture(scope="session")
def instance() -> str:
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def subnets() -> Iterator[str]:
    """Subnets that other sessions on this engine are unlikely to use."""
    start = secrets.randbelow(4096)
    return (f"10.214.{index % 4096 >> 4}.{index % 16 << 4}/28" for index in itertools.count(start))


@pytest.fixture
async def workspace(
    instance: str, image: str, subnets: Iterator[str], engine: aiodocker.Docker
) -> AsyncIterator[Workspaces]:
    """A maker of specs, for workspaces that are gone afterwards."""
    yield Workspaces(instance, image, subnets)
    label = json.dumps({"label": [f"spawner.instance={instance}"]})
    containers = await engine.containers.list(all=True, filters=label)
    gone = [container.delete(force=True, v=True) for container in containers]
    for fault in await asyncio.gather(*gone, return_exceptions=True):
        assert fault is None or isinstance(fault, aiodocker.DockerError)
    for network in await engine.networks.list(filters={"label": f"spawner.instance={instance}"}):
        await (await engine.networks.get(network["Id"])).delete()
    volumes = await engine.volumes.list(filters={"label": f"spawner.instance={instance}"})
    for volume in volumes["Volumes"] or []:
        await (await engine.volumes.get(volume["Name"])).delete()


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    """Start a peer on a unix socket that answers each request with `answer(method, path, writer)`; gives its URL."""
    servers: list[asyncio.Server] = []
    conversations: set[asyncio.Task[None]] = set()

    async def start(answer: Answer) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            conversations.add(task)
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                for line in head.split("\r\n"):
                    if line.lower().startswith("content-length:"):
                        await reader.readexactly(int(line.split(":")[1]))
                method, path, _ = head.split(" ", 2)
                await answer(method, path, writer)
            writer.close()

        path = tmp_path / f"engine{len(servers)}.sock"
        servers.append(await asyncio.start_unix_server(serve, path))
        return f"unix://{path}"

    yield start
    for server in servers:
        server.close()
    for conversation in conversations:
        conversation.cancel()
    await asyncio.gather(*conversations)


@pytest.fixture
async def guarded(instance: str) -> AsyncIterator[DockerRuntime]:
    """The real engine, with rules about connections."""
    if os.getuid() != 0:
        pytest.fail("rules about connections need root")
    firewall = Firewall(instance, RANGE)
    runtime = DockerRuntime(DOCKER_URL, publish="never", starts=16, allowed=ALLOWED, firewall=firewall)
    await runtime.reconcile_egress(instance)
    yield runtime
    await runtime.aclose()
    await firewall.remove()


@pytest.fixture(scope="session")
def attacker() -> Iterator[str]:
    """An image with Python, a setuid root shell, and the attacks as its program."""
    yield from build_attacker()


@pytest.fixture
async def prey(guarded: DockerRuntime, workspace: Workspaces, steps: Steps) -> Prey:
    """Another user's workspace."""
    spec = workspace(image="spawner/hello:1", memory_bytes=64 << 20)
    endpoint = await guarded.ensure_running(spec, steps)
    await fetch(endpoint, "/")
    return Prey(spec, endpoint)


@pytest.fixture
def attack(guarded: DockerRuntime, workspace: Workspaces, attacker: str) -> Attack:
    return Attack(guarded, workspace, attacker)
