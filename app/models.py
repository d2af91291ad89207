"""Tables and the enums of their states. Times are aware and UTC; secrets are keyed hashes."""

import enum
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, Enum, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app import clock
from app.db import Base


def utcnow() -> datetime:
    """The time now, aware, in UTC."""
    return clock.source()


def _enum(kind: type[enum.StrEnum], *, name: str = "") -> Enum:
    """A text column with a check constraint: adding a member is a plain migration."""
    name = name or "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")
    return Enum(
        kind, native_enum=False, create_constraint=True, name=name, values_callable=lambda k: [m.value for m in k]
    )


class UserState(enum.StrEnum):
    REGISTERED = "registered"
    VERIFIED = "verified"
    ACTIVE = "active"


class WorkspaceStatus(enum.StrEnum):
    NOT_CREATED = "not_created"
    QUEUED = "queued"
    PULLING = "pulling"
    CREATING = "creating"
    STARTING = "starting"
    PROBING = "probing"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    ERROR = "error"


class Wanted(enum.StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ABSENT = "absent"


class JobKind(enum.StrEnum):
    LAUNCH = "launch"
    RESTART = "restart"
    PAUSE = "pause"
    STOP = "stop"
    DELETE = "delete"


class JobState(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


LIVE_STATES = (JobState.QUEUED, JobState.RUNNING)


class JobStep(enum.StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    PULLING = "pulling"
    CREATING = "creating"
    STARTING = "starting"
    PROBING = "probing"
    READY = "ready"
    PAUSING = "pausing"
    STOPPING = "stopping"
    DELETING = "deleting"
    DONE = "done"
    RETRYING = "retrying"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class LinkPurpose(enum.StrEnum):
    SIGNUP = "signup"
    LOGIN = "login"


class LinkRequestState(enum.StrEnum):
    QUEUED = "queued"
    SENT = "sent"
    DROPPED = "dropped"
    FAILED = "failed"


def _owner(table: str, *, index: bool = True) -> Any:
    return mapped_column(ForeignKey(f"{table}.id", ondelete="CASCADE"), index=index)


class User(Base):
    """A person, known by a verified e-mail address."""

    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    slug: Mapped[str] = mapped_column(String(30), unique=True)
    state: Mapped[UserState] = mapped_column(_enum(UserState), default=UserState.REGISTERED)
    is_admin: Mapped[bool] = mapped_column(default=False)
    blocked_at: Mapped[datetime | None]
    running_limit: Mapped[int | None] = mapped_column(doc="Workspaces at once, where an admin set it.")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    last_used: Mapped[datetime | None]
    __table_args__ = (CheckConstraint("slug ~ '^[a-z0-9]+$'", name="slug_plain"),)


class Bootstrap(Base):
    """One row: who became the first admin. Its primary key is what makes it exactly one."""

    __tablename__ = "bootstrap"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    user_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(default=utcnow)
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class LinkRequest(Base):
    """Somebody asked for a link to be mailed. The address may belong to nobody: the worker finds out."""

    __tablename__ = "link_requests"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(String(254))
    purpose: Mapped[LinkPurpose] = mapped_column(_enum(LinkPurpose))
    locale: Mapped[str] = mapped_column(String(2))
    state: Mapped[LinkRequestState] = mapped_column(_enum(LinkRequestState), default=LinkRequestState.QUEUED)
    attempts: Mapped[int] = mapped_column(default=0)
    run_at: Mapped[datetime] = mapped_column(default=utcnow)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "run_at", postgresql_where=text("state = 'queued'")),)


class MagicLink(Base):
    """A token that signs in once."""

    __tablename__ = "magic_links"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = _owner("users")
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime]
    spent_at: Mapped[datetime | None]


class Session(Base):
    """One sign-in. Access tokens name it, the pages' cookie is its hash; ending it holds at the next request."""

    __tablename__ = "sessions"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = _owner("users")
    cookie_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    user_agent: Mapped[str] = mapped_column(String(200), default="")
    address: Mapped[str] = mapped_column(String(45), default="")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Workspace(Base):
    """One user's instance of one template. `wanted` is what was asked for, `status` what was last seen.

    `generation` grows with each accepted request; what a worker writes is guarded by it. `incarnation` is the number
    of the container that is wanted: it grows when a restart is claimed. While `reserved_memory` is set the workspace
    counts against the limits. Only `app.workspaces.states` writes `status`.
    """

    __tablename__ = "workspaces"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = _owner("users", index=False)
    template: Mapped[str] = mapped_column(String(20))
    generation: Mapped[int] = mapped_column(default=0)
    incarnation: Mapped[int] = mapped_column(default=1)
    wanted: Mapped[Wanted] = mapped_column(_enum(Wanted), default=Wanted.ABSENT)
    status: Mapped[WorkspaceStatus] = mapped_column(_enum(WorkspaceStatus), default=WorkspaceStatus.NOT_CREATED)
    status_at: Mapped[datetime] = mapped_column(default=utcnow)
    container_id: Mapped[str | None] = mapped_column(String(64))
    host: Mapped[str | None] = mapped_column(String(64))
    port: Mapped[int | None]
    image_digest: Mapped[str | None] = mapped_column(String(100))
    error_code: Mapped[str | None] = mapped_column(String(40))
    exit_code: Mapped[int | None]
    restarts: Mapped[int] = mapped_column(default=0, doc="How often the platform restarted it since it last held.")
    reserved_memory: Mapped[int | None] = mapped_column(BigInteger, doc="Bytes.")
    reserved_cpus: Mapped[float | None]
    started_at: Mapped[datetime | None] = mapped_column(doc="Since when it runs or is paused.")
    active_at: Mapped[datetime | None] = mapped_column(doc="When it was last used or worked.")
    sampled_at: Mapped[datetime | None] = mapped_column(doc="When the counters below were read.")
    cpu_seconds: Mapped[float | None]
    network_bytes: Mapped[int | None] = mapped_column(BigInteger)
    rest_reason: Mapped[str | None] = mapped_column(String(40), doc="Why the platform let it rest, until it is asked.")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    last_used: Mapped[datetime | None]
    __table_args__ = (
        Index(None, "user_id", "template", unique=True),
        Index("ix_workspaces_reserved", "user_id", postgresql_where=text("reserved_memory IS NOT NULL")),
    )


class Network(Base):
    """A /28 of the configured range, by its index. `ready` says that the engine has the network.

    One that belongs to no workspace is handed to the next launch; one that something else on the host uses rests.
    """

    __tablename__ = "networks"
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id", ondelete="SET NULL"), unique=True)
    ready: Mapped[bool] = mapped_column(default=False)
    rests_until: Mapped[datetime | None]


class Volume(Base):
    """A named volume of the engine. It outlives its workspace and its user: `delete_at` says when it goes."""

    __tablename__ = "volumes"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id", ondelete="SET NULL"), index=True)
    template: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    delete_at: Mapped[datetime | None] = mapped_column(index=True)


class EngineFacts(Base):
    """One row: what the engine has, as workers last saw it. Admission counts against it."""

    __tablename__ = "engine"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    cpus: Mapped[int]
    disk_free_bytes: Mapped[int | None] = mapped_column(BigInteger)
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class Image(Base):
    """What an image's name stands for on the engine, as workers last saw it."""

    __tablename__ = "images"
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str] = mapped_column(String(100))
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)


class Job(Base):
    """One accepted request to change a workspace. `version` grows with every visible change.

    A job that waits for room has no `admitted_at`. `was` is the workspace's settled status before the request, and
    `touched` says that the engine may have been asked for something since. A job that was ended from outside keeps its
    lease until its worker has let go: until then no other job of the workspace is claimed.
    """

    __tablename__ = "jobs"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = _owner("workspaces")
    user_id: Mapped[UUID] = _owner("users", index=False)
    template: Mapped[str] = mapped_column(String(20))
    kind: Mapped[JobKind] = mapped_column(_enum(JobKind))
    platform: Mapped[bool] = mapped_column(default=False, doc="Begun by the platform rather than asked for.")
    generation: Mapped[int]
    was: Mapped[WorkspaceStatus] = mapped_column(
        _enum(WorkspaceStatus, name="was"), default=WorkspaceStatus.NOT_CREATED
    )
    touched: Mapped[bool] = mapped_column(default=False)
    state: Mapped[JobState] = mapped_column(_enum(JobState), default=JobState.QUEUED)
    step: Mapped[JobStep] = mapped_column(_enum(JobStep), default=JobStep.QUEUED)
    progress: Mapped[int] = mapped_column(default=0, doc="Percent.")
    version: Mapped[int] = mapped_column(default=1)
    attempts: Mapped[int] = mapped_column(default=0, doc="How often a worker has claimed it.")
    admitted_at: Mapped[datetime | None]
    waits_for: Mapped[str | None] = mapped_column(String(40), doc="Code of the limit that it waits for.")
    run_at: Mapped[datetime] = mapped_column(default=utcnow)
    lease: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    deadline: Mapped[datetime]
    expected_seconds: Mapped[float | None] = mapped_column(doc="What recent launches took, when it was accepted.")
    error_code: Mapped[str | None] = mapped_column(String(40))
    exit_code: Mapped[int | None]
    log_tail: Mapped[str | None] = mapped_column(Text, doc="The container's last lines, when it failed.")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        Index("uq_jobs_live", "workspace_id", unique=True, postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_due", "run_at", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_page", "user_id", "created_at", "id"),
        Index("ix_jobs_recent", "template", "finished_at", postgresql_where=text("state = 'succeeded'")),
    )


class JobEvent(Base):
    """One line of a job's timeline."""

    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[UUID] = _owner("jobs")
    at: Mapped[datetime] = mapped_column(default=utcnow)
    step: Mapped[JobStep] = mapped_column(_enum(JobStep))
    detail: Mapped[str | None] = mapped_column(String(300))


class IdempotencyKey(Base):
    """What a caller's key stood for the first time."""

    __tablename__ = "idempotency_keys"
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)


class Handoff(Base):
    """A one-use code that carries a session to a workspace's origin."""

    __tablename__ = "handoffs"
    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = _owner("sessions")
    workspace_id: Mapped[UUID] = _owner("workspaces")
    expires_at: Mapped[datetime]
    spent_at: Mapped[datetime | None]


class WorkspaceCookie(Base):
    """What a browser shows at a workspace's origin: good for one session and one workspace."""

    __tablename__ = "workspace_cookies"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = _owner("sessions")
    workspace_id: Mapped[UUID] = _owner("workspaces")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
