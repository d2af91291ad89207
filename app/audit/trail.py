"""Records acts, actors and origins, in the same transaction as the act."""

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
    """The origin of the current act."""

    address: str = ""
    request_id: str = ""
    session_id: UUID | None = None
    token_id: UUID | None = None


origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - frozen


def identify(*, session_id: UUID | None = None, token_id: UUID | None = None) -> None:
    """Set the request's credential, which later rows name."""
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
    """Record one act in the transaction. `actor` is an account, `SYSTEM` or `COMMAND`.

    `target` is an id; `detail` holds names for readers. Acts on a `user` or `workspace` appear in the activity of that
    account or the owner. Truncates values to the columns; escapes control characters.
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
    """Return whether the trail has this act on this target within the last minute: for acts that can be repeated in a
    loop.

    The caller holds a lock, so that concurrent calls see each other's rows.
    """
    lately = select(AuditEntry.id).where(
        AuditEntry.target_kind == target_kind,
        AuditEntry.target == target,
        AuditEntry.action == action,
        AuditEntry.at > utcnow() - FRESH,
    )
    return await session.scalar(lately.limit(1)) is not None


async def prune(session: AsyncSession, days: int) -> int:
    """Delete a batch of the oldest rows older than `days`; returns the count. Repeat until 0.

    A database function owned by the tables' owner deletes them, and always keeps the last thirty days.
    """
    return await session.scalar(select(func.prune_audit(days))) or 0
