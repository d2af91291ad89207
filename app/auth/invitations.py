"""Sign-up rules: open, limited to domains, or by an admin's invitation."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Update, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.emails import domain_of, normalise
from app.accounts.errors import InvalidAddress
from app.accounts.users import find_by_email
from app.audit.trail import record
from app.auth.errors import HasAccount
from app.core.errors import NotFound
from app.core.i18n import Locale
from app.core.outbox import JobName, enqueue
from app.core.settings.model import Settings
from app.http.paging import newest_first
from app.models import Invitation, LinkPurpose, LinkRequest, User, UserState, utcnow
from app.resources import Resources

# How long the mail is retried while the mail server is down. Its row is deleted after a day.
MAX_DELIVERY = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, and the inviter's address while that account exists."""

    id: UUID
    email: str
    inviter: str | None
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None


async def may_confirm(session: AsyncSession, settings: Settings, user: User, *, held: bool = False) -> bool:
    """Return whether a new account may still be confirmed; always true for an admin created by an operator.

    `held` as in `find_invitation`.
    """
    if user.state != UserState.REGISTERED or user.is_admin:
        return True
    return await may_sign_up(session, settings, user.email, held=held)


async def may_sign_up(session: AsyncSession, settings: Settings, address: str, *, held: bool = False) -> bool:
    """Return whether a normalised address may have an account."""
    if lets_anybody_in(settings, address):
        return True
    return await find_invitation(session, address, held=held) is not None


def lets_anybody_in(settings: Settings, address: str) -> bool:
    """Return whether the settings alone permit an account for a normalised address."""
    return settings.signup == "open" or (settings.signup == "domains" and _in_domains(settings, address))


def _in_domains(settings: Settings, address: str) -> bool:
    return domain_of(address) in {_canonical_domain(domain) for domain in settings.signup_domains}


def _canonical_domain(domain: str) -> str:
    """Convert a domain from the settings to the form in normalised addresses."""
    try:
        return domain_of(normalise(f"postmaster@{domain.removeprefix('@')}"))
    except InvalidAddress:
        return domain


_INVITED = select(
    Invitation.id,
    Invitation.email,
    User.email.label("inviter"),
    Invitation.created_at,
    Invitation.expires_at,
    Invitation.accepted_at,
).outerjoin(User, User.id == Invitation.invited_by)


async def find_invitation(session: AsyncSession, address: str, *, held: bool = False) -> Invited | None:
    """Return the unused, unexpired invitation of a normalised address, or None.

    `held` locks it against revocation until the transaction ends, and waits for a concurrent revocation.
    """
    query = _INVITED.where(
        Invitation.email == address, Invitation.accepted_at.is_(None), Invitation.expires_at > utcnow()
    )
    row = (await session.execute(query.with_for_update(of=Invitation) if held else query)).one_or_none()
    return Invited(**row._mapping) if row else None


async def invite_address(
    session: AsyncSession, resources: Resources, admin: User, mailbox: str, locale: Locale
) -> Invited:
    """Invite an address, or renew its invitation, and mail it. Idempotent. Raises `HasAccount`."""
    address = normalise(mailbox)
    user = await find_by_email(session, address)
    if user is not None and user.state != UserState.REGISTERED:
        raise HasAccount
    now = utcnow()
    life = timedelta(seconds=resources.settings.invitation_seconds)
    values = {"invited_by": admin.id, "created_at": now, "expires_at": now + life, "accepted_at": None}
    made = insert(Invitation).values(email=address, **values)
    row = await session.execute(
        made.on_conflict_do_update(index_elements=[Invitation.email], set_=values).returning(Invitation.id)
    )
    request = LinkRequest(
        email=address,
        mailbox=mailbox if mailbox != address else None,
        purpose=LinkPurpose.INVITE,
        locale=locale,
        run_at=now,
        created_at=now,
        expires_at=now + min(life, MAX_DELIVERY),
    )
    session.add(request)
    await session.flush()
    enqueue(session, JobName.SEND_LINK, request.id)
    record(session, "invitation_made", "invitation", address, actor=admin)
    return Invited(row.scalar_one(), address, admin.email, now, now + life, None)


async def list_invitations(session: AsyncSession, *, limit: int, before: UUID | None) -> list[Invited]:
    """Return a page of invitations, newest first. Raises `NotFound` for `before`."""
    query = await newest_first(session, _INVITED, Invitation, limit=limit, before=before)
    return [Invited(**row._mapping) for row in await session.execute(query)]


async def revoke_invitation(session: AsyncSession, admin: User, id: UUID) -> None:
    """Revoke an invitation; an address not yet confirmed with it can no longer be. Raises `NotFound`."""
    address = await session.scalar(delete(Invitation).where(Invitation.id == id).returning(Invitation.email))
    if address is None:
        raise NotFound
    record(session, "invitation_revoked", "invitation", address, actor=admin)


def acceptance(address: str) -> Update:
    """A statement that marks the invitation as used: it is valid once."""
    unused = (Invitation.email == address, Invitation.accepted_at.is_(None))
    return update(Invitation).where(*unused).values(accepted_at=utcnow())
