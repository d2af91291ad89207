"""Request and response bodies of sessions and personal tokens."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from app.accounts.api_tokens import MAX_DAYS
from app.accounts.emails import normalise, read_mailbox
from app.accounts.errors import InvalidAddress
from app.accounts.principal import Scope
from app.accounts.user_agents import name_device
from app.core.i18n import Locale
from app.models import ApiToken, Session, utcnow

SESSION_ID = "5a1d2f60-6f0b-4a52-9d7e-8b5f4c1f7a10"
TOKEN_ID = "9c5e1b34-0d7a-4b6c-8f21-3e5d7a9b1c42"  # noqa: S105 # nosec B105 # an id


class SessionOut(BaseModel):
    """A live session."""

    id: UUID = Field(examples=[SESSION_ID])
    device: str = Field(
        examples=["Firefox on Linux"], description="Browser and system, from the `User-Agent` at sign-in."
    )
    address: str = Field(examples=["203.0.113.9"], description="Client address at sign-in.")
    created_at: datetime
    seen_at: datetime = Field(description="Last use, to the minute.")
    current: bool = Field(examples=[True], description="Whether this request belongs to it.")

    @classmethod
    def of(cls, row: Session, current: UUID | None, locale: Locale) -> Self:
        """Build the response from a row."""
        return cls(
            id=row.id,
            device=name_device(row.user_agent, locale),
            address=row.address,
            created_at=row.created_at,
            seen_at=row.seen_at,
            current=row.id == current,
        )


class SessionsOut(BaseModel):
    """The live sessions."""

    sessions: list[SessionOut]


def _name(value: str) -> str:
    name = " ".join(value.split())
    if not name:
        raise PydanticCustomError("string_too_short", "must not be empty")
    if not name.isprintable():
        raise PydanticCustomError("string_unicode", "must be printable")
    return name


TokenName = Annotated[str, Field(min_length=1, max_length=100, examples=["backup"]), AfterValidator(_name)]


class TokenIn(BaseModel):
    """A personal token to create. It expires after a number of days, or at a time."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "backup", "scopes": ["read"], "days": 30}]}, extra="ignore"
    )
    name: TokenName
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=3,
        description="`read` reads your data, `workspaces` also changes it and opens workspaces, `admin` permits "
        "`/api/admin` only.",
    )
    days: int | None = Field(None, ge=1, le=MAX_DAYS, description="Lifetime.")
    expires_at: AwareDatetime | None = Field(
        None, description=f"End of its lifetime, at most {MAX_DAYS} days ahead; instead of `days`."
    )

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.days is None) == (self.expires_at is None):
            raise PydanticCustomError("one_end", "either days or expires_at")
        if self.expires_at is not None and not (timedelta(0) < self.expires_at - utcnow() <= timedelta(days=MAX_DAYS)):
            raise PydanticCustomError("bad_end", "must lie ahead, at most a year")
        return self

    @property
    def end(self) -> datetime:
        """Return when the token expires."""
        return self.expires_at or utcnow() + timedelta(days=self.days or 0)


class ApiTokenOut(BaseModel):
    """A personal token, without its secret."""

    id: UUID = Field(examples=[TOKEN_ID])
    name: str = Field(examples=["backup"])
    scopes: list[Scope] = Field(examples=[["read"]])
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = Field(description="Last use, to the minute.")


class MadeTokenOut(ApiTokenOut):
    """A new personal token. Its secret is shown only once."""

    token: str = Field(
        examples=["spawner_q7Zb0c1xK0hYkq3V9dV8u4rJm2sPz6tW5nXeLfAgBhI"], description="Send it as `Bearer`."
    )


class ApiTokensOut(BaseModel):
    """The valid personal tokens."""

    tokens: list[ApiTokenOut]


def view_token(row: ApiToken) -> ApiTokenOut:
    """Build the response from a row."""
    return ApiTokenOut.model_validate(row, from_attributes=True)


def view_made_token(row: ApiToken, secret: str) -> MadeTokenOut:
    """Build the response of a new token, with its secret."""
    return MadeTokenOut(token=secret, **view_token(row).model_dump())


def _with(read: Callable[[str], str]) -> AfterValidator:
    def check(raw: str) -> str:
        try:
            return read(raw)
        except InvalidAddress:
            raise PydanticCustomError("invalid_email", "not a usable e-mail address") from None

    return AfterValidator(check)


Email = Annotated[
    str,
    _with(normalise),
    Field(description="Letter case and look-alike characters do not matter.", examples=["alice@example.org"]),
]


Mailbox = Annotated[
    str,
    _with(read_mailbox),
    Field(
        description="Letter case and look-alike characters do not distinguish accounts. "
        "The first mail goes to the address as written here, later ones to the confirmed address.",
        examples=["alice@example.org"],
    ),
]
