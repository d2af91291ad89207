"""The database: one engine per process, one unit of work per request or job step.

Only this module calls `commit()`. Effects that require the commit (enqueueing a job, waking pollers) are recorded on
the session and sent right after it.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, ColumnElement, DateTime, Dialect, MetaData, any_, cast, event, literal
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

if TYPE_CHECKING:
    from app.core.outbox import Outbox

RESTED_SECONDS = 1
SERVER_SETTINGS = {
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
    "timezone": "UTC",
    # No statement here runs long enough to gain from compilation, which large tables trigger at each run.
    "jit": "off",
}
# Wait for a free connection.
POOL_SECONDS = 5

Sessions = async_sessionmaker[AsyncSession]


class Base(DeclarativeBase):
    """Declarative base; constraint names are derived, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: DateTime(timezone=True)}


def make_engine(url: str, *, pool_size: int, plan_cache_mode: str = "auto") -> AsyncEngine:
    """Create the engine. Connections idle for more than 1 s are pinged before reuse; statements time out after 10 s,
    lock waits after 5 s. `plan_cache_mode` is PostgreSQL's setting.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        connect_args={
            "timeout": 5,
            "command_timeout": 10,
            "server_settings": {**SERVER_SETTINGS, "plan_cache_mode": plan_cache_mode},
        },
    )
    event.listen(engine.sync_engine, "checkin", _note_rest)
    event.listen(engine.sync_engine, "checkout", partial(_check_rested, engine.dialect))
    return engine


def _note_rest(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    record.info["rests_since"] = monotonic()


def _check_rested(
    dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection
) -> None:
    """Ping the connection unless it was used within the last second. The pool replaces a dead one.

    A ping at each checkout would cost a busy process a tenth of its statements.
    """
    if monotonic() - record.info.get("rests_since", monotonic()) < RESTED_SECONDS:
        return
    try:
        alive = dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise DisconnectionError from error
    if not alive:
        raise DisconnectionError


def make_sessions(engine: AsyncEngine) -> Sessions:
    """Create sessions whose objects stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


def make_reads(engine: AsyncEngine) -> Sessions:
    """Create autocommit sessions for single reads, which save BEGIN and ROLLBACK."""
    return async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False)


@asynccontextmanager
async def unit_of_work(sessions: Sessions, outbox: "Outbox") -> AsyncIterator[AsyncSession]:
    """Commit when the block ends, then send the messages recorded by `app.core.outbox`; roll back if it raises."""
    async with sessions() as session:
        yield session
        await session.commit()
    await outbox.flush(session)


def plain(text: str) -> str:
    """Remove NUL characters from a search text: PostgreSQL rejects them."""
    return text.replace("\0", "")


def among(column: InstrumentedAttribute[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Return `column = ANY(values)`: one argument for any number of values.

    `in_` sends one argument per value and a new statement per count; the driver accepts 32,767 arguments.
    """
    kind = ARRAY(column.type)
    return column == any_(cast(literal(list(values), kind), kind))
