"""Sessions: created by sign-in, renewed by the pages' refresh token, listed and ended by their owner.

Pages hold two secrets. The access secret authenticates for PAGE_ACCESS_SECONDS. The refresh token names its session and
is exchanged for the next pair. A keyed hash derives the next pair, so every process returns the same pair: to tabs that
refresh concurrently, and to a browser that lost the response. A refresh token is valid until its successor was used;
later use counts as theft.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.principal import Client, Principal, session_lives
from app.audit import trail
from app.core.errors import NotFound
from app.models import Session, User, utcnow
from app.resources import Resources
from app.security.tokens import Tokens, new_token

# Grace for requests in flight: a token stays valid this long after its successor was first used. Also the minimum age
# for rotating a token.
GRACE = timedelta(seconds=10)
# An access secret and its refresh token.
Pair = tuple[str, str]
_REFRESH = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})\.[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """Values of the pages' cookies, and the session's remaining life. Never log it."""

    access: str
    refresh: str
    expires_at: datetime


async def open_session(
    session: AsyncSession, resources: Resources, user: User, client: Client
) -> tuple[UUID, SessionTokens]:
    """Create a session for an account."""
    tokens, now, session_id = resources.tokens, utcnow(), uuid4()
    refresh = f"{session_id.hex}.{tokens.derive('family', session_id.hex)[0]}.{new_token()}"
    expires_at = now + timedelta(seconds=resources.settings.session_seconds)
    secrets = SessionTokens(tokens.derive("access", refresh)[0], refresh, expires_at)
    row = Session(
        id=session_id,
        user_id=user.id,
        cookie_hash=tokens.hash("session", secrets.access),
        refresh_hash=tokens.hash("refresh", refresh),
        refreshed_at=now,
        seen_at=now,
        user_agent=client.user_agent,
        address=client.address,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    await session.flush()
    return session_id, secrets


async def refresh(resources: Resources, token: str) -> tuple[Principal, SessionTokens] | None:
    """Exchange a refresh token for the next pair; None unless its session is live. Idempotent.

    A token always returns the same pair, until ten seconds after a secret of that pair was used. Later use counts
    as theft, and the session ends.
    """
    session_id = _session_of(resources.tokens, token)
    if session_id is None:
        return None
    now = utcnow()
    async with resources.unit_of_work() as session:
        pair = await _rotate(session, resources.tokens, session_id, token, now)
        row = (await session.execute(_live(Session.id == session_id).with_for_update(of=Session))).one_or_none()
        if row is None:
            return None
        found, user = row
        pair = pair or _repeat(resources.tokens, found, token, now)
        if pair is None:
            await _end_reused(session, found, user)
            return None
    caller = Principal(user, found.id, seen_at=found.seen_at, fresh=True, signed_in_at=found.created_at)
    return caller, SessionTokens(*pair, found.expires_at)


async def _rotate(session: AsyncSession, tokens: Tokens, session_id: UUID, token: str, now: datetime) -> Pair | None:
    """Rotate the current token; None if it is not the current one or too new."""
    access, following = next(_successors(tokens, token))
    spent = await session.scalar(
        update(Session)
        .where(
            Session.id == session_id,
            Session.refresh_hash.in_(tokens.hashes("refresh", token)),
            Session.refreshed_at <= now - GRACE,
            Session.ended_at.is_(None),
            Session.expires_at > now,
            Session.user_id == User.id,
            User.blocked_at.is_(None),
        )
        .values(
            cookie_hash=tokens.hash("session", access),
            spent_refresh_hash=Session.refresh_hash,
            refresh_hash=tokens.hash("refresh", following),
            refreshed_at=now,
            shown_at=None,
            seen_at=now,
        )
        .returning(Session.id)
        .execution_options(synchronize_session=False)
    )
    return (access, following) if spent is not None else None


def _repeat(tokens: Tokens, row: Session, token: str, now: datetime) -> Pair | None:
    """Return the session's current pair for its own token, or for the previous one within its grace.

    The row is locked.
    """
    if row.refreshed_at is None:
        return None
    token_hashes = tokens.hashes("refresh", token)
    pairs: list[Pair] = []
    if row.refresh_hash in token_hashes:
        pairs = [(access, token) for access in tokens.derive("access", token)]
        row.shown_at = _shown_at(row) or now
    elif row.spent_refresh_hash in token_hashes:
        shown_at = _shown_at(row)
        if shown_at is not None and shown_at <= now - GRACE:
            return None
        if shown_at is None:
            # The response with the pair was lost: its access secret's life starts again.
            row.refreshed_at = row.seen_at = now
        pairs = list(_successors(tokens, token))
    for access, refresh in pairs:
        current = row.refresh_hash in tokens.hashes("refresh", refresh)
        if current and row.cookie_hash in tokens.hashes("session", access):
            return access, refresh
    return None


def _shown_at(row: Session) -> datetime | None:
    """Return when the newest pair was first used; ignores times before the pair was created."""
    if row.shown_at is None or row.refreshed_at is None or row.shown_at < row.refreshed_at:
        return None
    return row.shown_at


def _successors(tokens: Tokens, token: str) -> Iterator[Pair]:
    """Yield the successors of a token: under the newest key first, then those of processes with older keys."""
    name = token.partition(".")[0]
    for family, secret in product(tokens.derive("family", name), tokens.derive("successor", token)):
        following = f"{name}.{family}.{secret}"
        for access in tokens.derive("access", following):
            yield access, following


def _session_of(tokens: Tokens, token: str) -> UUID | None:
    """Return the session that the token names. Tokens are authenticated, so sessions cannot be guessed."""
    parts = _REFRESH.fullmatch(token)
    if parts is None or parts[2] not in tokens.derive("family", parts[1]):
        return None
    return UUID(parts[1])


async def _end_reused(session: AsyncSession, found: Session, user: User) -> None:
    """End a session whose token was reused, even during a concurrent renewal."""
    if await end_sessions(session, user.id, Session.id == found.id):
        trail.record(session, "refresh_reused", "session", str(found.id), actor=user, outcome="unauthorized")


def _live(*criteria: ColumnElement[bool]) -> Select[Session, User]:
    return (
        select(Session, User)
        .join(User, User.id == Session.user_id)
        .where(*criteria, session_lives(), User.blocked_at.is_(None))
    )


async def list_sessions(session: AsyncSession, user: User) -> Sequence[Session]:
    """Return the account's live sessions, last used first."""
    query = _live(User.id == user.id).with_only_columns(Session).order_by(Session.seen_at.desc(), Session.id)
    return (await session.scalars(query)).all()


async def end_session(session: AsyncSession, user: User, session_id: UUID) -> None:
    """End one of the account's sessions with everything opened in it. Raises `NotFound`."""
    if not await _end(session, user, Session.id == session_id):
        raise NotFound


async def end_others(session: AsyncSession, caller: Principal) -> int:
    """End all of the account's other sessions; returns their number. Idempotent."""
    return await _end(session, caller.user, Session.id != caller.session_id)


async def logout(session: AsyncSession, caller: Principal) -> None:
    """End the caller's session: access tokens, cookies and open workspaces. Idempotent."""
    await _end(session, caller.user, Session.id == caller.session_id)


async def _end(session: AsyncSession, user: User, which: ColumnElement[bool]) -> int:
    ended = await end_sessions(session, user.id, which)
    for session_id in ended:
        trail.record(session, "session_ended", "session", str(session_id), actor=user)
    return len(ended)


async def end_sessions(session: AsyncSession, user_id: UUID, *which: ColumnElement[bool]) -> Sequence[UUID]:
    """End the account's sessions that meet the criteria; returns the ids of those that were live.

    The caller records the act in the audit trail.
    """
    now = utcnow()
    ended = await session.scalars(
        update(Session)
        .where(Session.user_id == user_id, *which, Session.ended_at.is_(None), Session.expires_at > now)
        .values(ended_at=now)
        .returning(Session.id)
        .execution_options(synchronize_session=False)
    )
    return ended.all()
