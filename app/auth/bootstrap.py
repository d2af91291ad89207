"""The first account of an installation becomes its admin."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from app.models import Bootstrap, utcnow


def bootstrap_claim(user_id: UUID) -> ReturningInsert[int]:
    """A statement that returns a row if this account is the first; concurrent transactions wait for each other at the
    single row.
    """
    return insert(Bootstrap).values(id=1, user_id=user_id, at=utcnow()).on_conflict_do_nothing().returning(Bootstrap.id)


async def claim_bootstrap(session: AsyncSession, user_id: UUID) -> bool:
    """Return whether this account is the first."""
    return await session.scalar(bootstrap_claim(user_id)) is not None
