"""Asking for links and mailing them.

Asking does the same for every address: count, write a row, hand it to a worker. Whether the address has an account,
may have one or is blocked is found out by the worker, so that neither the answer nor its timing tells.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.addresses import InvalidAddress, domain_of, normalise
from app.auth.tokens import new_token
from app.i18n import Locale
from app.jobs import JobName, enqueue
from app.mail.messages import Letter, Message, compose
from app.models import LinkPurpose, LinkRequest, LinkRequestState, MagicLink, User, UserState, utcnow
from app.resources import Resources
from app.settings import Settings
from app.users.accounts import find_by_email, find_or_create

# Longer than an attempt to send can take: until then nobody else tries.
LEASE = timedelta(seconds=30)
LONGEST_DELAY = timedelta(seconds=60)
REQUEUE_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed request and the letter to send for it. Holds a live token: never log it."""

    request_id: UUID
    attempt: int
    expires_at: datetime
    letter: Letter


async def request_link(
    session: AsyncSession, resources: Resources, purpose: LinkPurpose, address: str, locale: Locale, client: str
) -> None:
    """Accept a wish for a link to a normalised address. Raises `RateLimited`, `Unavailable`."""
    await resources.limits.count(address, client)
    now = utcnow()
    request = LinkRequest(
        email=address,
        purpose=purpose,
        locale=locale,
        run_at=now,
        created_at=now,
        expires_at=now + timedelta(seconds=resources.settings.magic_link_seconds),
    )
    session.add(request)
    await session.flush()
    enqueue(session, JobName.SEND_LINK, request.id)


async def claim_link(session: AsyncSession, resources: Resources, request_id: UUID) -> Delivery | None:
    """Claim a request and make what is to be sent; None where nothing is: done, dropped, too late, or in other hands.

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
    user = await _account_for(session, resources.settings, request)
    if user is None or user.blocked_at is not None:
        request.state, request.finished_at = LinkRequestState.DROPPED, now
        return None
    token = new_token()
    life = timedelta(seconds=resources.settings.magic_link_seconds)
    session.add(
        MagicLink(
            user_id=user.id, token_hash=resources.tokens.hash("link", token), created_at=now, expires_at=now + life
        )
    )
    letter = compose(
        Message.SIGNUP if user.state == UserState.REGISTERED else Message.LOGIN,
        "de" if request.locale == "de" else "en",
        to=user.email,
        public_url=resources.settings.public_url,
        token=token,
        life=life,
    )
    return Delivery(request.id, request.attempts, request.expires_at, letter)


async def _account_for(session: AsyncSession, settings: Settings, request: LinkRequest) -> User | None:
    if request.purpose == LinkPurpose.SIGNUP and _may_sign_up(settings, request.email):
        return await find_or_create(session, request.email)
    return await find_by_email(session, request.email)


def _may_sign_up(settings: Settings, address: str) -> bool:
    match settings.signup:
        case "open":
            return True
        case "closed":
            return False
        case "domains":
            return domain_of(address) in {_canonical_domain(domain) for domain in settings.signup_domains}


def _canonical_domain(domain: str) -> str:
    """A domain as an operator writes it, in the form that addresses have."""
    try:
        return domain_of(normalise(f"postmaster@{domain.removeprefix('@')}"))
    except InvalidAddress:
        return domain


async def mark_sent(session: AsyncSession, delivery: Delivery) -> None:
    """The mail server took the letter."""
    await _settle(session, delivery, LinkRequestState.SENT)


async def mark_refused(session: AsyncSession, delivery: Delivery) -> None:
    """The mail server will never take the letter."""
    await _settle(session, delivery, LinkRequestState.FAILED)


async def put_off(session: AsyncSession, delivery: Delivery) -> None:
    """Try again after a while that doubles each time, up to a minute; give up where that would be too late."""
    delay = min(timedelta(seconds=2 ** min(delivery.attempt - 1, 10)), LONGEST_DELAY)
    run_at = utcnow() + delay
    if run_at >= delivery.expires_at:
        await _settle(session, delivery, LinkRequestState.FAILED)
        return
    put_off = await session.scalar(
        update(LinkRequest)
        .where(
            LinkRequest.id == delivery.request_id,
            LinkRequest.state == LinkRequestState.QUEUED,
            LinkRequest.attempts == delivery.attempt,
        )
        .values(run_at=run_at)
        .returning(LinkRequest.id)
    )
    if put_off is not None:
        enqueue(session, JobName.SEND_LINK, put_off, attempt=delivery.attempt, defer=delay)


async def _settle(session: AsyncSession, delivery: Delivery, state: LinkRequestState) -> None:
    """Write the outcome, unless a later attempt has taken over."""
    await session.execute(
        update(LinkRequest)
        .where(
            LinkRequest.id == delivery.request_id,
            LinkRequest.state == LinkRequestState.QUEUED,
            LinkRequest.attempts == delivery.attempt,
        )
        .values(state=state, finished_at=utcnow())
    )


async def requeue_links(session: AsyncSession) -> int:
    """Hand waiting requests whose time has come to workers again, and give up those that are too late.

    For the reconciler; may be repeated. Returns how many were handed out.
    """
    now = utcnow()
    await session.execute(
        update(LinkRequest)
        .where(LinkRequest.state == LinkRequestState.QUEUED, LinkRequest.run_at <= now, LinkRequest.expires_at <= now)
        .values(state=LinkRequestState.FAILED, finished_at=now)
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
