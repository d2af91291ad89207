"""Stands in for a container, on the level of bytes: it keeps exactly what arrived, and answers what it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: its head as it came, up to the empty line, and its body, still in chunks if it came so."""

    head: bytes
    body: bytes

    @property
    def request_line(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def target(self) -> bytes:
        return self.request_line.split(b" ")[1]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, values without the space around them."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:] if line)
        return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]

    def get(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Upstream:
    """`answer` gives the bytes to send back. The connection is kept, but for an answer that opens a websocket."""

    port: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    answer: Callable[[Arrival], bytes] = lambda arrival: PLAIN

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                arrival = Arrival(head, await _body(reader, Arrival(head, b"")))
                self.arrivals.append(arrival)
                answer = self.answer(arrival)
                writer.write(answer)
                await writer.drain()
                if answer.startswith(b"HTTP/1.1 101"):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader, arrival: Arrival) -> bytes:
    """Read the body by the rules of RFC 9112; whoever has both lengths is caught by who looks at the head."""
    if arrival.get(b"transfer-encoding"):
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            body += line
            size = int(line.partition(b";")[0], 16)
            body += await reader.readexactly(size + 2)
            if size == 0:
                return body
    lengths = arrival.get(b"content-length")
    return await reader.readexactly(int(lengths[0])) if lengths else b""


@asynccontextmanager
async def upstream(answer: Callable[[Arrival], bytes] | None = None) -> AsyncIterator[Upstream]:
    """Listen on loopback."""
    recorder = Upstream()
    if answer is not None:
        recorder.answer = answer
    server = await asyncio.start_server(recorder.serve, "127.0.0.1", 0)
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
