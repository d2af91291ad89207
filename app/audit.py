"""The audit trail: what was done, by whom and from where, in the same transaction as the act itself."""

from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.models import AuditEntry, User


@dataclass(frozen=True, slots=True)
class Origin:
    """Where what is being done was asked for."""

    address: str = ""
    request_id: str = ""


origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - frozen

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

    Values are cut to what the columns hold, and control characters are escaped.
    """
    here = origin.get()
    session.add(
        AuditEntry(
            actor_id=actor.id if isinstance(actor, User) else None,
            actor=_plain(actor.email if isinstance(actor, User) else actor, 254),
            action=action,
            target_kind=target_kind,
            target=_plain(target, 254),
            outcome=outcome,
            address=_plain(here.address, 45),
            request_id=here.request_id,
            detail=None if detail is None else _plain(detail, 500),
        )
    )


def _plain(value: str, length: int) -> str:
    """One line of printable characters: what a terminal or a spreadsheet would act on is escaped."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value[:length])
    return escaped[:length]
