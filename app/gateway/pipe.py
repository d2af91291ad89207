"""One request's two connections, the proxy's and the container's, and the bytes between them.

The proxy's connection must open with one request that holds a ticket. The container sees that request without the
ticket. Where it asks for a websocket, the container sees nothing else from this side before it has answered 101: a
second request on the same connection would be one that nobody judged. Any other answer is passed on, and ends both
connections.

Any other request may have a body. It passes on while the container says something already, and what the container said
reaches the proxy even if it closes the connection with a part of the body unread.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from app.gateway.grants import Entry

TICKET = b"x-spawner-ticket"
# The proxy's own limit, and what it adds.
MOST_HEAD = 96 * 1024
# What a client may send ahead of the container's answer.
MOST_EARLY = 64 * 1024
HEAD_SECONDS = 5.0
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 60.0
# How long one side may go on once the other has said that it sends no more.
HALF_SECONDS = 30.0
# Finds a peer that vanished without a word within about two minutes.
KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
_BODY = (b"content-length", b"transfer-encoding")
_END = b"\r\n\r\n"
# What the proxy cannot read, and tells the gateway so.
_INVALID = b"not to be passed on" + _END


@dataclass(frozen=True, slots=True)
class Admission:
    """What a ticket is good for: one request to a container, on behalf of a session; `upgrade` for a websocket."""

    entry: Entry
    host: str
    port: int
    upgrade: bool = True


# What a ticket is good for; None where it is good for nothing, and the connection is to be refused.
Redeem = Callable[[str], Admission | None]


def split_ticket(head: bytes, *, upgrade: bool = True) -> tuple[bytes, str] | None:
    """A request's head without its ticket, and the ticket; None unless it holds one.

    With `upgrade` also None unless the head is all of the request: a GET without a body.
    """
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    kept, tickets = [first], []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or name != name.strip() or b"\n" in line or b"\r" in line:
            return None
        if name.lower() == TICKET:
            tickets.append(value.strip())
        else:
            kept.append(line)
    names = {line.partition(b":")[0].lower() for line in lines}
    if upgrade and not (first.startswith(b"GET ") and names.isdisjoint(_BODY)):
        return None
    if len(tickets) != 1 or not tickets[0].isascii():
        return None
    return b"\r\n".join(kept) + _END, tickets[0].decode("ascii")


def switching(head: bytes) -> bytes | None:
    """The head of a 101 as the proxy reads it, which wants the word in Connection; None if it opens no websocket."""
    fields = [line.partition(b":") for line in head.removesuffix(_END).split(b"\r\n")[1:]]
    values = [(name.strip().lower(), value.strip().lower()) for name, _, value in fields]
    if [value for name, value in values if name == b"upgrade"] != [b"websocket"]:
        return None
    words = [word.strip() for name, value in values if name == b"connection" for word in value.split(b",")]
    return head if b"upgrade" in words else head.removesuffix(_END) + b"\r\nConnection: Upgrade" + _END


class Side(asyncio.Protocol):
    """One of the two connections. A side whose peer cannot keep up is not read from."""

    transport: asyncio.Transport

    def __init__(self, pipe: "Pipe") -> None:
        self.pipe = pipe
        self.peer: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses.
        self.transport = cast(asyncio.Transport, transport)
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.transport.resume_reading()

    def eof_received(self) -> bool:
        return self.pipe.half_closed(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.pipe.close()


class Near(Side):
    """The proxy's connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pipe.within(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        if self.pipe.over:
            return
        if self.pipe.open and self.peer is not None:
            self.peer.transport.write(data)
        else:
            self.pipe.early(data)


class Far(Side):
    """The container's connection. A second descriptor keeps it readable when writing to it has failed."""

    _spare = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.pipe.upgrade:
            self._spare = os.dup(transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        if self.pipe.answered:
            self.pipe.near.transport.write(data)
        else:
            self.pipe.answer(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._spare >= 0:
            with suppress(OSError):
                while error is not None and (data := os.read(self._spare, 2**16)):
                    self.data_received(data)
            os.close(self._spare)
            self._spare = -1
        self.pipe.far_lost()


class Pipe:
    """Both connections, from the first byte to the end of either. `ended` is called once, with what was admitted."""

    def __init__(self, redeem: Callable[["Pipe", str], Admission | None], ended: Callable[["Pipe"], None]) -> None:
        self.near = Near(self)
        self.admission: Admission | None = None
        self.answered = False
        # Whether bytes of the proxy's pass on, and whether it may send what it likes, as nobody listens any more.
        self.open = False
        self.over = False
        self._far: Far | None = None
        self._redeem = redeem
        self._ended = ended
        self._unsent = bytearray()
        self._response = bytearray()
        self._half = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def upgrade(self) -> bool:
        """Whether this is a websocket, or may become one."""
        return self.admission is None or self.admission.upgrade

    def within(self, seconds: float | None) -> None:
        """Cut both connections unless this is called again in time; None waits for nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.cut)

    def early(self, data: bytes) -> None:
        """Keep what the proxy sends until the container may have it: first the request, then what hurries ahead."""
        if self.answered:
            return
        self._unsent += data
        if self.admission is None:
            self._admit()
        elif len(self._unsent) > MOST_EARLY:
            self.near.transport.pause_reading()

    def answer(self, data: bytes) -> None:
        """Pass the container's answer on; what it says decides whether the connection opens."""
        self._response += data
        while (end := self._response.find(_END)) >= 0:
            words = bytes(self._response[:end]).split(b"\r\n", 1)[0].split(b" ", 2)
            status = words[1] if len(words) > 1 and words[0].startswith(b"HTTP/1.") else b""
            if status == b"101" and not self._switch(end + len(_END)):
                return
            self.answered = status == b"101" or not status.startswith(b"1")
            if self.answered:
                self.within(None)
                if self.upgrade:
                    self.open = status == b"101"
                    self._send_early()
                self.near.transport.write(bytes(self._response))
                self._response.clear()
                return
            self.near.transport.write(bytes(self._response[: end + len(_END)]))
            del self._response[: end + len(_END)]
        if len(self._response) > MOST_HEAD:
            self.cut()

    def _switch(self, end: int) -> bool:
        """Make the container's 101 one that the proxy follows; else say that it cannot be passed on."""
        head = switching(bytes(self._response[:end])) if self.upgrade else None
        if head is None:
            self.near.transport.write(_INVALID)
            self.close()
            return False
        self._response[:end] = head
        return True

    def far_lost(self) -> None:
        """The container has said everything. The proxy may still be sending: it is listened to until it has heard."""
        if self.upgrade or not self.answered or self.near.transport.is_closing():
            self.close()
            return
        self.near.peer = None
        self.over = True
        self.near.transport.resume_reading()
        self.near.transport.write_eof()

    def half_closed(self, side: Side) -> bool:
        """One side sends no more; True where the other may go on for a while."""
        if not self.upgrade:
            return False
        other = side.peer
        if not self.open or other is None or self._half or other.transport.is_closing():
            return False
        self._half = True
        other.transport.write_eof()
        self.within(HALF_SECONDS)
        return True

    def close(self) -> None:
        """End both connections, after what was received has been passed on. May be repeated."""
        self._end()
        for side in (self.near, self._far):
            if side is not None:
                side.transport.close()

    def cut(self) -> None:
        """End both connections at once. May be repeated."""
        self._end()
        for side in (self.near, self._far):
            if side is not None:
                side.transport.abort()

    def _end(self) -> None:
        self.within(None)
        if self._task is not None:
            self._task.cancel()
        self._ended(self)

    def _admit(self) -> None:
        end = self._unsent.find(_END)
        if end < 0:
            if len(self._unsent) > MOST_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")
            return
        end += len(_END)
        head = bytes(self._unsent[:end])
        found = split_ticket(head, upgrade=False)
        admission = self._redeem(self, found[1]) if found is not None else None
        if found is None or admission is None or (admission.upgrade and split_ticket(head) is None):
            self._refuse(b"403 Forbidden")
            return
        self.admission = admission
        del self._unsent[:end]
        self.within(CONNECT_SECONDS)
        self._task = asyncio.create_task(self._dial(admission, found[0]))

    def _refuse(self, status: bytes) -> None:
        self.near.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.close()

    async def _dial(self, admission: Admission, head: bytes) -> None:
        """Connect to the container and send it the request. Where that fails the proxy is told by silence: it asks the
        gateway once more, which has the words for it."""
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(lambda: Far(self), admission.host, admission.port)
        except OSError:
            self._task = None
            self.cut()
            return
        self._task = None
        if self.near.transport.is_closing():
            far.transport.abort()
            return
        self._far, far.peer, self.near.peer = far, self.near, far
        # The proxy itself bounds how long any other request waits.
        self.within(ANSWER_SECONDS if self.upgrade else None)
        far.transport.write(head)
        if not self.upgrade:
            self.open = True
            self._send_early()

    def _send_early(self) -> None:
        """From here on bytes pass both ways, if the container has agreed; else what hurried ahead is of no use."""
        early, self._unsent = bytes(self._unsent), bytearray()
        if self.open and self._far is not None:
            self.near.transport.resume_reading()
            self._far.transport.write(early)
