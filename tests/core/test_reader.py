"""Reading through the driver: parameters, errors, and connections that go back to the pool."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Text, cast, column, func, literal, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.db import make_engine
from app.core.errors import is_transient
from app.core.reader import PreparedSelect, Reader, given
from app.core.settings.model import Settings
from app.models import User, UserState
from app.resources import Resources
from tests.support.factories import make_user
from tests.support.statements import counted
from tests.support.waiting import SOON

BY_SLUG = PreparedSelect(
    select(User.slug, User.state, User.is_admin)
    .where(User.slug == given("slug"), User.state.in_([UserState.VERIFIED, UserState.ACTIVE]))
    .order_by(User.id)
)
OWN_PID = PreparedSelect(select(func.pg_backend_pid()))


@pytest.fixture
async def engine(settings: Settings, resources: Resources) -> AsyncIterator[AsyncEngine]:
    """An engine of one connection."""
    made = make_engine(settings.database_url, pool_size=1)
    yield made
    await made.dispose()


@pytest.fixture
def reader(engine: AsyncEngine) -> Reader:
    return Reader(engine)


async def test_rows_are_tuples_by_the_statements_constants_and_the_reads_values(
    reader: Reader, resources: Resources
) -> None:
    await make_user(resources, "alice")
    await make_user(resources, "bob", state=UserState.REGISTERED)
    assert [tuple(row) for row in await reader.fetch(BY_SLUG, slug="alice")] == [("alice", "verified", False)]
    assert await reader.fetch(BY_SLUG, slug="bob") == []
    assert await reader.fetch_one(BY_SLUG, slug="nobody") is None


async def test_the_server_prepares_a_statement_once_and_begins_no_transaction(reader: Reader) -> None:
    for _ in range(3):
        await reader.fetch(BY_SLUG, slug="alice")
    of_server = table("pg_prepared_statements", column("statement", Text))
    prepared = PreparedSelect(select(func.count()).where(of_server.c.statement == given("sql")))
    assert tuple(await reader.fetch_one(prepared, sql=BY_SLUG.sql) or ()) == (1,)
    transaction = PreparedSelect(select(cast(func.pg_current_xact_id(), Text)))
    assert await reader.fetch(transaction) != await reader.fetch(transaction)


async def test_a_read_is_counted_as_one_statement(reader: Reader, engine: AsyncEngine) -> None:
    async with counted(engine) as statements:
        await reader.fetch(BY_SLUG, slug="alice")
    assert statements == [BY_SLUG.sql]


async def test_a_refused_statement_is_an_error_of_sqlalchemys_and_keeps_the_connection(reader: Reader) -> None:
    before = await reader.fetch(OWN_PID)
    with pytest.raises(DBAPIError) as refused:
        await reader.fetch(PreparedSelect(select(literal(1) / 0)))
    assert refused.value.orig is not None
    assert getattr(refused.value.orig, "sqlstate", None) == "22012"
    assert not is_transient(refused.value)
    assert await reader.fetch(OWN_PID) == before


async def test_a_lost_connection_is_a_transient_error_and_is_replaced(
    reader: Reader, engine: AsyncEngine, owner: AsyncEngine
) -> None:
    ((pid,),) = await reader.fetch(OWN_PID)
    async with owner.begin() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with pytest.raises((DBAPIError, OSError)) as lost:
        await reader.fetch(OWN_PID)
    assert is_transient(lost.value)
    ((other,),) = await reader.fetch(OWN_PID)
    assert other != pid
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a queue pool has it


async def test_a_cancelled_read_gives_its_place_back(reader: Reader, engine: AsyncEngine) -> None:
    reading = asyncio.create_task(reader.fetch(PreparedSelect(select(func.pg_sleep(60)))))
    async with asyncio.timeout(SOON):
        while not engine.pool.checkedout():  # type: ignore[attr-defined]  # a queue pool has it
            await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert len(await reader.fetch(OWN_PID)) == 1


async def test_a_server_that_is_away_is_a_transient_error(settings: Settings) -> None:
    engine = make_engine("postgresql+asyncpg://spawner@/spawner?host=/nonexistent")
    with pytest.raises((DBAPIError, OSError)) as away:
        await Reader(engine).fetch(OWN_PID)
    assert is_transient(away.value)
    await engine.dispose()


async def test_an_unknown_database_is_an_error_of_sqlalchemys(settings: Settings) -> None:
    engine = make_engine(settings.database_url.replace("/spawner?", "/nowhere?"))
    with pytest.raises(DBAPIError) as unknown:
        await Reader(engine).fetch(OWN_PID)
    assert getattr(unknown.value.orig, "sqlstate", None) == "3D000"
    assert is_transient(unknown.value)
    await engine.dispose()


async def test_a_statement_outlives_a_change_of_its_tables(reader: Reader, owner: AsyncEngine) -> None:
    whole = PreparedSelect(select(text("*")).select_from(text("users")))
    await reader.fetch(whole)
    async with owner.begin() as connection:
        await connection.execute(text("ALTER TABLE users ADD COLUMN passing text"))
    try:
        assert await reader.fetch(whole) == []
    finally:
        async with owner.begin() as connection:
            await connection.execute(text("ALTER TABLE users DROP COLUMN passing"))
