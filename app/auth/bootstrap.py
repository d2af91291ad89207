"""The first account of an installation, which becomes its admin."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Bootstrap


async def claim_bootstrap(session: AsyncSession, user_id: UUID) -> bool:
    """Whether this account is the first; racing transactions wait for each other at the one row."""
    row = insert(Bootstrap).values(id=1, user_id=user_id).on_conflict_do_nothing().returning(Bootstrap.id)
    return await session.scalar(row) is not None
