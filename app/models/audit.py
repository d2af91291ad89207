"""The audit trail's table."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import utcnow


class AuditEntry(Base):
    """One act, or one denied attempt. Without foreign keys, so that it outlives its target."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
    actor_id: Mapped[UUID | None]
    actor: Mapped[str] = mapped_column(
        String(254), doc="Address at that time; `system`, or `command` for the operator."
    )
    action: Mapped[str] = mapped_column(String(40))
    target_kind: Mapped[str] = mapped_column(String(20))
    target: Mapped[str] = mapped_column(String(254))
    outcome: Mapped[str] = mapped_column(String(40), doc="`ok`, or the code of the refusal.")
    address: Mapped[str] = mapped_column(String(45))
    request_id: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str | None] = mapped_column(String(500))
    session_id: Mapped[UUID | None] = mapped_column(doc="Session of the request, if any.")
    token_id: Mapped[UUID | None] = mapped_column(doc="Personal token of the request, if any.")
    __table_args__ = (
        Index("ix_audit_actor", "actor_id", "id"),
        Index("ix_audit_target", "target_kind", "target", "id"),
    )
