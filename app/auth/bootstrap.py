"""The first account of an installation becomes its admin."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Bootstrap


async def claim_bootstrap(session: AsyncSession, user_id: UUID) -> bool:
    """Return whether this account is the first; concurrent transactions wait for each other at the single row."""
    row = insert(Bootstrap).values(id=1, user_id=user_id).on_conflict_do_nothing().returning(Bootstrap.id)
    return await session.scalar(row) is not None
