"""Signing in: what a link is worth."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.callers import Client
from app.auth.sessions import PageSecrets, open_session
from app.errors import AppError
from app.i18n import Text
from app.models import Bootstrap, Job, MagicLink, User, UserState, utcnow
from app.resources import Resources
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
class SignedIn:
    """A sign-in: secrets for programs and for the pages, and the launch that it began, if any. Never log it."""

    user: User
    access_token: str
    pages: PageSecrets
    container_id: str | None
    job: Job | None


async def verify(session: AsyncSession, resources: Resources, token: str, client: Client) -> SignedIn:
    """Spend a link and sign its account in; the first one of all becomes admin. Makes sure the default workspace runs.

    Raises `InvalidLink`; and `Blocked`, which leaves the link unspent, as every error here does.
    """
    user = await _spend(session, resources.tokens.hashes("link", token))
    if user.blocked_at is not None:
        raise Blocked
    if user.state == UserState.REGISTERED:
        user.state = UserState.VERIFIED
        user.is_admin = user.is_admin or await _claim_bootstrap(session, user.id)
    user.last_used = utcnow()
    session_id, pages = await open_session(session, resources, user, client)
    container_id, job = await _start_default(session, resources, user)
    return SignedIn(
        user=user,
        access_token=resources.tokens.issue(user.id, session_id, is_admin=user.is_admin),
        pages=pages,
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


async def _spend(session: AsyncSession, digests: list[bytes]) -> User:
    """Spend the link and end its siblings; the account comes back locked until the transaction ends."""
    owner = select(MagicLink.user_id).where(MagicLink.token_hash.in_(digests)).scalar_subquery()
    # The account's lock comes first: of two siblings spent at once the second waits here, holding no link that the
    # first one wants to end.
    user: User | None = await session.scalar(select(User).where(User.id == owner).with_for_update(key_share=True))
    if user is None:
        raise InvalidLink
    now = utcnow()
    spent = await session.scalar(
        update(MagicLink)
        .where(MagicLink.token_hash.in_(digests), MagicLink.spent_at.is_(None), MagicLink.expires_at > now)
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
