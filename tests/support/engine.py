"""What the tests of runtimes are written with."""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import httpx

from app.core.settings.model import LOCAL_DOCKER
from app.runtime.base import Endpoint, Progress, RunState, Runtime
from app.runtime.docker.policy import Allowed
from app.runtime.spec import Network, Volume, WorkspaceSpec
from tests.support.http import direct_client
from tests.support.waiting import PATIENCE

DOCKER_URL = os.environ.get("SPAWNER_DOCKER_URL") or os.environ.get("DOCKER_HOST") or LOCAL_DOCKER
# Podman reads the list of system calls from a file on its host.
ALLOWED = Allowed(seccomp_file=os.environ.get("SPAWNER_SECCOMP_FILE", ""))
PORT = 8080
# What the container does is a shell script that the test passes in.
SERVE = "exec busybox httpd -f -p 8080 -h /"

VERSION = {"Version": "20.10.24", "ApiVersion": "1.41"}
# What is asked of engines that are no true ones.
SPEC = WorkspaceSpec(
    instance="t",
    workspace_id=uuid4(),
    name="t-peer",
    revision=1,
    image="example/app:1",
    port=1,
    network=Network("t-net-0", "10.214.0.0/28"),
    memory_bytes=1 << 25,
    cpus=1,
    pids=8,
)

Answer = Callable[[str, str, asyncio.StreamWriter], Awaitable[None]]
Peer = Callable[[Answer], Awaitable[str]]


@dataclass
class Workspaces:
    """Makes specs; what runs under them is removed after the test."""

    instance: str
    image: str
    subnets: Iterator[str]
    made: list[WorkspaceSpec] = field(default_factory=list)

    def __call__(
        self, *, script: str = SERVE, environment: dict[str, str] | None = None, **changes: object
    ) -> WorkspaceSpec:
        spec = WorkspaceSpec(
            **{  # type: ignore[arg-type]  # a test changes what it likes
                "instance": self.instance,
                "workspace_id": uuid4(),
                "name": f"{self.instance}-c{secrets.token_hex(4)}",
                "revision": 1,
                "image": self.image,
                "port": PORT,
                "network": self.network(),
                "memory_bytes": 32 << 20,
                "cpus": 0.5,
                "pids": 32,
                "environment": {"SCRIPT": script, **(environment or {})},
                **changes,
            }
        )
        self.made.append(spec)
        return spec

    def network(self) -> Network:
        """A network that nobody has made yet."""
        return Network(f"{self.instance}-net-{secrets.token_hex(4)}", next(self.subnets))

    def volume(self) -> Volume:
        return Volume(f"{self.instance}-{secrets.token_hex(4)}", "/data")


class Steps:
    """Remembers what a runtime reported."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []

    async def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)

    @property
    def phases(self) -> list[str]:
        return [progress.phase.value for progress in self.seen]


def reply(status: int, body: object) -> bytes:
    """One whole HTTP answer with a JSON body."""
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + data


async def eventually(look: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE) -> None:
    """Return once `look` says yes; the engine tells nobody when."""
    async with asyncio.timeout(seconds):
        while True:
            if await look():
                return
            await asyncio.sleep(0.02)


async def settled(runtime: Runtime, spec: WorkspaceSpec, state: RunState) -> None:
    """Return once the container is in that state."""

    async def reached() -> bool:
        return (await runtime.status(spec.name)).state is state

    await eventually(reached)


async def fetch(endpoint: Endpoint, path: str, *, seconds: float = PATIENCE) -> str:
    """Read a file of the container through its web server, which may need a moment to listen."""
    url = f"http://{endpoint.host}:{endpoint.port}"
    async with direct_client(url, timeout=seconds) as client:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    response = await client.get(path)
                except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
                    # The engine's proxy of a published port accepts before the container listens.
                    await asyncio.sleep(0.02)
                    continue
                response.raise_for_status()
                return response.text
