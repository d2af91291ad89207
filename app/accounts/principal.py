"""Who calls. Every request asks the row of what it shows: ending a session, revoking a token or blocking an account
holds at the next request.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from app.core.errors import Unauthorized
from app.models import ApiToken, Session, User, utcnow
from app.resources import Resources
from app.security.errors import InvalidToken

# Secret scanners know our tokens by this.
TOKEN_PREFIX = "spawner_"  # noqa: S105 # nosec B105 # what they begin with
SEEN_EVERY = timedelta(minutes=1)
_UNSHOWN = or_(Session.shown_at.is_(None), Session.shown_at < Session.refreshed_at)


class Scope(enum.StrEnum):
    """What a personal token may be good for."""

    READ = "read"
    WORKSPACES = "workspaces"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as the list of sessions shows it."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the account as it stands now, and what the request showed for it.

    That is a session, or a personal token of the account, which is good for its `scopes` alone. `seen_at` is when it
    was last noted. `fresh` says that this very answer carries the session's new cookies: it must not be put off.
    `pair_known` says that the session's newest cookies have been shown before; `signed_in_at` is when it began.
    """

    user: User
    session_id: UUID | None
    token_id: UUID | None = None
    scopes: frozenset[str] = frozenset()
    seen_at: datetime | None = None
    fresh: bool = False
    pair_known: bool = True
    signed_in_at: datetime | None = None


def session_lives() -> ColumnElement[bool]:
    """Whether the query's `Session` has neither been ended nor expired."""
    return and_(Session.ended_at.is_(None), Session.expires_at > utcnow())


def token_lives() -> ColumnElement[bool]:
    """Whether the query's `ApiToken` has neither been revoked nor expired."""
    return and_(ApiToken.revoked_at.is_(None), ApiToken.expires_at > utcnow())


async def principal_by_bearer(resources: Resources, token: str) -> Principal | None:
    """Who shows this access token or personal token; None unless it is ours and in time, and what it names lives."""
    if token.startswith(TOKEN_PREFIX):
        return await _find_token(resources, ApiToken.token_hash.in_(resources.tokens.hashes("token", token)))
    try:
        access = resources.tokens.read(token)
    except InvalidToken:
        return None
    return await _find_session(resources, Session.id == access.session_id, Session.user_id == access.user_id)


async def principal_by_cookie(resources: Resources, cookie: str) -> Principal | None:
    """Who shows this cookie; None unless it is in time and its session lives.

    The first request with a new cookie writes down that its browser has it: from then on the refresh token before it is
    in two hands if it comes back.

    Sessions from before there were refresh tokens have no time from which theirs counts: they sign in again.
    """
    oldest = utcnow() - timedelta(seconds=resources.settings.page_access_seconds)
    known = Session.cookie_hash.in_(resources.tokens.hashes("session", cookie))
    caller = await _find_session(resources, known, Session.refreshed_at > oldest)
    if caller is not None and not caller.pair_known:
        await _note_pair(resources, known)
    return caller


async def confirm(resources: Resources, caller: Principal) -> None:
    """Look again, in the middle of a long answer; raises `Unauthorized` once the caller would not get in any more."""
    if caller.token_id is not None:
        found = await _find_token(resources, ApiToken.id == caller.token_id)
    else:
        found = await _find_session(resources, Session.id == caller.session_id)
    if found is None:
        raise Unauthorized


async def touch_last_seen(resources: Resources, caller: Principal) -> None:
    """Write down that the session or token was used, at most once a minute. May race and be repeated."""
    if caller.token_id is not None:
        await touch_token(resources, caller.token_id, caller.seen_at)
        return
    now = utcnow()
    before = now - SEEN_EVERY
    if caller.seen_at is not None and caller.seen_at > before:
        return
    async with resources.unit_of_work() as session:
        stale = Session.seen_at <= before
        await session.execute(update(Session).where(Session.id == caller.session_id, stale).values(seen_at=now))


async def touch_token(resources: Resources, token_id: UUID, used_at: datetime | None) -> None:
    """The same for a personal token that was last used at `used_at`."""
    now = utcnow()
    before = now - SEEN_EVERY
    if used_at is not None and used_at > before:
        return
    async with resources.unit_of_work() as session:
        stale = or_(ApiToken.used_at.is_(None), ApiToken.used_at <= before)
        await session.execute(update(ApiToken).where(ApiToken.id == token_id, stale).values(used_at=now))


async def _note_pair(resources: Resources, which: ColumnElement[bool]) -> None:
    """The clocks of several machines may differ: the time is never one before the pair was made."""
    async with resources.unit_of_work() as session:
        await session.execute(
            update(Session)
            .where(which, _UNSHOWN)
            .values(shown_at=func.greatest(utcnow(), Session.refreshed_at))
            .execution_options(synchronize_session=False)
        )


async def _find_session(resources: Resources, *criteria: ColumnElement[bool]) -> Principal | None:
    query = (
        select(User, Session.id, Session.seen_at, _UNSHOWN, Session.created_at)
        .join(Session, Session.user_id == User.id)
        .where(*criteria, session_lives(), User.blocked_at.is_(None))
    )
    async with resources.reads() as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    user, session_id, seen_at, unshown, began = row
    return Principal(user, session_id, seen_at=seen_at, pair_known=not unshown, signed_in_at=began)


async def _find_token(resources: Resources, *criteria: ColumnElement[bool]) -> Principal | None:
    query = (
        select(User, ApiToken.id, ApiToken.scopes, ApiToken.used_at)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(*criteria, token_lives(), User.blocked_at.is_(None))
    )
    async with resources.reads() as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    return Principal(user=row[0], session_id=None, token_id=row[1], scopes=frozenset(row[2]), seen_at=row[3])
