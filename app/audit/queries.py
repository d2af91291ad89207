"""The audit trail's admin view, in pages and as an export."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit import trail
from app.audit.export import Format, head, lines
from app.audit.schemas import AuditOut
from app.core.db import plain
from app.models import AuditEntry, User
from app.resources import Resources

# Rows per export, and per query during it.
MAX_ROWS = 100_000
BATCH = 1000


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """A filter; None matches everything. `actor` is an address or an account's id; times are timezone-aware."""

    actor: str | None = None
    action: str | None = None
    target_kind: str | None = None
    target: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def said(self) -> str:
        """Return the filter as the audit trail records it."""
        given = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(f"{name}={value}" for name, value in given if value is not None)


async def list_entries(session: AsyncSession, wanted: AuditFilter, *, limit: int, before: int | None) -> list[AuditOut]:
    """Return a page of the trail, newest first, older than the row `before`."""
    query = select(AuditEntry).where(*_conditions(wanted))
    if before is not None:
        query = query.where(AuditEntry.id < before)
    rows = await session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit))
    return [AuditOut.model_validate(row, from_attributes=True) for row in rows]


async def begin_export(session: AsyncSession, wanted: AuditFilter, format: Format, *, after: int, admin: User) -> int:
    """Record the export in the trail; returns the last id to export."""
    last = await session.scalar(select(func.max(AuditEntry.id))) or 0
    detail = ", ".join(part for part in (wanted.said(), f"after={after}" if after else "") if part)
    trail.record(session, "audit_exported", "audit", format, actor=admin, detail=detail)
    return last


async def export(
    resources: Resources, wanted: AuditFilter, format: Format, *, after: int, last: int
) -> AsyncIterator[str]:
    """Yield parts of a file with rows after id `after` up to `last`, oldest first, at most `MAX_ROWS`.

    Holds no connection while a slow client reads.
    """
    yield head(format)
    left = MAX_ROWS
    while left:
        query = select(AuditEntry).where(*_conditions(wanted), AuditEntry.id > after, AuditEntry.id <= last)
        async with resources.reads() as session:
            rows = (await session.scalars(query.order_by(AuditEntry.id).limit(min(BATCH, left)))).all()
        if not rows:
            return
        yield lines(format, [AuditOut.model_validate(row, from_attributes=True) for row in rows])
        left -= len(rows)
        after = rows[-1].id


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.actor is not None:
        found.append(_by(plain(wanted.actor)))
    for column, value in (
        (AuditEntry.action, wanted.action),
        (AuditEntry.target_kind, wanted.target_kind),
        (AuditEntry.target, wanted.target),
        (AuditEntry.outcome, wanted.outcome),
    ):
        if value is not None:
            found.append(column == plain(value))
    if wanted.since is not None:
        found.append(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        found.append(AuditEntry.at < wanted.until)
    return found


def _by(actor: str) -> ColumnElement[bool]:
    try:
        return or_(AuditEntry.actor_id == UUID(actor), AuditEntry.actor == actor)
    except ValueError:
        return AuditEntry.actor == actor.lower()
