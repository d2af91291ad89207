"""API processes are restarted in turn behind a real Caddy, and nobody notices."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select

from app.core.settings.model import Settings
from app.models import LinkRequest
from app.resources import Resources
from deploy.stack.services import Services
from tests.conftest import ROOT, make_settings
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.processes import environment_of
from tests.support.proxy import caddy
from tests.support.waiting import PATIENCE


@pytest.fixture
def settings(services: Services) -> Settings:
    """Settings of processes behind a proxy of the test's own, whatever the URL mode."""
    return make_settings(services)


async def start(settings: Settings, port: int) -> asyncio.subprocess.Process:
    """An API process that answers."""
    command = ("-m", "uvicorn", "app.main:create_app", "--factory", "--port", str(port), "--no-access-log")
    environment = {**os.environ, **environment_of(settings), "SPAWNER_API_LEAVE_SECONDS": "5"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    async with direct_client() as client, asyncio.timeout(PATIENCE):
        while True:
            with suppress(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{port}/livez")
                return process
            await asyncio.sleep(0.05)


async def load(client: httpx.AsyncClient, url: str, seen: Counter[tuple[str, int]], over: Callable[[], bool]) -> None:
    """Read and write, one after the other, until it is over: not so fast that processes have no time to start."""
    while not over():
        await asyncio.sleep(0.02)
        answer = await client.get(f"{url}/livez")
        seen["GET", answer.status_code] += 1
        address = f"{uuid4().hex}@example.org"
        answer = await client.post(f"{url}/api/auth/signup", json={"email": address})
        seen["POST", answer.status_code] += 1


async def test_a_rolling_restart_loses_no_request_and_does_none_twice(
    settings: Settings, resources: Resources, tmp_path: Path
) -> None:
    ports, port = (reserved_port(), reserved_port()), reserved_port()
    running = dict(zip(ports, await asyncio.gather(*(start(settings, number) for number in ports)), strict=True))
    seen: Counter[tuple[str, int]] = Counter()
    over = asyncio.Event()
    upstreams = {"SPAWNER_API_UPSTREAM": " ".join(f"127.0.0.1:{number}" for number in ports), "SPAWNER_API_WAIT": "10s"}
    try:
        async with (
            caddy(tmp_path, port, f"http://127.0.0.1:{port}", ports[0], **upstreams),
            direct_client() as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(4):
                group.create_task(load(client, f"http://localhost:{port}", seen, over.is_set))
            for number in ports:
                running[number].send_signal(signal.SIGTERM)
                async with asyncio.timeout(PATIENCE):
                    await running[number].wait()
                running[number] = await start(settings, number)
                done = seen.total()
                async with asyncio.timeout(PATIENCE):
                    while seen.total() < done + 20:
                        await asyncio.sleep(0.05)
            over.set()
    finally:
        for process in running.values():
            process.kill()
            await process.wait()
    assert set(seen) == {("GET", 200), ("POST", 200)}, seen
    async with resources.reads() as session:
        assert await session.scalar(select(func.count()).select_from(LinkRequest)) == seen["POST", 200]


# Go's client and Caddy both put a question again that spends nothing: how often depends on which of them notices.
@pytest.mark.parametrize(
    ("path", "again"), [("/alice-hello/.spawner/enter?code=x&next=/", False), ("/alice-hello/", True)]
)
async def test_a_question_that_spends_a_code_is_not_put_again_by_caddy_where_its_answer_was_lost(
    tmp_path: Path, path: str, again: bool
) -> None:
    questions: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what is asked for health, and die on the first question."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        question = " /internal/gateway" in head.partition("\r\n")[0]
        if question:
            questions.append(head)
        if not question or len(questions) > 1:
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    port = reserved_port()
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        caddy(tmp_path, port, f"http://127.0.0.1:{port}", server.sockets[0].getsockname()[1]),
        direct_client() as client,
    ):
        await client.get(f"http://127.0.0.1:{port}{path}")
    assert len(questions) >= 2 if again else len(questions) == 1


@pytest.mark.parametrize(
    ("path", "method", "again"),
    [("/alice-hello/.spawner/enter?code=x&next=/", "POST", False), ("/alice-hello/?unreachable=busy", "GET", True)],
)
async def test_a_question_that_spends_a_code_is_not_put_again_over_a_connection_that_was_used_before(
    tmp_path: Path, path: str, method: str, again: bool
) -> None:
    asked: list[str] = []
    talking: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the first question on each connection, and close on the next one. What is asked for health is none."""
        talking.add(writer)
        used = False
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                health = "/internal/serving" in head
                if not health and "/first" not in head:
                    asked.append(head)
                if used and not health:
                    break
                used = used or not health
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        talking.discard(writer)

    port = reserved_port()
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        direct_client() as client,
    ):
        async with caddy(tmp_path, port, f"http://127.0.0.1:{port}", server.sockets[0].getsockname()[1]):
            await client.get(f"http://127.0.0.1:{port}/first")
            await client.get(f"http://127.0.0.1:{port}{path}")
        async with asyncio.timeout(PATIENCE):
            while talking:
                await asyncio.sleep(0.02)
    assert {head.partition(" HTTP/1.1")[0] for head in asked} == {f"{method} /internal/gateway"}
    assert len(asked) >= 2 if again else len(asked) == 1
    # What the client asked for, with its secret, stands in one place, and the question has no body.
    assert all(f"X-Forwarded-Uri: {path}\r\n" in head for head in asked)
    assert not any("\r\nTransfer-Encoding" in head for head in asked)
