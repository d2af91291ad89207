"""One-time codes: redeem a link in the requesting browser without opening it there.

A code is short, so attempts are counted: per request, not per link. Addresses without an account have requests too, and
a wrong attempt does the same work for them.
"""

import secrets
from datetime import timedelta

from sqlalchemy import select

from app.accounts.device_cookie import DeviceCookie, hashes_of
from app.accounts.principal import Client
from app.audit.trail import SYSTEM, record
from app.auth.errors import InvalidCode
from app.auth.service import SignInResult, complete_sign_in
from app.core.i18n import Locale
from app.models import LinkRequest, MagicLink, utcnow
from app.resources import Resources

# Crockford's base32: no I, L, O or U.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 8
MAX_TRIES = 5
_READ_AS = str.maketrans("ILO", "110", " -")


def new_code() -> str:
    """Return 40 random bits as 8 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def show_code(code: str) -> str:
    """Format the code for display."""
    return f"{code[:4]}-{code[4:]}"


def read_code(typed: str) -> str | None:
    """Parse a typed code: ignores case, spaces and hyphens, and reads look-alikes as digits."""
    code = typed.upper().translate(_READ_AS)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None


async def verify_code(
    resources: Resources, typed: str, browser: DeviceCookie, client: Client, locale: Locale
) -> SignInResult:
    """Redeem the code's link, as `service.verify` does. Raises `InvalidCode` and `Blocked`.

    Malformed codes do not count as attempts.
    """
    code = read_code(typed)
    if code is None:
        raise InvalidCode
    requests = await count_try(resources, browser)
    good = (
        select(MagicLink.id)
        .where(
            MagicLink.request_id.in_([request.id for request in requests]),
            MagicLink.code_hash.in_(resources.tokens.hashes("code", code)),
            MagicLink.spent_at.is_(None),
            MagicLink.expires_at > utcnow(),
        )
        .limit(1)
    )
    async with resources.reads() as session:
        link = await session.scalar(good)
    if link is None:
        await _note_last_tries(resources, requests)
        raise InvalidCode
    return await complete_sign_in(resources, MagicLink.id == link, client, locale, refusal=InvalidCode, by="code")


async def count_try(resources: Resources, browser: DeviceCookie) -> list[LinkRequest]:
    """Count one attempt for every request of the browser with a possibly valid code; returns those with attempts left.

    Commits before the code is checked: an error rolls back the caller's transaction, and concurrent attempts must not
    exceed the limit.
    """
    life = timedelta(seconds=resources.settings.magic_link_seconds)
    async with resources.unit_of_work() as session:
        left = (
            select(LinkRequest)
            .where(
                LinkRequest.browser_hash.in_(hashes_of(resources.tokens, browser)),
                # A link may be created as late as that, and lives its full lifetime from then.
                LinkRequest.expires_at > utcnow() - life,
                LinkRequest.code_tries < MAX_TRIES,
            )
            .order_by(LinkRequest.id)
            .with_for_update()
        )
        requests = list(await session.scalars(left))
        for request in requests:
            request.code_tries += 1
    return requests


async def _note_last_tries(resources: Resources, requests: list[LinkRequest]) -> None:
    """Record requests whose last attempt failed in the audit trail, in a transaction of its own."""
    spent = [request.email for request in requests if request.code_tries == MAX_TRIES]
    if spent:
        async with resources.unit_of_work() as session:
            for address in spent:
                record(session, "sign_in_refused", "address", address, actor=SYSTEM, outcome=InvalidCode.code)
