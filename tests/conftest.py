"""Real PostgreSQL, Redis and SMTP for every test; a fake engine unless a test asks for the real one."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.applications import Starlette
from xdist.scheduler import LoadScopeScheduling

from app.core import clock
from app.core.settings.model import Settings
from app.core.supervise import background_loop
from app.gateway import app as gateway_app
from app.mail.sender import SmtpMailer
from app.main import create_app
from app.resources import Resources, make_redis, make_resources
from app.runtime.base import Runtime
from app.workspaces.jobs.subscriptions import JobSubscriptions
from deploy.stack.services import APPLICATION_ROLE, Children, Services, private_services
from tests.support.clocks import Time
from tests.support.connections import Engines
from tests.support.emails import Inbox, PostOffice, open_post_office
from tests.support.factories import SignedIn, make_user, sign_in
from tests.support.fakes import FakeRuntime, http_peer
from tests.support.queues import due
from tests.support.tables import EMPTY_TABLES
from workers.context import WorkerContext
from workers.loops.admit import admit, admit_forever
from workers.loops.reconcile import reconcile_engine, reconcile_engine_forever, reconcile_rows, reconcile_rows_forever
from workers.worker import Worker

# The tests' client logs addresses, and with them tokens, among the lines that tests look at.
logging.getLogger("httpx").setLevel(logging.WARNING)

ROOT = Path(__file__).parent.parent
INSTANCE = f"t{secrets.token_hex(4)}"


WITH_SERVERS = {"runtime", "e2e", "stack", "chaos", "compose"}
# Folders whose tests share what is dear to start, or the engine's networks; the longest first.
TOGETHER = {"e2e": "engine", "runtime": "engine", "chaos": "chaos", "compose": "compose"}


class Folders(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Hands a process one file at a time, or all folders that belong together."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return TOGETHER.get(Path(path).parent.name, path)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage among modules and tests, half a million objects that stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Folders:
    """Groups by marks do not work: pytest-xdist 3.8 writes them where pytest 9.2 does not look."""
    return Folders(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `unit` whatever asks for no server, and begin with what takes longest."""
    for item in items:
        folder = item.path.parent.name
        alone = isinstance(item, pytest.Function) and "services" not in item.fixturenames
        if alone and folder not in WITH_SERVERS:
            item.add_marker("unit")
    if "SPAWNER_TEST_SERVICES" in os.environ:
        # Each of many short runs in a row ends with its first failure: what needs a proxy comes last, and each file's
        # tests together, which share servers.
        files = {item.path: rank for rank, item in reversed(list(enumerate(items)))}
        items.sort(key=lambda item: (item.path.parent.name == "proxy", files[item.path]))
        return
    order = {folder: rank for rank, folder in enumerate(TOGETHER)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@contextmanager
def migrated_services() -> Iterator[Services]:
    """Servers of one's own, with all tables."""
    with private_services(ROOT) as running:
        given = ["-x", f"url={running.database_owner_url}", "-x", f"role={APPLICATION_ROLE}"]
        command = [sys.executable, "-m", "alembic", *given, "upgrade", "head"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        yield running


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Servers of this run alone, or those that `SPAWNER_TEST_SERVICES` names for many short runs in a row."""
    if given := os.environ.get("SPAWNER_TEST_SERVICES"):
        said = json.loads(given)
        said["maildir"] = Path(said["maildir"])
        yield Services(**said, children=Children((), said["maildir"], contextlib.ExitStack()))
        return
    with migrated_services() as running:
        yield running


@pytest.fixture(scope="session")
async def owner(services: Services) -> AsyncIterator[AsyncEngine]:
    """The database as the role that owns the tables, which the code under test never is."""
    engine = create_async_engine(services.database_owner_url, pool_size=1, pool_pre_ping=True)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def engines() -> AsyncIterator[Engines]:
    """Engines of this process, for the tests' bundles."""
    made = Engines()
    yield made
    await made.close()


def make_settings(services: Services) -> Settings:
    """Settings of a development installation, on these servers."""
    return Settings(
        _env_file=None,
        environment="development",
        instance=INSTANCE,
        secret_key="a-secret-for-tests-0123456789-abcdefghij",
        database_url=services.database_url,
        redis_url=services.redis_url,
        smtp_url=services.smtp_url,
        network_range="10.215.0.0/16",
        catalog=ROOT / "images" / "catalog.yaml",
        lease_seconds=5,
        reconcile_seconds=1,
    )


@pytest.fixture
def settings(services: Services) -> Settings:
    """Settings of a development installation, on this run's servers."""
    return make_settings(services)


async def cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """End these tasks, but not the one that asks."""
    tasks.discard(cast("asyncio.Task[Any]", asyncio.current_task()))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def resources(settings: Settings, owner: AsyncEngine, engines: Engines) -> AsyncIterator[Resources]:
    """An open bundle over empty tables and an empty Redis.

    What a failed test left running is ended with it: it would write into the tables of the next one.
    """
    before = asyncio.all_tasks()
    async with owner.begin() as connection:
        await connection.exec_driver_sql(EMPTY_TABLES)
    await engines.tidy()
    async with aclosing(make_redis(settings.redis_url)) as redis:
        await redis.flushall()
        with engines.lend(settings) as (engine, reader):
            yield make_resources(settings, engine, reader, redis)
            await cancel(asyncio.all_tasks() - before)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """A clock of this test."""
    made = Time()
    monkeypatch.setattr(clock, "source", made)
    return made


@pytest.fixture
def maildir(services: Services) -> Path:
    """Where the mail sink puts what it received."""
    return services.maildir


@pytest.fixture
def inbox(maildir: Path) -> Inbox:
    """The sink's mails; those of other tests have other addresses or are gone."""
    for part in ("new", "cur"):
        for path in (maildir / part).glob("*"):
            path.unlink()
    return Inbox(maildir)


@pytest.fixture
async def app(settings: Settings, resources: Resources) -> AsyncIterator[FastAPI]:
    """The API over the test's own bundle."""
    application = create_app(settings)
    application.state.resources = resources
    application.state.watch = JobSubscriptions(resources.redis, settings.instance)
    async with application.state.watch.running(resources):
        yield application


@pytest.fixture
def relay_socket() -> Path | None:
    """Where the gateway's relay listens, if not at a port."""
    return None


@pytest.fixture
async def gateway(settings: Settings, resources: Resources, relay_socket: Path | None) -> AsyncIterator[Starlette]:
    """The gateway over the test's own bundle."""
    application = gateway_app.create_app(settings, relay_socket)
    async with gateway_app.running(application, resources):
        yield application


@pytest.fixture
async def gateway_client(gateway: Starlette, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway, in process, as the proxy is one."""
    transport = httpx.ASGITransport(app=gateway)
    async with httpx.AsyncClient(transport=transport, base_url=settings.public_url) as opened:
        yield opened


@pytest.fixture
async def client(app: FastAPI, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, in process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=settings.public_url) as opened:
        yield opened


@pytest.fixture
async def runtime() -> AsyncIterator[FakeRuntime]:
    """The fake engine; its containers answer probes."""
    async with http_peer() as port:
        yield FakeRuntime(port)


@pytest.fixture
async def alice(resources: Resources) -> SignedIn:
    """A user who has signed in."""
    return await sign_in(resources)


@pytest.fixture
async def root(resources: Resources) -> SignedIn:
    """An admin who has just signed in."""
    return await sign_in(resources, await make_user(resources, "root", is_admin=True))


@pytest.fixture
async def post_office() -> AsyncIterator[PostOffice]:
    """A mail server of this test alone."""
    async with open_post_office() as office:
        yield office


class TestWorker:
    """arq's worker with our functions, on a given engine, in this process."""

    __test__ = False

    def __init__(self, settings: Settings, context: WorkerContext) -> None:
        self._settings = settings
        self.use(context)

    def use(self, context: WorkerContext) -> None:
        """Work with this context from now on."""
        self.context = context

    async def drain(self) -> None:
        """Admit what waits and run what is queued, and what that queues, until nothing is left to run now."""
        while True:
            await admit(self.context)
            await Worker(self._settings, nullcontext(self.context), burst=True, poll_delay=0.02).main()
            await self.context.deliveries.finish()
            # A claimed message leaves the queue at once, so a burst may end before what its jobs send.
            if not await due(self.context.resources) and not await admit(self.context):
                return

    async def reconcile(self) -> None:
        """One pass over the rows, one over the engine, one over what waits."""
        await reconcile_rows(self.context)
        await reconcile_engine(self.context)
        await admit(self.context)

    @asynccontextmanager
    async def running(self, *, reconciling: bool = True) -> AsyncIterator[None]:
        """Work in the background, as a worker process does."""
        task = asyncio.create_task(Worker(self._settings, nullcontext(self.context)).main())
        try:
            async with AsyncExitStack() as stack:
                reconcilers = (reconcile_rows_forever, reconcile_engine_forever) if reconciling else ()
                for lasting in (admit_forever, *reconcilers):
                    await stack.enter_async_context(background_loop(lasting.__name__, partial(lasting, self.context)))
                yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.context.deliveries.close()


@asynccontextmanager
async def worker_on(settings: Settings, resources: Resources, engine: Runtime) -> AsyncIterator[TestWorker]:
    """A worker over any runtime."""
    mailer = SmtpMailer(settings.smtp_url, settings.mail_from)
    yield TestWorker(settings, WorkerContext(resources, engine, mailer))


@pytest.fixture
async def worker(settings: Settings, resources: Resources, runtime: FakeRuntime) -> AsyncIterator[TestWorker]:
    """A worker on the fake engine."""
    async with worker_on(settings, resources, runtime) as made:
        yield made
