"""A runtime that behaves, or fails, as a test wants; it keeps what an engine would keep."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from app.runtime.base import (
    EgressUnenforceable,
    Endpoint,
    EngineReport,
    EngineSize,
    Event,
    ImageMissing,
    Inventory,
    NameTaken,
    Owned,
    OwnedVolume,
    Phase,
    Progress,
    Report,
    RunState,
    Status,
    SubnetTaken,
    Superseded,
    Usage,
)
from app.runtime.spec import Network, WorkspaceSpec

Hook = Callable[[WorkspaceSpec, Report], Awaitable[None]]
PullHook = Callable[[str, Report], Awaitable[None]]
DIGEST = "sha256:0"


async def nothing(spec: WorkspaceSpec, report: Report) -> None:
    """Let `ensure_running` pass."""


async def arrives(image: str, report: Report) -> None:
    """Let `pull` pass."""


@dataclass
class FakeContainer:
    """What `FakeRuntime` knows of a container beside its spec."""

    endpoint: Endpoint
    state: RunState = RunState.RUNNING
    exit_code: int | None = None
    usage: Usage = field(default_factory=lambda: Usage(0.0, 0))


class FakeRuntime:
    """Containers in a dictionary. `before` runs at the start of every `ensure_running` and may wait or raise.

    `before_pull` does so for `pull`. Images are there, with `DIGEST` unless `digests` says otherwise, until a test puts
    them into `missing`; a pull takes them out. What a test puts into `happened` comes out of `events`, in one stream of
    all that read them, until it puts None. `exit_code` and `out_of_memory` hold for every container.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.containers: dict[str, WorkspaceSpec] = {}
        self.state: dict[str, FakeContainer] = {}
        self.stopped: set[str] = set()
        self.networks: dict[str, tuple[str, Network]] = {}
        self.volumes: dict[str, tuple[str, UUID]] = {}
        self.volume_installations: dict[str, str | None] = {}
        self.digests: dict[str, str] = {}
        self.missing: set[str] = set()
        self.pulled: list[str] = []
        self.happened: asyncio.Queue[Event | None] = asyncio.Queue()
        self.engine_size = EngineSize(memory_bytes=8 << 30, cpus=4, disk_free_bytes=100 << 30)
        self.engine_report = EngineReport(
            product="Docker Engine",
            version="29.0.1",
            user_namespaces=True,
            seccomp=True,
            apparmor=True,
            selinux=False,
            cgroup_version="2",
            limits={"memory": True, "swap": True, "pids": True, "processors": True},
            disk_quota=True,
            live_restore=True,
            tells_memory_kills=True,
            icc=False,
            networks={},
        )
        self.unenforceable = False
        self.rules_lost = 0
        self.rules_removed = asyncio.Event()
        self.created = 0
        self.calls = 0
        self.executed: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
        self.command_exits: int | None = 0
        self.listens: list[str] | None = None
        self.kills: int | None = None
        self.exit_code: int | None = None
        self.out_of_memory = False
        self.before: Hook = nothing
        self.before_pull: PullHook = arrives

    def end(self, name: str, exit_code: int = 1) -> None:
        """Let a container end by itself."""
        self.state[name].state, self.state[name].exit_code = RunState.EXITED, exit_code

    def vanish(self, name: str) -> None:
        """Let somebody else remove a container."""
        del self.containers[name], self.state[name]

    async def ping(self) -> None:
        return None

    async def size(self) -> EngineSize:
        return self.engine_size

    async def report(self) -> EngineReport:
        return self.engine_report

    async def reconcile_egress(self, instance: str) -> int:
        if self.unenforceable:
            raise EgressUnenforceable("no nft here")
        lost, self.rules_lost = self.rules_lost, 0
        return lost

    async def egress_removals(self) -> AsyncGenerator[None, None]:
        await self.reconcile_egress("")
        yield
        while True:
            await self.rules_removed.wait()
            self.rules_removed.clear()
            yield

    async def check_egress(self) -> bool:
        await self.reconcile_egress("")
        return True

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        self.calls += 1
        await self.before(spec, report)
        current = self.containers.get(spec.name)
        if current is not None and current.workspace_id == spec.workspace_id:
            if current.revision > spec.revision:
                raise Superseded(current.revision)
            if current.revision == spec.revision:
                return self._wake(spec.name)
        elif current is not None and current.installation != spec.installation:
            raise NameTaken
        await report(Progress(Phase.CREATING))
        self._require(spec)
        self.networks.setdefault(spec.network.name, (spec.instance, spec.network))
        if spec.volume is not None:
            self.volumes.setdefault(spec.volume.name, (spec.instance, spec.workspace_id))
            self.volume_installations.setdefault(spec.volume.name, spec.installation)
        self.created += 1
        endpoint = Endpoint("127.0.0.1", self.port, f"container-{self.created}", self._digest(spec.image))
        self.containers[spec.name], self.state[spec.name] = spec, FakeContainer(endpoint)
        await report(Progress(Phase.STARTING))
        return self._wake(spec.name)

    async def ensure_named(self, name: str, workspace_id: UUID, to: str) -> None:
        if self._is_of(name, workspace_id) and to not in self.containers:
            self.containers[to], self.state[to] = self.containers.pop(name), self.state.pop(name)

    async def execute(
        self, name: str, workspace_id: UUID, command: Sequence[str], environment: Mapping[str, str], *, seconds: float
    ) -> int | None:
        if not self._is_of(name, workspace_id) or self.state[name].state is not RunState.RUNNING:
            return None
        self.executed.append((name, tuple(command), dict(environment)))
        return self.command_exits

    async def ensure_paused(self, name: str, workspace_id: UUID) -> Status:
        if not self._is_of(name, workspace_id):
            return Status(RunState.ABSENT)
        if self.state[name].state is RunState.RUNNING:
            self.state[name].state = RunState.PAUSED
        return self._look(name)

    async def ensure_stopped(self, name: str, workspace_id: UUID) -> None:
        if self._is_of(name, workspace_id):
            self.stopped.add(name)
            if self.state[name].state is not RunState.EXITED:
                self.end(name, exit_code=143)

    async def ensure_absent(self, name: str, workspace_id: UUID) -> None:
        if self._is_of(name, workspace_id):
            self.vanish(name)

    async def ensure_network(self, instance: str, network: Network) -> None:
        if any(name != network.name and other.subnet == network.subnet for name, (_, other) in self.networks.items()):
            raise SubnetTaken
        _, there = self.networks.setdefault(network.name, (instance, network))
        if there.installation not in (None, network.installation):
            raise SubnetTaken

    async def remove_network(self, name: str) -> None:
        if not any(spec.network.name == name for spec in self.containers.values()):
            self.networks.pop(name, None)

    async def remove_volume(self, name: str) -> None:
        if not any(spec.volume is not None and spec.volume.name == name for spec in self.containers.values()):
            self.volumes.pop(name, None)

    async def pull(self, image: str, report: Report) -> None:
        await report(Progress(Phase.PULLING))
        await self.before_pull(image, report)
        self.pulled.append(image)
        self.missing.discard(image)

    async def image_digest(self, image: str) -> str | None:
        return None if image in self.missing else self._digest(image)

    async def status(self, name: str) -> Status:
        if self.exit_code is not None:
            return Status(RunState.EXITED, exit_code=self.exit_code, out_of_memory=self.out_of_memory)
        return self._look(name)

    async def listening(self, name: str) -> list[str] | None:
        return self.listens

    async def memory_kills(self, name: str) -> int | None:
        return self.kills

    async def usage(self, name: str) -> Usage | None:
        state = self._look(name).state
        return self.state[name].usage if state in (RunState.RUNNING, RunState.PAUSED) else None

    async def list_owned(self, instance: str) -> Inventory:
        containers = [
            Owned(spec.workspace_id, name, self._look(name), spec.network.name, spec.installation)
            for name, spec in self.containers.items()
            if spec.instance == instance
        ]
        volumes = [
            OwnedVolume(owner, name, self.volume_installations.get(name))
            for name, (other, owner) in self.volumes.items()
            if other == instance
        ]
        networks = {name: network for name, (other, network) in self.networks.items() if other == instance}
        marks = {name: network.installation for name, network in networks.items() if network.installation is not None}
        return Inventory(containers, list(networks), volumes, marks)

    async def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        for line in list[str]():
            yield line

    async def events(self, instance: str) -> AsyncIterator[Event]:
        while (event := await self.happened.get()) is not None:
            yield event

    async def aclose(self) -> None:
        return None

    def _require(self, spec: WorkspaceSpec) -> None:
        if spec.image in self.missing:
            raise ImageMissing
        for other in self.containers.values():
            if other.network.name == spec.network.name and other.workspace_id != spec.workspace_id:
                raise SubnetTaken

    def _wake(self, name: str) -> Endpoint:
        container = self.state[name]
        container.state, container.exit_code = RunState.RUNNING, None
        self.stopped.discard(name)
        return container.endpoint

    def _is_of(self, name: str, workspace_id: UUID) -> bool:
        return name in self.containers and self.containers[name].workspace_id == workspace_id

    def _digest(self, image: str) -> str:
        return self.digests.get(image, DIGEST)

    def _look(self, name: str) -> Status:
        if name not in self.containers:
            return Status(RunState.ABSENT)
        container = self.state.get(name)
        if container is None:
            # A test put it there by hand.
            return Status(RunState.RUNNING)
        alive = container.state in (RunState.RUNNING, RunState.PAUSED)
        return Status(
            state=container.state,
            container_id=container.endpoint.container_id,
            revision=self.containers[name].revision,
            endpoint=container.endpoint if alive else None,
            exit_code=container.exit_code,
        )


@asynccontextmanager
async def http_peer(status: int = 200) -> AsyncIterator[int]:
    """A server on loopback that answers every request with one status; yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
