"""The audit trail: what was done, by whom and from where, in the same transaction as the act itself."""

from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.printable import printable
from app.models import AuditEntry, User, utcnow


@dataclass(frozen=True, slots=True)
class Origin:
    """Where what is being done was asked for."""

    address: str = ""
    request_id: str = ""
    session_id: UUID | None = None
    token_id: UUID | None = None


origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - frozen


def identify(*, session_id: UUID | None = None, token_id: UUID | None = None) -> None:
    """Tell what the request showed for its account: rows that are recorded from now on name it."""
    origin.set(replace(origin.get(), session_id=session_id, token_id=token_id))


FRESH = timedelta(minutes=1)

SYSTEM = "system"
COMMAND = "command"


def record(
    session: AsyncSession,
    action: str,
    target_kind: str,
    target: str,
    *,
    actor: User | str,
    outcome: str = "ok",
    detail: str | None = None,
) -> None:
    """Note one act, to be kept if the transaction is. `actor` is an account, `SYSTEM` or `COMMAND`.

    `target` is an id; people read the names in `detail`. What is done to a `user` or a `workspace` shows in the
    activity of the account that it is or belongs to. Values are cut to what the columns hold; control characters are
    escaped.
    """
    here = origin.get()
    session.add(
        AuditEntry(
            actor_id=actor.id if isinstance(actor, User) else None,
            actor=printable(actor.email if isinstance(actor, User) else actor, 254),
            action=action,
            target_kind=target_kind,
            target=printable(target, 254),
            outcome=outcome,
            address=printable(here.address, 45),
            request_id=here.request_id,
            session_id=here.session_id,
            token_id=here.token_id,
            detail=None if detail is None else printable(detail, 500),
        )
    )


async def is_fresh(session: AsyncSession, action: str, target_kind: str, target: str) -> bool:
    """Whether this act on this target stands in the trail within the last minute: for acts that somebody may cause in a
    loop. Whoever asks holds a lock, so that of several at once each sees the other's.
    """
    lately = select(AuditEntry.id).where(
        AuditEntry.target_kind == target_kind,
        AuditEntry.target == target,
        AuditEntry.action == action,
        AuditEntry.at > utcnow() - FRESH,
    )
    return await session.scalar(lately.limit(1)) is not None


async def prune(session: AsyncSession, days: int) -> int:
    """Remove the oldest rows that are older than so many days, some thousands at most; says how many. Repeat it.

    The database does it, as the owner of the table, and keeps what is younger than thirty days whatever is asked.
    """
    return await session.scalar(select(func.prune_audit(days))) or 0
