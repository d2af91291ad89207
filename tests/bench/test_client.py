"""The measuring clients, against a server that says what it likes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.client import Client
from bench.load import Order, get, serve

Answers = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answers: Answers) -> AsyncIterator[int]:
    """Reads heads of requests; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await answers(await reader.readuntil(b"\r\n\r\n"), writer)
        except (EOFError, OSError):
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


def says(*chunks: bytes) -> Answers:
    """The same to every request, in so many writes."""

    async def answers(head: bytes, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()

    return answers


async def hangs_up(head: bytes, writer: asyncio.StreamWriter) -> None:
    """Close instead of an answer."""
    writer.close()


REFUSAL = b'HTTP/1.1 503 X\r\nRetry-After: 7\r\nContent-Length: 28\r\n\r\n{"code":"capacity_launches"}'


async def test_a_refusal_has_a_code_and_headers() -> None:
    async with server(says(REFUSAL[:20], REFUSAL[20:])) as port, Client(f"http://127.0.0.1:{port}") as client:
        answer = await client.ask("POST", "/x", body={})
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "capacity_launches", "7")


async def test_chunks_and_cookies_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    async with server(says(chunked)) as port, Client(f"http://127.0.0.1:{port}") as client:
        answers = [await client.ask("GET", "/") for _ in range(2)]
    assert [(answer.status, answer.body, answer.cookies) for answer in answers] == [(200, b"{}", ("a=b",))] * 2


async def test_a_connection_that_ends_is_an_answer_without_a_status() -> None:
    async with server(hangs_up) as port, Client(f"http://127.0.0.1:{port}") as client:
        answer = await client.ask("GET", "/")
    assert (answer.status, answer.json()) == (0, {})
    assert answer.error


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 304 X\r\nETag: 1\r\n\r\n", 304),
        (b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok", 200),
        (b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
    ],
)
async def test_load_counts_answers_by_status(answer: bytes, status: int) -> None:
    async with server(says(answer)) as port:
        outcome = await serve(Order(port, (get("/", {}, "x"),), connections=2, seconds=0.2))
    assert set(outcome.statuses) == {status}
    assert outcome.failures(status) == 0
    assert outcome.statuses[status] == len(outcome.milliseconds)


async def test_load_connects_anew_where_the_server_closes_after_each_answer() -> None:
    async def closes(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async with server(closes) as port:
        outcome = await serve(Order(port, (get("/", {}, "x"),), connections=2, seconds=0.2))
    assert set(outcome.statuses) == {200}


async def test_load_counts_requests_without_an_answer() -> None:
    async with server(hangs_up) as port:
        outcome = await serve(Order(port, (get("/", {}, "x"),), connections=1, seconds=0.1, pace=0.02))
    assert outcome.failures(200) == len(outcome.milliseconds) > 0


async def test_paced_load_counts_the_time_that_a_stalled_server_kept_requests_from_being_sent() -> None:
    answered = 0

    async def stalls_once(head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        answered += 1
        if answered == 1:
            await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 204 X\r\n\r\n")

    async with server(stalls_once) as port:
        outcome = await serve(Order(port, (get("/", {}, "x"),), connections=1, seconds=1.0, pace=0.02))
    # The requests whose ticks fell into the stall were late as well.
    assert sum(milliseconds > 50 for milliseconds in outcome.milliseconds) > 3
