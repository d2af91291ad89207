"""Migrations run as the role that owns the tables, and give the application's role what it needs of them."""

import asyncio

from pydantic_settings import SettingsError
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import context
from app.audit.db_grants import grant
from app.core.settings.checks import check_url
from app.core.settings.model import Settings
from app.core.settings.sources import read_setting
from app.models import User

# One number for the whole database: two starts at once migrate one after the other.
MIGRATION_LOCK = 7_201_003


GIVEN = context.get_x_argument(as_dictionary=True)


def database_url() -> str:
    """The URL given by a caller (`-x url=…`), else DATABASE_OWNER_URL, else DATABASE_URL."""
    return GIVEN.get("url") or configured("database_owner_url") or configured("database_url")


def application_role() -> str | None:
    """The role given by a caller (`-x role=…`), else the one that DATABASE_URL names."""
    if GIVEN:
        return GIVEN.get("role")
    return make_url(configured("database_url")).username


def configured(setting: str) -> str:
    """The setting as the services read it, `.env` and files too; empty where it is. Ends with a line if it is wrong."""
    try:
        if value := read_setting(Settings, setting):
            check_url(setting, value)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    except ValueError as error:
        raise SystemExit(f"SPAWNER_{setting.upper()}: {error}") from None
    return value


def migrate(connection: Connection) -> None:
    """Run the migrations on one connection, in one transaction."""
    context.configure(connection=connection, target_metadata=User.metadata, compare_type=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()
        if role := application_role():
            grant(connection, role)


async def main() -> None:
    """Connect and migrate."""
    engine = create_async_engine(database_url())
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(main())
