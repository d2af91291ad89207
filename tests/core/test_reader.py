"""Reading through the driver: parameters, errors, and connections that are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import Text, cast, column, func, literal, select, table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.db import make_engine
from app.core.errors import is_transient
from app.core.reader import PreparedSelect, Reader, given
from app.core.settings.model import Settings
from app.models import User, UserState
from app.resources import Resources, open_resources
from tests.support.factories import make_user
from tests.support.statements import counted
from tests.support.waiting import SOON

BY_SLUG = PreparedSelect(
    select(User.slug, User.state, User.is_admin)
    .where(User.slug == given("slug"), User.state.in_([UserState.VERIFIED, UserState.ACTIVE]))
    .order_by(User.id)
)
OWN_PID = PreparedSelect(select(func.pg_backend_pid()))


SLEEP = PreparedSelect(select(func.pg_sleep(60)))


@asynccontextmanager
async def reading(url: str, connections: int) -> AsyncIterator[Reader]:
    made = Reader(make_engine(url, pool_size=connections), connections)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def reader(settings: Settings, resources: Resources) -> AsyncIterator[Reader]:
    """A reader of one connection."""
    async with reading(settings.database_url, 1) as made:
        yield made


async def until_busy(reader: Reader) -> None:
    """Wait until the server runs a statement of the reader's connections."""
    async with asyncio.timeout(SOON):
        while not reader.engine.pool.checkedout():  # type: ignore[attr-defined]  # a queue pool has it
            await asyncio.sleep(0.01)


async def terminate(owner: AsyncEngine, *pids: int) -> None:
    """End connections at the server."""
    async with owner.begin() as connection:
        for pid in pids:
            await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


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


async def test_a_read_is_counted_as_one_statement(reader: Reader, resources: Resources) -> None:
    async with counted(resources.engine, reader) as statements:
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


async def test_a_connection_that_the_server_closed_while_it_rested_is_replaced(
    reader: Reader, owner: AsyncEngine
) -> None:
    ((pid,),) = await reader.fetch(OWN_PID)
    await terminate(owner, pid)
    ((other,),) = await reader.fetch(OWN_PID)
    assert other != pid
    assert reader.engine.pool.checkedout() == 1  # type: ignore[attr-defined]  # a queue pool has it


async def test_a_read_whose_connection_is_lost_meanwhile_is_repeated_once(reader: Reader, owner: AsyncEngine) -> None:
    ((pid,),) = await reader.fetch(OWN_PID)
    sleeping = asyncio.create_task(reader.fetch(SLEEP))
    of_reader = text("SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid()")
    ended = list[int]()
    async with asyncio.timeout(SOON):
        while not sleeping.done():
            async with owner.connect() as connection:
                found = [one for one in await connection.scalars(of_reader) if one not in ended]
            await terminate(owner, *found)
            ended += found
        with pytest.raises((DBAPIError, OSError)) as lost:
            await sleeping
    assert is_transient(lost.value)
    assert (len(ended), ended[0]) == (2, pid)
    ((other,),) = await reader.fetch(OWN_PID)
    assert other not in ended


async def test_a_read_answers_while_writes_hold_all_of_their_connections(resources: Resources) -> None:
    async with AsyncExitStack() as held:
        for _ in range(resources.settings.write_connections):
            session = await held.enter_async_context(resources.unit_of_work())
            await session.execute(select(literal(1)))
        async with asyncio.timeout(SOON):
            assert len(await resources.reader.fetch(OWN_PID)) == 1


async def test_reads_wait_for_a_connection_and_answer_503_if_none_is_free_in_time(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeping = asyncio.create_task(reader.fetch(SLEEP))
    await until_busy(reader)
    waiting = asyncio.create_task(reader.fetch(OWN_PID))
    await asyncio.sleep(0)
    monkeypatch.setattr("app.core.reader.POOL_SECONDS", 0)
    with pytest.raises(PoolTimeout) as full:
        await reader.fetch(OWN_PID)
    assert is_transient(full.value)
    assert not waiting.done()
    sleeping.cancel()
    async with asyncio.timeout(SOON):
        assert len(await waiting) == 1


async def test_a_cancelled_read_gives_its_place_back(reader: Reader) -> None:
    sleeping = asyncio.create_task(reader.fetch(SLEEP))
    await until_busy(reader)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    async with asyncio.timeout(SOON):
        assert len(await reader.fetch(OWN_PID)) == 1


async def test_a_server_that_is_away_is_a_transient_error() -> None:
    async with reading("postgresql+asyncpg://spawner@/spawner?host=/nonexistent", 1) as reader:
        with pytest.raises((DBAPIError, OSError)) as away:
            await reader.fetch(OWN_PID)
    assert is_transient(away.value)


async def test_an_unknown_database_is_an_error_of_sqlalchemys(settings: Settings) -> None:
    async with reading(settings.database_url.replace("/spawner?", "/nowhere?"), 1) as reader:
        with pytest.raises(DBAPIError) as unknown:
            await reader.fetch(OWN_PID)
    assert getattr(unknown.value.orig, "sqlstate", None) == "3D000"
    assert is_transient(unknown.value)


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


async def test_reads_are_planned_once_for_any_values(settings: Settings) -> None:
    asked = PreparedSelect(select(func.current_setting("plan_cache_mode")))
    async with open_resources(settings) as resources:
        assert await resources.reader.fetch_one(asked) == ("force_generic_plan",)
