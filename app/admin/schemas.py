"""Request and response bodies for admins."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.audit.schemas import NEXT, SESSION_ID, USER_ID
from app.health.processes import ProcessOut
from app.http.example_ids import JOB_ID, WORKSPACE_ID
from app.models import JobKind, LinkPurpose, LinkRequestState, UserState, WorkspaceStatus
from app.workspaces.schemas import URL, JobOut


class AdminUserOut(BaseModel):
    """An account."""

    id: UUID = Field(examples=[USER_ID])
    email: str = Field(examples=["alice@example.org"])
    slug: str = Field(examples=["alice"])
    is_admin: bool
    state: UserState
    blocked_at: datetime | None
    running_limit: int | None = Field(description="Workspaces at once; 0: no limit, null: `USER_RUNNING_LIMIT`.")
    running: int = Field(description="Workspaces that now count against the limits.", examples=[2])
    created_at: datetime
    last_used: datetime | None


class UserPage(BaseModel):
    """Accounts, newest first."""

    users: list[AdminUserOut]
    next: UUID | None = Field(None, description="Pass as `before` for the next page; null at the end.")


class LimitsIn(BaseModel):
    """A user's own limits, overriding the settings."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"running_limit": 20}]})

    running_limit: int | None = Field(
        ge=0, le=10_000, description="Workspaces at once; 0: no limit, null: `USER_RUNNING_LIMIT`."
    )


class MailOut(BaseModel):
    """A requested link, without its token."""

    id: UUID
    address: str = Field(examples=["alice@example.org"])
    purpose: LinkPurpose
    state: LinkRequestState = Field(description="`dropped`: the address may not sign in here.")
    attempts: int = Field(examples=[1])
    created_at: datetime
    run_at: datetime = Field(description="Next attempt, while queued.")
    expires_at: datetime
    finished_at: datetime | None


class MailPage(BaseModel):
    """Link requests of the last day, newest first."""

    mails: list[MailOut]
    next: UUID | None = Field(None, description="Pass as `before` for the next page; null at the end.")


class EngineOut(BaseModel):
    """The engine's capacity, as last reported by workers."""

    memory_bytes: int = Field(examples=[8 << 30])
    cpus: int = Field(examples=[4])
    disk_free_bytes: int | None = Field(description="Null if workers cannot read it.", examples=[100 << 30])
    seen_at: datetime


class PromisedOut(BaseModel):
    """Capacity promised to running, paused and starting workspaces."""

    workspaces: int = Field(examples=[3])
    memory_bytes: int = Field(examples=[3 << 30])
    cpus: float = Field(examples=[2.5])


class SeatsOut(BaseModel):
    """A template's warm seats: containers that run in advance."""

    model_config = ConfigDict(from_attributes=True)

    wanted: int = Field(description="Number in the catalogue.", examples=[5])
    starting: int = Field(examples=[1])
    ready: int = Field(description="Available to launches.", examples=[3])
    failed: int = Field(description="Retried after a pause.", examples=[1])
    ending: int = Field(description="Being removed.", examples=[0])
    claimed: int = Field(description="Workspaces that use one and count against the limits.", examples=[12])


class OverviewOut(BaseModel):
    """Running, waiting and failed workspaces, and the engine's promised capacity."""

    running: int = Field(description="Running workspaces.")
    paused: int = Field(description="Paused workspaces.")
    queued: int = Field(description="Jobs that wait for capacity or for a worker.")
    waiting: dict[str, int] = Field(description="Waiting launches, by the code of the limit that they wait for.")
    jobs: dict[JobKind, int] = Field(description="Waiting and running jobs, by kind.")
    failures: dict[str, int] = Field(description="Failed jobs of the last 24 hours, by code.")
    engine: EngineOut | None = Field(description="Null until a worker has reported.")
    promised: PromisedOut
    seats: dict[str, SeatsOut] = Field(
        {}, description="Warm seats by template. Their capacity is not in `promised`: launches take precedence."
    )
    processes: list[ProcessOut] | None = Field(
        None, description="Live API, gateway and worker processes; null if Redis does not answer."
    )
    catalogs_differ: bool = Field(
        False,
        description="Processes have different catalogues: restart those that started before the change.",
    )


class OwnerOut(BaseModel):
    """The owner of a resource."""

    id: UUID = Field(examples=[USER_ID])
    email: str = Field(examples=["alice@example.org"])
    slug: str = Field(examples=["alice"])


class UserSessionOut(BaseModel):
    """A live session."""

    id: UUID = Field(examples=[SESSION_ID])
    address: str = Field(description="Client address at sign-in.", examples=["203.0.113.7"])
    user_agent: str = Field(examples=["Mozilla/5.0"])
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


class UserSessionPage(BaseModel):
    """Sessions of one user, newest first."""

    sessions: list[UserSessionOut]
    next: UUID | None = Field(None, description=NEXT)


class AdminWorkspaceOut(BaseModel):
    """A user's workspace."""

    id: UUID = Field(examples=[WORKSPACE_ID])
    owner: OwnerOut
    type: str = Field(description="Key of the template.", examples=["hello"])
    status: WorkspaceStatus
    status_at: datetime
    service_url: str = Field(examples=[URL])
    container_id: str | None = Field(examples=["3f4e1c"])
    error_code: str | None = Field(description="Why it failed or ended.", examples=["out_of_memory"])
    reserved_memory: int | None = Field(description="Bytes promised to it; null if it counts against no limit.")
    reserved_cpus: float | None
    job_id: UUID | None = Field(description="Of the job in progress.", examples=[JOB_ID])
    created_at: datetime
    started_at: datetime | None
    active_at: datetime | None = Field(description="Last use, by a request or by its own work.")
    last_used: datetime | None = Field(description="Last launch or restart by its owner.")


class AdminWorkspacePage(BaseModel):
    """All workspaces, newest first."""

    workspaces: list[AdminWorkspaceOut]
    next: UUID | None = Field(None, description=NEXT)


class RequestedOut(BaseModel):
    """The result of a request on behalf of the owner."""

    job: JobOut | None = Field(description="Null if there is nothing to do.")
    status_url: str | None = Field(examples=[f"/api/admin/jobs/{JOB_ID}"])
    workspace: AdminWorkspaceOut


class AdminLogOut(BaseModel):
    """The last lines of a container's log, oldest first."""

    lines: list[str] = Field(examples=[["listening on port 8080"]])


class AdminJobOut(BaseModel):
    """A user's job."""

    owner: OwnerOut
    workspace_id: UUID = Field(examples=[WORKSPACE_ID])
    cause: str | None = Field(
        None,
        description="The engine's error of a failed job. Its owner does not see it.",
        examples=["the container spawner-alice-hello belongs to somebody else"],
    )
    job: JobOut


class AdminJobPage(BaseModel):
    """All jobs, newest first."""

    jobs: list[AdminJobOut]
    next: UUID | None = Field(None, description=NEXT)
