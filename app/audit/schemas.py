"""Response bodies of the audit trail, for users and admins."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

USER_ID = "0f2a9a53-0c0e-4f6e-8a35-6b1d2c9b7e10"
SESSION_ID = "a1c9f0b4-2d6e-4f53-9c1a-7e5d3b8a6f42"
NEXT = "Pass as `before` for the next page; null at the end."


class ActivityOut(BaseModel):
    """One act of yours, or on your account or workspaces."""

    id: int = Field(examples=[4711])
    at: datetime
    actor: str = Field(
        description="An address, `system` for the platform, or `command` for the operator.",
        examples=["root@example.org"],
    )
    mine: bool = Field(description="Whether you are the actor.")
    action: str = Field(examples=["workspace_stop_requested"])
    target_kind: str = Field(examples=["workspace"])
    target: str
    outcome: str = Field(description="`ok`, or the code of a refusal.", examples=["ok"])
    detail: str | None
    address: str | None = Field(
        description="Client address of your own acts; null for others.", examples=["203.0.113.7"]
    )


class ActivityPage(BaseModel):
    """Your acts, and acts of others on your account and workspaces, newest first."""

    activity: list[ActivityOut]
    next: int | None = Field(None, description="Pass as `before` for the next page; null at the end.")


class AuditOut(BaseModel):
    """One act, or one denied attempt."""

    id: int = Field(examples=[4711])
    at: datetime
    actor_id: UUID | None = Field(description="Null for the platform and the operator.", examples=[USER_ID])
    actor: str = Field(description="Address at that time; `system` or `command`.", examples=["root@example.org"])
    action: str = Field(examples=["user_blocked"])
    target_kind: str = Field(examples=["user"])
    target: str = Field(examples=[USER_ID])
    outcome: str = Field(description="`ok`, or the code of the refusal.", examples=["ok"])
    address: str = Field(examples=["203.0.113.7"])
    request_id: str = Field(examples=["5f0c2d9e1b7a4c38"])
    detail: str | None = Field(examples=["alice@example.org"])
    session_id: UUID | None = Field(None, description="Session of the request, if any.", examples=[SESSION_ID])
    token_id: UUID | None = Field(None, description="Personal token of the request, if any.")


class AuditPage(BaseModel):
    """Rows of the audit trail, newest first."""

    entries: list[AuditOut]
    next: int | None = Field(None, description=NEXT)
