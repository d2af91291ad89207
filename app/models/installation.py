"""What this database is, and what it knows of workspaces that are no more."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import utcnow


class Installation(Base):
    """One row, which the migration makes. `uid` is a label on everything of ours at the engine, so that a worker with
    another database knows none of it. `serves_from` is the oldest revision of the code that these tables serve.
    """

    __tablename__ = "installation"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, server_default=text("1"))
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    serves_from: Mapped[str] = mapped_column(String(10))
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class RetiredWorkspace(Base):
    """A workspace whose row went with its account. Its container is removed without anybody being asked."""

    __tablename__ = "retired_workspaces"
    workspace_id: Mapped[UUID] = mapped_column(primary_key=True)
    retired_at: Mapped[datetime] = mapped_column(default=utcnow)
