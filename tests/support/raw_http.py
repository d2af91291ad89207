"""Requests and answers byte by byte."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from tests.support.proxy import Owned, Site


def heads(answer: bytes, name: str) -> list[str]:
    """A header's values, of informational answers too."""
    found = re.findall(rb"(?im)^" + name.encode() + rb":[ \t]*(.*?)\r$", answer)
    return [value.decode("latin-1") for value in found]


def check_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert heads(answer, "Content-Type") == ["application/problem+json"]
    assert b"Caddy" not in answer
    problem = json.loads(body[body.find(b"{") : body.rfind(b"}") + 1])
    assert (problem["status"], problem["code"]) == (status, code)


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


LARGE = 5_000_000


@asynccontextmanager
async def container(behaviour: Behaviour) -> AsyncIterator[int]:
    """Something that listens on loopback and behaves so on each connection; yields its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await behaviour(reader, writer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def head(site: Site, owned: Owned | None, *lines: str, method: str = "PUT", route: str = "alice-hello") -> bytes:
    cookie = [f"Cookie: {owned.cookie['Cookie']}"] if owned is not None else []
    first = [f"{method} {site.path(route, '/up')} HTTP/1.1", f"Host: {site.host(route)}"]
    return "\r\n".join([*first, *cookie, *lines, "", ""]).encode()


@asynccontextmanager
async def connected(site: Site, sent: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.edge.port, limit=2**24)
    writer.write(sent)
    try:
        yield reader, writer
    finally:
        writer.close()


async def upload(writer: asyncio.StreamWriter, size: int) -> None:
    with suppress(ConnectionError):
        for _ in range(0, size, 50_000):
            writer.write(b"x" * 50_000)
            await writer.drain()


async def answer_to_upload(site: Site, sent: bytes, size: int) -> bytes:
    """Send a body as fast as it is taken, and read what comes meanwhile."""
    async with connected(site, sent) as (reader, writer):
        sending = asyncio.create_task(upload(writer, size))
        try:
            async with asyncio.timeout(20):
                said = await reader.readuntil(b"\r\n\r\n")
                return said + await reader.read(2**16)
        finally:
            sending.cancel()
