"""The open resources of a process: the same bundle for API, gateway, workers and command line."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.catalog.loader import CatalogInvalid, load_catalog
from app.catalog.templates import Catalog
from app.core.db import Sessions, make_engine, make_reads, make_sessions, unit_of_work
from app.core.outbox import Outbox
from app.core.reader import Reader
from app.core.schema import SchemaUnfit, require_schema
from app.core.settings.model import Settings
from app.core.startup import StartRefused
from app.security.rate_limits import LinkLimits
from app.security.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections, and objects built from settings."""

    settings: Settings
    catalog: Catalog
    tokens: Tokens
    engine: AsyncEngine
    sessions: Sessions
    reads: Sessions
    reader: Reader
    redis: Redis
    limits: LinkLimits
    outbox: Outbox

    def unit_of_work(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session that commits at the end and then sends the messages recorded on it."""
        return unit_of_work(self.sessions, self.outbox)


def make_redis(url: str) -> Redis:
    """Create a client. Responses time out after 5 s; a lost connection is retried once. Requests wait less, see
    `app.core.redis_answers`.
    """
    redis: Redis = Redis.from_url(
        url,
        socket_connect_timeout=1,
        socket_timeout=5,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
        # Saves two round trips per connection.
        lib_name=None,
        lib_version=None,
    )
    return redis


def make_resources(settings: Settings, engine: AsyncEngine, reader: Reader, redis: Redis) -> Resources:
    """Build the bundle over connections that the caller closes. Raises `CatalogInvalid`."""
    catalog = load_catalog(
        settings.catalog, settings.allowed, digests=settings.require_digests, host_mode=settings.host_mode
    )
    tokens = Tokens(settings)
    return Resources(
        settings=settings,
        catalog=catalog,
        tokens=tokens,
        engine=engine,
        sessions=make_sessions(engine),
        reads=make_reads(engine),
        reader=reader,
        redis=redis,
        limits=LinkLimits(settings, tokens, redis),
        outbox=Outbox(redis, settings.instance),
    )


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Create everything lazily, without connecting, and close it at the end."""
    engine = make_engine(settings.database_url, pool_size=settings.write_connections)
    # Over full tables the server would plan a poll anew each time, which takes longer than running it.
    reading = make_engine(
        settings.database_url, pool_size=settings.read_connections, plan_cache_mode="force_generic_plan"
    )
    reader = Reader(reading, settings.read_connections)
    redis = make_redis(settings.redis_url)
    try:
        yield make_resources(settings, engine, reader, redis)
    finally:
        await redis.aclose()
        await reader.close()
        await engine.dispose()


@asynccontextmanager
async def start_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Like `open_resources`, for servers. Raises `StartRefused` if catalogue or schema do not fit this version."""
    async with AsyncExitStack() as opened:
        try:
            resources = await opened.enter_async_context(open_resources(settings))
            await require_schema(resources.engine)
        except (CatalogInvalid, SchemaUnfit) as reason:
            raise StartRefused(str(reason)) from None
        yield resources
