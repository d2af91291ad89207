"""Request and response bodies of sign-in."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.accounts.schemas import Mailbox
from app.models import User, UserState

# The only schema imported from another feature: the token body includes the launch that the sign-in started.
from app.workspaces.schemas import JobOut


class LinkIn(BaseModel):
    """The address that requests a link."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"email": "alice@example.org"}]})
    email: Mailbox


class VerifyIn(BaseModel):
    """The token of a link."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"token": "q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI"}]}  # nosec B105 # an example
    )
    token: str = Field(min_length=1, max_length=200, description="The part of the link after `#token=`.")


class CodeIn(BaseModel):
    """The code of a mail."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "7K2M-Q9XD"}]})
    code: str = Field(
        min_length=1, max_length=40, description="Case, spaces and hyphens are ignored; I and L are read as 1, O as 0."
    )


class NextOut(BaseModel):
    """The destination of a sign-in."""

    url: str = Field(examples=["/open/alice-hello?next=%2Flab#cell-3"], description="On this origin.")
    text: str = Field(
        examples=["Then it goes on to /lab in your workspace Hello."], description="A sentence for the user."
    )
    foreign: bool = Field(examples=[False], description="Whether this is another user's workspace.")


class LinkOut(BaseModel):
    """A link's purpose. Reading it does not redeem the link."""

    recognised: bool = Field(examples=[True], description="Whether it was requested in this browser.")
    address: str = Field(
        examples=["alice@example.org"], description="Of the account; masked (`a•••@example.org`) unless recognised."
    )
    next: NextOut | None = Field(default=None, description="Destination after sign-in; null: the home page.")


class MessageOut(BaseModel):
    """A sentence for the user, in their language."""

    message: str = Field(examples=["If this address can sign in here, a link is on its way. Look into your mailbox."])


class SignedInUser(BaseModel):
    """The account after sign-in."""

    id: UUID = Field(examples=["0f2a9a53-0c0e-4f6e-8a35-6b1d2c9b7e10"])
    email: str = Field(examples=["alice@example.org"])
    slug: str = Field(examples=["alice"], description="The account's part of its workspaces' addresses.")
    is_admin: bool = Field(examples=[False])
    state: UserState = Field(examples=[UserState.VERIFIED])
    container_id: str | None = Field(
        examples=["3f4e1c"], description="The default workspace's container, if it has one."
    )


class TokenOut(BaseModel):
    """The result of a sign-in."""

    access_token: str = Field(examples=["eyJhbGciOiJFUzI1NiIsImtpZCI6Ij…"], description="Send it as `Bearer`.")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - names the scheme, no secret
    expires_in: int = Field(examples=[3600], description="Lifetime of the access token, in seconds.")
    user: SignedInUser
    job: JobOut | None = Field(description="The default workspace's launch, started or already running.")


def view_user(user: User, container_id: str | None) -> SignedInUser:
    """Build the account of a token body."""
    return SignedInUser(
        id=user.id,
        email=user.email,
        slug=user.slug,
        is_admin=user.is_admin,
        state=user.state,
        container_id=container_id,
    )
