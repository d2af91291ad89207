"""A stream's own end: whoever does not read is cut off, and what breaks ends it quietly."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.core.errors import Unauthorized
from app.http import sse
from app.http.sse import EventStream, answer, event
from tests.support.waiting import PATIENCE


class Client:
    """The server's side of a client that takes a number of messages and then no more."""

    def __init__(self, takes: int = 100) -> None:
        self.got: list[Message] = []
        self._takes = takes

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if len(self.got) == self._takes:
            await asyncio.Event().wait()
        self.got.append(message)

    async def read(self, stream: EventStream) -> None:
        async with asyncio.timeout(PATIENCE):
            await stream({"type": "http"}, self.receive, self.send)


async def test_a_client_that_does_not_read_is_cut_off_and_the_events_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "GRACE_SECONDS", 0.1)
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield event("x", "1", "1")
        finally:
            await asyncio.sleep(0)  # as one that tells Redis
            closed.set()

    client = Client(takes=3)
    await client.read(EventStream(b"", events(), seconds=0.1))
    assert closed.is_set()
    assert len(client.got) == 3


@pytest.mark.parametrize("error", [ConnectionResetError(), Unauthorized()], ids=["part_away", "signed_out"])
async def test_what_breaks_later_ends_the_stream(error: Exception) -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        raise error

    response = await answer(events(), seconds=1)
    assert isinstance(response, EventStream)
    client = Client()
    await client.read(response)
    assert b"".join(message.get("body", b"") for message in client.got) == b"retry: 1000\n\ndata: 1\n\n"
    assert client.got[-1]["more_body"] is False


async def test_a_fault_of_ours_is_not_hidden() -> None:
    async def events() -> AsyncGenerator[bytes, None]:
        yield b""
        raise ZeroDivisionError

    response = await answer(events(), seconds=1)
    assert isinstance(response, EventStream)
    with pytest.raises(ZeroDivisionError):
        await Client().read(response)
