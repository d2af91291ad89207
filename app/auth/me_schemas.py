"""What a user sees of themselves."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from app.models import UserState, WorkspaceStatus
from app.workspaces.schemas import URL


class UserOut(BaseModel):
    """A user."""

    id: UUID
    email: str = Field(examples=["alice@example.org"])
    slug: str = Field(examples=["alice"])
    is_admin: bool
    state: UserState
    last_used: datetime | None
    created_at: datetime


class DefaultContainer(BaseModel):
    """The default workspace, launched or not."""

    id: str | None = Field(examples=["3f4e1c"])
    port: int | None = Field(examples=[8000])
    status: WorkspaceStatus = Field(examples=[WorkspaceStatus.RUNNING])
    service_url: str = Field(examples=[URL])


class MeOut(BaseModel):
    """The caller and their default workspace."""

    user: UserOut
    container: DefaultContainer


class ActivityOut(BaseModel):
    """One act of yours, or on what is yours."""

    id: int = Field(examples=[4711])
    at: datetime
    actor: str = Field(
        description="An address; `system`, or `command` for the operator.", examples=["root@example.org"]
    )
    mine: bool = Field(description="It was you.")
    action: str = Field(examples=["workspace_stop_requested"])
    target_kind: str = Field(examples=["workspace"])
    target: str
    outcome: str = Field(description="`ok`, or the code of a refusal.", examples=["ok"])
    detail: str | None
    address: str | None = Field(description="Where you did it from; null for others.", examples=["203.0.113.7"])


class ActivityPage(BaseModel):
    """What you did, and what others did to what is yours, newest first."""

    activity: list[ActivityOut]
    next: int | None = Field(None, description="Pass as `before` for the next page; null at the end.")
