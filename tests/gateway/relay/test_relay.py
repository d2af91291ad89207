"""The relay alone: tickets, what the container is sent, and containers that behave oddly. No proxy stands before it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import uuid4

import pytest
import uvloop

from app.core.errors import Unavailable
from app.core.settings.model import Settings
from app.gateway import tunnel
from app.gateway import websocket_relay as relays
from app.gateway.authorization import SessionGrant
from app.gateway.heads import split_ticket
from app.gateway.websocket_relay import Relay
from app.resources import Resources
from tests.support.ports import reserved_port
from tests.support.waiting import PATIENCE

ENTRY = SessionGrant(uuid4(), uuid4(), 1, uuid4())
AGREES = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def container(behaviour: Behaviour) -> AsyncIterator[int]:
    """Something that listens on loopback; yields its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behaviour(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, limit=2**24) as server:
        yield server.sockets[0].getsockname()[1]


def request(ticket: str, *lines: str, first: str = "GET /ws HTTP/1.1") -> bytes:
    head = [first, "Host: alice", "Upgrade: websocket", *([f"X-Spawner-Ticket: {ticket}"] if ticket else []), *lines]
    return "\r\n".join([*head, "", ""]).encode()


async def dial(relay: Relay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = relay.address.rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=2**24)


async def ask(relay: Relay, sent: bytes) -> bytes:
    """Send bytes, and read until the relay closes."""
    reader, writer = await dial(relay)
    writer.write(sent)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(AGREES)
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


async def test_without_its_own_unused_ticket_nobody_gets_through(relay: Relay, resources: Resources) -> None:
    other = Relay()
    async with container(echo) as port, other.running(resources):
        foreign = other.issue(ENTRY, "127.0.0.1", port).ticket
        spent = relay.issue(ENTRY, "127.0.0.1", port).ticket
        reader, writer = await dial(relay)
        writer.write(request(spent))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        for ticket in ("", "x", foreign, spent):
            assert (await ask(relay, request(ticket))).startswith(b"HTTP/1.1 403"), ticket
        twice = relay.issue(ENTRY, "127.0.0.1", port).ticket
        assert (await ask(relay, request(twice, f"X-Spawner-Ticket: {twice}"))).startswith(b"HTTP/1.1 403")
        writer.close()


async def test_a_ticket_ends_after_its_time(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "TICKET_SECONDS", 0)
    assert (await ask(relay, request(relay.issue(ENTRY, "127.0.0.1", 1).ticket))).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "head",
    [
        request("t", "Content-Length: 4"),
        request("t", "Transfer-Encoding: chunked"),
        request("t", "transfer-encoding : chunked"),
        request("t", "X: a\n\nGET / HTTP/1.1"),
        request("t", " folded"),
        request("t", first="POST /ws HTTP/1.1"),
        request("ü"),
        b"\r\n\r\n",
    ],
)
def test_what_could_hold_a_second_request_is_refused(head: bytes) -> None:
    assert split_ticket(head) is None


def test_the_rest_of_the_head_stays_as_it_is() -> None:
    assert split_ticket(request("t", "x-own:  a: b ")) == (request("", "x-own:  a: b "), "t")


async def test_the_container_sees_one_request_and_nothing_more_until_it_agrees(relay: Relay) -> None:
    received = bytearray()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
        received.extend(await reader.read())

    async with container(refuse) as port:
        ticket = relay.issue(ENTRY, "127.0.0.1", port).ticket
        reader, writer = await dial(relay)
        writer.write(request(ticket) + b"GET /second HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"yes")).endswith(b"Content-Length: 3\r\n\r\nyes")
        writer.write(b"GET /third HTTP/1.1\r\n\r\n")
        writer.close()
        async with asyncio.timeout(PATIENCE):
            while len(relay):
                await asyncio.sleep(0.01)
    assert bytes(received) == request("")


async def test_what_hurries_ahead_arrives_once_the_container_agrees(relay: Relay) -> None:
    async with container(echo) as port:
        reader, writer = await dial(relay)
        early = b"x" * 2**20
        writer.write(request(relay.issue(ENTRY, "127.0.0.1", port).ticket) + early)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == AGREES + early
        writer.close()
    assert len(relay) == 0


async def test_a_side_that_does_not_read_stops_the_other(relay: Relay) -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(AGREES)
        while sent < 2**28:
            writer.write(b"x" * 2**16)
            await writer.drain()
            sent += 2**16

    async with container(flood) as port:
        _, writer = await dial(relay)
        cast(asyncio.Transport, writer.transport).pause_reading()
        writer.write(request(relay.issue(ENTRY, "127.0.0.1", port).ticket))
        before = -1
        while sent != before or not sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 2**25
        writer.transport.abort()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 1", b"x" * 2**17, b"nonsense\r\n\r\n"])
async def test_a_container_that_answers_no_http_ends_the_connection(relay: Relay, answer: bytes) -> None:
    async def mumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with container(mumble) as port:
        got = await ask(relay, request(relay.issue(ENTRY, "127.0.0.1", port).ticket))
    assert b"101" not in got
    assert len(relay) == 0


async def test_what_stays_silent_is_given_up(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "ANSWER_SECONDS", "HALF_SECONDS"):
        monkeypatch.setattr(tunnel, name, 0.1)

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(AGREES)
        await asyncio.sleep(PATIENCE)

    assert await ask(relay, b"GET / HTTP/1.1\r\n") == b""
    async with container(silence) as port:
        assert await ask(relay, request(relay.issue(ENTRY, "127.0.0.1", port).ticket)) == b""
    assert await ask(relay, request(relay.issue(ENTRY, "127.0.0.1", reserved_port()).ticket)) == b""
    async with container(deaf) as port:
        reader, writer = await dial(relay)
        writer.write(request(relay.issue(ENTRY, "127.0.0.1", port).ticket))
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()
    assert len(relay) == 0


async def test_a_long_head_is_refused(relay: Relay) -> None:
    assert (await ask(relay, b"GET / HTTP/1.1\r\nX: " + b"x" * (tunnel.MAX_HEAD + 1))).startswith(b"HTTP/1.1 431")


async def test_strangers_at_the_port_push_each_other_out(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MAX_WAITING", 1)
    reader, first = await dial(relay)
    _, second = await dial(relay)
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    first.close()
    second.close()


async def test_a_relay_that_is_told_to_stop_lets_nobody_in(relay: Relay) -> None:
    async with container(echo) as port:
        ticket = relay.issue(ENTRY, "127.0.0.1", port).ticket
        relay.close()
        assert (await ask(relay, request(ticket))).startswith(b"HTTP/1.1 403")
    with pytest.raises(Unavailable):
        relay.issue(ENTRY, "127.0.0.1", port)


async def test_while_the_database_is_silent_websockets_stay_for_a_while_and_no_longer(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> set[SessionGrant]:
        raise OSError

    monkeypatch.setattr(relays, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(relays, "BLIND_SECONDS", 2)
    monkeypatch.setattr(relays, "still_held", fails)
    relay = Relay()
    async with container(echo) as port, relay.running(resources):
        reader, writer = await dial(relay)
        writer.write(request(relay.issue(ENTRY, "127.0.0.1", port).ticket))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.15)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()


def test_it_works_on_the_loop_that_the_server_uses(settings: Settings) -> None:
    async def talk() -> None:
        only: Any = type("Only", (), {"settings": settings})
        relay = Relay()
        async with container(echo) as port, relay.running(only):
            reader, writer = first = await dial(relay)
            early = b"x" * 2**21
            writer.write(request(relay.issue(ENTRY, "127.0.0.1", port).ticket) + early)
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == AGREES + early
            assert (await ask(relay, request("x"))).startswith(b"HTTP/1.1 403")
            reader, writer = await dial(relay)
            writer.write(request(relay.issue(ENTRY, "127.0.0.1", port).ticket))
            await reader.readuntil(b"\r\n\r\n")
            relay.close()
            async with asyncio.timeout(PATIENCE):
                assert await reader.read() == b""
            for _, either in (first, (reader, writer)):
                either.close()
                await either.wait_closed()

    uvloop.run(talk())
