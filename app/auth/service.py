"""Signing in and out: what a link is worth, and who calls.

A sign-in is a row in `sessions`. Access tokens name it, the pages' cookie is kept as its keyed hash, and every
request asks the row: ending it, or blocking the account, holds at the next request.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app import audit
from app.auth.tokens import InvalidToken, new_token
from app.errors import AppError, Unauthorized
from app.i18n import Text
from app.models import Bootstrap, Job, MagicLink, Session, User, UserState, utcnow
from app.resources import Resources
from app.settings import Settings
from app.workspaces import service as workspaces
from app.workspaces.errors import Refused


class InvalidLink(AppError):
    code = "invalid_link"
    status = 400
    title = Text("Link not valid", "Link ungültig")
    detail = Text(
        "This link is not valid: it was used already, has expired, or was cut short. Ask for a new one.",
        "Dieser Link ist ungültig: Er wurde schon benutzt, ist abgelaufen oder unvollständig. "
        "Bitte einen neuen anfordern.",
    )


class Blocked(AppError):
    code = "blocked"
    status = 403
    title = Text("Account blocked", "Konto gesperrt")
    detail = Text(
        "This account is blocked. Ask your operator.",
        "Dieses Konto ist gesperrt. Bitte an den Betreiber wenden.",
    )


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as the list of sessions shows it."""

    address: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the account as it stands now, and the session that the request showed."""

    user: User
    session_id: UUID


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in: two secrets for the client, and the launch that it began, if any. Never log it."""

    user: User
    access_token: str
    cookie: str
    container_id: str | None
    job: Job | None


def cookie_name(settings: Settings) -> str:
    """The pages' cookie; `__Host-` binds it to this very host, which browsers allow over TLS only."""
    return "__Host-spawner_session" if settings.secure_cookies else "spawner_session"


async def verify(session: AsyncSession, resources: Resources, token: str, client: Client) -> SignedIn:
    """Spend a link and sign its account in; the first one of all becomes admin. Makes sure the default workspace runs.

    Raises `InvalidLink`; and `Blocked`, which leaves the link unspent, as every error here does.
    """
    digest = resources.tokens.hash("link", token)
    user = await _spend(session, digest)
    if user.blocked_at is not None:
        raise Blocked
    if user.state == UserState.REGISTERED:
        user.state = UserState.VERIFIED
        if not user.is_admin and await _claim_bootstrap(session, user.id):
            user.is_admin = True
            audit.record(session, "user_promoted", "user", str(user.id), actor=audit.SYSTEM, detail="the first of all")
    user.last_used = utcnow()
    cookie = new_token()
    session_id = await _open_session(session, resources, user.id, cookie, client)
    container_id, job = await _start_default(session, resources, user)
    return SignedIn(
        user=user,
        access_token=resources.tokens.issue(user.id, session_id, is_admin=user.is_admin),
        cookie=cookie,
        container_id=container_id,
        job=job,
    )


async def _start_default(session: AsyncSession, resources: Resources, user: User) -> tuple[str | None, Job | None]:
    """Make sure that the default workspace runs. A limit that refuses it keeps nobody from signing in."""
    try:
        async with session.begin_nested():
            accepted = await workspaces.request(session, resources, user, resources.catalog.default.key, asked=False)
    except Refused:
        return None, None
    return accepted.workspace.container_id, accepted.job


async def _spend(session: AsyncSession, digest: bytes) -> User:
    """Spend the link and end its siblings; the account comes back locked until the transaction ends."""
    owner = select(MagicLink.user_id).where(MagicLink.token_hash == digest).scalar_subquery()
    # The account's lock comes first: of two siblings spent at once the second waits here, holding no link that the
    # first one wants to end.
    user: User | None = await session.scalar(select(User).where(User.id == owner).with_for_update(key_share=True))
    if user is None:
        raise InvalidLink
    now = utcnow()
    spent = await session.scalar(
        update(MagicLink)
        .where(MagicLink.token_hash == digest, MagicLink.spent_at.is_(None), MagicLink.expires_at > now)
        .values(spent_at=now)
        .returning(MagicLink.id)
    )
    if spent is None:
        raise InvalidLink
    await session.execute(
        update(MagicLink).where(MagicLink.user_id == user.id, MagicLink.spent_at.is_(None)).values(spent_at=now)
    )
    return user


async def _claim_bootstrap(session: AsyncSession, user_id: UUID) -> bool:
    """Whether this account is the first; racing transactions wait for each other at the one row."""
    row = insert(Bootstrap).values(id=1, user_id=user_id).on_conflict_do_nothing().returning(Bootstrap.id)
    return await session.scalar(row) is not None


async def _open_session(
    session: AsyncSession, resources: Resources, user_id: UUID, cookie: str, client: Client
) -> UUID:
    now = utcnow()
    row = Session(
        user_id=user_id,
        cookie_hash=resources.tokens.hash("session", cookie),
        user_agent=client.user_agent,
        address=client.address,
        created_at=now,
        expires_at=now + timedelta(seconds=resources.settings.session_seconds),
    )
    session.add(row)
    await session.flush()
    return row.id


async def logout(session: AsyncSession, caller: Caller) -> None:
    """End the caller's session: its access tokens, its cookie, the workspaces opened with it. May be repeated."""
    live = update(Session).where(Session.id == caller.session_id, Session.ended_at.is_(None))
    if await session.scalar(live.values(ended_at=utcnow()).returning(Session.id)) is not None:
        me = caller.user
        audit.record(session, "session_ended", "user", str(me.id), actor=me, detail=f"sign-out, {caller.session_id}")


async def caller_by_access_token(resources: Resources, token: str) -> Caller | None:
    """Who shows this access token; None unless it is ours, in time, and its session lives."""
    try:
        access = resources.tokens.read(token)
    except InvalidToken:
        return None
    return await _find_caller(resources, Session.id == access.session_id, Session.user_id == access.user_id)


async def caller_by_cookie(resources: Resources, cookie: str) -> Caller | None:
    """Who shows this cookie; None unless its session lives."""
    return await _find_caller(resources, Session.cookie_hash == resources.tokens.hash("session", cookie))


async def confirm(resources: Resources, caller: Caller) -> None:
    """Look again, in the middle of a long answer; raises `Unauthorized` once the session has ended or is blocked."""
    if await _find_caller(resources, Session.id == caller.session_id) is None:
        raise Unauthorized


async def _find_caller(resources: Resources, *criteria: ColumnElement[bool]) -> Caller | None:
    query = (
        select(User, Session.id)
        .join(Session, Session.user_id == User.id)
        .where(*criteria, Session.ended_at.is_(None), Session.expires_at > utcnow(), User.blocked_at.is_(None))
    )
    async with resources.reads() as session:
        row = (await session.execute(query)).one_or_none()
    return Caller(user=row[0], session_id=row[1]) if row else None
