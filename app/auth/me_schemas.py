"""Response bodies of /api/user."""

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
