"""The plans that the database makes over full tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.db import Base
from app.core.reader import PreparedSelect
from app.models import ApiToken, Session, Share, WorkspaceCookie
from tests.support.filled import GROWING, fill

PEOPLE, JOBS = 20_000, 2
# The only row of a table is copied for each past workspace, `one`, with these differences.
_ENTRIES: dict[type[Base], Mapping[str, str]] = {
    Session: {
        "id": "one.user_id",
        "user_id": "one.user_id",
        "cookie_hash": "sha256(one.id::text::bytea)",
        "refresh_hash": "sha256(('refresh' || one.id)::bytea)",
    },
    ApiToken: {"id": "one.id", "user_id": "one.user_id", "token_hash": "sha256(one.id::text::bytea)"},
    WorkspaceCookie: {
        "token_hash": "sha256(one.id::text::bytea)",
        "session_id": "one.user_id",
        "workspace_id": "one.id",
    },
    Share: {"id": "one.id", "workspace_id": "one.id", "email": "one.id || '@example.org'"},
}
ALL_GROWING = frozenset({*GROWING, *(str(model.__tablename__) for model in _ENTRIES)})


async def fill_entries(owner: AsyncEngine) -> None:
    """Add people, each with a workspace, jobs that ended, a sign-in, a token, a cookie and a share.

    Of the last four kinds the tables hold one row before, which is copied.
    """
    await fill(owner, users=PEOPLE, jobs=JOBS)
    async with owner.begin() as connection:
        for model, differs in _ENTRIES.items():
            names = [column.name for column in model.__table__.columns]
            values = ", ".join(differs.get(name, f"row.{name}") for name in names)
            table = model.__tablename__
            past = f"FROM {table} AS row, workspaces AS one WHERE one.status = 'stopped'"
            await connection.execute(text(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} {past}"))
        await connection.execute(text("ANALYZE"))


async def scanned(owner: AsyncEngine, select: PreparedSelect) -> set[str]:
    """The tables that grow and that the statement's kept plan, which fits any values, reads as a whole."""
    nothing = ", ".join(["NULL"] * len(select.names))
    async with owner.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        await raw.execute("SET plan_cache_mode = force_generic_plan")
        await raw.execute(f"PREPARE tested AS {select.sql}")
        try:
            (found,) = await raw.fetch(f"EXPLAIN (FORMAT JSON) EXECUTE tested({nothing})")
        finally:
            await raw.execute("DEALLOCATE tested; RESET plan_cache_mode")
    nodes = _nodes(found[0][0]["Plan"])
    return {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} & ALL_GROWING


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
