"""An admin's view of users' sessions."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import sessions
from app.accounts.principal import session_lives
from app.admin.schemas import UserSessionOut
from app.audit import trail
from app.core.errors import NotFound
from app.http.paging import newest_first
from app.models import Session, User


async def list_sessions(
    session: AsyncSession, user_id: UUID, *, limit: int, before: UUID | None
) -> list[UserSessionOut]:
    """Return a page of the user's live sessions, newest first. Raises `NotFound` for an unknown user or `before`."""
    await _find(session, user_id)
    lives = select(Session).where(Session.user_id == user_id, session_lives())
    query = await newest_first(session, lives, Session, limit=limit, before=before)
    return [UserSessionOut.model_validate(row, from_attributes=True) for row in await session.scalars(query)]


async def end_session(session: AsyncSession, user_id: UUID, session_id: UUID, *, actor: User) -> None:
    """End one of the user's sessions. Raises `NotFound` unless it is theirs and live."""
    user = await _find(session, user_id)
    if not await sessions.end_sessions(session, user_id, Session.id == session_id):
        raise NotFound
    trail.record(session, "session_ended", "user", str(user_id), actor=actor, detail=f"{user.email}: {session_id}")


async def end_sessions(session: AsyncSession, user_id: UUID, *, actor: User) -> None:
    """End all of the user's sessions. Idempotent. Raises `NotFound`."""
    user = await _find(session, user_id)
    ended = await sessions.end_sessions(session, user_id)
    trail.record(session, "sessions_ended", "user", str(user_id), actor=actor, detail=f"{user.email}: {len(ended)}")


async def _find(session: AsyncSession, user_id: UUID) -> User:
    user = await session.get(User, user_id)
    if user is None:
        raise NotFound
    return user
