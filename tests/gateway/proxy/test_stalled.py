"""A body that stands still: the client is told before it goes on, and nothing else is taken for it."""

import asyncio

import pytest
from starlette.datastructures import Headers

from app.http import patience
from tests.support.proxy import Site
from tests.support.raw_http import LARGE, answer_to_upload, check_problem, connected, container, head
from tests.support.waiting import PATIENCE

# Of the 30 s that Caddy itself waits, so that nothing here is of its doing.
SHORT = 0.5


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SHARE", SHORT / 30)


def half(site: Site, length: int, *lines: str) -> bytes:
    """Half of what somebody sends to the API."""
    first = ["POST /api/auth/signup HTTP/1.1", f"Host: localhost:{site.edge.port}", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, f"Content-Length: {length}", "", ""]).encode() + b"x" * (length // 2)


@pytest.mark.parametrize(
    ("language", "title"), [("de", "Zeitüberschreitung beim Hochladen"), ("en", "Upload timed out")]
)
async def test_the_api_says_so_while_the_client_is_silent(site: Site, language: str, title: str) -> None:
    sent = half(site, 10_000, f"Accept-Language: {language}")
    async with connected(site, sent) as (reader, _), asyncio.timeout(PATIENCE):
        answer = await reader.readuntil(b"}")
    check_problem(answer, 408, "request_stalled")
    assert f'"title":"{title}"'.encode() in answer


@pytest.mark.parametrize("length", [10_000, 10_000_000])
@pytest.mark.parametrize(
    ("language", "title"), [("de", "Zeitüberschreitung beim Hochladen"), ("en", "Upload timed out")]
)
async def test_so_it_is_at_a_workspace_whose_container_is_let_go(
    site: Site, length: int, language: str, title: str
) -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(length)
        finally:
            ended.set()

    async with container(talk) as port:
        owned = await site.own(port=port)
        sent = head(site, owned, f"Content-Length: {length}", f"Accept-Language: {language}")
        async with connected(site, sent + b"x" * (length // 2)) as (reader, _), asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(b"}")
            await ended.wait()
    check_problem(answer, 408, "request_stalled")
    assert f'"title":"{title}"'.encode() in answer
    assert b"X-Spawner" not in answer


async def test_a_container_may_think_about_a_whole_body_and_take_it_slowly(site: Site) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(3 * SHORT)
        await reader.readexactly(LARGE)
        await asyncio.sleep(3 * SHORT)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async with container(talk) as port:
        owned = await site.own(port=port)
        answer = await answer_to_upload(site, head(site, owned, f"Content-Length: {LARGE}"), LARGE)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


async def test_who_was_answered_already_is_not_told_so(site: Site) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"5\r\n" + await reader.readexactly(5) + b"\r\n")
        writer.write(b"5\r\n" + await reader.readexactly(5) + b"\r\n0\r\n\r\n")

    async with container(talk) as port:
        owned = await site.own(port=port)
        sent = head(site, owned, "Content-Length: 10", "Connection: close") + b"12345"
        async with connected(site, sent) as (reader, writer), asyncio.timeout(PATIENCE):
            answer = await reader.readuntil(b"12345")
            await asyncio.sleep(3 * SHORT)
            writer.write(b"67890")
            answer += await reader.read()
    assert (answer[:13], b"67890" in answer) == (b"HTTP/1.1 200 ", True)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), ("", None), ("30", None), ("0s", None)],
)
def test_the_proxys_limit_is_read(said: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SHARE", 1)
    assert patience.read_patience(Headers({patience.HEADER: said})) == seconds
