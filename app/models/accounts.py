"""Accounts, sign-in requests, sessions and tokens."""

import enum
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import choice, owner, utcnow


class UserState(enum.StrEnum):
    REGISTERED = "registered"
    VERIFIED = "verified"
    ACTIVE = "active"


class LinkPurpose(enum.StrEnum):
    SIGNUP = "signup"
    LOGIN = "login"
    INVITE = "invite"


class LinkRequestState(enum.StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    DROPPED = "dropped"
    FAILED = "failed"


class DeliveryState(enum.StrEnum):
    """The mail status that the requesting browser may see."""

    DELAYED = "delayed"
    RESUMED = "resumed"
    FAILED = "failed"


class User(Base):
    """A person, identified by a verified mail address."""

    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True, doc="Normalised; identifies the account.")
    mailbox: Mapped[str | None] = mapped_column(
        String(254), doc="The address as confirmed, for mails; null if equal to `email`."
    )
    slug: Mapped[str] = mapped_column(String(30), unique=True)
    state: Mapped[UserState] = mapped_column(choice(UserState), default=UserState.REGISTERED)
    is_admin: Mapped[bool] = mapped_column(default=False)
    blocked_at: Mapped[datetime | None]
    running_limit: Mapped[int | None] = mapped_column(doc="Workspaces at once, if an admin set it.")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    last_used: Mapped[datetime | None]
    changes_until: Mapped[datetime | None] = mapped_column(doc="When all changes of the hour are available again.")
    __table_args__ = (
        CheckConstraint("slug ~ '^[a-z0-9]+$'", name="slug_plain"),
        Index("ix_users_unconfirmed", "created_at", postgresql_where=text("state = 'registered'")),
        Index("ix_users_newest", "created_at", "id"),
    )


class Bootstrap(Base):
    """A single row: the first admin. Its primary key guarantees that there is only one."""

    __tablename__ = "bootstrap"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    user_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(default=utcnow)
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class LinkRequest(Base):
    """A request for a link by mail. The address may have no account: the worker checks."""

    __tablename__ = "link_requests"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254))
    mailbox: Mapped[str | None] = mapped_column(String(254), doc="The address as typed; null if equal to `email`.")
    purpose: Mapped[LinkPurpose] = mapped_column(choice(LinkPurpose))
    locale: Mapped[str] = mapped_column(String(2))
    renewal: Mapped[bool] = mapped_column(
        default=False, server_default=false(), doc="Requested beyond the limit: renews a mailed link instead."
    )
    state: Mapped[LinkRequestState] = mapped_column(choice(LinkRequestState), default=LinkRequestState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    transmissions: Mapped[int] = mapped_column(
        default=0,
        server_default="0",
        doc="Attempts to send the mail that the mail server did not refuse.",
    )
    run_at: Mapped[datetime] = mapped_column(default=utcnow)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]
    browser_hash: Mapped[bytes | None] = mapped_column(
        LargeBinary, index=True, doc="Of the device cookie of the requesting browser."
    )
    code_tries: Mapped[int] = mapped_column(
        default=0, doc="Codes tried in that browser; counted here because addresses without an account have a row, too."
    )
    delivery: Mapped[DeliveryState | None] = mapped_column(
        choice(DeliveryState), doc="State of the mail server; the same for addresses that get no mail."
    )
    delivery_at: Mapped[datetime | None] = mapped_column(doc="Since when it is in `delivery`.")
    destination: Mapped[str | None] = mapped_column(Text, doc="Page to open after the sign-in; null once used.")
    used_at: Mapped[datetime | None] = mapped_column(doc="When a link or code of this request was redeemed.")
    __table_args__ = (Index(None, "run_at", postgresql_where=text("state = 'queued'")),)


class MagicLink(Base):
    """A token that signs in once; so does its code, in the requesting browser while attempts are left.

    Belongs to an account, or to an address that gets one on use.
    """

    __tablename__ = "magic_links"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID | None] = owner("users")
    email: Mapped[str | None] = mapped_column(String(254), index=True, doc="Set if there is no account yet.")
    mailbox: Mapped[str | None] = mapped_column(String(254), doc="The address as typed; null if equal to `email`.")
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    request_id: Mapped[UUID | None] = mapped_column(ForeignKey("link_requests.id", ondelete="SET NULL"), index=True)
    browser_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    code_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    spent_at: Mapped[datetime | None]


class Session(Base):
    """A sign-in. Access tokens name it; ending it takes effect at the next request."""

    __tablename__ = "sessions"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = owner("users")
    cookie_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    refresh_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    spent_refresh_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True, doc="The previous one.")
    refreshed_at: Mapped[datetime | None]
    shown_at: Mapped[datetime | None] = mapped_column(doc="First use of the newest pair.")
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)
    user_agent: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(45), default="")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]


class ApiToken(Base):
    """A personal token for programs, limited to its scopes."""

    __tablename__ = "api_tokens"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = owner("users")
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Invitation(Base):
    """An address that may sign up regardless of settings, until it expires."""

    __tablename__ = "invitations"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    invited_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
