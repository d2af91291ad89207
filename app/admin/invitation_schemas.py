"""Request and response bodies of invitations."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

# Every route parses addresses alike.
from app.accounts.schemas import Mailbox

INVITATION_ID = "9d0e4a7c-1b55-4f0b-8f5e-2c6f1b7a9e33"


class InvitationIn(BaseModel):
    """The address to invite."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "bob@example.org"}]})
    email: Mailbox


class InvitationOut(BaseModel):
    """An address that may sign up regardless of the settings."""

    id: UUID = Field(examples=[INVITATION_ID])
    email: str = Field(examples=["bob@example.org"])
    inviter: str | None = Field(
        examples=["root@example.org"], description="Address of the inviting admin; null once that account is deleted."
    )
    created_at: datetime = Field(description="Created or last renewed.")
    expires_at: datetime
    accepted_at: datetime | None = Field(description="When the address was confirmed, which uses the invitation up.")


class InvitationPage(BaseModel):
    """Invitations, newest first."""

    invitations: list[InvitationOut]
    next: UUID | None = Field(None, description="Pass as `before` for the next page; null at the end.")
