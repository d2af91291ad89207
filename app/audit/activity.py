"""The audit trail's user view: acts of an account, and acts of others on it and its workspaces."""

from uuid import UUID

from sqlalchemy import String, cast, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from app.audit.schemas import ActivityOut
from app.models import AuditEntry, User, Workspace


async def list_activity(session: AsyncSession, user: User, *, limit: int, before: int | None) -> list[ActivityOut]:
    """Return a page of the user's activity, newest first, older than the row `before`.

    Hides client address and request id of other actors.
    """
    mine = select(cast(Workspace.id, String)).where(Workspace.user_id == user.id)
    kind, target = AuditEntry.target_kind, AuditEntry.target
    # Three index scans instead of one scan of the whole trail.
    looks = []
    for condition in (
        AuditEntry.actor_id == user.id,
        (kind == "user") & (target == str(user.id)),
        (kind == "workspace") & target.in_(mine),
    ):
        look = select(AuditEntry.id).where(condition)
        if before is not None:
            look = look.where(AuditEntry.id < before)
        looks.append(look.order_by(AuditEntry.id.desc()).limit(limit).subquery())
    ids = union(*(select(look.c.id) for look in looks)).subquery()
    query = select(AuditEntry).join(ids, ids.c.id == AuditEntry.id).order_by(AuditEntry.id.desc()).limit(limit)
    return [_view(row, user.id) for row in await session.scalars(query)]


def _view(row: AuditEntry, user_id: UUID) -> ActivityOut:
    mine = row.actor_id == user_id
    return ActivityOut(
        id=row.id,
        at=row.at,
        actor=row.actor,
        mine=mine,
        action=row.action,
        target_kind=row.target_kind,
        target=row.target,
        outcome=row.outcome,
        detail=row.detail,
        address=row.address if mine else None,
    )
