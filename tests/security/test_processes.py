"""The limits hold over four real API processes that know nothing of each other, and over their restart."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest

from app.core.settings.model import Settings
from app.resources import Resources
from tests.conftest import ROOT
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.waiting import PATIENCE

PROCESSES = 4
LIFESPAN_SECONDS = PATIENCE


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """Of a production installation on this run's servers: there loopback clients are counted like any."""
    return {
        "SPAWNER_ENVIRONMENT": "production",
        "SPAWNER_SECRET_KEY": settings.secret_key,
        "SPAWNER_DATABASE_URL": settings.database_url,
        "SPAWNER_REDIS_URL": settings.redis_url,
        "SPAWNER_CATALOG": str(settings.catalog),
        "SPAWNER_MAGIC_LINKS_PER_HOUR_CLIENT": "60",
    }


@dataclass
class Processes:
    """Four API processes, and a client of each."""

    program: asyncio.subprocess.Process
    clients: list[httpx.AsyncClient]

    async def restart(self) -> None:
        """End those that run, start all anew, and wait until each answers."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(b"again\n")
        assert await self.program.stdout.readline() == b"started\n"
        await asyncio.gather(*(answers(client) for client in self.clients))


@pytest.fixture
async def processes(environment: dict[str, str], resources: Resources) -> AsyncIterator[Processes]:
    """Not started yet."""
    ports = [str(reserved_port()) for _ in range(PROCESSES)]
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.security.apis", *ports),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with AsyncExitStack() as exits:
        clients = [await exits.enter_async_context(direct_client(f"http://127.0.0.1:{port}")) for port in ports]
        yield Processes(program, clients)
    assert program.stdin is not None
    program.stdin.close()
    await program.wait()


async def answers(client: httpx.AsyncClient) -> None:
    """Wait for the process to listen."""
    async with asyncio.timeout(LIFESPAN_SECONDS):
        while True:
            try:
                assert (await client.get("/livez")).status_code == 200
                return
            except httpx.TransportError:
                await asyncio.sleep(0.1)


async def ask(clients: list[httpx.AsyncClient], addresses: list[str]) -> list[httpx.Response]:
    """All at once, over all processes in turn."""
    paths = ("/api/auth/signup", "/api/auth/login")
    return await asyncio.gather(
        *(
            clients[number % len(clients)].post(paths[number // len(clients) % 2], json={"email": address})
            for number, address in enumerate(addresses)
        )
    )


async def test_a_hundred_requests_at_once_on_four_processes_get_three_links_and_a_restart_gives_no_more(
    resources: Resources, processes: Processes
) -> None:
    # Letter case, width, composition, an ideographic dot and a domain in Unicode: one mailbox.
    variants = [
        "jörg@müller.example",
        "JÖRG@MÜLLER.EXAMPLE",
        "ｊörg@müller。example",
        "jo\u0308rg@xn--mller-kva.example",
    ]
    await processes.restart()
    many = await ask(processes.clients, variants * 25)
    assert Counter(answer.status_code for answer in many) == {200: 3, 429: 97}
    assert all(3500 < int(answer.headers["Retry-After"]) <= 3600 for answer in many if answer.status_code == 429)
    # Those that were refused have used up the sixty that one client may ask for, all the same.
    assert [answer.status_code for answer in await ask(processes.clients, ["bob@example.org"])] == [429]
    await resources.redis.delete(*[key for key in await resources.redis.keys("*") if b"client" in key])
    await processes.restart()
    # A dot makes another mailbox.
    again = await ask(processes.clients, [variants[0], "j.örg@müller.example"])
    assert [answer.status_code for answer in again] == [429, 200]
    crowd = await ask(processes.clients, [f"user{number}@example.org" for number in range(100)])
    assert Counter(answer.status_code for answer in crowd) == {200: 58, 429: 42}
