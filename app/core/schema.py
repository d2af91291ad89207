"""The database's tables: the revision that this code knows, whether the two fit, and the way there.

Each migration leaves tables that the code before it works on. One that cannot says in `installation.serves_from` which
is the oldest code that still does; older code refuses to start then, and is not ready, instead of failing at its
statements.
"""

from dataclasses import dataclass
from typing import Literal

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.core.logging import cause
from app.core.shipped import code_revision, shipped

__all__ = ["Fit", "Schema", "SchemaUnfit", "code_revision", "read_schema", "require_schema", "upgrade"]

log = structlog.get_logger(__name__)

# The first revision whose tables say which code they serve.
SAYING = "0007"
# SQLSTATE: no such table, no such column.
LACKING = ("42P01", "42703")

Fit = Literal["ok", "older", "newer"]


class SchemaUnfit(Exception):
    """The database's tables are not for this code; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision of the tables, and the oldest code that they serve. Both are numbers of four digits."""

    revision: str
    serves_from: str

    @property
    def fit(self) -> Fit:
        """How the tables are, for this code."""
        if self.revision < code_revision():
            return "older"
        return "newer" if self.serves_from > code_revision() else "ok"

    def require_fit(self) -> None:
        """Raise `SchemaUnfit` unless this code works on the tables."""
        code, tables = code_revision(), f"the database's tables are at {self.revision or 'none'}"
        if self.fit == "older":
            raise SchemaUnfit(f"{tables}, this version needs {code}: run `spawner migrate`")
        if self.fit == "newer":
            raise SchemaUnfit(
                f"{tables} and serve versions from {self.serves_from} on, this version is {code}: start the newer "
                "version, or restore the backup from before the migration"
            )


async def read_schema(connection: AsyncConnection) -> Schema:
    """Ask the database. One without any of our tables is at revision `""`."""
    try:
        revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        if (revision or "") < SAYING:
            return Schema(revision or "", "")
        return Schema(revision, await connection.scalar(text("SELECT serves_from FROM installation")) or "")
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in LACKING:
            return Schema("", "")
        raise


async def require_schema(engine: AsyncEngine) -> None:
    """Raise `SchemaUnfit` if the tables are not for this code. A database that does not answer is not waited for."""
    try:
        async with engine.connect() as connection:
            schema = await read_schema(connection)
    except (SQLAlchemyError, OSError) as error:
        log.warning("schema_not_checked", **cause(error))
        return
    schema.require_fit()


def upgrade() -> None:
    """Run the migrations that the database lacks, on an event loop of their own. May be repeated.

    Raises `SystemExit` for settings that name no database, and what SQLAlchemy and asyncpg raise.
    """
    # Nobody else needs it, and it takes its time to load.
    from alembic.config import Config

    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    command.upgrade(config, "head")
