"""Accepts link requests and mails the links.

A request does the same for every address: count, insert a row, enqueue a job. The worker checks whether the address has
an account, may have one or is blocked, so neither response nor timing reveals it.
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

# Lease of a delivery attempt; the worker renews it.
LEASE = timedelta(seconds=30)
# Maximum transmissions of a mail while no response says that the server rejected it.
MAX_TRANSMISSIONS = 2
# How long delivery is retried. Each attempt's link lives its full lifetime.
DELIVERY_LIFE = timedelta(hours=1)
MAX_DELAY = timedelta(seconds=60)
REQUEUE_BATCH = 1000


@dataclass(frozen=True, slots=True)
class EmailDelivery:
    """A claimed request and its mail. Holds a live token: never log it.

    Without a mail, the server is only probed, at the times when a mail would be sent. `for_anybody` means that every
    address would get a mail here, so its outcome reveals nothing.
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
    """Accept a request for a link. Raises `RateLimited`, `ClientRateLimited`, `Unavailable`.

    The sign-in leads to `destination`, an address made by `return_to`. If the address has reached its mail limit, a
    worker renews its links and `RateLimited` says so.
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
    """Enqueue a renewal in its own transaction, which the error does not roll back.

    Within a minute of another renewal, the request is only recorded for the waiting browser. `known` browsers are not
    counted by client.
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
    """Claim a request and create its mail; None if it has ended, expired or is claimed elsewhere.

    The claim moves `run_at` into the future. Other workers then skip it; if this worker dies, the reconciler requeues
    it at that time. Each attempt has its own token with a full lifetime.
    """
    now = utcnow()
    request = await session.scalar(
        update(LinkRequest)
        .where(
            LinkRequest.id == request_id,
            LinkRequest.state == LinkRequestState.QUEUED,
            LinkRequest.expires_at > now,
            # The first attempt ignores the clock: the API's machine may be ahead.
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
    """Create the requested link and its mail; None if the address may have none."""
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
        # Never another spelling of an account's address: that may be someone else's mailbox.
        to=mailbox_of(user or request),
        public_url=resources.settings.public_url,
        token=token,
        code=show_code(code),
        life=timedelta(seconds=resources.settings.magic_link_seconds),
    )


async def _write_invitation(session: AsyncSession, resources: Resources, request: LinkRequest) -> Email | None:
    """Create an invitation's mail; None if it was revoked or has expired."""
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
    """Return the mailbox of an account, or of a request without one."""
    return owner.mailbox or owner.email


def locale_of(request: LinkRequest) -> Locale:
    """Return the request's language."""
    return next((locale for locale in LOCALES if locale == request.locale), LOCALES[0])


def make_link(
    session: AsyncSession,
    resources: Resources,
    user: User | None,
    request: LinkRequest | None = None,
    code: str | None = None,
) -> str:
    """Create a link for an account, or for an address that gets one on use; returns its token.

    A code requires a request, whose browser may enter it.
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
    """Return whether the account may sign in; without one, whether the address may sign up."""
    if user is not None:
        return user.blocked_at is None and await may_confirm(session, resources.settings, user)
    return request.purpose == LinkPurpose.SIGNUP and await may_sign_up(session, resources.settings, request.email)


async def mark_dropped(session: AsyncSession, delivery: EmailDelivery) -> None:
    """The address gets no mail, and the mail server would have accepted one."""
    await _finish(session, delivery, LinkRequestState.DROPPED)


async def mark_sent(session: AsyncSession, delivery: EmailDelivery) -> None:
    """The mail server accepted the mail."""
    await _finish(session, delivery, LinkRequestState.SENT)


async def mark_refused(session: AsyncSession, delivery: EmailDelivery) -> None:
    """The mail server rejected the mail permanently."""
    await _finish(session, delivery, LinkRequestState.FAILED)


async def begin_transmission(session: AsyncSession, delivery: EmailDelivery) -> None:
    """Record that transmission starts. Raises `ClaimLost`.

    A worker that dies before the server's response leaves this record: the mail may have arrived, so it counts as
    transmitted.
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
    """Extend the lease while the claim holds."""
    await session.execute(update(LinkRequest).where(*_is_held(delivery)).values(run_at=utcnow() + LEASE))


def _is_held(delivery: EmailDelivery) -> tuple[ColumnElement[bool], ...]:
    """Whether the request is still claimed by this delivery."""
    return (
        LinkRequest.id == delivery.request_id,
        LinkRequest.state == LinkRequestState.QUEUED,
        LinkRequest.attempts == delivery.attempt,
    )


async def reschedule(
    session: AsyncSession, delivery: EmailDelivery, *, transmitted: bool = False, delayed: bool = False
) -> None:
    """Retry after a delay that doubles up to a minute; give up if that is too late.

    `transmitted`: the server received the whole mail and rejected it temporarily. `delayed`: the waiting browser may be
    told.
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
    """Record the outcome, unless a later attempt has claimed the request."""
    await session.execute(
        update(LinkRequest)
        .where(*_is_held(delivery))
        .values(state=state, finished_at=utcnow(), **(_told(DeliveryState.FAILED) if delayed else _resumed()))
    )


def _told(state: DeliveryState) -> dict[str, Any]:
    return {"delivery": state, "delivery_at": utcnow()}


def _resumed(then: DeliveryState = DeliveryState.RESUMED) -> dict[str, Any]:
    """Build the delivery state after a delay: browsers that saw the delay learn that it is over; others see nothing."""
    was = LinkRequest.delivery == DeliveryState.DELAYED
    return {
        "delivery": case((was, then.value), else_=LinkRequest.delivery),
        "delivery_at": case((was, utcnow()), else_=LinkRequest.delivery_at),
    }


async def requeue_links(session: AsyncSession) -> int:
    """Requeue due requests and give up expired ones.

    Called by the reconciler; idempotent. Returns the number requeued.
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
