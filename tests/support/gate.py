"""The gateway's decisions over a test's tables, without a proxy before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from sqlalchemy import select, update

from app.core.settings.model import Settings
from app.gateway.app import create_app, running
from app.gateway.authorization import SessionGrant
from app.gateway.decide import Allow, GatewayContext, answer
from app.gateway.proxied_request import ProxiedRequest
from app.gateway.websocket_relay import RelayTicket
from app.models import Job, JobKind, JobState, Share, Workspace, WorkspaceCookie, WorkspaceStatus
from app.resources import Resources, open_resources
from app.security.tokens import new_token
from tests.support.factories import SignedIn, sign_in


@asynccontextmanager
async def gateway_of(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway process with settings and connections of its own."""
    async with open_resources(settings) as resources:
        app = create_app(settings)
        transport = httpx.ASGITransport(app=app)
        async with (
            running(app, resources),
            httpx.AsyncClient(transport=transport, base_url=settings.public_url) as opened,
        ):
            yield opened


HOST = "127.0.0.1:8080"
OWN = "http://127.0.0.1:8080"
VISIT = ProxiedRequest(method="GET", host=HOST, uri="/alice-hello/lab?a=1")
# Where each workspace has an origin of its own, as sharing needs it.
APART = "http://{route}.apps.localhost:8080"


@dataclass
class Counter:
    """A relay that only says what it was asked for."""

    issued: list[tuple[SessionGrant, str, int]] = field(default_factory=list)

    def issue(self, entry: SessionGrant, host: str, port: int, *, upgrade: bool, patience: float | None) -> RelayTicket:
        self.issued.append((entry, host, port))
        return RelayTicket("127.0.0.1:9", "a ticket")


@dataclass
class Gate:
    """The gateway over this test's tables, and alice with a workspace and its cookie."""

    resources: Resources
    desk: GatewayContext
    relay: Counter
    alice: SignedIn
    workspace: Workspace
    value: str

    def visit(self, **changes: Any) -> ProxiedRequest:
        apart = {"host": "alice-hello.apps.localhost:8080", "uri": "/lab?a=1"}
        named = apart if self.resources.settings.host_mode else {}
        return replace(VISIT, **{"cookies": (f"spawner_workspace={self.value}",), **named, **changes})

    async def ask(self, **changes: Any) -> Any:
        return await answer(self.desk, self.visit(**changes))

    async def page(self, **changes: Any) -> Any:
        """As a person's browser does."""
        return await self.ask(page=True, site="none", **changes)

    async def change(self, **columns: Any) -> None:
        async with self.resources.unit_of_work() as session:
            await session.execute(update(Workspace).where(Workspace.id == self.workspace.id).values(**columns))

    async def let_in(self, who: SignedIn, workspace: Workspace) -> str:
        value = new_token()
        async with self.resources.unit_of_work() as session:
            digest = self.resources.tokens.hash("workspace", value)
            session.add(WorkspaceCookie(token_hash=digest, session_id=who.session.id, workspace_id=workspace.id))
        return value

    async def share_with(self, slug: str) -> str:
        """The cookie of somebody whom a share lets in; from now on each workspace has its own origin."""
        self.resources.settings.workspace_url = APART
        guest = await sign_in(self.resources, slug)
        async with self.resources.unit_of_work() as session:
            session.add(Share(workspace_id=self.workspace.id, email=guest.user.email))
        return await self.let_in(guest, self.workspace)

    async def jobs(self) -> list[tuple[JobKind, JobState]]:
        async with self.resources.sessions() as session:
            rows = await session.scalars(select(Job).order_by(Job.created_at))
            return [(row.kind, row.state) for row in rows]


async def make_workspace(resources: Resources, owner: SignedIn, **columns: Any) -> Workspace:
    values = {"template": "hello", "status": WorkspaceStatus.RUNNING, "host": "10.0.0.7", "port": 8888, **columns}
    async with resources.unit_of_work() as session:
        session.add(workspace := Workspace(user_id=owner.user.id, **values))
    return workspace


ADMITTED = Allow(
    upstream="10.0.0.7:8888", prefix="/alice-hello", base="/alice-hello/", user="alice", cookie="", authorization=""
)
