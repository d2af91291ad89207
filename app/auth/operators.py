"""Operator commands: create an admin, and a sign-in link without mail."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts.emails import normalise
from app.accounts.users import find_or_create
from app.audit.trail import COMMAND, record
from app.auth.bootstrap import claim_bootstrap
from app.auth.magic_links import make_link
from app.models import User
from app.resources import Resources


async def make_admin(session: AsyncSession, mailbox: str) -> User:
    """Make the account of an address an admin; creates it if missing. Idempotent.

    Afterwards the first sign-in no longer becomes admin.
    """
    address = normalise(mailbox)
    user = await find_or_create(session, address, mailbox if mailbox != address else None)
    await claim_bootstrap(session, user.id)
    if not user.is_admin:
        user.is_admin = True
        record(session, "user_promoted", "user", str(user.id), actor=COMMAND)
    return user


def make_sign_in_link(session: AsyncSession, resources: Resources, user: User) -> str:
    """Return a link that signs in once as this account. Never log it."""
    token = make_link(session, resources, user)
    record(session, "link_made", "user", str(user.id), actor=COMMAND)
    return f"{resources.settings.public_url}/auth/confirm#token={token}"
