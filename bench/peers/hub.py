"""A private JupyterHub, and what is asked of it."""

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.client import Answer, Client
from bench.peers.packages import Packages
from bench.processes import memory_megabytes
from bench.raw import IMAGE
from bench.table import Failed
from deploy.stack.layout import free_port
from deploy.stack.services import Services

CONFIGURATION = Path(__file__).with_name("hub_config.py")
START_SECONDS = 180
READY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Spawned:
    """One server of a user: milliseconds until it was ready, None where it was not, with the reason."""

    user: str
    milliseconds: float | None
    why: str = ""


class Hub:
    """A client of its API, as a service with the right to manage users and their servers."""

    def __init__(self, client: Client, token: str, pid: int, proxy_port: int) -> None:
        self._client, self._pid, self.proxy_port = client, pid, proxy_port
        self.host, self.port = client.host, client.port
        self.headers = {"Authorization": f"token {token}"}
        self._users = 0
        self._spawned: list[str] = []

    async def add_users(self, count: int) -> list[str]:
        """Make users, which is not measured."""
        names = [f"u{self._users + number}" for number in range(count)]
        self._users += count
        answer = await self.ask("POST", "/users", {"usernames": names})
        if answer.status != 201:
            raise Failed(f"JupyterHub made no users: {answer.status} {answer.body[:200]!r}")
        return names

    async def spawn(self, user: str) -> Spawned:
        """Ask for the user's server, until its API says that it is ready."""
        began = time.perf_counter()
        self._spawned.append(user)
        answer = await self.ask("POST", f"/users/{user}/server")
        if answer.status == 201:
            return Spawned(user, (time.perf_counter() - began) * 1000)
        if answer.status != 202:
            return Spawned(user, None, f"{answer.status} {answer.body[:100]!r} {answer.error}")
        while time.perf_counter() - began < READY_SECONDS:
            model = await self.ask("GET", f"/users/{user}")
            if model.json().get("servers", {}).get("", {}).get("ready"):
                return Spawned(user, (time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.25)
        return Spawned(user, None, f"not ready within {READY_SECONDS} s")

    async def clean(self) -> None:
        """Stop every server that was asked for; not measured."""
        places = asyncio.Semaphore(8)

        async def stop(user: str) -> None:
            async with places:
                await self.ask("DELETE", f"/users/{user}/server")
                for _ in range(60):
                    model = await self.ask("GET", f"/users/{user}")
                    if not model.json().get("servers") and not model.json().get("pending"):
                        return
                    await asyncio.sleep(0.25)

        await asyncio.gather(*(stop(user) for user in self._spawned))
        self._spawned.clear()

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """One request to its API, at the hub itself."""
        return await self._client.ask(method, f"/hub/api{path}", self.headers, body)

    def memory(self) -> float:
        """Megabytes of the hub and its proxy."""
        return memory_megabytes(self._pid)


@asynccontextmanager
async def running_hub(packages: Packages, services: Services, instance: str, logs: Path) -> AsyncIterator[Hub]:
    """Run JupyterHub with its proxy until the block ends. Raises `Failed`."""
    hub_port, proxy_port, token = free_port(), free_port(), secrets.token_hex(16)
    database = services.database_owner_url.replace("+asyncpg", "+psycopg2").replace("/spawner?", "/hub?")
    environment = {
        **os.environ,
        "BENCH_HUB_PORT": str(hub_port),
        "BENCH_PROXY_PORT": str(proxy_port),
        "BENCH_PROXY_API_PORT": str(free_port()),
        "BENCH_DATABASE": database,
        "BENCH_TOKEN": token,
        "BENCH_PROXY_TOKEN": secrets.token_hex(16),
        "BENCH_PROXY": str(packages.proxy),
        "BENCH_IMAGE": IMAGE,
        "BENCH_INSTANCE": instance,
    }
    with (logs / "jupyterhub.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(packages.hub), "--config", str(CONFIGURATION)),
            cwd=logs,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        async with Client(f"http://127.0.0.1:{hub_port}", READY_SECONDS) as client:
            hub = Hub(client, token, process.pid, proxy_port)
            await _until_ready(hub, process)
            yield hub
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _until_ready(hub: Hub, process: asyncio.subprocess.Process) -> None:
    until = time.monotonic() + START_SECONDS
    while (await hub.ask("GET", "/users?limit=1")).status != 200:
        if process.returncode is not None or time.monotonic() > until:
            raise Failed("JupyterHub did not start: see jupyterhub.log")
        await asyncio.sleep(0.2)
