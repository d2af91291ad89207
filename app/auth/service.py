"""Signing in: what a link is worth, and the launch that follows a sign-in."""

from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.device_cookie import DeviceCookie, hashes_of
from app.accounts.emails import masked
from app.accounts.principal import Client
from app.accounts.sessions import SessionTokens, open_session
from app.accounts.users import find_or_create
from app.audit.trail import SYSTEM, is_fresh, record
from app.auth.bootstrap import claim_bootstrap
from app.auth.errors import Blocked, InvalidLink
from app.auth.invitations import accept_invitation, may_confirm
from app.core.errors import AppError
from app.core.i18n import Locale
from app.core.logging import cause
from app.models import LinkRequest, MagicLink, User, UserState, utcnow
from app.resources import Resources
from app.workspaces import service as workspaces
from app.workspaces import views
from app.workspaces.schemas import JobOut

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignInResult:
    """A sign-in: secrets for programs and for the pages, and the launch that it began or joined. Never log it."""

    user: User
    access_token: str
    pages: SessionTokens
    container_id: str | None
    job: JobOut | None


@dataclass(frozen=True, slots=True)
class LinkPreview:
    """What somebody who holds a link is told before they use it; another browser than the one that asked, less."""

    recognised: bool
    address: str
    slug: str
    destination: str | None


async def verify(resources: Resources, token: str, client: Client, locale: Locale) -> SignInResult:
    """Spend a link and sign its account in. Raises `InvalidLink`, and `Blocked`; both leave the link as it was."""
    which = MagicLink.token_hash.in_(resources.tokens.hashes("link", token))
    return await complete_sign_in(resources, which, client, locale, refusal=InvalidLink, by="link")


async def complete_sign_in(
    resources: Resources,
    which: ColumnElement[bool],
    client: Client,
    locale: Locale,
    *,
    refusal: type[AppError],
    by: str,
) -> SignInResult:
    """Spend one link and sign its account in; the first one of all becomes admin.

    Then makes sure that the default workspace runs, in a transaction of its own: the sign-in holds whatever comes of
    that. Raises `refusal` where the link is not good any more, or signing up is not allowed any more; and `Blocked`.
    Every error leaves the link unspent.
    """
    async with resources.unit_of_work() as session:
        user = await _spend(session, which, refusal)
        if user.blocked_at is not None:
            # The connection goes back first: refusals that hold one while they wait for another could starve each
            # other.
            session.expunge(user)
            await session.rollback()
            await _note_refusal(resources, user)
            raise Blocked
        if not await may_confirm(session, resources.settings, user, held=True):
            raise refusal
        if user.state == UserState.REGISTERED:
            await _welcome(session, user)
        record(session, "signed_in", "user", str(user.id), actor=user, detail=by)
        session_id, pages = await open_session(session, resources, user, client)
    container_id, job = await _start_default(resources, user, locale)
    return SignInResult(
        user=user,
        access_token=resources.tokens.issue(user.id, session_id, is_admin=user.is_admin),
        pages=pages,
        container_id=container_id,
        job=job,
    )


async def _note_refusal(resources: Resources, user: User) -> None:
    """In a transaction of its own: the error takes the caller's back. Once a minute: the link stays good for more."""
    async with resources.unit_of_work() as session:
        await session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
        if await is_fresh(session, "sign_in_refused", "user", str(user.id)):
            return
        record(session, "sign_in_refused", "user", str(user.id), actor=user, outcome=Blocked.code)


async def _welcome(session: AsyncSession, user: User) -> None:
    """The address is confirmed."""
    await accept_invitation(session, user.email)
    first = not user.is_admin and await claim_bootstrap(session, user.id)
    user.state = UserState.VERIFIED
    if first:
        user.is_admin = True
        record(session, "user_promoted", "user", str(user.id), actor=SYSTEM, detail="first to confirm an address")


async def preview_link(resources: Resources, token: str, browser: DeviceCookie) -> LinkPreview:
    """What a link is for, and whether this browser asked for it. Spends nothing. Raises `InvalidLink`."""
    query = (
        select(
            func.coalesce(User.email, MagicLink.email),
            func.coalesce(User.slug, ""),
            MagicLink.browser_hash,
            LinkRequest.destination,
        )
        .select_from(MagicLink)
        .outerjoin(User, User.id == MagicLink.user_id)
        .outerjoin(LinkRequest, LinkRequest.id == MagicLink.request_id)
        .where(
            MagicLink.token_hash.in_(resources.tokens.hashes("link", token)),
            MagicLink.spent_at.is_(None),
            MagicLink.expires_at > utcnow(),
        )
    )
    async with resources.reads() as session:
        found = (await session.execute(query)).one_or_none()
    if found is None:
        raise InvalidLink
    address, slug, asked_by, destination = found
    recognised = asked_by in hashes_of(resources.tokens, browser)
    return LinkPreview(recognised, address if recognised else masked(address), slug, destination)


async def _start_default(resources: Resources, user: User, locale: Locale) -> tuple[str | None, JobOut | None]:
    """Make sure that the default workspace runs. Whatever is in its way is logged, and keeps nobody from signing in."""
    try:
        async with resources.unit_of_work() as session:
            template = resources.catalog.default.key
            accepted = await workspaces.request(session, resources, user, template, asked=False)
            job = await views.view_accepted(session, resources, accepted, locale)
    except Exception as error:
        log.warning("default_not_launched", user_id=str(user.id), **cause(error))
        return None, None
    return accepted.workspace.container_id, job


async def _spend(session: AsyncSession, which: ColumnElement[bool], refusal: type[AppError]) -> User:
    """Spend the link and end its siblings in one statement; the account comes back locked until the transaction ends.

    An address without an account gets one now, and with it a slug: whoever has not shown that mail reaches them holds
    no name. An error takes the account back.
    """
    now = utcnow()
    good = and_(which, MagicLink.spent_at.is_(None), MagicLink.expires_at > now)
    link = await session.scalar(select(MagicLink).where(good))
    if link is None:
        raise refusal
    user = await _lock_owner(session, link)
    if user is None:
        raise refusal
    ended = (
        update(MagicLink)
        .where((MagicLink.user_id == user.id) | (MagicLink.email == user.email), MagicLink.spent_at.is_(None))
        .values(spent_at=now, user_id=case((MagicLink.id == link.id, user.id), else_=MagicLink.user_id))
        .returning(MagicLink.id, MagicLink.request_id)
        .cte("ended")
    )
    spent = select(ended).where(ended.c.id == link.id)
    # The page that waits in the browser that asked is told; what was kept for this sign-in is not needed any more.
    told = (
        update(LinkRequest)
        .where(LinkRequest.id == select(spent.subquery().c.request_id).scalar_subquery())
        .values(used_at=now, destination=None)
    )
    if (await session.execute(spent.add_cte(told.cte("told")))).one_or_none() is None:
        raise refusal
    return user


async def _lock_owner(session: AsyncSession, link: MagicLink) -> User | None:
    """The link's account, locked, and its use noted; None where it is gone.

    Its lock comes before its links': of two siblings spent at once the second waits here, holding no link that the
    first one wants to end. Where there is no account yet, the second waits for the row that the first inserts.
    """
    if link.email is not None:
        await find_or_create(session, link.email, link.mailbox)
    mine = User.id == link.user_id if link.email is None else User.email == link.email
    used = update(User).where(mine).values(last_used=utcnow()).returning(User)
    user: User | None = await session.scalar(used, execution_options={"populate_existing": True})
    return user
