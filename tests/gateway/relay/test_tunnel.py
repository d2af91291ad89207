"""A tunnel by itself: what it sends, and when it ends, byte by byte and without a network."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from app.gateway import tunnel as tunnels
from app.gateway.authorization import SessionGrant
from app.gateway.heads import split_ticket
from app.gateway.tunnel import KEEPALIVE, MAX_EARLY, MAX_HEAD, Tunnel, TunnelTarget, Upstream
from tests.support.waiting import PATIENCE

ADMISSION = TunnelTarget(SessionGrant(uuid4(), uuid4(), 1, uuid4()), "10.0.0.7", 8888)
HEAD = b"GET /ws HTTP/1.1\r\nHost: alice\r\n\r\n"
REQUEST = b"GET /ws HTTP/1.1\r\nHost: alice\r\nX-Spawner-Ticket: t\r\n\r\n"
AGREES = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


@dataclass
class Line:
    """A transport that keeps what is done to it."""

    sent: bytes = b""
    done: list[str] = field(default_factory=list)
    connection: socket.socket | None = None

    def write(self, data: bytes) -> None:
        self.sent += data

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def get_extra_info(self, name: str) -> socket.socket | None:
        assert name == "socket"
        return self.connection


@dataclass
class Bench:
    """A tunnel whose near side is connected, and whose far side is a line as well."""

    tunnel: Tunnel
    near: Line
    far: Line
    tickets: list[str]
    dialled: list[tuple[str, int]]
    ended: list[Tunnel]

    async def admitted(self, early: bytes = b"") -> Upstream:
        """Show the ticket and wait until the container is reached."""
        self.tunnel.near.data_received(REQUEST + early)
        async with asyncio.timeout(PATIENCE):
            while self.tunnel._far is None:
                await asyncio.sleep(0)
        return self.tunnel._far

    async def opened(self) -> Upstream:
        far = await self.admitted()
        far.data_received(AGREES)
        self.near.sent = self.far.sent = b""
        self.near.done.clear()
        return far


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    tickets: list[str] = []
    ended: list[Tunnel] = []

    def redeem(_: Tunnel, ticket: str) -> TunnelTarget | None:
        tickets.append(ticket)
        return ADMISSION if ticket == "t" else None

    tunnel = Tunnel(redeem, ended.append)
    made = Bench(tunnel, Line(), Line(), tickets, [], ended)
    with socket.socket() as near, socket.socket() as far:
        made.near.connection, made.far.connection = near, far

        async def create_connection(make: Callable[[], Upstream], host: str, port: int) -> tuple[Any, Upstream]:
            made.dialled.append((host, port))
            protocol = make()
            protocol.connection_made(made.far)  # type: ignore[arg-type]
            return made.far, protocol

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
        tunnel.near.connection_made(made.near)  # type: ignore[arg-type]
        yield made
        tunnel.within(None)


async def test_a_request_arrives_without_its_ticket(bench: Bench) -> None:
    await bench.admitted()
    assert (bench.dialled, bench.tickets) == ([("10.0.0.7", 8888)], ["t"])
    assert bench.far.sent == HEAD
    assert bench.tunnel.admission == ADMISSION
    assert not bench.tunnel.answered
    assert not bench.tunnel.open
    assert bench.near.sent == b""


async def test_a_request_may_come_byte_by_byte(bench: Bench) -> None:
    for byte in REQUEST[:-1]:
        bench.tunnel.near.data_received(bytes([byte]))
    assert bench.tickets == []
    bench.tunnel.near.data_received(REQUEST[-1:])
    async with asyncio.timeout(PATIENCE):
        while not bench.far.sent:
            await asyncio.sleep(0)
    assert bench.far.sent == HEAD


async def test_both_sides_are_looked_after_while_they_are_silent(bench: Bench) -> None:
    await bench.admitted()
    for line in (bench.near, bench.far):
        assert line.connection is not None
        assert line.connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in KEEPALIVE:
            assert line.connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


async def test_after_the_containers_word_bytes_pass_both_ways(bench: Bench) -> None:
    far = await bench.admitted(b"early")
    far.data_received(AGREES + b"first")
    assert (bench.tunnel.open, bench.tunnel.answered) == (True, True)
    assert bench.near.sent == AGREES + b"first"
    assert bench.far.sent == HEAD + b"early"
    assert bench.near.done == ["resume"]
    bench.tunnel.near.data_received(b"there")
    far.data_received(b"back")
    assert bench.far.sent == HEAD + b"earlythere"
    assert bench.near.sent == AGREES + b"firstback"


async def test_an_answer_may_come_byte_by_byte_and_after_hints(bench: Bench) -> None:
    far = await bench.admitted()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for byte in hints + hints:
        far.data_received(bytes([byte]))
    assert (bench.near.sent, bench.tunnel.answered) == (hints + hints, False)
    for byte in AGREES:
        far.data_received(bytes([byte]))
    assert (bench.near.sent, bench.tunnel.open) == (hints + hints + AGREES, True)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\nyes", b"HTTP/1.0 404 No\r\n\r\n", b"nonsense\r\n\r\n", b"SPDY/1 101 x\r\n\r\n"]
)
async def test_another_answer_is_passed_on_and_nothing_goes_there_any_more(bench: Bench, answer: bytes) -> None:
    far = await bench.admitted(b"early")
    far.data_received(answer)
    assert (bench.tunnel.open, bench.tunnel.answered) == (False, True)
    assert bench.near.sent == answer
    bench.tunnel.near.data_received(b"GET /second HTTP/1.1\r\n\r\n")
    assert bench.far.sent == HEAD
    far.data_received(b"more")
    assert bench.near.sent == answer + b"more"


@pytest.mark.parametrize(("size", "ends"), [(MAX_HEAD, []), (MAX_HEAD + 1, ["abort"])])
async def test_an_answer_without_an_end_is_given_up(bench: Bench, size: int, ends: list[str]) -> None:
    far = await bench.admitted()
    far.data_received(b"x" * size)
    assert (bench.near.done, bench.far.done) == (ends, ends)


@pytest.mark.parametrize(("size", "says"), [(MAX_HEAD, b""), (MAX_HEAD + 1, b"431 Request Header Fields Too Large")])
async def test_a_request_without_an_end_is_refused(bench: Bench, size: int, says: bytes) -> None:
    bench.tunnel.near.data_received(b"x" * size)
    closes = b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert bench.near.sent == (b"HTTP/1.1 " + says + closes if says else b"")
    assert bench.near.done == (["close"] if says else [])


@pytest.mark.parametrize("request_", [HEAD, REQUEST.replace(b": t", b": other"), REQUEST.replace(b"GET", b"PUT")])
async def test_a_request_without_a_good_ticket_is_refused(bench: Bench, request_: bytes) -> None:
    bench.tunnel.near.data_received(request_)
    assert bench.near.sent == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert bench.near.done == ["close"]
    assert (bench.dialled, bench.tunnel.admission, bench.ended) == ([], None, [bench.tunnel])


@pytest.mark.parametrize(("size", "done"), [(MAX_EARLY, []), (MAX_EARLY + 1, ["pause"])])
async def test_what_hurries_ahead_is_bounded(bench: Bench, size: int, done: list[str]) -> None:
    await bench.admitted()
    bench.tunnel.near.data_received(b"x" * size)
    assert bench.near.done == done


async def test_a_side_that_cannot_keep_up_stops_the_other(bench: Bench) -> None:
    bench.tunnel.near.pause_writing()
    bench.tunnel.near.resume_writing()
    assert bench.near.done == []
    far = await bench.opened()
    far.pause_writing()
    assert (bench.near.done, bench.far.done) == (["pause"], [])
    far.resume_writing()
    bench.tunnel.near.pause_writing()
    bench.tunnel.near.resume_writing()
    assert (bench.near.done, bench.far.done) == (["pause", "resume"], ["pause", "resume"])


@pytest.mark.parametrize("side", ["near", "far"])
async def test_either_side_may_stop_sending_once(bench: Bench, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "HALF_SECONDS", 0.05)
    far = await bench.opened()
    one, other = (bench.tunnel.near, bench.far) if side == "near" else (far, bench.near)
    assert one.eof_received() is True
    assert other.done == ["eof"]
    assert one.eof_received() is False
    assert other.done == ["eof"]
    async with asyncio.timeout(PATIENCE):
        while not bench.near.done[-1:] == bench.far.done[-1:] == ["abort"]:
            await asyncio.sleep(0.01)


async def test_before_it_is_open_the_end_of_one_side_is_the_end(bench: Bench) -> None:
    assert bench.tunnel.near.eof_received() is False
    far = await bench.admitted()
    assert far.eof_received() is False
    assert bench.tunnel.near.eof_received() is False


async def test_a_side_whose_peer_is_closing_ends_at_once(bench: Bench) -> None:
    far = await bench.opened()
    bench.near.done.append("close")
    assert far.eof_received() is False


@pytest.mark.parametrize(("how", "word"), [("close", "close"), ("abort", "abort")])
async def test_both_sides_end_together(bench: Bench, how: str, word: str) -> None:
    far = await bench.opened()
    getattr(bench.tunnel, how)()
    assert (bench.near.done, bench.far.done, bench.ended) == ([word], [word], [bench.tunnel])
    far.connection_lost(None)
    assert bench.near.done == [word, "close"]


async def test_a_container_that_cannot_be_reached_is_silence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    bench.tunnel.near.data_received(REQUEST)
    async with asyncio.timeout(PATIENCE):
        while not bench.near.done:
            await asyncio.sleep(0)
    assert (bench.near.done, bench.near.sent) == (["abort"], b"")


async def test_a_container_that_is_reached_too_late_hears_nothing(bench: Bench) -> None:
    bench.tunnel.near.data_received(REQUEST)
    bench.near.done.append("close")
    async with asyncio.timeout(PATIENCE):
        while not bench.far.done:
            await asyncio.sleep(0)
    assert (bench.far.done, bench.far.sent) == (["abort"], b"")


@pytest.mark.parametrize("name", ["HEAD_SECONDS", "CONNECT_SECONDS", "ANSWER_SECONDS"])
async def test_each_stage_has_its_time(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tunnels, name, 0.05)
    tunnel, near, far = Tunnel(lambda *_: ADMISSION, lambda _: None), Line(), Line()
    reached = asyncio.Event()

    async def create_connection(make: Callable[[], Upstream], *_: object) -> tuple[Any, Upstream]:
        if name == "CONNECT_SECONDS":
            await reached.wait()
        protocol = make()
        protocol.connection_made(far)  # type: ignore[arg-type]
        return far, protocol

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    with socket.socket() as one, socket.socket() as two:
        near.connection, far.connection = one, two
        tunnel.near.connection_made(near)  # type: ignore[arg-type]
        if name != "HEAD_SECONDS":
            tunnel.near.data_received(REQUEST)
        assert near.done == []
        async with asyncio.timeout(PATIENCE):
            while not near.done:
                await asyncio.sleep(0.01)
    assert near.done == ["abort"]
    assert far.done == (["abort"] if name == "ANSWER_SECONDS" else [])


async def test_an_open_one_may_be_silent_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "ANSWER_SECONDS", 0.03)
    await bench.opened()
    await asyncio.sleep(0.1)
    assert (bench.near.done, bench.far.done) == ([], [])


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 0",
        b"CONTENT-LENGTH: 0",
        b"Transfer-Encoding: x",
        b" Host: x",
        b"Host : x",
        b"nothing",
        b"A: \n",
        b"A: \r",
        b"x-spawner-ticket: t",
    ],
)
def test_a_head_with_this_line_is_none(line: bytes) -> None:
    assert split_ticket(REQUEST.removesuffix(b"\r\n") + line + b"\r\n\r\n") is None


@pytest.mark.parametrize("first", [b"GET", b"get / HTTP/1.1", b"HEAD / HTTP/1.1", b" GET / HTTP/1.1"])
def test_a_head_that_begins_so_is_none(first: bytes) -> None:
    assert split_ticket(first + b"\r\nX-Spawner-Ticket: t\r\n\r\n") is None


@pytest.mark.parametrize("name", [b"X-Spawner-Ticket", b"x-spawner-ticket", b"X-SPAWNER-TICKET"])
def test_a_ticket_is_found_however_its_name_is_written(name: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nA: 1\r\n" + name + b":  t \r\nB:2:3\r\n\r\n"
    assert split_ticket(head) == (b"GET / HTTP/1.1\r\nA: 1\r\nB:2:3\r\n\r\n", "t")
