"""Creates accounts: one per address, with a unique slug, safe under concurrency."""

import re
import secrets
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.retention import delete_batch
from app.models import User, UserState, utcnow

SLUG_LENGTH = 24
# Lifetime of an account without a first sign-in. Earlier versions created accounts for unconfirmed addresses.
UNCONFIRMED_LIFE = timedelta(days=1)
NUMBERED = 9
SUFFIX_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
SUFFIX_LENGTH = 6

# Names that could be confused with the platform's paths, hosts or roles.
_RESERVED_WORDS = """
    abuse account admin administrator api app apps assets auth autoconfig blog caddy catalog cdn confirm
    containers dashboard docs favicon ftp gateway health help home hostmaster imap info internal jobs livez
    localhost login logout mail metrics mx news noreply ns open openapi operator pop postmaster proxy public
    readyz redoc register root security settings signin signout signup smtp spawner ssl static status support
    system templates user users verify webmaster wellknown workspace workspaces ws www
"""
RESERVED = frozenset(_RESERVED_WORDS.split())

# Letters that do not decompose into a base letter and a mark.
LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ħ": "h", "ı": "i"}
)


def slugify(address: str) -> str:
    """Return the slug suggested by an address, 1 to 24 of `[a-z0-9]` from its local part; may be taken or reserved."""
    local = address.rpartition("@")[0].casefold().translate(LETTERS)
    plain = re.sub(r"[^a-z0-9]", "", unicodedata.normalize("NFKD", local))
    return plain[:SLUG_LENGTH] or "user"


def slug_candidates(address: str) -> Iterator[str]:
    """Yield slugs to try, never reserved: the suggested one, numbered ones, then random ones without end."""
    return (slug for slug in _variants(slugify(address)) if slug not in RESERVED)


def _variants(base: str) -> Iterator[str]:
    yield base
    for number in range(2, NUMBERED + 1):
        yield base[: SLUG_LENGTH - 1] + str(number)
    while True:
        suffix = "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(SUFFIX_LENGTH))
        yield base[: SLUG_LENGTH - SUFFIX_LENGTH] + suffix


async def create_user(
    session: AsyncSession, address: str, mailbox: str | None = None, *, last_used: datetime | None = None
) -> User | None:
    """Create the account of a normalised address, locked until the transaction ends; None if there is one.

    Its mail goes to `mailbox`, if that differs. Concurrent inserts of the same address or slug wait for each other.
    """
    for slug in slug_candidates(address):
        row = insert(User).values(email=address, mailbox=mailbox, slug=slug, last_used=last_used)
        made: User | None = await session.scalar(row.on_conflict_do_nothing().returning(User))
        if made is not None or await find_by_email(session, address) is not None:
            return made
    raise AssertionError("the candidates do not end")


async def find_or_create(session: AsyncSession, address: str, mailbox: str | None = None) -> User:
    """Return the account of a normalised address; creates it if missing. Idempotent."""
    while True:
        found = await create_user(session, address, mailbox) or await find_by_email(session, address)
        if found is not None:
            return found


async def find_by_email(session: AsyncSession, address: str) -> User | None:
    """Return the account of a normalised address, or None."""
    user: User | None = await session.scalar(select(User).where(User.email == address))
    return user


async def purge_unconfirmed(session: AsyncSession) -> int:
    """Delete a batch of accounts unconfirmed for a day, which frees their slugs; returns the count. Repeat until 0.

    Keeps accounts changed by operators or admins: admins, blocked ones, and those with a limit.
    """
    return await delete_batch(
        session,
        User,
        User.state == UserState.REGISTERED,
        User.created_at < utcnow() - UNCONFIRMED_LIFE,
        User.blocked_at.is_(None),
        User.running_limit.is_(None),
        ~User.is_admin,
    )
