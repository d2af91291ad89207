"""A runtime that behaves, or fails, as a test wants; it keeps what an engine would keep."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app.runtime.base import (
    Endpoint,
    Event,
    Owned,
    Phase,
    Progress,
    Report,
    RunState,
    Status,
    Superseded,
    WorkspaceSpec,
)

Hook = Callable[[WorkspaceSpec, Report], Awaitable[None]]


async def nothing(spec: WorkspaceSpec, report: Report) -> None:
    """Let `ensure_running` pass."""


class FakeRuntime:
    """Containers in a dictionary. `before` runs at the start of every `ensure_running` and may wait or raise."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.containers: dict[str, WorkspaceSpec] = {}
        self.stopped: set[str] = set()
        self.created = 0
        self.calls = 0
        self.exit_code: int | None = None
        self.out_of_memory = False
        self.before: Hook = nothing

    async def ping(self) -> None:
        return None

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        self.calls += 1
        await self.before(spec, report)
        current = self.containers.get(spec.name)
        if current is not None and current.incarnation > spec.incarnation:
            raise Superseded
        if current is None or current.incarnation < spec.incarnation:
            await report(Progress(Phase.CREATING))
            self.containers[spec.name] = spec
            self.created += 1
            await report(Progress(Phase.STARTING))
        self.stopped.discard(spec.name)
        return Endpoint("127.0.0.1", self.port, f"container-{self.created}", "sha256:0")

    async def ensure_stopped(self, name: str) -> None:
        self.stopped.add(name)

    async def ensure_absent(self, name: str, *, volume: str | None = None) -> None:
        self.containers.pop(name, None)

    async def status(self, name: str) -> Status:
        if self.exit_code is not None:
            return Status(RunState.EXITED, exit_code=self.exit_code, out_of_memory=self.out_of_memory)
        return Status(RunState.RUNNING if name in self.containers else RunState.ABSENT)

    async def list_owned(self, instance: str) -> list[Owned]:
        return []

    async def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        for line in list[str]():
            yield line

    async def events(self, instance: str) -> AsyncIterator[Event]:
        for event in list[Event]():
            yield event

    async def aclose(self) -> None:
        return None


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
