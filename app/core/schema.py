"""The database's tables: the revision that this code knows, and the way there."""

from functools import cache

from alembic.config import Config

from alembic import command
from app.core.shipped import shipped


@cache
def code_revision() -> str:
    """Return the newest revision that this code has a migration for. Revisions are numbers of four digits."""
    return max(path.name[:4] for path in (shipped("migrations") / "versions").glob("[0-9]*.py"))


def upgrade() -> None:
    """Run the migrations that the database lacks, on an event loop of their own. May be repeated.

    Raises `SettingsError` for settings that name no database, and what SQLAlchemy and asyncpg raise.
    """
    config = Config()
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    command.upgrade(config, "head")
