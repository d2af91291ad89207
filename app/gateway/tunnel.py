"""One request's two connections, the proxy's and the container's, and the bytes between them.

The proxy's connection must open with one request that holds a ticket. The container sees that request without the
ticket. Where it asks for a websocket, the container sees nothing else from this side before it has answered 101: a
second request on the same connection would be one that nobody judged. Any other answer is passed on, and ends both
connections.

Any other request may have a body. It passes on while the container says something already, and what the container said
reaches the proxy even if it closes the connection with a part of the body unread. The proxy is told of a body that
stands still before it would find out, as long as nothing was answered: it could not tell its client then.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from app.gateway.authorization import SessionGrant
from app.gateway.heads import END, body_length, split_ticket, switching

# The proxy's own limit, and what it adds.
MAX_HEAD = 96 * 1024
# What a client may send ahead of the container's answer.
MAX_EARLY = 64 * 1024
HEAD_SECONDS = 5.0
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 60.0
# How long one side may go on once the other has said that it sends no more.
HALF_SECONDS = 30.0
# Finds a peer that vanished without a word within about two minutes.
KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
# What the proxy cannot read, and tells the gateway so.
_INVALID = b"not to be passed on" + END
# The proxy has the words for it.
STALLED = b"HTTP/1.1 499 Stalled\r\nX-Spawner-Stalled: yes\r\nContent-Length: 0\r\nConnection: close" + END


@dataclass(frozen=True, slots=True)
class TunnelTarget:
    """What a ticket is good for: one request to a container, on behalf of a session; `upgrade` for a websocket.

    `patience` are the seconds for which its body, if its length is known, may stand still.
    """

    entry: SessionGrant
    host: str
    port: int
    upgrade: bool = True
    patience: float | None = None


# What a ticket is good for; None where it is good for nothing, and the connection is to be refused.
Redeem = Callable[[str], TunnelTarget | None]


class Side(asyncio.Protocol):
    """One of the two connections. A side whose peer cannot keep up is not read from."""

    transport: asyncio.Transport

    def __init__(self, tunnel: "Tunnel") -> None:
        self.tunnel = tunnel
        self.peer: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses.
        self.transport = cast(asyncio.Transport, transport)
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE if connection.family != socket.AF_UNIX else ():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.hold()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.go_on()

    def hold(self) -> None:
        """Read no more from it for now."""
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Read from it again."""
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        return self.tunnel.half_closed(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.tunnel.close()


class Downstream(Side):
    """The proxy's connection."""

    missing = 0
    _held = False
    _heard = 0.0
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.tunnel.within(HEAD_SECONDS)

    def hold(self) -> None:
        super().hold()
        self._held = True

    def go_on(self) -> None:
        super().go_on()
        self._held, self._heard = False, asyncio.get_running_loop().time()

    def watch(self, missing: int, patience: float) -> None:
        """Give the request up once so much of a body is missing, and nothing comes for so long though it might."""
        self.missing, self._heard = missing, asyncio.get_running_loop().time()
        self._look(patience)

    def unwatch(self) -> None:
        """Its body may take as long as it likes. May be repeated."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look(self, patience: float) -> None:
        self._watch = None
        loop = asyncio.get_running_loop()
        left = patience if self._held else self._heard + patience - loop.time()
        if self.missing > 0 and left <= 0:
            self.tunnel.stalled()
        elif self.missing > 0:
            self._watch = loop.call_later(left, self._look, patience)

    def data_received(self, data: bytes) -> None:
        if self.tunnel.over:
            return
        if self.missing > 0:
            self.missing -= len(data)
            self._heard = asyncio.get_running_loop().time()
        if self.tunnel.open and self.peer is not None:
            self.peer.transport.write(data)
        else:
            self.tunnel.buffer(data)


class Upstream(Side):
    """The container's connection. A second descriptor keeps it readable when writing to it has failed."""

    _spare = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.tunnel.upgrade:
            self._spare = os.dup(transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        if self.tunnel.answered:
            self.tunnel.near.transport.write(data)
        else:
            self.tunnel.answer(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._spare >= 0:
            with suppress(OSError):
                while error is not None and (data := os.read(self._spare, 2**16)):
                    self.data_received(data)
            os.close(self._spare)
            self._spare = -1
        self.tunnel.far_lost()


class Tunnel:
    """Both connections, from the first byte to the end of either. `ended` is called once, with what was admitted."""

    def __init__(
        self, redeem: Callable[["Tunnel", str], TunnelTarget | None], ended: Callable[["Tunnel"], None]
    ) -> None:
        self.near = Downstream(self)
        self.admission: TunnelTarget | None = None
        self.answered = False
        # Whether bytes of the proxy's pass on, and whether it may send what it likes, as nobody listens any more.
        self.open = False
        self.over = False
        self._far: Upstream | None = None
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
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.abort)

    def buffer(self, data: bytes) -> None:
        """Keep what the proxy sends until the container may have it: first the request, then what hurries ahead."""
        if self.answered:
            return
        self._unsent += data
        if self.admission is None:
            self._admit()
        elif len(self._unsent) > MAX_EARLY:
            self.near.hold()

    def answer(self, data: bytes) -> None:
        """Pass the container's answer on; what it says decides whether the connection opens."""
        self._response += data
        while (end := self._response.find(END)) >= 0:
            words = bytes(self._response[:end]).split(b"\r\n", 1)[0].split(b" ", 2)
            status = words[1] if len(words) > 1 and words[0].startswith(b"HTTP/1.") else b""
            if status == b"101" and not self._switch(end + len(END)):
                return
            self.answered = status == b"101" or not status.startswith(b"1")
            if self.answered:
                self.within(None)
                self.near.unwatch()
                if self.upgrade:
                    self.open = status == b"101"
                    self._send_early()
                self.near.transport.write(bytes(self._response))
                self._response.clear()
                return
            self.near.transport.write(bytes(self._response[: end + len(END)]))
            del self._response[: end + len(END)]
        if len(self._response) > MAX_HEAD:
            self.abort()

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
        if self.over:
            return
        if self.upgrade or not self.answered or self.near.transport.is_closing():
            self.close()
            return
        self._say_no_more()

    def stalled(self) -> None:
        """The body stands still, and the container has not answered: the proxy is told, the container is left."""
        self.answered = True
        self.near.transport.write(STALLED)
        if self._far is None:
            self.close()
            return
        self._say_no_more()
        self._far.transport.abort()

    def _say_no_more(self) -> None:
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

    def abort(self) -> None:
        """End both connections at once. May be repeated."""
        self._end()
        for side in (self.near, self._far):
            if side is not None:
                side.transport.abort()

    def _end(self) -> None:
        self.within(None)
        self.near.unwatch()
        if self._task is not None:
            self._task.cancel()
        self._ended(self)

    def _admit(self) -> None:
        end = self._unsent.find(END)
        if end < 0:
            if len(self._unsent) > MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")
            return
        end += len(END)
        head = bytes(self._unsent[:end])
        found = split_ticket(head, upgrade=False)
        admission = self._redeem(self, found[1]) if found is not None else None
        if found is None or admission is None or (admission.upgrade and split_ticket(head) is None):
            self._refuse(b"403 Forbidden")
            return
        self.admission = admission
        del self._unsent[:end]
        missing = body_length(head) - len(self._unsent)
        if not admission.upgrade and admission.patience is not None and missing > 0:
            self.near.watch(missing, admission.patience)
        self.within(CONNECT_SECONDS)
        self._task = asyncio.create_task(self._dial(admission, found[0]))

    def _refuse(self, status: bytes) -> None:
        self.near.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.close()

    async def _dial(self, admission: TunnelTarget, head: bytes) -> None:
        """Connect to the container and send it the request. Where that fails the proxy is told by silence: it asks the
        gateway once more, which has the words for it."""
        loop = asyncio.get_running_loop()
        try:
            _, far = await loop.create_connection(lambda: Upstream(self), admission.host, admission.port)
        except OSError:
            self._task = None
            self.abort()
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
            self.near.go_on()
            self._far.transport.write(early)
