"""One request's two connections, to the proxy and to the container.

The proxy's connection starts with one request that holds a ticket; the container receives it without the ticket. For a
websocket, the container receives nothing more before its 101: a second request on the connection would be unauthorised.
Any other response is forwarded and ends both connections.

Other requests may have a body, forwarded while the container may already respond. The response reaches the proxy even
if the container closes with part of the body unread. The proxy learns of a stalled body before its own timeout, unless
a response has started: later it could not tell its client.
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

# The proxy's own limit, plus what it adds.
MAX_HEAD = 96 * 1024
# Bytes that a client may send before the container's response.
MAX_EARLY = 64 * 1024
HEAD_SECONDS = 5.0
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 60.0
# Timeout of one side after the other has closed its direction.
HALF_SECONDS = 30.0
# Detects a vanished peer within about two minutes.
KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
# The proxy cannot parse this, and reports that to the gateway.
_INVALID = b"not to be passed on" + END
# The proxy builds the client's error.
STALLED = b"HTTP/1.1 499 Stalled\r\nX-Spawner-Stalled: yes\r\nContent-Length: 0\r\nConnection: close" + END


@dataclass(frozen=True, slots=True)
class TunnelTarget:
    """A ticket's permission: one request to a container, for a session; `upgrade` for a websocket.

    `patience` is the timeout in seconds for a stalled body of known length.
    """

    entry: SessionGrant
    host: str
    port: int
    upgrade: bool = True
    patience: float | None = None


# Returns a ticket's target; None for an invalid one, whose connection is refused.
Redeem = Callable[[str], TunnelTarget | None]


class Side(asyncio.Protocol):
    """One of the two connections. Backpressure: not read while its peer cannot keep up."""

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
        """Pause reading."""
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Resume reading."""
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
        """Give up the request if `missing` bytes of the body remain and none arrive for `patience` seconds."""
        self.missing, self._heard = missing, asyncio.get_running_loop().time()
        self._look(patience)

    def unwatch(self) -> None:
        """Stop the body's timeout. Idempotent."""
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
    """The container's connection. A second descriptor keeps it readable after a write has failed."""

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
    """Both connections until either ends. Calls `ended` once, with the admitted target."""

    def __init__(
        self, redeem: Callable[["Tunnel", str], TunnelTarget | None], ended: Callable[["Tunnel"], None]
    ) -> None:
        self.near = Downstream(self)
        self.admission: TunnelTarget | None = None
        self.answered = False
        # `open`: the proxy's bytes are forwarded. `over`: they are discarded.
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
        """Whether this is, or may become, a websocket."""
        return self.admission is None or self.admission.upgrade

    def within(self, seconds: float | None) -> None:
        """Abort both connections unless called again in time; None disables the timeout."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.abort)

    def buffer(self, data: bytes) -> None:
        """Buffer the proxy's bytes until the container may have them: the request, then early data."""
        if self.answered:
            return
        self._unsent += data
        if self.admission is None:
            self._admit()
        elif len(self._unsent) > MAX_EARLY:
            self.near.hold()

    def answer(self, data: bytes) -> None:
        """Forward the container's response; it decides whether the connection opens."""
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
        """Rewrite the container's 101 for the proxy; else report that it cannot be forwarded."""
        head = switching(bytes(self._response[:end])) if self.upgrade else None
        if head is None:
            self.near.transport.write(_INVALID)
            self.close()
            return False
        self._response[:end] = head
        return True

    def far_lost(self) -> None:
        """Handle the container's end. The proxy may still send, and is read until it has received everything."""
        if self.over:
            return
        if self.upgrade or not self.answered or self.near.transport.is_closing():
            self.close()
            return
        self._say_no_more()

    def stalled(self) -> None:
        """Handle a stalled body without response: tell the proxy, drop the container."""
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
        """Handle a closed direction; returns True if the other may continue for a while."""
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
        """Close both connections after forwarding received data. Idempotent."""
        self._end()
        for side in (self.near, self._far):
            if side is not None:
                side.transport.close()

    def abort(self) -> None:
        """Close both connections at once. Idempotent."""
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
        """Connect to the container and send the request. A failure closes the proxy's connection without a response:
        the proxy then asks the gateway for the error.
        """
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
        # The proxy has its own timeout for other requests.
        self.within(ANSWER_SECONDS if self.upgrade else None)
        far.transport.write(head)
        if not self.upgrade:
            self.open = True
            self._send_early()

    def _send_early(self) -> None:
        """Start forwarding both ways if the container has agreed; else drop early data."""
        early, self._unsent = bytes(self._unsent), bytearray()
        if self.open and self._far is not None:
            self.near.go_on()
            self._far.transport.write(early)
