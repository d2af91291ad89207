"""The gateway behind a real Caddy: what stands before and behind it, and what a browser sees."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.addresses import base_path, origin_of, route_of
from app.core.settings.model import Settings
from app.gateway.websocket_relay import Relay
from app.models import Share, User, Workspace, WorkspaceCookie, WorkspaceStatus
from app.resources import Resources
from app.security.tokens import new_token
from deploy.stack.processes import child
from deploy.stack.proxy import caddy_process
from tests.conftest import ROOT
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.waiting import PATIENCE


@dataclass(frozen=True, slots=True)
class Received:
    """A request as the container saw it. `target` is the raw path and query."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    size: int

    def get(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Peer:
    """Stands in for a container: keeps what it receives, streams below `/stream`, echoes websockets."""

    received: list[Received] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._echo(scope, receive, send)
            return
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        self._keep(scope, scope["method"], size)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-peer", b"yes")]})
        if scope["path"].endswith("/stream"):
            await send({"type": "http.response.body", "body": b"one\n", "more_body": True})
            await self.gate.wait()
        await send({"type": "http.response.body", "body": b"two\n"})

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._keep(scope, "WEBSOCKET", 0)
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    def _keep(self, scope: Scope, method: str, size: int) -> None:
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]]
        self.received.append(Received(method, target, headers, size))


@dataclass(frozen=True, slots=True)
class Both:
    """API and gateway, told apart by what Caddy asks of each."""

    api: ASGIApp
    gateway: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        internal = scope["path"].startswith("/internal/")
        await (self.gateway if internal else self.api)(scope, receive, send)


@dataclass
class Switchboard:
    """The address of API and gateway for Caddy, behind which each test puts its own app."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Caddy asks this every second, also between tests.
        if scope["path"] == "/internal/serving" and not any(name == b"via" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            return
        assert self.app is not None
        await self.app(scope, receive, send)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """Serve an ASGI app on loopback in this loop; yields its port."""
    config = uvicorn.Config(
        app, port=0, lifespan="off", log_config=None, access_log=False, proxy_headers=False, ws="websockets-sansio"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    server.force_exit = True
    await task


@dataclass(frozen=True, slots=True)
class Edge:
    """A running Caddy and what stands behind it."""

    mode: str
    port: int
    api: Switchboard
    peer: Peer
    peer_port: int
    log: Path


@asynccontextmanager
async def caddy(
    home: Path, port: int, workspaces: str, api_port: int, public: str | None = None, **more: str
) -> AsyncIterator[Path]:
    """Run Caddy with the project's Caddyfile, and `more` of its variables; yields its log."""
    settings = {
        "SPAWNER_BIND": "127.0.0.1",
        "SPAWNER_PUBLIC_SITE": public or f"http://localhost:{port}",
        "SPAWNER_WORKSPACE_SITES": workspaces,
        "SPAWNER_API_UPSTREAM": f"127.0.0.1:{api_port}",
        "SPAWNER_GATEWAY_UPSTREAM": f"127.0.0.1:{api_port}",
        "SPAWNER_API_WAIT": "2s",
        **more,
    }
    log = home / "caddy.log"
    with child(caddy_process(ROOT, home, settings), log):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                await asyncio.sleep(0.02)
        writer.close()
        yield log


# For tests of what needs each workspace on an origin of its own, and of what is refused where they share one.
APART = pytest.mark.parametrize("edge", ["host"], indirect=True)


SHARED_ORIGIN = pytest.mark.parametrize("edge", ["path"], indirect=True)


@dataclass(frozen=True, slots=True)
class Owned:
    """A workspace, its signed-in owner, and the value of the cookie that opens it."""

    owner: SignedIn
    workspace: Workspace
    route: str
    value: str

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"spawner_workspace={self.value}"}


@dataclass(frozen=True, slots=True)
class Site:
    """What a browser sees: the public origin and the workspaces'."""

    edge: Edge
    settings: Settings
    resources: Resources
    http: httpx.AsyncClient
    gateway: Starlette

    @property
    def relay(self) -> Relay:
        """What carries the websockets."""
        relay: Relay = self.gateway.state.relay
        return relay

    def origin(self, route: str) -> str:
        return origin_of(self.settings, route)

    def host(self, route: str) -> str:
        return urlsplit(self.origin(route)).netloc

    def path(self, route: str, path: str = "/") -> str:
        return base_path(self.settings, route) + path.removeprefix("/")

    async def ask(
        self, route: str, path: str = "/", headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> httpx.Response:
        """Request a path of a workspace as a script would; redirects are not followed."""
        url = f"http://127.0.0.1:{self.edge.port}{self.path(route, path)}"
        return await self.http.request(method, url, headers={"Host": self.host(route), **(headers or {})})

    async def visit(self, route: str, path: str = "/", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Request a path of a workspace as a person's browser does."""
        return await self.ask(route, path, {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", **(headers or {})})

    async def public(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Request a path of the public origin."""
        url = f"http://127.0.0.1:{self.edge.port}{path}"
        return await self.http.get(url, headers={"Host": f"localhost:{self.edge.port}", **(headers or {})})

    async def raw(self, host: str, target: str, lines: Iterable[str] = (), *, method: str = "GET") -> bytes:
        """Send a request exactly as written, and read all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.port)
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
        writer.write("\r\n".join(head).encode("latin-1"))
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()

    async def own(
        self,
        owner: SignedIn | str = "alice",
        template: str = "hello",
        status: WorkspaceStatus = WorkspaceStatus.RUNNING,
        port: int | None = None,
    ) -> Owned:
        """A workspace whose container is the peer, or what listens on `port`, and a cookie that opens it."""
        signed_in = owner if isinstance(owner, SignedIn) else await sign_in(self.resources, owner)
        workspace = Workspace(
            user_id=signed_in.user.id,
            template=template,
            status=status,
            host="127.0.0.1",
            port=port or self.edge.peer_port,
        )
        async with self.resources.unit_of_work() as session:
            session.add(workspace)
        route = route_of(signed_in.user.slug, template)
        return Owned(signed_in, workspace, route, await self._let_in(signed_in, workspace))

    async def cookie(self, user: User | str, owned: Owned) -> Owned:
        """The workspace again, for a session of somebody else, or for another one of its owner's."""
        visitor = await sign_in(self.resources, user)
        return Owned(visitor, owned.workspace, owned.route, await self._let_in(visitor, owned.workspace))

    async def visitor(self, owned: Owned, slug: str, *, reason: str | None = None) -> Owned:
        """The workspace again, for somebody whom a share lets in, or an admin with a reason."""
        user = await make_user(self.resources, slug, is_admin=reason is not None)
        async with self.resources.unit_of_work() as session:
            session.add(Share(workspace_id=owned.workspace.id, email=user.email, reason=reason))
        return await self.cookie(user, owned)

    async def _let_in(self, visitor: SignedIn, workspace: Workspace) -> str:
        """The value of a new workspace cookie."""
        value = new_token()
        row = WorkspaceCookie(
            token_hash=self.resources.tokens.hash("workspace", value),
            session_id=visitor.session.id,
            workspace_id=workspace.id,
        )
        async with self.resources.unit_of_work() as session:
            session.add(row)
        return value
