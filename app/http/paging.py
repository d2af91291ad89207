"""Pages by key: each begins after the last entry of the one before, so that none is missed or comes twice."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound


async def older(session: AsyncSession, table: Any, before: UUID | None) -> ColumnElement[bool]:
    """What comes after the row `before` where the newest come first. Raises `NotFound` where that is unknown."""
    if before is None:
        return true()
    edge = await session.get(table, before)
    if edge is None:
        raise NotFound
    return tuple_(table.created_at, table.id) < tuple_(edge.created_at, edge.id)


def newest(table: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The order of pages."""
    return table.created_at.desc(), table.id.desc()
