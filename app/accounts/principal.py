"""The principal of a request. Every request reads its credential's row, so ended sessions, revoked tokens and blocked
accounts take effect at once.

One prepared statement finds the principal and the extra columns of a hot route.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    LargeBinary,
    Select,
    and_,
    any_,
    cast,
    func,
    null,
    or_,
    select,
    true,
    update,
)

from app.core.errors import Unauthorized
from app.core.reader import Columns, PreparedSelect, Row, given
from app.models import ApiToken, Session, User, utcnow
from app.resources import Resources
from app.security.errors import InvalidToken

# Secret scanners know our tokens by this.
TOKEN_PREFIX = "spawner_"  # noqa: S105 # nosec B105 # what they begin with
SEEN_EVERY = timedelta(minutes=1)
_UNSHOWN = or_(Session.shown_at.is_(None), Session.shown_at < Session.refreshed_at)


class Scope(enum.StrEnum):
    """What a personal token permits."""

    READ = "read"
    WORKSPACES = "workspaces"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request, as the list of sessions shows it."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Principal:
    """The account, and the credential of the request: a session or a personal token.

    `scopes` limit a token. `seen_at` is the last recorded use. `fresh`: this response sets the session's new cookies
    and must not be delayed. `pair_known`: the browser has sent the session's newest cookies before. `signed_in_at` is
    the start of the session. `user` is the row without an ORM session.
    """

    user: User
    session_id: UUID | None
    token_id: UUID | None = None
    scopes: frozenset[str] = frozenset()
    seen_at: datetime | None = None
    fresh: bool = False
    pair_known: bool = True
    signed_in_at: datetime | None = None


Instant = datetime | BindParameter[datetime]


def session_lives(now: Instant | None = None) -> ColumnElement[bool]:
    """Whether the query's `Session` has neither ended nor expired."""
    return and_(Session.ended_at.is_(None), Session.expires_at > (utcnow() if now is None else now))


def token_lives(now: Instant | None = None) -> ColumnElement[bool]:
    """Whether the query's `ApiToken` is neither revoked nor expired."""
    return and_(ApiToken.revoked_at.is_(None), ApiToken.expires_at > (utcnow() if now is None else now))


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential, verified as far as possible without the database: a statement and its values."""

    kind: str
    values: dict[str, Any]
    user_id: UUID | None = None


_USER = Columns(User)
_OWN = (Session.id, Session.seen_at, ~_UNSHOWN, Session.created_at, null())
_SESSIONS = (
    select(*_USER.columns, *_OWN)
    .join_from(User, Session, Session.user_id == User.id)
    .where(session_lives(given("now")), User.blocked_at.is_(None))
)
_TOKENS = (
    select(*_USER.columns, ApiToken.id, ApiToken.used_at, true(), null(), ApiToken.scopes)
    .join_from(User, ApiToken, ApiToken.user_id == User.id)
    .where(token_lives(given("now")), User.blocked_at.is_(None))
)
_HASHES = any_(cast(given("hashes"), ARRAY(LargeBinary)))
_WIDTH = len(_USER.columns) + len(_OWN)


class PrincipalSelect:
    """The statements that find a principal for each kind of credential, with a query's extra columns."""

    def __init__(self, *columns: Any, joined: Callable[[Select[*tuple[Any, ...]]], Any] = lambda query: query) -> None:
        sessions, tokens = (joined(query.add_columns(*columns)) for query in (_SESSIONS, _TOKENS))
        self.by = {
            "session": PreparedSelect(sessions.where(Session.id == given("id"))),
            "cookie": PreparedSelect(
                sessions.where(Session.cookie_hash == _HASHES, Session.refreshed_at > given("oldest"))
            ),
            "token": PreparedSelect(tokens.where(ApiToken.token_hash == _HASHES)),
            "token_id": PreparedSelect(tokens.where(ApiToken.id == given("id"))),
        }


PRINCIPAL = PrincipalSelect()


def read_bearer(resources: Resources, token: str) -> Credential | None:
    """Parse an access token or personal token; None if it is foreign or expired."""
    if token.startswith(TOKEN_PREFIX):
        return Credential("token", {"hashes": resources.tokens.hashes("token", token)})
    try:
        access = resources.tokens.read(token)
    except InvalidToken:
        return None
    return Credential("session", {"id": access.session_id}, access.user_id)


def read_cookie(resources: Resources, cookie: str) -> Credential:
    """Parse the pages' cookie.

    Sessions older than refresh tokens have no start time: their users sign in again.
    """
    oldest = utcnow() - timedelta(seconds=resources.settings.page_access_seconds)
    return Credential("cookie", {"hashes": resources.tokens.hashes("session", cookie), "oldest": oldest})


def credential_of(principal: Principal) -> Credential:
    """Return the credential of a principal."""
    if principal.token_id is not None:
        return Credential("token_id", {"id": principal.token_id})
    return Credential("session", {"id": principal.session_id})


async def find_principal(
    resources: Resources, credential: Credential, query: PrincipalSelect = PRINCIPAL, **values: Any
) -> tuple[Principal, list[Row]] | None:
    """Return the principal and the rows of the query's extra columns; None unless the session or token is live.

    The first request with new cookies records their receipt: reuse of the previous refresh token then counts as theft.
    """
    rows = await resources.reader.fetch(query.by[credential.kind], now=utcnow(), **credential.values, **values)
    if not rows:
        return None
    principal = _principal(rows[0], is_token=credential.kind.startswith("token"))
    if credential.user_id not in (None, principal.user.id):
        return None
    if credential.kind == "cookie" and not principal.pair_known:
        await _note_pair(resources, principal.session_id)
    return principal, [row[_WIDTH:] for row in rows]


def _principal(row: Row, *, is_token: bool) -> Principal:
    user = _USER.make(row[: len(_USER.columns)])
    own_id, seen_at, pair_known, signed_in_at, scopes = row[len(_USER.columns) : _WIDTH]
    if is_token:
        return Principal(user, None, token_id=own_id, scopes=frozenset(scopes), seen_at=seen_at)
    return Principal(user, own_id, seen_at=seen_at, pair_known=pair_known, signed_in_at=signed_in_at)


async def principal_by_bearer(resources: Resources, token: str) -> Principal | None:
    """Return the principal of an access token or personal token; None unless it is valid and live."""
    credential = read_bearer(resources, token)
    found = await find_principal(resources, credential) if credential else None
    return found[0] if found else None


async def principal_by_cookie(resources: Resources, cookie: str) -> Principal | None:
    """Return the principal of the pages' cookie; None unless it is valid and its session is live."""
    found = await find_principal(resources, read_cookie(resources, cookie))
    return found[0] if found else None


async def confirm(resources: Resources, caller: Principal) -> None:
    """Check again during a long response; raises `Unauthorized` once the credential is no longer valid."""
    if await find_principal(resources, credential_of(caller)) is None:
        raise Unauthorized


def is_touch_due(caller: Principal) -> bool:
    """Return whether the use of the session or token was not recorded within the last minute."""
    return caller.seen_at is None or caller.seen_at <= utcnow() - SEEN_EVERY


async def touch_last_seen(resources: Resources, caller: Principal) -> None:
    """Record the use of the session or token, at most once a minute. Safe to race and repeat."""
    if caller.token_id is not None:
        await touch_token(resources, caller.token_id, caller.seen_at)
        return
    if not is_touch_due(caller):
        return
    now = utcnow()
    before = now - SEEN_EVERY
    async with resources.unit_of_work() as session:
        stale = Session.seen_at <= before
        await session.execute(update(Session).where(Session.id == caller.session_id, stale).values(seen_at=now))


async def touch_token(resources: Resources, token_id: UUID, used_at: datetime | None) -> None:
    """Record the use of a personal token, last used at `used_at`, at most once a minute."""
    now = utcnow()
    before = now - SEEN_EVERY
    if used_at is not None and used_at > before:
        return
    async with resources.unit_of_work() as session:
        stale = or_(ApiToken.used_at.is_(None), ApiToken.used_at <= before)
        await session.execute(update(ApiToken).where(ApiToken.id == token_id, stale).values(used_at=now))


async def _note_pair(resources: Resources, session_id: UUID | None) -> None:
    """Record the receipt of new cookies, never before their creation: clocks of machines differ."""
    async with resources.unit_of_work() as session:
        await session.execute(
            update(Session)
            .where(Session.id == session_id, _UNSHOWN)
            .values(shown_at=func.greatest(utcnow(), Session.refreshed_at))
            .execution_options(synchronize_session=False)
        )
