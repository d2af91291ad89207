"""Request and response bodies of sharing."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.schemas import Email
from app.http.example_ids import SHARE_ID
from app.models import WorkspaceStatus

LINK_ID = "d2b7e6a1-9c54-4f0b-8c1e-77c0a1d5e942"
TOKEN = "q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI"  # noqa: S105 # nosec B105 # an example
MAX_HOURS = 720


class ShareIn(BaseModel):
    """The address to share with."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "bob@example.org"}]})
    email: Email


class ShareLinkIn(BaseModel):
    """The lifetime of a link."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"hours": 24}]})
    hours: int = Field(ge=1, le=MAX_HOURS, description="Lifetime of the link, and of the access that it grants.")


class AcceptIn(BaseModel):
    """The token of a link, from its fragment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"token": TOKEN}]})
    token: str = Field(min_length=1, max_length=200)


class ShareOut(BaseModel):
    """Another person with access to a workspace, or an admin with past or present access."""

    id: UUID = Field(examples=[SHARE_ID])
    email: str = Field(examples=["bob@example.org"])
    misleading: bool = Field(
        False, description="The address contains letters that look like those of another alphabet: check it."
    )
    how: Literal["address", "link", "admin"] = Field(
        description="You shared with the address; they accepted your link; or an admin took support access."
    )
    link_id: UUID | None = Field(None, description="The share link that they accepted.")
    reason: str | None = Field(None, description="The reason that the admin gave.")
    created_at: datetime
    expires_at: datetime | None = Field(None, description="Null if it lasts until revoked.")
    live: bool = Field(description="False after its end: admins' access stays listed for thirty days.")


class SharesOut(BaseModel):
    """People with access to a workspace other than its owner, newest first."""

    shares: list[ShareOut]


class ShareLinkOut(BaseModel):
    """A share link. Its address was shown once."""

    id: UUID = Field(examples=[LINK_ID])
    created_at: datetime
    expires_at: datetime
    accepted: int = Field(description="Number of people who accepted it.")


class ShareLinksOut(BaseModel):
    """A workspace's valid links, newest first."""

    links: list[ShareLinkOut]


class NewShareLinkOut(BaseModel):
    """A new link. Its address is shown only here."""

    id: UUID = Field(examples=[LINK_ID])
    url: str = Field(examples=[f"http://localhost:8080/share#token={TOKEN}"])
    created_at: datetime
    expires_at: datetime


class SharedOut(BaseModel):
    """Another user's workspace that the caller may enter."""

    id: UUID | None = Field(examples=[SHARE_ID], description="Of the share; null if the workspace is yours.")
    owner: str = Field(examples=["alice@example.org"])
    misleading: bool = Field(
        False, description="The address contains letters that look like those of another alphabet: check it."
    )
    type: str = Field(examples=["hello"])
    display_name: str = Field(examples=["Hello"])
    service_url: str = Field(examples=["http://alice-hello.localhost:8080/"])
    status: WorkspaceStatus = Field(examples=[WorkspaceStatus.RUNNING])
    reason: str | None = Field(None, description="The reason that you gave as an admin.")
    expires_at: datetime | None = None


class SharedListOut(BaseModel):
    """Workspaces shared with the caller, newest first."""

    shares: list[SharedOut]
