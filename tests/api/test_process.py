"""A real process of the API, looked at from outside: it has no way to the engine."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from app.core.settings.model import Settings
from app.resources import Resources
from tests.conftest import ROOT
from tests.support.factories import sign_in
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.waiting import PATIENCE

# What speaks to an engine, or makes rules for one.
ENGINE = ("aiodocker", "app.runtime.docker.runtime", "app.runtime.docker.firewall", "workers", "docker")


@dataclass
class Trap:
    """Listens where an engine would, and remembers whether anybody came."""

    path: Path
    visits: int = 0

    async def visit(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()


@pytest.fixture
async def trap(tmp_path: Path) -> AsyncIterator[Trap]:
    made = Trap(tmp_path / "docker.sock")
    async with await asyncio.start_unix_server(made.visit, made.path):
        yield made


@asynccontextmanager
async def running_api(settings: Settings, trap: Trap) -> AsyncIterator[tuple[int, httpx.AsyncClient]]:
    """The API in a process of its own, told where the engine is; gives its id and a client."""
    port = reserved_port()
    command = ("-m", "uvicorn", "tests.api.inspected:create", "--factory", "--port", str(port), "--no-access-log")
    environment = {
        **os.environ,
        "SPAWNER_ENVIRONMENT": "development",
        "SPAWNER_INSTANCE": settings.instance,
        "SPAWNER_API_LEAVE_SECONDS": "0",
        "SPAWNER_SECRET_KEY": settings.secret_key,
        "SPAWNER_DATABASE_URL": settings.database_url,
        "SPAWNER_REDIS_URL": settings.redis_url,
        "SPAWNER_CATALOG": str(settings.catalog),
        "SPAWNER_DOCKER_URL": f"unix://{trap.path}",
        "DOCKER_HOST": f"unix://{trap.path}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with direct_client(f"http://127.0.0.1:{port}") as client:
            async with asyncio.timeout(PATIENCE):
                while True:
                    with suppress(httpx.TransportError):
                        await client.get("/livez")
                        break
                    await asyncio.sleep(0.05)
            yield process.pid, client
    finally:
        process.terminate()
        await process.wait()


def ways_to_the_engine(pid: int) -> list[str]:
    """Whatever the process holds open that leads out of this test's own servers, or to an engine's socket."""
    process = psutil.Process(pid)
    ours = {item.laddr for item in psutil.Process().net_connections("tcp")}
    found = [str(item.raddr) for item in process.net_connections("tcp") if item.raddr and item.raddr not in ours]
    held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in held if name.startswith("socket:[")}
    table = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    held |= {words[-1] for words in table if words[6] in inodes}
    return found + [name for name in held if "docker" in name or "containerd" in name]


async def test_the_api_process_has_no_way_to_the_engine(settings: Settings, resources: Resources, trap: Trap) -> None:
    alice = await sign_in(resources)
    async with running_api(settings, trap) as (pid, client):
        asked = [
            ("POST", "/api/container/launch/hello", 202), ("GET", "/api/container/hello", 200),
            ("POST", "/api/container/restart", 202), ("POST", "/api/container/hello/stop", 202),
            ("DELETE", "/api/container/hello?volume=delete", 202), ("GET", "/api/templates", 200),
            ("GET", "/readyz", 503),
        ]  # fmt: skip
        for method, path, status in asked:
            answer = await client.request(method, path, headers=alice.headers)
            assert answer.status_code == status, (path, answer.text)
        loaded = (await client.get("/loaded")).json()
        assert [name for name in loaded if name.startswith(ENGINE)] == []
        assert await asyncio.to_thread(ways_to_the_engine, pid) == []
    assert trap.visits == 0
