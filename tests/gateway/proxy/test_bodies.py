"""Requests with a body: who asks for it, and what of a container's answer arrives that comes before its end."""

import asyncio

import pytest

from tests.support.proxy import Site
from tests.support.raw_http import LARGE, Behaviour, answer_to_upload, check_problem, connected, container, head


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the head alone, refuse, and close with the body unread."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")


async def refuse_within(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same in the middle of the body, and say so."""
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(100_000)
    writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\ntoo large")


@pytest.mark.parametrize("behaviour", [refuse, refuse_within])
async def test_what_a_container_said_before_it_read_the_body_arrives(site: Site, behaviour: Behaviour) -> None:
    async with container(behaviour) as port:
        owned = await site.own(port=port)
        for method in ("PUT", "POST", "PATCH"):
            sent = head(site, owned, f"Content-Length: {LARGE}", method=method)
            for _ in range(15):
                answer = await answer_to_upload(site, sent, LARGE)
                assert answer.startswith(b"HTTP/1.1 413 "), answer
                assert b"too large" in answer


async def test_a_large_answer_to_a_body_that_still_comes_is_whole(site: Site) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        writer.write(b"y" * LARGE)
        await writer.drain()
        await reader.readuntil(b"0\r\n\r\n")

    async with container(talk) as port:
        owned = await site.own(port=port)
        async with connected(site, head(site, owned, "Transfer-Encoding: chunked")) as (reader, writer):
            writer.write(b"3\r\nabc\r\n")
            async with asyncio.timeout(20):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(LARGE) == b"y" * LARGE
            writer.write(b"0\r\n\r\n")


async def test_a_conversation_in_one_request_goes_both_ways(site: Site) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (line := await reader.readline()) != b"0\r\n":
            writer.write(line + await reader.readline())
        writer.write(b"0\r\n\r\n")

    async with container(talk) as port:
        owned = await site.own(port=port)
        sent = head(site, owned, "Transfer-Encoding: chunked", method="POST")
        async with connected(site, sent) as (reader, writer), asyncio.timeout(20):
            writer.write(b"2\r\nhi\r\n")
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(7) == b"2\r\nhi\r\n"
            writer.write(b"3\r\nyou\r\n0\r\n\r\n")
            assert await reader.readexactly(13) == b"3\r\nyou\r\n0\r\n\r\n"


async def test_nobody_who_is_refused_is_asked_for_a_body(site: Site) -> None:
    sent = head(site, None, f"Content-Length: {LARGE}", "Expect: 100-continue")
    async with connected(site, sent) as (reader, _), asyncio.timeout(20):
        answer = await reader.readuntil(b"}")
    check_problem(answer, 401, "unauthorized")


async def test_a_body_is_asked_for_once(site: Site) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = await reader.readuntil(b"\r\n\r\n")
        if b"expect:" in seen.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with container(talk) as port:
        owned = await site.own(port=port)
        sent = head(site, owned, "Content-Length: 5", "Expect: 100-continue", "Connection: close")
        async with connected(site, sent) as (reader, writer), asyncio.timeout(20):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"12345")
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 "), answer


@pytest.mark.parametrize("lines", ["Upgrade: websocket\r\n", "upgrade: WebSocket\r\nConnection: keep-alive\r\n"])
async def test_a_switch_to_websockets_is_one_without_the_word_in_connection_too(site: Site, lines: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nServer: mine\r\n{lines}\r\n".encode())
        writer.write(await reader.readexactly(5))

    async with container(talk) as port:
        owned = await site.own(port=port)
        asked = ["Connection: Upgrade", "Upgrade: websocket", f"Origin: {site.origin(owned.route)}"]
        sent = head(site, owned, *asked, method="GET")
        async with connected(site, sent) as (reader, writer), asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 101 ")
            assert b"Caddy" not in answer
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize("lines", ["", "Upgrade: h2c\r\nConnection: Upgrade\r\n", "Connection: Upgrade\r\n"])
async def test_a_switch_to_something_else_is_named(site: Site, lines: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode())

    async with container(talk) as port:
        owned = await site.own(port=port)
        for asked in (["Connection: Upgrade", "Upgrade: websocket", f"Origin: {site.origin(owned.route)}"], []):
            sent = head(site, owned, *asked, method="GET" if asked else "POST")
            async with connected(site, sent) as (reader, _), asyncio.timeout(20):
                check_problem(await reader.readuntil(b"}"), 502, "workspace_invalid_answer")
