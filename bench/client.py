"""A small HTTP/1.1 client: it shares the processor with what it measures, and httpx would take most of it."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 40


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and after how many milliseconds. `status` is 0 where nothing did: `error` says why."""

    status: int
    milliseconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cookies: tuple[str, ...] = ()
    error: str = ""

    def json(self) -> Any:
        """The body's value; an empty object where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    @property
    def code(self) -> str:
        """The code of a refusal."""
        body = self.json()
        return str(body.get("code", "")) if isinstance(body, dict) else ""


class Client:
    """Keeps connections to one server alive, one request at a time on each; opens as many as are wanted at once."""

    def __init__(self, url: str, seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        self.host, self.port, self._seconds = parts.netloc, parts.port or 80, seconds
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        *,
        host: str | None = None,
    ) -> Answer:
        """Send one request. A connection that breaks or a time-out is an answer without a status."""
        began = time.perf_counter()
        data = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", f"Host: {host or self.host}"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            head += ["Content-Type: application/json"]
        if body is not None or method in ("POST", "PUT"):
            head += [f"Content-Length: {len(data)}"]
        request = "\r\n".join([*head, "", ""]).encode() + data
        try:
            async with asyncio.timeout(self._seconds):
                status, found, cookies, answer = await self._send(request)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            said = str(error) or type(error).__name__
            return Answer(0, (time.perf_counter() - began) * 1000, error=said)
        return Answer(status, (time.perf_counter() - began) * 1000, found, answer, cookies)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    async def _send(self, request: bytes) -> tuple[int, dict[str, str], tuple[str, ...], bytes]:
        reader, writer = await self._connect()
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = [line.partition(":")[::2] for line in head[1:] if line]
            headers = {name.lower(): value.strip() for name, value in fields}
            cookies = tuple(value.strip().partition(";")[0] for name, value in fields if name.lower() == "set-cookie")
            status = int(head[0].split(" ")[1])
            body = b"" if status in (204, 304) else await _read_body(reader, headers)
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return status, headers, cookies, body


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
