"""Keyset paging: each page starts after the last entry of the previous one, so entries are neither missed nor repeated.

Routes query one entry more than a page holds, to know whether another page follows.
"""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound

MAX_ROW_ID = 2**63 - 1

Entry = TypeVar("Entry")
Selected = TypeVar("Selected", bound="Select[*tuple[Any, ...]]")


def split_page(found: Sequence[Entry], limit: int) -> tuple[list[Entry], Entry | None]:
    """Return the page's entries, and its last entry if more follow. `found` comes from a query with `limit + 1`."""
    page = list(found[:limit])
    return page, page[-1] if len(found) > limit else None


async def newest_first(
    session: AsyncSession, query: Selected, table: Any, *criteria: ColumnElement[bool], limit: int, before: UUID | None
) -> Selected:
    """Return at most `limit` rows, newest first, older than the row `before`.

    Raises `NotFound` if no matching row has that id.
    """
    if before is not None:
        edge = select(table.created_at, table.id).where(table.id == before, *criteria)
        row = (await session.execute(edge)).one_or_none()
        if row is None:
            raise NotFound
        query = query.where(tuple_(table.created_at, table.id) < tuple_(*row))
    return query.where(*criteria).order_by(table.created_at.desc(), table.id.desc()).limit(limit)
