"""The installation's identity, and its deleted workspaces."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import utcnow


class Installation(Base):
    """A single row, created by the migration. `uid` labels all our objects at the engine, so that workers with another
    database ignore them. `serves_from` is the oldest code revision that the schema supports.
    """

    __tablename__ = "installation"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, server_default=text("1"))
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    serves_from: Mapped[str] = mapped_column(String(10))
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class RetiredWorkspace(Base):
    """A workspace deleted with its account. Its container is removed without confirmation."""

    __tablename__ = "retired_workspaces"
    workspace_id: Mapped[UUID] = mapped_column(primary_key=True)
    retired_at: Mapped[datetime] = mapped_column(default=utcnow)
