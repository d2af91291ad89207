"""Migrations run over the same asyncpg URL as everything else."""

import asyncio
import os

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import context
from app.models import User
from app.settings import Settings
from app.settings_files import FileSource

# One number for the whole database: two starts at once migrate one after the other.
MIGRATION_LOCK = 7_201_003


def database_url() -> str:
    """The URL given by a caller (`-x url=…`), else SPAWNER_DATABASE_URL, or what its file holds."""
    if given := context.get_x_argument(as_dictionary=True).get("url"):
        return given
    named = {name.lower(): value for name, value in os.environ.items()}
    return named.get("spawner_database_url") or str(FileSource(Settings, named)()["database_url"])


def migrate(connection: Connection) -> None:
    """Run the migrations on one connection, in one transaction."""
    context.configure(connection=connection, target_metadata=User.metadata, compare_type=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


async def main() -> None:
    """Connect and migrate."""
    engine = create_async_engine(database_url())
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(main())
