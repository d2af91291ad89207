"""Schema revisions: the one this code needs, the compatibility check, and the upgrade.

After a migration the previous code must keep working. A migration that breaks older code sets
`installation.serves_from` to the oldest compatible revision. Older code then refuses to start and reports not ready.
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

# The first revision with `serves_from`.
SAYING = "0007"
# SQLSTATE: undefined table, undefined column.
LACKING = ("42P01", "42703")

Fit = Literal["ok", "older", "newer"]


class SchemaUnfit(Exception):
    """The database schema does not fit this code; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema's revision and the oldest compatible code. Both are four-digit numbers."""

    revision: str
    serves_from: str

    @property
    def fit(self) -> Fit:
        """How the schema relates to this code."""
        if self.revision < code_revision():
            return "older"
        return "newer" if self.serves_from > code_revision() else "ok"

    def require_fit(self) -> None:
        """Raise `SchemaUnfit` unless this code works on the schema."""
        code, tables = code_revision(), f"the database schema is at revision {self.revision or 'none'}"
        if self.fit == "older":
            raise SchemaUnfit(f"{tables}, this version needs {code}: run `spawner migrate`")
        if self.fit == "newer":
            raise SchemaUnfit(
                f"{tables} and needs version {self.serves_from} or later, but this one is {code}: start the newer "
                "version, or restore the backup from before the migration"
            )


async def read_schema(connection: AsyncConnection) -> Schema:
    """Read the revision from the database; `""` if it has none of our tables."""
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
    """Raise `SchemaUnfit` if the schema does not fit this code. An unreachable database is ignored."""
    try:
        async with engine.connect() as connection:
            schema = await read_schema(connection)
    except (SQLAlchemyError, OSError) as error:
        log.warning("schema_not_checked", **cause(error))
        return
    schema.require_fit()


def upgrade() -> None:
    """Run the pending migrations in an event loop of their own. Idempotent.

    Raises `SystemExit` if no database is configured, and errors of SQLAlchemy and asyncpg.
    """
    # Slow to import, and only needed here.
    from alembic.config import Config

    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    command.upgrade(config, "head")
