"""Access to workspaces: shares, links, handoff codes and workspace cookies."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import owner, utcnow


class Handoff(Base):
    """A one-use code that carries a session to a workspace's origin."""

    __tablename__ = "handoffs"
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = owner("sessions")
    workspace_id: Mapped[UUID] = owner("workspaces")
    expires_at: Mapped[datetime]
    spent_at: Mapped[datetime | None]


class WorkspaceCookie(Base):
    """A browser's cookie at a workspace's origin: valid for one session and one workspace."""

    __tablename__ = "workspace_cookies"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = owner("sessions")
    workspace_id: Mapped[UUID] = owner("workspaces")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)


class ShareLink(Base):
    """A link that lets any account share one workspace, until it expires."""

    __tablename__ = "share_links"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = owner("workspaces")
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(index=True)


class Share(Base):
    """Permission of an address to enter a workspace.

    Stores an address, so that sharing does not reveal which addresses have accounts. `user_id` is set if an account
    accepted a link or took admin access; the share is deleted with the account. `reason` is set for admin access, and
    visible to the owner.
    """

    __tablename__ = "shares"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = owner("workspaces")
    email: Mapped[str] = mapped_column(String(254), index=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    link_id: Mapped[UUID | None] = mapped_column(ForeignKey("share_links.id", ondelete="CASCADE"), index=True)
    reason: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime | None] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(index=True)
    __table_args__ = (
        Index(
            "uq_shares_live",
            "workspace_id",
            "email",
            "link_id",
            unique=True,
            postgresql_where=text("revoked_at IS NULL AND reason IS NULL"),
            postgresql_nulls_not_distinct=True,
        ),
    )
