"""Relays websockets, and requests with a body, between proxy and containers.

The proxy cannot close single connections, and a websocket outlives its authorisation. So the gateway makes this process
the upstream, with a ticket that is valid once and for ten seconds. Every second it checks for all open connections that
session and permission still hold.
"""

import asyncio
import resource
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.core.errors import Unavailable
from app.core.fair_share import FairShare
from app.core.logging import cause
from app.core.settings.model import Settings
from app.core.supervise import background_loop
from app.gateway.authorization import SessionGrant, still_held
from app.gateway.errors import TooManySockets, WorkspaceBusy
from app.gateway.tunnel import Tunnel, TunnelTarget
from app.http.server import UNIX, bind_path
from app.resources import Resources

log = structlog.get_logger(__name__)

TICKET_SECONDS = 10.0
LOOK_SECONDS = 1.0
# Connections are cut if no check succeeds for this long. A database restart is shorter.
BLIND_SECONDS = 30.0
# Connections without ticket yet. The proxy sends it at once, so the oldest are not the proxy's.
MAX_WAITING = 1000
BACKLOG = 1024
# Grace for running requests at shutdown: the API's own.
FINISH_SECONDS = 10.0
FINISH_LOOK_SECONDS = 0.05
# File descriptors reserved for everything else, and those per request: proxy, container, and a second for the container
# unless it is a websocket.
SPARE = 256
DESCRIPTORS = 3


@dataclass(frozen=True, slots=True)
class RelayTicket:
    """The relay's address for the proxy, and the ticket to send."""

    upstream: str
    ticket: str


class Relay:
    """The relayed connections of one process."""

    def __init__(self, socket: Path | None = None) -> None:
        """Listen on the path of a Unix socket, else on a port of RELAY_BIND."""
        self._socket = socket
        self._tickets: dict[str, tuple[TunnelTarget, float]] = {}
        # By account: open connections and issued tickets.
        self._places: FairShare[UUID] = FairShare(0)
        self._most_each = 0
        self._waiting: dict[Tunnel, None] = {}
        self._open: defaultdict[SessionGrant, set[Tunnel]] = defaultdict(set)
        self._address = ""
        self._count = 0
        self._closing = False
        self._until = 0.0
        # Time of the last successful check.
        self._checked = 0.0

    @property
    def address(self) -> str:
        """Its address for the proxy; empty before it listens."""
        return self._address

    def __len__(self) -> int:
        return self._count

    @asynccontextmanager
    async def running(self, resources: Resources) -> AsyncIterator[None]:
        """Listen during the block; at its end cut open connections."""
        settings = resources.settings
        server, self._address = await self._listen(settings)
        self._places.total = (_file_limit() - SPARE) // DESCRIPTORS
        self._most_each = settings.user_websockets
        self._checked = time.monotonic()
        try:
            async with background_loop("relay_revocation", partial(self._watch, resources)):
                yield
        finally:
            self.close()
            server.close()
            await self._finish()
            for tunnel in self._all():
                tunnel.abort()

    async def _listen(self, settings: Settings) -> tuple[asyncio.Server, str]:
        """Open the relay's socket. Returns it with its address for the proxy."""
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            server = await loop.create_unix_server(self._accept, sock=bind_path(self._socket), backlog=BACKLOG)
            return server, f"{UNIX}{self._socket}"
        server = await loop.create_server(self._accept, settings.relay_bind, 0, backlog=BACKLOG)
        port = server.sockets[0].getsockname()[1]
        host = settings.relay_host or settings.relay_bind
        return server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def issue(
        self, entry: SessionGrant, host: str, port: int, *, upgrade: bool = True, patience: float | None = None
    ) -> RelayTicket:
        """Issue a ticket for one connection to a container: a websocket or, without `upgrade`, another request, whose
        body may stall for `patience` seconds.

        Raises `TooManySockets`, `WorkspaceBusy` for other requests, and `Unavailable` at shutdown or if full.
        """
        if self._closing or not self._address:
            raise Unavailable
        self._forget_tickets()
        if len(self._places) + len(self._waiting) >= self._places.total:
            log.error("relay_full", open=self._count)
            raise Unavailable
        if not self._places.take(entry.visitor_id, self._most_each):
            raise (TooManySockets if upgrade else WorkspaceBusy)(headers={"Retry-After": "5"})
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = (TunnelTarget(entry, host, port, upgrade, patience), time.monotonic() + TICKET_SECONDS)
        return RelayTicket(self._address, ticket)

    def close(self) -> None:
        """Shut down: end every websocket and admit no more. Idempotent."""
        if not self._closing:
            self._until = time.monotonic() + FINISH_SECONDS
        self._closing = True
        for admission, _ in self._tickets.values():
            self._places.give_back(admission.entry.visitor_id)
        self._tickets.clear()
        for tunnel in self._all():
            if tunnel.upgrade:
                tunnel.close()

    async def _finish(self) -> None:
        """Wait for other requests until `FINISH_SECONDS` after shutdown started."""
        for _ in range(int((self._until - time.monotonic()) / FINISH_LOOK_SECONDS)):
            if all(tunnel.upgrade for tunnel in self._all()):
                return
            await asyncio.sleep(FINISH_LOOK_SECONDS)

    async def check_open(self, resources: Resources) -> None:
        """End every connection whose permission no longer holds."""
        entries = list(self._open)
        if not entries:
            return
        held = await still_held(resources, entries)
        for entry in entries:
            if entry not in held:
                self._cut(entry)

    async def _watch(self, resources: Resources) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._forget_tickets()
            try:
                await self.check_open(resources)
                self._checked = time.monotonic()
            except (SQLAlchemyError, OSError) as error:
                log.warning("relay_not_checked", **cause(error))
            finally:
                # Also applies if the check itself has a bug.
                if time.monotonic() - self._checked > BLIND_SECONDS:
                    for entry in list(self._open):
                        self._cut(entry)

    def _cut(self, entry: SessionGrant) -> None:
        pipes = list(self._open.get(entry, ()))
        for tunnel in pipes:
            tunnel.abort()
        if pipes:
            log.info("websockets_ended", count=len(pipes), workspace_id=str(entry.workspace_id))

    def _accept(self) -> asyncio.Protocol:
        if len(self._waiting) >= MAX_WAITING:
            next(iter(self._waiting)).abort()
        tunnel = Tunnel(self._redeem, self._forget)
        self._waiting[tunnel] = None
        return tunnel.near

    def _redeem(self, tunnel: Tunnel, ticket: str) -> TunnelTarget | None:
        self._forget_tickets()
        admission, _ = self._tickets.pop(ticket, (None, 0.0))
        if admission is None:
            return None
        self._waiting.pop(tunnel, None)
        self._open[admission.entry].add(tunnel)
        self._count += 1
        return admission

    def _forget(self, tunnel: Tunnel) -> None:
        self._waiting.pop(tunnel, None)
        entry = tunnel.admission.entry if tunnel.admission is not None else None
        if entry is None or tunnel not in self._open.get(entry, ()):
            return
        self._count -= 1
        self._places.give_back(entry.visitor_id)
        self._open[entry].discard(tunnel)
        if not self._open[entry]:
            del self._open[entry]

    def _forget_tickets(self) -> None:
        """Drop expired tickets; they are ordered by expiry."""
        now = time.monotonic()
        while self._tickets:
            ticket = next(iter(self._tickets))
            admission, until = self._tickets[ticket]
            if until > now:
                return
            del self._tickets[ticket]
            self._places.give_back(admission.entry.visitor_id)

    def _all(self) -> list[Tunnel]:
        return [*self._waiting, *(tunnel for pipes in self._open.values() for tunnel in pipes)]


def _file_limit() -> int:
    """Raise this process's limit of open files to its maximum and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
