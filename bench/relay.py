"""What the relay costs websockets and POSTs, against Caddy straight to the container, in turns.

Three processes of their own stand behind Caddy: the relay, as the API runs it, and one that echoes bytes; on loopback,
with no database. After the handshake nobody on the way reads frames, so plain bytes are measured.
"""

import asyncio
import contextlib
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast
from uuid import uuid4

import psutil  # type: ignore[import-untyped]
import uvloop

from app.core.settings.model import Settings
from app.gateway import websocket_relay as relays
from app.gateway.authorization import SessionGrant
from app.gateway.websocket_relay import Relay
from app.resources import Resources
from bench.table import Row, at_most, figure, median, percentile, share_of_floor, written
from deploy.stack.layout import free_port
from deploy.stack.proxy import find_caddy

ROUNDS = 5
TRIPS = 500
MESSAGE = b"x" * 64
BULK = 64 << 20
IDLE = 1000
SOCKETS = 16
MESSAGES = 500
SHARE = 0.6
MOST_MEGABYTES = 100
POSTS = 1000
BODY = b"x" * 1024
DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CADDYFILE = """
{{
	admin off
	auto_https off
}}
http://127.0.0.1:{straight} {{
	reverse_proxy 127.0.0.1:{echo}
}}
http://127.0.0.1:{relayed} {{
	reverse_proxy {relay} {{
		header_up X-Spawner-Ticket {{header.X-Ticket}}
		transport http {{
			keepalive off
		}}
	}}
}}
"""


class Wire:
    """One connection through Caddy, after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def trip(self) -> float:
        """Send a message and get it back. Microseconds."""
        began = time.perf_counter()
        self._writer.write(MESSAGE)
        await self._reader.readexactly(len(MESSAGE))
        return (time.perf_counter() - began) * 1e6

    async def bulk(self) -> float:
        """Send a lot, and get it back meanwhile. Megabytes a second, each way."""
        began = time.perf_counter()
        sending = asyncio.create_task(self._send())
        left = BULK
        while left:
            left -= len(await self._reader.read(1 << 18))
        await sending
        return (BULK >> 20) / (time.perf_counter() - began)

    async def _send(self) -> None:
        for _ in range(BULK >> 18):
            self._writer.write(bytes(1 << 18))
            await self._writer.drain()

    def close(self) -> None:
        """Drop it."""
        self._writer.transport.abort()


async def dial(port: int, ticket: str, name: str = "X-Ticket") -> Wire:
    """Open one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    head = ["GET / HTTP/1.1", "Host: 127.0.0.1", "Connection: Upgrade", "Upgrade: websocket", f"{name}: {ticket}"]
    writer.write("\r\n".join([*head, "", ""]).encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    return Wire(reader, writer)


class Poster:
    """One connection to Caddy, which sends one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(self, ticket: str) -> float:
        """Send a body and get its answer. Microseconds."""
        head = ["POST / HTTP/1.1", "Host: 127.0.0.1", f"X-Ticket: {ticket}", f"Content-Length: {len(BODY)}", "", ""]
        began = time.perf_counter()
        self._writer.write("\r\n".join(head).encode() + BODY)
        assert (await self._reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await self._reader.readexactly(2) == b"ok"
        return (time.perf_counter() - began) * 1e6

    def close(self) -> None:
        """Drop it."""
        self._writer.transport.abort()


async def serve_relay(echo: int) -> None:
    """The relay, in a process of its own: says its address, then a ticket for each line that it reads.

    The line names the method of the request that the ticket is for.
    """
    relays.LOOK_SECONDS = 3600
    settings = Settings(_env_file=None, environment="development", secret_key=secrets.token_urlsafe(48))
    relay = Relay()

    class Only:
        def __init__(self) -> None:
            self.settings = settings

    async with relay.running(cast(Resources, Only())):
        print(relay.address, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            entry, upgrade = SessionGrant(uuid4(), uuid4(), 1, uuid4()), line.strip() == "GET"
            print(relay.issue(entry, "127.0.0.1", echo, upgrade=upgrade).ticket, flush=True)


async def serve_echo() -> None:
    """What stands in for a container: answers each POST, else agrees to everything and sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST "):
                await reader.readexactly(len(BODY))
                writer.write(DONE)
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while data := await reader.read(1 << 18):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def part(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One of this module's processes."""
    command = [sys.executable, "-m", "bench.relay", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class Stand:
    """Everything that is measured, running."""

    def __init__(self, relay: subprocess.Popen[str], straight: int, relayed: int, address: str) -> None:
        self._relay = relay
        self._straight, self._relayed = straight, relayed
        self._port = int(address.rpartition(":")[2])

    def ticket(self, method: str = "GET") -> str:
        """One of the relay's."""
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write(f"{method}\n")
        self._relay.stdin.flush()
        return self._relay.stdout.readline().strip()

    async def straight(self) -> Wire:
        """Caddy, container."""
        return await dial(self._straight, "")

    async def relayed(self) -> Wire:
        """Caddy, relay, container."""
        return await dial(self._relayed, self.ticket())

    async def posts(self, found: dict[str, list[float]]) -> None:
        """Send many, each way over one connection to Caddy, in turns of a hundred."""
        ports = {"straight": self._straight, "relayed": self._relayed}
        posters = {name: Poster(*await asyncio.open_connection("127.0.0.1", port)) for name, port in ports.items()}
        for _ in range(POSTS // 100):
            for name, poster in posters.items():
                for _ in range(100):
                    ticket = self.ticket("POST") if name == "relayed" else ""
                    found[name].append(await poster.post(ticket))
        for poster in posters.values():
            poster.close()

    async def memory(self) -> float:
        """Bytes that the relay takes for many connections that rest, each of which has carried a message."""
        process = psutil.Process(self._relay.pid)
        before = process.memory_info().rss
        wires = [await dial(self._port, self.ticket(), "X-Spawner-Ticket") for _ in range(IDLE)]
        for wire in wires:
            await wire.trip()
        after = process.memory_info().rss
        for wire in wires:
            wire.close()
        return float(after - before)


@asynccontextmanager
async def stand() -> AsyncIterator[Stand]:
    """Start it all."""
    with (
        tempfile.TemporaryDirectory(prefix="spawner-bench-") as home,
        part("echo") as echo,
    ):
        assert echo.stdout is not None
        port = echo.stdout.readline().strip()
        with part("relay", port) as relay:
            assert relay.stdout is not None
            address = relay.stdout.readline().strip()
            straight, relayed = free_port(), free_port()
            file = Path(home) / "Caddyfile"
            file.write_text(CADDYFILE.format(straight=straight, relayed=relayed, echo=port, relay=address))
            command = [str(find_caddy()), "run", "--config", str(file), "--adapter", "caddyfile"]
            environment = {"XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "HOME": home}
            with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as caddy:  # noqa: ASYNC220 - once
                try:
                    await _until_open(straight)
                    yield Stand(relay, straight, relayed, address)
                finally:
                    caddy.terminate()


async def _until_open(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


async def relay(_: object) -> AsyncIterator[Row]:
    """Both ways in turns, so that a noisy minute hits both."""
    found: dict[str, dict[str, list[float]]] = {
        kind: {"straight": [], "relayed": []} for kind in ("rate", "trip", "bulk", "open", "post")
    }
    async with stand() as stood:
        # First: later the relay would hold memory that it has already used.
        memory = await stood.memory() / 1e6
        await stood.posts(found["post"])
        ways: dict[str, Callable[[], Awaitable[Wire]]] = {"straight": stood.straight, "relayed": stood.relayed}
        for number in range(ROUNDS):
            for name in sorted(ways, reverse=number % 2 == 0):
                began = time.perf_counter()
                wire = await ways[name]()
                found["open"][name].append((time.perf_counter() - began) * 1000)
                found["trip"][name] += [await wire.trip() for _ in range(TRIPS)]
                found["bulk"][name].append(await wire.bulk())
                wire.close()
                found["rate"][name].append(await _rate(ways[name]))
        yield share_of_floor(
            f"messages of {len(MESSAGE)} bytes on {SOCKETS} websockets", *_medians(found["rate"]), SHARE
        )
        yield _beside(f"a message of {len(MESSAGE)} bytes there and back, p50", found["trip"], "µs")
        worst = {name: [percentile(trips, 99)] for name, trips in found["trip"].items()}
        yield _beside("the same, p99", worst, "µs")
        yield _beside(f"{BULK >> 20} MiB there and back at once, each way", found["bulk"], "MiB/s", up=False)
        yield _beside("the handshake, p50", found["open"], "ms")
        yield _beside(f"a POST of {len(BODY)} bytes, p50", found["post"], "µs")
        yield at_most(f"memory that {IDLE:,} idle sockets take", memory, MOST_MEGABYTES, "MB")


async def _rate(way: Callable[[], Awaitable[Wire]]) -> float:
    """Messages a second that come back on many websockets, each of which sends the next one then."""
    wires = [await way() for _ in range(SOCKETS)]
    began = time.perf_counter()

    async def talk(wire: Wire) -> None:
        for _ in range(MESSAGES):
            await wire.trip()

    await asyncio.gather(*(talk(wire) for wire in wires))
    seconds = time.perf_counter() - began
    for wire in wires:
        wire.close()
    return SOCKETS * MESSAGES / seconds


def _medians(found: dict[str, list[float]]) -> tuple[float, float]:
    return median(found["relayed"]), median(found["straight"])


def _beside(what: str, found: dict[str, list[float]], unit: str, *, up: bool = True) -> Row:
    relayed, straight = _medians(found)
    return figure(what, relayed, unit, up=up, floor=written(straight, unit, up=not up))


def main() -> None:
    """Be one of the processes of the stand."""
    match sys.argv[1:]:
        case ["echo"]:
            uvloop.run(serve_echo())
        case ["relay", port]:
            uvloop.run(serve_relay(int(port)))


if __name__ == "__main__":
    main()
