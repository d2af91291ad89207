"""Records a personal token's use of a workspace in the audit trail, at most once an hour."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from app.audit import trail
from app.gateway.authorization import Grant
from app.models import ApiToken, AuditEntry, User, utcnow
from app.resources import Resources

ACTION = "workspace_entered"
EVERY = timedelta(hours=1)
# Far above one process's entries per hour; beyond it, old ones are dropped.
MAX_REMEMBERED = 10_000


class TokenEntries:
    """A cache of recent rows, which saves a query per request."""

    def __init__(self) -> None:
        self._seen: dict[tuple[UUID, UUID], datetime] = {}

    async def record(self, resources: Resources, grant: Grant) -> None:
        """Record that the token of `grant` entered, unless a row of the last hour exists."""
        now, key = utcnow(), (grant.holder_id, grant.workspace_id)
        last = self._seen.get(key)
        if last is not None and now - last < EVERY:
            return
        trail.identify(token_id=grant.holder_id)
        async with resources.unit_of_work() as session:
            # Serialises processes that see the token at once.
            await session.scalar(select(ApiToken.id).where(ApiToken.id == grant.holder_id).with_for_update())
            target = str(grant.workspace_id)
            written = select(AuditEntry.id).where(
                AuditEntry.target_kind == "workspace",
                AuditEntry.target == target,
                AuditEntry.action == ACTION,
                AuditEntry.token_id == grant.holder_id,
                AuditEntry.at > now - EVERY,
            )
            if await session.scalar(written.limit(1)) is None:
                visitor = await session.get_one(User, grant.visitor_id)
                detail = f"{grant.template}: token"
                trail.record(session, ACTION, "workspace", target, actor=visitor, detail=detail)
        self._remember(key, now)

    def _remember(self, key: tuple[UUID, UUID], now: datetime) -> None:
        if len(self._seen) >= MAX_REMEMBERED:
            self._seen = {key: at for key, at in self._seen.items() if now - at < EVERY}
        self._seen[key] = now
