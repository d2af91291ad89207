"""Jobs: accepted requests to change a workspace."""

import enum
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Index, LargeBinary, String, Text, select, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base
from app.models.columns import choice, owner, utcnow
from app.models.workspaces import Workspace, WorkspaceStatus


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


LIVE_STATES = (JobState.QUEUED, JobState.RUNNING)


class Job(Base):
    """An accepted request to change a workspace. `version` grows with every visible change.

    A queued job has no `admitted_at`. `previous_status` is the workspace's settled status before the request.
    `engine_contacted` means that the engine may have received a request for the job. A job ended from outside keeps its
    lease until its worker releases it; no other job of the workspace is claimed before that.

    Some columns keep earlier names: two versions may share one database (ADR 30, ADR 31).
    """

    __tablename__ = "jobs"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = owner("workspaces", index=False)
    user_id: Mapped[UUID] = owner("users", index=False)
    template: Mapped[str] = mapped_column(String(20))
    kind: Mapped[JobKind] = mapped_column(choice(JobKind))
    by_system: Mapped[bool] = mapped_column("platform", default=False, doc="Started by the platform, not by a request.")
    generation: Mapped[int]
    previous_status: Mapped[WorkspaceStatus] = mapped_column(
        "was", choice(WorkspaceStatus, name="was"), default=WorkspaceStatus.NOT_CREATED
    )
    engine_contacted: Mapped[bool] = mapped_column("touched", default=False)
    state: Mapped[JobState] = mapped_column(choice(JobState), default=JobState.QUEUED)
    step: Mapped[JobStep] = mapped_column(choice(JobStep), default=JobStep.QUEUED)
    progress: Mapped[int] = mapped_column(default=0, doc="Percent.")
    version: Mapped[int] = mapped_column(default=1)
    attempts: Mapped[int] = mapped_column(default=0, doc="Claims by workers.")
    admitted_at: Mapped[datetime | None]
    blocked_by: Mapped[str | None] = mapped_column("waits_for", String(40), doc="Code of the limit that it waits for.")
    run_at: Mapped[datetime] = mapped_column(default=utcnow)
    lease: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    deadline: Mapped[datetime]
    expected_seconds: Mapped[float | None] = mapped_column(doc="Duration of recent launches, as of acceptance.")
    error_code: Mapped[str | None] = mapped_column(String(40))
    exit_code: Mapped[int | None]
    log_tail: Mapped[str | None] = mapped_column(Text, doc="The container's last lines, after a failure.")
    cause: Mapped[str | None] = mapped_column(String(500), doc="The engine's error, after a failure; for admins.")
    created_at: Mapped[datetime] = mapped_column(default=utcnow)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @hybrid_property
    def is_live(self) -> bool:
        """Whether the job has not ended. A workspace has at most one live job."""
        return self.state in LIVE_STATES

    @is_live.inplace.expression
    @classmethod
    def _is_live(cls) -> ColumnElement[bool]:
        return cls.state.in_(LIVE_STATES)

    __table_args__ = (
        Index("uq_jobs_live", "workspace_id", unique=True, postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_due", "run_at", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_jobs_history", "workspace_id", "created_at", "id"),
        Index("ix_jobs_page", "user_id", "created_at", "id"),
        Index("ix_jobs_newest", "created_at", "id"),
        Index("ix_jobs_recent", "template", "finished_at", postgresql_where=text("state = 'succeeded'")),
        Index("ix_jobs_waited", "admitted_at", postgresql_where=text("admitted_at - created_at > interval '1 second'")),
    )


# The live job of a statement's workspace: a join or EXISTS condition.
LIVE_JOB = (Job.workspace_id == Workspace.id) & Job.is_live
HAS_LIVE_JOB = select(Job.id).where(LIVE_JOB).exists()
# The job was admitted after it had waited for capacity; matches the index `ix_jobs_waited`.
WAITED = Job.admitted_at - Job.created_at > text("interval '1 second'")


class JobEvent(Base):
    """One line of a job's timeline."""

    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    job_id: Mapped[UUID] = owner("jobs")
    at: Mapped[datetime] = mapped_column(default=utcnow)
    step: Mapped[JobStep] = mapped_column(choice(JobStep))
    detail: Mapped[str | None] = mapped_column(String(300))


class IdempotencyKey(Base):
    """A caller's idempotency key and the result of its first use."""

    __tablename__ = "idempotency_keys"
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utcnow, index=True)
