"""Floors of the API: uvicorn with an application that does nothing but answer, or that asks the database once."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from bench.client import Client
from deploy.stack.layout import free_port

Send = Callable[[dict[str, Any]], Awaitable[None]]
BODY = b'{"status":"running","container_id":"0123456789abcdef"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
START_SECONDS = 20
# The tables that a decision of the gateway joins, by the hash of a cookie.
DECISION = """
SELECT w.id, w.incarnation, o.id, v.id, w.generation, o.slug, v.slug, w.template, w.status, w.host, w.port,
  j.id, j.kind,
  (SELECT count(*) FROM workspaces s WHERE s.user_id = o.id AND s.status NOT IN ('not_created', 'stopped', 'error'))
FROM workspace_cookies c
JOIN sessions t ON t.id = c.session_id
JOIN users v ON v.id = t.user_id
JOIN workspaces w ON w.id = c.workspace_id
JOIN users o ON o.id = w.user_id
LEFT JOIN jobs j ON j.workspace_id = w.id AND j.state IN ('queued', 'running')
WHERE c.token_hash = $1 AND t.ended_at IS NULL AND t.expires_at > now() AND v.blocked_at IS NULL
"""


async def constant(scope: dict[str, Any], receive: object, send: Send) -> None:
    """Answer the same to everything."""
    if scope["type"] == "http":
        await _answer(send)


class Query:
    """Answer after one prepared statement of the join that a decision of the gateway takes."""

    def __init__(self) -> None:
        self._pool: asyncpg.Pool[Any] | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, scope: dict[str, Any], receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        async with (await self._connections()).acquire() as connection:
            await connection.fetch(DECISION, bytes.fromhex(headers[b"x-hash"].decode()))
        await _answer(send)

    async def _connections(self) -> "asyncpg.Pool[Any]":
        async with self._lock:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=8, max_size=20)
            return self._pool


query = Query()


async def _answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


@asynccontextmanager
async def bare_uvicorn(application: str, **environment: str) -> AsyncIterator[int]:
    """Run one of this module's applications as the API is run; yields its port."""
    port = free_port()
    command = [
        "-m",
        "uvicorn",
        f"bench.bare:{application}",
        "--port",
        str(port),
        "--no-access-log",
        "--lifespan",
        "off",
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command, "--log-level", "warning"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await until_answers(port)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def until_answers(port: int) -> None:
    """Wait until something takes connections at a port of this machine. Raises `TimeoutError`."""
    async with asyncio.timeout(START_SECONDS), Client(f"http://127.0.0.1:{port}", 2) as client:
        while (await client.ask("GET", "/", {"X-Hash": ""})).error:
            await asyncio.sleep(0.05)
