"""Redeems links, and launches the default workspace after sign-in."""

from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, and_, case, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.device_cookie import DeviceCookie, hashes_of
from app.accounts.emails import masked
from app.accounts.principal import Client
from app.accounts.sessions import SessionTokens, open_session
from app.accounts.users import create_user
from app.audit.trail import SYSTEM, is_fresh, record
from app.auth.bootstrap import bootstrap_claim
from app.auth.errors import Blocked, InvalidLink
from app.auth.invitations import acceptance, may_confirm
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
    """A sign-in: secrets for programs and pages, and the launch that it started or joined. Never log it."""

    user: User
    access_token: str
    pages: SessionTokens
    container_id: str | None
    job: JobOut | None


@dataclass(frozen=True, slots=True)
class LinkPreview:
    """What a link's holder sees before confirming; a browser that did not request the link sees less."""

    recognised: bool
    address: str
    slug: str
    destination: str | None


async def verify(resources: Resources, token: str, client: Client, locale: Locale) -> SignInResult:
    """Redeem a link and sign in. Raises `InvalidLink` and `Blocked`; both leave the link valid."""
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
    """Redeem one link and sign its account in; the very first account becomes admin.

    Then ensures that the default workspace runs, in a separate transaction that cannot fail the sign-in. Raises
    `refusal` if the link is no longer valid or sign-up is no longer allowed, and `Blocked`. Every error leaves the link
    valid.
    """
    async with resources.unit_of_work() as session:
        user = await _spend(session, which, refusal)
        if user.blocked_at is not None:
            # Returns the connection first: holding one while waiting for another could deadlock the pool.
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
    """Record the denial in its own transaction, as the error rolls the caller's back. At most once a minute: the link
    can be retried.
    """
    async with resources.unit_of_work() as session:
        await session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
        if await is_fresh(session, "sign_in_refused", "user", str(user.id)):
            return
        record(session, "sign_in_refused", "user", str(user.id), actor=user, outcome=Blocked.code)


async def _welcome(session: AsyncSession, user: User) -> None:
    """Mark the address as confirmed and its invitation as used; the first account becomes admin. One statement."""
    confirmed = update(User).where(User.id == user.id).values(state=UserState.VERIFIED).returning(User)
    accepted = acceptance(user.email).cte("accepted")
    was_admin = user.is_admin
    if not was_admin:
        confirmed = confirmed.values(is_admin=exists(bootstrap_claim(user.id).cte("first").select()))
    await session.execute(confirmed.add_cte(accepted), execution_options={"populate_existing": True})
    if user.is_admin and not was_admin:
        record(session, "user_promoted", "user", str(user.id), actor=SYSTEM, detail="first to confirm an address")


async def preview_link(resources: Resources, token: str, browser: DeviceCookie) -> LinkPreview:
    """Return the link's purpose, and whether this browser requested it. Does not redeem. Raises `InvalidLink`."""
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
    """Ensure that the default workspace runs. Errors are logged and do not fail the sign-in."""
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
    """Redeem the link and end its siblings in one statement; returns the account, locked until the transaction ends.

    An address without an account gets one now, so that only confirmed addresses hold slugs. An error rolls the account
    back.
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
    # Informs the waiting browser's page; the stored destination is no longer needed.
    told = (
        update(LinkRequest)
        .where(LinkRequest.id == select(spent.subquery().c.request_id).scalar_subquery())
        .values(used_at=now, destination=None)
    )
    if (await session.execute(spent.add_cte(told.cte("told")))).one_or_none() is None:
        raise refusal
    return user


async def _lock_owner(session: AsyncSession, link: MagicLink) -> User | None:
    """Lock the link's account and record the use; None if it was deleted.

    Locks the account before its links: of two siblings redeemed concurrently, the second waits here without holding a
    link that the first must end. Without an account, the second waits for the first's insert.
    """
    now, mine = utcnow(), User.id == link.user_id
    if link.email is not None:
        if made := await create_user(session, link.email, link.mailbox, last_used=now):
            return made
        mine = User.email == link.email
    used = update(User).where(mine).values(last_used=now).returning(User)
    user: User | None = await session.scalar(used, execution_options={"populate_existing": True})
    return user
