"""How much, and how slowly, anybody may send: with the real Caddy and its limits, made short."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from starlette.types import Receive, Scope, Send

from tests.support.ports import reserved_port
from tests.support.proxy import Edge, Peer, Site, Switchboard, caddy, serving
from tests.support.sockets import socket_to
from tests.support.waiting import PATIENCE

SHORT = 1.0
# Below Caddy's own defaults, which these tests make shorter: 10 s for a head, 30 s for a body.
HEAD_LIMIT, BODY_LIMIT = 9, 25
SIGNUP = "POST /api/auth/signup HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{more}\r\n\r\n"


@pytest.fixture(scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """A Caddy that waits for less than it does by default."""
    port, api, peer = reserved_port(), Switchboard(), Peer()
    short = {"SPAWNER_SLOW_HEADER": f"{SHORT}s", "SPAWNER_SLOW_BODY": f"{SHORT}s"}
    home = tmp_path_factory.mktemp("caddy")
    async with (
        serving(api) as api_port,
        serving(peer) as peer_port,
        caddy(home, port, f"http://127.0.0.1:{port}", api_port, **short) as log,
    ):
        yield Edge("path", port, api, peer, peer_port, log)


async def send(site: Site, sent: str, *, dripped: str = "") -> tuple[bytes, float]:
    """Send this, and `dripped` slowly; what came back first, and after how many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.edge.port, limit=2**22)
    started = time.monotonic()
    writer.write(sent.encode())
    for letter in dripped:
        await asyncio.sleep(SHORT / 4)
        writer.write(letter.encode())
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read(65536)
    except ConnectionError:
        answer = b""
    writer.close()
    return answer, time.monotonic() - started


@dataclass
class Waiting:
    """Reads bodies to their end, and keeps how long it took until one was given up."""

    ended: list[float] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            self.ended.append(time.monotonic() - started)


async def test_a_head_that_never_ends_is_let_go(site: Site) -> None:
    answer, seconds = await send(site, f"GET / HTTP/1.1\r\nHost: localhost:{site.edge.port}\r\nX-Slow: ")
    assert b"200 OK" not in answer
    assert seconds < HEAD_LIMIT


@pytest.mark.parametrize("more", ["Content-Length: 30", "Transfer-Encoding: chunked"])
async def test_a_body_that_stands_still_holds_nobody_up(site: Site, more: str) -> None:
    site.edge.api.app = waiting = Waiting()
    sent = SIGNUP.format(host=f"localhost:{site.edge.port}", more=more) + "5\r\n{"
    _, writer = await asyncio.open_connection("127.0.0.1", site.edge.port)
    writer.write(sent.encode())
    async with asyncio.timeout(PATIENCE):
        while not waiting.ended:
            await asyncio.sleep(0.02)
    writer.close()
    assert SHORT / 2 < waiting.ended[0] < BODY_LIMIT


async def test_an_upload_to_a_workspace_may_be_slow(site: Site) -> None:
    owned = await site.own()
    upload = f"POST {site.path(owned.route)} HTTP/1.1\r\nHost: {site.host(owned.route)}\r\nContent-Length: 9\r\n"
    answer, seconds = await send(site, f"{upload}Cookie: {owned.cookie['Cookie']}\r\n\r\n", dripped="123456789")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert seconds > 2 * SHORT


async def test_a_silent_websocket_outlives_the_time_for_a_body(site: Site) -> None:
    owned = await site.own()
    async with socket_to(site, owned, site.origin(owned.route)) as connection:
        await asyncio.sleep(3 * SHORT)
        await connection.send("still there?")
        assert await connection.recv() == "still there?"


async def test_an_event_stream_outlives_the_time_for_a_body(site: Site) -> None:
    told = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
        await asyncio.sleep(3 * SHORT)
        told.set()
        await send({"type": "http.response.body", "body": b"two\n"})

    site.edge.api.app = app
    answer = await site.public("/api/jobs/x/events")
    assert (answer.text, told.is_set()) == ("one\ntwo\n", True)


@pytest.mark.parametrize(
    ("more", "body", "status"),
    [
        ("Content-Length: 2000000", "x" * 2_000_000, 413),
        ("Content-Length: 100000", "x" * 100_000, 413),
        ("Transfer-Encoding: chunked", "1e8480\r\n" + "x" * 2_000_000 + "\r\n0\r\n\r\n", 413),
        ("Content-Length: 2\r\nX-Long: " + "x" * 80_000, "{}", 431),
        ("Content-Length: 2\r\n" + "X-Many: x\r\n" * 8_000 + "X-Last: x", "{}", 431),
        ("Content-Length: 2\r\nX-Long: " + "x" * 30_000, "{}", 400),
    ],
    ids=["body", "body-of-the-api", "chunked", "header", "headers", "within"],
)
async def test_too_much_is_refused(site: Site, more: str, body: str, status: int) -> None:
    answer, _ = await send(site, SIGNUP.format(host=f"localhost:{site.edge.port}", more=more) + body)
    assert answer.startswith(f"HTTP/1.1 {status}".encode()), answer[:300]


async def test_too_long_an_address_is_refused(site: Site) -> None:
    answer = await site.raw(f"localhost:{site.edge.port}", "/" + "x" * 80_000)
    assert answer.startswith(b"HTTP/1.1 431"), answer[:200]
