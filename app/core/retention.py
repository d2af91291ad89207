"""Deletes rows that have had their time, a batch at a time."""

from typing import Any

from sqlalchemy import ColumnElement, CursorResult, any_, delete, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Base

# Rows of one statement. A batch is a transaction of its own, so that no row is locked for long.
BATCH = 1000


async def delete_batch(session: AsyncSession, table: type[Base], *conditions: Any) -> int:
    """Delete rows that fulfil the conditions, `BATCH` at most, and return how many. Rows that are locked stay."""
    # The physical place finds the rows again without another index, whatever the planner thinks of their number.
    place: ColumnElement[Any] = literal_column(f"{table.__tablename__}.ctid")
    chosen = select(place).select_from(table).where(*conditions).limit(BATCH)
    chosen = chosen.with_for_update(of=table, skip_locked=True)
    row = delete(table).where(place == any_(func.array(chosen.scalar_subquery())))
    result = await session.execute(row, execution_options={"synchronize_session": False})
    return result.rowcount if isinstance(result, CursorResult) else 0
