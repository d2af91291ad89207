"""Deletes expired rows in batches."""

from typing import Any

from sqlalchemy import ColumnElement, CursorResult, any_, delete, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Base

# Rows per statement. Each batch is one transaction, so row locks are short.
BATCH = 1000


async def delete_batch(session: AsyncSession, table: type[Base], *conditions: Any) -> int:
    """Delete at most `BATCH` matching rows and return the count. Locked rows are skipped."""
    # ctid finds the rows again without another index, whatever the planner estimates.
    place: ColumnElement[Any] = literal_column(f"{table.__tablename__}.ctid")
    chosen = select(place).select_from(table).where(*conditions).limit(BATCH)
    chosen = chosen.with_for_update(of=table, skip_locked=True)
    row = delete(table).where(place == any_(func.array(chosen.scalar_subquery())))
    result = await session.execute(row, execution_options={"synchronize_session": False})
    return result.rowcount if isinstance(result, CursorResult) else 0
