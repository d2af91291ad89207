"""Workspaces and their engine resources."""

import enum
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, ColumnElement, ForeignKey, Index, String, func, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import choice, owner, utcnow


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


class DesiredState(enum.StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ABSENT = "absent"


class Workspace(Base):
    """A user's instance of a template. `desired_state` is the last request, `status` the last observation.

    `generation` grows with each accepted request and guards workers' writes. `revision` numbers the desired container
    and grows when a restart is claimed. While `reserved_memory` is set, the workspace counts against limits. Only
    `app.workspaces.states` writes `status`.

    `seat_id` is the warm seat that the workspace took. Labels of a container cannot be changed: its container and
    volume, and those that replace them, carry that id.
    """

    __tablename__ = "workspaces"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = owner("users", index=False)
    template: Mapped[str] = mapped_column(String(20))
    generation: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column("incarnation", default=1)
    desired_state: Mapped[DesiredState] = mapped_column(
        "wanted", choice(DesiredState, name="wanted"), default=DesiredState.ABSENT
    )
    status: Mapped[WorkspaceStatus] = mapped_column(
        choice(WorkspaceStatus), default=WorkspaceStatus.NOT_CREATED, index=True
    )
    status_at: Mapped[datetime] = mapped_column(default=utcnow)
    container_id: Mapped[str | None] = mapped_column(String(64))
    host: Mapped[str | None] = mapped_column(String(64))
    port: Mapped[int | None]
    image_digest: Mapped[str | None] = mapped_column(String(100))
    error_code: Mapped[str | None] = mapped_column(String(40))
    exit_code: Mapped[int | None]
    last_exit: Mapped[str | None] = mapped_column(String(40), doc="Code of the container's last unrequested exit.")
    last_exit_at: Mapped[datetime | None]
    last_exit_status: Mapped[int | None]
    memory_kills: Mapped[int] = mapped_column(
        default=0, server_default=text("0"), doc="Programs that the kernel killed since the container started."
    )
    memory_kill_at: Mapped[datetime | None]
    restarts: Mapped[int] = mapped_column(default=0, doc="Automatic restarts since it last ran for `HELD`.")
    reserved_memory: Mapped[int | None] = mapped_column(BigInteger, doc="Bytes.")
    reserved_cpus: Mapped[float | None]
    started_at: Mapped[datetime | None] = mapped_column(doc="Start of the running or paused container.")
    active_at: Mapped[datetime | None] = mapped_column(doc="Last use, by a request or by its own work.")
    kept_until: Mapped[datetime | None] = mapped_column(doc="Not paused or stopped for idling before.")
    sampled_at: Mapped[datetime | None] = mapped_column(doc="When the counters below were read.")
    cpu_seconds: Mapped[float | None]
    network_bytes: Mapped[int | None] = mapped_column(BigInteger)
    rest_reason: Mapped[str | None] = mapped_column(String(40), doc="Why the platform paused or stopped it.")
    seat_id: Mapped[UUID | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    last_used: Mapped[datetime | None]

    @hybrid_property
    def engine_id(self) -> UUID:
        """The id that labels its container and volume on the engine."""
        return self.seat_id or self.id

    @engine_id.inplace.expression
    @classmethod
    def _engine_id(cls) -> ColumnElement[UUID]:
        return func.coalesce(cls.seat_id, cls.id)

    __table_args__ = (
        Index(None, "user_id", "template", unique=True),
        Index("ix_workspaces_reserved", "user_id", postgresql_where=text("reserved_memory IS NOT NULL")),
        Index("ix_workspaces_newest", "created_at", "id"),
        Index("ix_workspaces_in_use", "status", postgresql_where=text("status NOT IN ('not_created', 'stopped')")),
    )


class SeatState(enum.StrEnum):
    STARTING = "starting"
    READY = "ready"
    CLAIMED = "claimed"
    FAILED = "failed"
    ENDING = "ending"


class Seat(Base):
    """A container that runs in advance; the first launch that fits takes it.

    `revision` is a digest of everything that defines the container. A worker that starts or removes a seat holds it
    until `lease_until`; a failed seat restarts at `run_at`. A claimed seat's row is deleted once its container has its
    workspace's name.
    """

    __tablename__ = "seats"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    template: Mapped[str] = mapped_column(String(20))
    revision: Mapped[str] = mapped_column(String(16))
    state: Mapped[SeatState] = mapped_column(choice(SeatState), default=SeatState.STARTING)
    memory: Mapped[int] = mapped_column(BigInteger, doc="Bytes that it promises.")
    cpus: Mapped[float]
    failures: Mapped[int] = mapped_column(default=0, doc="Failures since it last ran for `HELD`.")
    error_code: Mapped[str | None] = mapped_column(String(40))
    run_at: Mapped[datetime] = mapped_column(default=utcnow)
    lease_until: Mapped[datetime | None]
    container_id: Mapped[str | None] = mapped_column(String(64))
    host: Mapped[str | None] = mapped_column(String(64))
    port: Mapped[int | None]
    image_digest: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    ready_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "template", "state"),)


class Network(Base):
    """A /28 of the configured range, by index. `ready` means that the engine has the network.

    A network without workspace and seat goes to the next launch; one in conflict with the host is quarantined.
    """

    __tablename__ = "networks"
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id", ondelete="SET NULL"), unique=True)
    seat_id: Mapped[UUID | None] = mapped_column(ForeignKey("seats.id", ondelete="SET NULL"), unique=True)
    ready: Mapped[bool] = mapped_column(default=False)
    quarantined_until: Mapped[datetime | None] = mapped_column("rests_until")

    @hybrid_property
    def is_free(self) -> bool:
        """Whether it belongs to no workspace or seat."""
        return self.workspace_id is None and self.seat_id is None

    @is_free.inplace.expression
    @classmethod
    def _is_free(cls) -> ColumnElement[bool]:
        return cls.workspace_id.is_(None) & cls.seat_id.is_(None)


class Volume(Base):
    """A named engine volume. It outlives its workspace and user until `delete_at`.

    `found_at` is set for a volume found at the engine without a row: it is deleted unless claimed. It is cleared when
    the workspace uses the volume, or a person schedules its deletion.
    """

    __tablename__ = "volumes"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"), index=True)
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id", ondelete="SET NULL"), index=True)
    template: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    delete_at: Mapped[datetime | None] = mapped_column(index=True)
    found_at: Mapped[datetime | None]


class EngineCapacity(Base):
    """A single row: the engine's capacity, as last reported by workers. Admission uses it."""

    __tablename__ = "engine"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    cpus: Mapped[int]
    disk_free_bytes: Mapped[int | None] = mapped_column(BigInteger)
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class AdmissionPasses(Base):
    """A single row: the number of admission passes committed. A pass that read an older number restarts."""

    __tablename__ = "admission_passes"
    id: Mapped[int] = mapped_column(primary_key=True, default=1)
    written: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (CheckConstraint("id = 1", name="single"),)


class Image(Base):
    """The engine's image for a name, as last reported by workers."""

    __tablename__ = "images"
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    digest: Mapped[str] = mapped_column(String(100))
    seen_at: Mapped[datetime] = mapped_column(default=utcnow)
