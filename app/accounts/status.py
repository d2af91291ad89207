"""An account's status, blocked and admin. Changes take effect at the account's next request."""

import enum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.errors import LastAdmin
from app.accounts.sessions import end_sessions
from app.audit import trail
from app.core.errors import NotFound
from app.models import User, UserState, utcnow


class StatusChange(enum.StrEnum):
    """Changes of an account's status."""

    BLOCK = "block"
    UNBLOCK = "unblock"
    PROMOTE = "promote"
    DEMOTE = "demote"


ACTIONS = {
    StatusChange.BLOCK: "user_blocked",
    StatusChange.UNBLOCK: "user_unblocked",
    StatusChange.PROMOTE: "user_promoted",
    StatusChange.DEMOTE: "user_demoted",
}


async def lock_account(session: AsyncSession, user_id: UUID, *, needed: bool) -> User:
    """Lock and return the account until the transaction ends.

    `needed` means that an active admin will lose that role: raises `LastAdmin` if none remains. Raises `NotFound`.
    """
    # Locks all admins in one order: of two concurrent demotions, the second must see the first.
    query = select(User).where((User.id == user_id) | User.is_admin).order_by(User.id).with_for_update()
    found = {user.id: user for user in await session.scalars(query, execution_options={"populate_existing": True})}
    user = found.pop(user_id, None)
    if user is None:
        raise NotFound
    if needed and can_act(user) and not any(can_act(other) for other in found.values()):
        raise LastAdmin
    return user


def can_act(user: User) -> bool:
    """Return whether the account can sign in and act as an admin."""
    return user.is_admin and user.blocked_at is None and user.state != UserState.REGISTERED


async def change_status(session: AsyncSession, user_id: UUID, change: StatusChange, *, actor: User | str) -> User:
    """Change an account's status on behalf of `actor`. Idempotent.

    Blocking ends all sessions of the account; its workspaces stay unchanged. Raises `NotFound`, and `LastAdmin` if no
    active admin would remain.
    """
    user = await lock_account(session, user_id, needed=change in (StatusChange.BLOCK, StatusChange.DEMOTE))
    match change:
        case StatusChange.BLOCK:
            user.blocked_at = user.blocked_at or utcnow()
            await end_sessions(session, user.id)
        case StatusChange.UNBLOCK:
            user.blocked_at = None
        case StatusChange.PROMOTE | StatusChange.DEMOTE:
            user.is_admin = change is StatusChange.PROMOTE
    trail.record(session, ACTIONS[change], "user", str(user.id), actor=actor, detail=user.email)
    await session.flush()
    return user
