"""What the tests of the contract share: two people, the API whole, and the API with a part away."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.core.i18n import Locale
from app.core.settings.model import Settings
from app.main import create_app
from app.models import User, utcnow
from app.resources import Resources, open_resources
from app.workspaces.jobs.subscriptions import JobSubscriptions
from tests.conftest import TestWorker
from tests.support.factories import SignedIn, make_link, make_user, sign_in

# Nothing listens there.
NO_DATABASE = "postgresql+asyncpg://postgres@127.0.0.1:1/spawner"
NO_REDIS = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def serving(settings: Settings, *, client: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    """A client, at an address, of the API with settings of its own over its own connections."""
    async with open_resources(settings) as resources:
        app = create_app(settings)
        app.state.resources = resources
        app.state.watch = JobSubscriptions(resources.redis, resources.settings.instance)
        transport = httpx.ASGITransport(app=app, client=(client, 50000))
        async with httpx.AsyncClient(transport=transport, base_url=settings.public_url) as opened:
            yield opened


@dataclass(slots=True)
class Scene:
    """Everything that a case needs to provoke an answer."""

    client: httpx.AsyncClient
    resources: Resources
    worker: TestWorker
    alice: SignedIn
    admin: SignedIn
    exits: AsyncExitStack
    locale: Locale = "en"

    async def with_settings(self, **changes: object) -> httpx.AsyncClient:
        """The API with other settings."""
        settings = self.resources.settings.model_copy(update=changes)
        return await self.exits.enter_async_context(serving(settings))

    async def without_database(self) -> httpx.AsyncClient:
        """The API while PostgreSQL is away."""
        return await self.with_settings(database_url=NO_DATABASE)

    async def link(self, *, blocked: bool = False) -> str:
        """A fresh link of a fresh account."""
        user = await make_user(self.resources, f"u{utcnow().timestamp():.6f}".replace(".", ""))
        if blocked:
            async with self.resources.unit_of_work() as session:
                (await session.get_one(User, user.id)).blocked_at = utcnow()
        return await make_link(self.resources, user)

    async def launched(self, type: str = "hello", *, run: bool = False) -> dict[str, Any]:
        """Launch one of alice's workspaces; with `run`, until its job has ended."""
        answer = await self.client.post(f"/api/container/launch/{type}", headers=self.alice.headers)
        if run:
            await self.worker.drain()
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
async def alice(resources: Resources) -> SignedIn:
    """Somebody who is signed in."""
    return await sign_in(resources)


@pytest.fixture
async def scene(
    client: httpx.AsyncClient, resources: Resources, worker: TestWorker, alice: SignedIn
) -> AsyncIterator[Scene]:
    """The API, whole or broken, alice, and an admin."""
    admin = await sign_in(resources, await make_user(resources, "root", is_admin=True))
    async with AsyncExitStack() as exits:
        yield Scene(client, resources, worker, alice, admin, exits)


@pytest.fixture(scope="package")
def document() -> dict[str, Any]:
    """The OpenAPI document as the API serves it."""
    settings = Settings(_env_file=None, environment="development", secret_key="only-for-the-document-0123456789")
    return create_app(settings).openapi()
