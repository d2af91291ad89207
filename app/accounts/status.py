"""An account's standing: whether it is blocked, whether it is an admin's. It holds at the account's next request."""

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
    """What may become of an account's standing."""

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
    """The account, locked until the transaction ends.

    With `needed` an admin is to stop being one who can act: raises `LastAdmin` where nobody else could. Raises
    `NotFound`.
    """
    # All admins at once, in one order: of two that end each other one must see that the other is gone.
    query = select(User).where((User.id == user_id) | User.is_admin).order_by(User.id).with_for_update()
    found = {user.id: user for user in await session.scalars(query, execution_options={"populate_existing": True})}
    user = found.pop(user_id, None)
    if user is None:
        raise NotFound
    if needed and can_act(user) and not any(can_act(other) for other in found.values()):
        raise LastAdmin
    return user


def can_act(user: User) -> bool:
    """Whether somebody could sign in as this account and act as an admin."""
    return user.is_admin and user.blocked_at is None and user.state != UserState.REGISTERED


async def change_status(session: AsyncSession, user_id: UUID, change: StatusChange, *, actor: User | str) -> User:
    """Change an account's standing, in the name of `actor`. May be repeated.

    Blocking ends every session of the account; its workspaces stay as they are. Raises `NotFound`, and `LastAdmin`
    where nobody could act as an admin any more.
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
