"""Hourly limit of an account's changes: each adds rows, and work on shared machines."""

import math
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Boolean, Interval, bindparam, case, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.errors import TooManyChanges
from app.models import User, UserState, utcnow
from app.resources import Resources

HOUR = timedelta(hours=1)
_ACTIVATED = case((User.state == UserState.VERIFIED, literal(UserState.ACTIVE, User.state.type)), else_=User.state)
_NOW, _EACH = bindparam("now", type_=User.changes_until.type), bindparam("each", type_=Interval())
_UNTIL = func.greatest(func.coalesce(User.changes_until, _NOW), _NOW)
_STATE = case((bindparam("activate", type_=Boolean()), _ACTIVATED), else_=User.state)
_COUNTED = (
    update(User)
    .where(User.id == bindparam("user"), _UNTIL <= _NOW + HOUR - _EACH)
    .values(
        changes_until=_UNTIL + _EACH, state=case((bindparam("activate", type_=Boolean()), _ACTIVATED), else_=User.state)
    )
    .returning(User.id)
    .execution_options(synchronize_session=False)
)


async def count_change(session: AsyncSession, resources: Resources, user_id: UUID, *, activate: bool = False) -> None:
    """Count one change and lock the account until the transaction ends; raises `TooManyChanges`.

    `activate` makes a verified account active: the change is a launch.

    The setting limits changes per hour; used ones refill evenly over an hour (GCRA). `changes_until` is when all are
    available again. One guarded UPDATE counts and decides, so concurrent requests are safe. A rollback undoes the
    count.
    """
    now, each = utcnow(), _each(resources)
    given = {"user": user_id, "now": now, "each": each, "activate": activate}
    if await session.scalar(_COUNTED, given) is None:
        spent = await session.scalar(select(User.changes_until).where(User.id == user_id)) or now
        seconds = (spent + each - HOUR - now).total_seconds()
        raise TooManyChanges(headers={"Retry-After": str(max(1, math.ceil(seconds)))})


async def forget_change(session: AsyncSession, resources: Resources, user_id: UUID) -> None:
    """Undo this transaction's `count_change`: nothing changed."""
    back = update(User).where(User.id == user_id).values(changes_until=User.changes_until - _each(resources))
    await session.execute(back.execution_options(synchronize_session=False))


def _each(resources: Resources) -> timedelta:
    return HOUR / resources.settings.user_changes_per_hour
