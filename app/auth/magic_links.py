"""Asking for links and mailing them.

Asking does the same for every address: count, write a row, hand it to a worker. Whether the address has an account,
may have one or is blocked is found out by the worker, so that neither the answer nor its timing tells.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.device_cookie import DeviceCookie, hash_of, is_trusted
from app.accounts.emails import normalise
from app.accounts.users import find_by_email
from app.auth.errors import ClaimLost
from app.auth.invitations import find_invitation, lets_anybody_in, may_confirm, may_sign_up
from app.auth.link_renewals import renew_link
from app.auth.one_time_codes import new_code, show_code
from app.core.i18n import LOCALES, Locale
from app.core.logging import bind_to_request
from app.core.outbox import JobName, enqueue
from app.mail.messages import Email, Message, invite, write_link
from app.models import DeliveryState, LinkPurpose, LinkRequest, LinkRequestState, MagicLink, User, UserState, utcnow
from app.resources import Resources
from app.security.errors import RateLimited
from app.security.tokens import new_token

log = structlog.get_logger(__name__)

# Until then nobody else tries; the worker that tries renews it.
LEASE = timedelta(seconds=30)
# How often a letter is transmitted at most while no answer says that it was not taken.
MAX_TRANSMISSIONS = 2
# How long a mail is tried. Each attempt's link has its whole life from then.
DELIVERY_LIFE = timedelta(hours=1)
MAX_DELAY = timedelta(seconds=60)
REQUEUE_BATCH = 1000


@dataclass(frozen=True, slots=True)
class EmailDelivery:
    """A claimed request and the letter to send for it. Holds a live token: never log it.

    Without a letter the mail server is only asked how it does, at the times at which a letter would be sent.
    `for_anybody` says that any address would get one here, so that its fate tells nothing about this one.
    """

    request_id: UUID
    attempt: int
    expires_at: datetime
    letter: Email | None
    for_anybody: bool = False


async def request_link(
    session: AsyncSession,
    resources: Resources,
    purpose: LinkPurpose,
    mailbox: str,
    locale: Locale,
    client: str,
    browser: DeviceCookie,
    destination: str | None = None,
) -> None:
    """Accept a wish for a link to an address. Raises `RateLimited`, `ClientRateLimited`, `Unavailable`.

    The sign-in leads to `destination`, an address as `return_to` makes it. Where the address has had enough mails, a
    worker makes their links good again, and `RateLimited` says so.
    """
    address = normalise(mailbox)
    known = is_trusted(resources.tokens, browser, address)
    request = _request(purpose, mailbox, locale, hash_of(resources.tokens, browser), destination)
    try:
        await resources.limits.count(address, client, known_browser=browser.token if known else None)
    except RateLimited:
        await _request_renewal(resources, request, known=known)
        raise
    session.add(request)
    await session.flush()
    bind_to_request(link_request=str(request.id))
    enqueue(session, JobName.SEND_LINK, request.id)


async def _request_renewal(resources: Resources, request: LinkRequest, *, known: bool) -> None:
    """Hand a request beyond the limit to a worker, in a transaction that the refusal does not take back.

    Within a minute of another one for the address it is only written down, for the browser that waits; one that is
    known, and so not counted by where it comes from, has asked before.
    """
    first = await resources.limits.may_renew(request.email)
    if known and not first:
        return
    request.renewal = True
    if not first:
        request.state, request.finished_at = LinkRequestState.DROPPED, request.created_at
    async with resources.unit_of_work() as session:
        session.add(request)
        await session.flush()
        if first:
            enqueue(session, JobName.SEND_LINK, request.id)


def _request(
    purpose: LinkPurpose, mailbox: str, locale: Locale, browser_hash: bytes, destination: str | None
) -> LinkRequest:
    now, address = utcnow(), normalise(mailbox)
    return LinkRequest(
        email=address,
        mailbox=mailbox if mailbox != address else None,
        purpose=purpose,
        locale=locale,
        run_at=now,
        created_at=now,
        expires_at=now + DELIVERY_LIFE,
        browser_hash=browser_hash,
        destination=destination,
    )


async def claim_link(session: AsyncSession, resources: Resources, request_id: UUID) -> EmailDelivery | None:
    """Claim a request and make what is to be sent; None where nothing is to be done: over, too late, or in other hands.

    The claim pushes `run_at` into the future: a second worker finds nothing to do, and should this one die, the
    reconciler brings the request back then. Each attempt has a token of its own, good for the whole life of a link.
    """
    now = utcnow()
    request = await session.scalar(
        update(LinkRequest)
        .where(
            LinkRequest.id == request_id,
            LinkRequest.state == LinkRequestState.QUEUED,
            LinkRequest.expires_at > now,
            # The first attempt looks at no clock: those of the API's machine and of this one may differ.
            or_(LinkRequest.attempts == 0, LinkRequest.run_at <= now),
        )
        .values(attempts=LinkRequest.attempts + 1, run_at=now + LEASE)
        .returning(LinkRequest)
    )
    if request is None:
        return None
    if request.transmissions >= MAX_TRANSMISSIONS:
        log.warning("mail_given_up", link_request=str(request.id), transmissions=request.transmissions)
        request.state, request.finished_at = LinkRequestState.FAILED, now
        if request.delivery is DeliveryState.DELAYED:
            request.delivery, request.delivery_at = DeliveryState.FAILED, now
        return None
    write = _write_invitation if request.purpose == LinkPurpose.INVITE else _write_link
    letter = await write(session, resources, request)
    if letter is None and request.purpose == LinkPurpose.INVITE:
        request.state, request.finished_at = LinkRequestState.DROPPED, now
        return None
    anybody = request.purpose == LinkPurpose.SIGNUP and lets_anybody_in(resources.settings, request.email)
    return EmailDelivery(request.id, request.attempts, request.expires_at, letter, for_anybody=anybody)


async def _write_link(session: AsyncSession, resources: Resources, request: LinkRequest) -> Email | None:
    """Make the link that was asked for; None where the address may have none."""
    if request.renewal and await renew_link(session, resources.settings, request.email):
        return None
    user = await find_by_email(session, request.email)
    if not await _may_have_link(session, resources, request, user):
        return None
    code = new_code()
    token = make_link(session, resources, user, request, code)
    return write_link(
        Message.SIGNUP if user is None or user.state == UserState.REGISTERED else Message.LOGIN,
        locale_of(request),
        # Never to another spelling of an account's address, which may be somebody else's mailbox.
        to=mailbox_of(user or request),
        public_url=resources.settings.public_url,
        token=token,
        code=show_code(code),
        life=timedelta(seconds=resources.settings.magic_link_seconds),
    )


async def _write_invitation(session: AsyncSession, resources: Resources, request: LinkRequest) -> Email | None:
    """Tell about an invitation; None where it was revoked meanwhile, or is over."""
    found = await find_invitation(session, request.email)
    if found is None:
        return None
    return invite(
        locale_of(request),
        to=mailbox_of(request),
        public_url=resources.settings.public_url,
        inviter=found.inviter,
        life=found.expires_at - utcnow(),
    )


def mailbox_of(owner: User | LinkRequest) -> str:
    """Where mail for an account goes, or for who asked where there is none."""
    return owner.mailbox or owner.email


def locale_of(request: LinkRequest) -> Locale:
    """The language that the request was made in."""
    return next((locale for locale in LOCALES if locale == request.locale), LOCALES[0])


def make_link(
    session: AsyncSession,
    resources: Resources,
    user: User | None,
    request: LinkRequest | None = None,
    code: str | None = None,
) -> str:
    """Make a link for an account, or for a request's address, which gets one when the link is used; returns its token.

    A code belongs to a request, whose browser may type it.
    """
    now, token = utcnow(), new_token()
    session.add(
        MagicLink(
            user_id=user.id if user else None,
            email=request.email if request and not user else None,
            mailbox=request.mailbox if request and not user else None,
            token_hash=resources.tokens.hash("link", token),
            request_id=request.id if request else None,
            browser_hash=request.browser_hash if request else None,
            code_hash=resources.tokens.hash("code", code) if code else None,
            created_at=now,
            expires_at=now + timedelta(seconds=resources.settings.magic_link_seconds),
        )
    )
    return token


async def _may_have_link(session: AsyncSession, resources: Resources, request: LinkRequest, user: User | None) -> bool:
    """Whether the account may be signed in to; where there is none, whether the address may sign up."""
    if user is not None:
        return user.blocked_at is None and await may_confirm(session, resources.settings, user)
    return request.purpose == LinkPurpose.SIGNUP and await may_sign_up(session, resources.settings, request.email)


async def mark_dropped(session: AsyncSession, delivery: EmailDelivery) -> None:
    """The address gets no mail, and the mail server would have taken one."""
    await _finish(session, delivery, LinkRequestState.DROPPED)


async def mark_sent(session: AsyncSession, delivery: EmailDelivery) -> None:
    """The mail server took the letter."""
    await _finish(session, delivery, LinkRequestState.SENT)


async def mark_refused(session: AsyncSession, delivery: EmailDelivery) -> None:
    """The mail server will never take the letter."""
    await _finish(session, delivery, LinkRequestState.FAILED)


async def begin_transmission(session: AsyncSession, delivery: EmailDelivery) -> None:
    """Note that the letter is about to be transmitted. Raises `ClaimLost`.

    A worker that dies before it hears the server's answer leaves the note: nobody knows whether that letter arrived,
    and so it counts as one that did.
    """
    begun = await session.scalar(
        update(LinkRequest)
        .where(*_is_held(delivery))
        .values(transmissions=LinkRequest.transmissions + 1, run_at=utcnow() + LEASE)
        .returning(LinkRequest.id)
    )
    if begun is None:
        raise ClaimLost


async def renew_claim(session: AsyncSession, delivery: EmailDelivery) -> None:
    """Keep others away for another lease, while the claim holds."""
    await session.execute(update(LinkRequest).where(*_is_held(delivery)).values(run_at=utcnow() + LEASE))


def _is_held(delivery: EmailDelivery) -> tuple[ColumnElement[bool], ...]:
    """Whether nobody has claimed the request since."""
    return (
        LinkRequest.id == delivery.request_id,
        LinkRequest.state == LinkRequestState.QUEUED,
        LinkRequest.attempts == delivery.attempt,
    )


async def reschedule(
    session: AsyncSession, delivery: EmailDelivery, *, transmitted: bool = False, delayed: bool = False
) -> None:
    """Try again after a while that doubles each time, up to a minute; give up where that would be too late.

    `transmitted` says that the server had the whole letter and told that it did not take it; `delayed` that the browser
    that asked may be told.
    """
    delay = min(timedelta(seconds=2 ** min(delivery.attempt - 1, 10)), MAX_DELAY)
    run_at = utcnow() + delay
    if run_at >= delivery.expires_at:
        await _finish(session, delivery, LinkRequestState.FAILED, delayed=delayed)
        return
    reschedule = await session.scalar(
        update(LinkRequest)
        .where(*_is_held(delivery))
        .values(
            run_at=run_at,
            transmissions=LinkRequest.transmissions - int(transmitted),
            **(_told(DeliveryState.DELAYED) if delayed else _resumed()),
        )
        .returning(LinkRequest.id)
    )
    if reschedule is not None:
        enqueue(session, JobName.SEND_LINK, reschedule, attempt=delivery.attempt, defer=delay)


async def _finish(
    session: AsyncSession, delivery: EmailDelivery, state: LinkRequestState, *, delayed: bool = False
) -> None:
    """Write the outcome, unless a later attempt has taken over."""
    await session.execute(
        update(LinkRequest)
        .where(*_is_held(delivery))
        .values(state=state, finished_at=utcnow(), **(_told(DeliveryState.FAILED) if delayed else _resumed()))
    )


def _told(state: DeliveryState) -> dict[str, Any]:
    return {"delivery": state, "delivery_at": utcnow()}


def _resumed(then: DeliveryState = DeliveryState.RESUMED) -> dict[str, Any]:
    """Whoever was told of a delay is told that it is over; nobody else is told anything."""
    was = LinkRequest.delivery == DeliveryState.DELAYED
    return {
        "delivery": case((was, then.value), else_=LinkRequest.delivery),
        "delivery_at": case((was, utcnow()), else_=LinkRequest.delivery_at),
    }


async def requeue_links(session: AsyncSession) -> int:
    """Hand waiting requests whose time has come to workers again, and give up those that are too late.

    For the reconciler; may be repeated. Returns how many were handed out.
    """
    now = utcnow()
    await session.execute(
        update(LinkRequest)
        .where(LinkRequest.state == LinkRequestState.QUEUED, LinkRequest.run_at <= now, LinkRequest.expires_at <= now)
        .values(state=LinkRequestState.FAILED, finished_at=now, **_resumed(DeliveryState.FAILED))
    )
    due = await session.execute(
        select(LinkRequest.id, LinkRequest.attempts)
        .where(LinkRequest.state == LinkRequestState.QUEUED, LinkRequest.run_at <= now)
        .order_by(LinkRequest.run_at)
        .limit(REQUEUE_BATCH)
    )
    rows = due.all()
    for request_id, attempts in rows:
        enqueue(session, JobName.SEND_LINK, request_id, attempt=attempts)
    return len(rows)
