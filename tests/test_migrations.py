"""Migrations on an empty database: all the way up, nothing left to generate, all the way down."""

import asyncio
import subprocess
import sys

import asyncpg
import pytest

from deploy.stack.services import Services
from tests.conftest import ROOT


@pytest.fixture
async def empty_database(services: Services) -> str:
    """The URL of a database that nobody has touched."""
    connection = await asyncpg.connect(services.database_owner_url.replace("+asyncpg", ""))
    await connection.execute("DROP DATABASE IF EXISTS migrated")
    await connection.execute("CREATE DATABASE migrated")
    await connection.close()
    return services.database_owner_url.replace("/spawner?", "/migrated?")


async def alembic(url: str, *arguments: str) -> str:
    """Run alembic; its output. Fails with its errors."""
    command = [sys.executable, "-m", "alembic", "-x", f"url={url}", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
