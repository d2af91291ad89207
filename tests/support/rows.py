"""What is in the database, column by column."""

from typing import Any

from sqlalchemy import select

from app.core.db import Base
from app.models import AuditEntry
from app.resources import Resources


async def rows(resources: Resources, table: type[Base]) -> list[dict[str, Any]]:
    """All rows of a table, without their ids."""
    async with resources.sessions() as session:
        found = await session.execute(select(*table.__table__.columns).order_by(*table.__table__.primary_key))
    return [{name: value for name, value in row._mapping.items() if name != "id"} for row in found]


async def row(resources: Resources, table: type[Base]) -> dict[str, Any]:
    (one,) = await rows(resources, table)
    return one


async def audited(resources: Resources) -> list[tuple[Any, ...]]:
    """Action, kind and target, actor, outcome and detail of what was written down."""
    async with resources.sessions() as session:
        found = await session.scalars(select(AuditEntry).order_by(AuditEntry.id))
        return [(one.action, one.target_kind, one.target, one.actor, one.outcome, one.detail) for one in found]
