"""What admins see and set."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.models import JobKind, LinkPurpose, LinkRequestState, UserState

USER_ID = "0f2a9a53-0c0e-4f6e-8a35-6b1d2c9b7e10"


class AdminUserOut(BaseModel):
    """An account."""

    id: UUID = Field(examples=[USER_ID])
    email: str = Field(examples=["alice@example.org"])
    slug: str = Field(examples=["alice"])
    is_admin: bool
    state: UserState
    blocked_at: datetime | None
    running_limit: int | None = Field(description="Workspaces at once; 0 sets no limit, null follows the settings.")
    running: int = Field(description="Workspaces that count against the limits now.", examples=[2])
    created_at: datetime
    last_used: datetime | None


class UserPage(BaseModel):
    """Accounts, newest first."""

    users: list[AdminUserOut]
    next: UUID | None = Field(None, description="Pass as `before` for the next page; null at the end.")


class LimitsIn(BaseModel):
    """What one user may do, where it differs from the settings."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"running_limit": 20}]})

    running_limit: int | None = Field(
        ge=0, le=10_000, description="Workspaces at once; 0 sets no limit, null follows the settings."
    )


class MailOut(BaseModel):
    """A link that somebody asked for. Its token is nowhere to be seen."""

    id: UUID
    address: str = Field(examples=["alice@example.org"])
    purpose: LinkPurpose
    state: LinkRequestState = Field(description="`dropped`: the address may not sign in here.")
    attempts: int = Field(examples=[1])
    created_at: datetime
    run_at: datetime = Field(description="When it is tried next, while it is queued.")
    expires_at: datetime
    finished_at: datetime | None


class MailPage(BaseModel):
    """Requests for links of the last day, newest first."""

    mails: list[MailOut]
    next: UUID | None = Field(None, description="Pass as `before` for the next page; null at the end.")


class EngineOut(BaseModel):
    """What the engine has, as workers last saw it."""

    memory_bytes: int = Field(examples=[8 << 30])
    cpus: int = Field(examples=[4])
    disk_free_bytes: int | None = Field(description="Null where workers cannot see it.", examples=[100 << 30])
    seen_at: datetime


class PromisedOut(BaseModel):
    """What is promised to workspaces that run, are paused or start."""

    workspaces: int = Field(examples=[3])
    memory_bytes: int = Field(examples=[3 << 30])
    cpus: float = Field(examples=[2.5])


class OverviewOut(BaseModel):
    """How things stand."""

    running: int = Field(description="Workspaces that run.")
    paused: int = Field(description="Workspaces that are paused.")
    waiting: dict[str, int] = Field(description="Launches that wait, by the code of the limit that they wait for.")
    jobs: dict[JobKind, int] = Field(description="Jobs that wait or run, by kind.")
    failures: dict[str, int] = Field(description="Jobs that failed in the last 24 hours, by code.")
    engine: EngineOut | None = Field(description="Null until a worker has looked.")
    promised: PromisedOut
