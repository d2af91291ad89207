"""Migrations on an empty database: all the way up, nothing left to generate, all the way down."""

import asyncio

import asyncpg
import pytest

from deploy.stack.services import Services
from tests.support.migrating import alembic


@pytest.fixture
async def empty_database(services: Services) -> str:
    """The URL of a database that nobody has touched."""
    connection = await asyncpg.connect(services.database_owner_url.replace("+asyncpg", ""))
    await connection.execute("DROP DATABASE IF EXISTS migrated")
    await connection.execute("CREATE DATABASE migrated")
    await connection.close()
    return services.database_owner_url.replace("/spawner?", "/migrated?")


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_an_empty_database_goes_up_to_the_models_and_down_again(empty_database: str) -> None:
    await alembic(empty_database, "upgrade", "head")
    assert "No new upgrade operations detected" in await alembic(empty_database, "check")
    assert {"users", "workspaces", "jobs"} <= await tables(empty_database)
    await alembic(empty_database, "downgrade", "base")
    assert await tables(empty_database) == {"alembic_version"}


async def test_two_starts_at_once_migrate_one_after_the_other(empty_database: str) -> None:
    await asyncio.gather(*(alembic(empty_database, "upgrade", "head") for _ in range(3)))
    assert "jobs" in await tables(empty_database)


USER = (
    "INSERT INTO users (id, email, slug, state, is_admin, created_at, blocked_at) VALUES (gen_random_uuid(), $1, $2, "
)
LINK = """
INSERT INTO magic_links (id, user_id, token_hash, created_at, expires_at)
SELECT gen_random_uuid(), id, $2, now(), now() + interval '5 minutes' FROM users WHERE slug = $1
"""


async def test_unconfirmed_accounts_give_their_names_back_and_their_links_stay_good(empty_database: str) -> None:
    await alembic(empty_database, "upgrade", "0008")
    connection = await asyncpg.connect(empty_database.replace("+asyncpg", ""))
    people = {
        "dora": "'registered', false, now(), NULL",
        "root": "'registered', true, now(), NULL",
        "eve": "'registered', false, now(), now()",
        "alice": "'verified', false, now(), NULL",
    }
    for slug, values in people.items():
        await connection.execute(f"{USER}{values})", f"{slug}@example.org", slug)
        await connection.execute(LINK, slug, slug.encode())
    await alembic(empty_database, "upgrade", "head")
    assert {row["slug"] for row in await connection.fetch("SELECT slug FROM users")} == {"root", "eve", "alice"}
    links = await connection.fetch("SELECT token_hash, email, user_id IS NULL AS free FROM magic_links")
    assert {(row["token_hash"], row["email"], row["free"]) for row in links} == {
        (b"dora", "dora@example.org", True),
        (b"root", None, False),
        (b"eve", None, False),
        (b"alice", None, False),
    }
    # Code from before goes on: it knows none of the new columns.
    await connection.execute(f"{USER}{people['dora']})", "late@example.org", "late")
    await connection.execute(LINK, "late", b"late")
    await connection.close()
    await alembic(empty_database, "downgrade", "0008")
    connection = await asyncpg.connect(empty_database.replace("+asyncpg", ""))
    assert await connection.fetchval("SELECT count(*) FROM magic_links") == 4
    await connection.close()
