"""Codes: the second way to spend a link, in the browser that asked for it, without opening the link there.

A code is short, so its tries are counted, on the request and not on the link: an address without an account has a
request too, and a wrong try does the same work for it.
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
    """40 random bits, as 8 characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def show_code(code: str) -> str:
    """The code as people read it."""
    return f"{code[:4]}-{code[4:]}"


def read_code(typed: str) -> str | None:
    """The code that somebody means: case, spaces and hyphens make no difference, and look-alikes are read as digits."""
    code = typed.upper().translate(_READ_AS)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None


async def verify_code(
    resources: Resources, typed: str, browser: DeviceCookie, client: Client, locale: Locale
) -> SignInResult:
    """Spend the link that this code came with, as `service.verify` does. Raises `InvalidCode` and `Blocked`.

    What is no code at all counts as no try.
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
    """Count one try for every request of the browser whose code may still be good; returns those that had one left.

    In a transaction of its own, before the code is judged: an error rolls the caller's back, and of many tries at
    once no more are judged than were left.
    """
    life = timedelta(seconds=resources.settings.magic_link_seconds)
    async with resources.unit_of_work() as session:
        left = (
            select(LinkRequest)
            .where(
                LinkRequest.browser_hash.in_(hashes_of(resources.tokens, browser)),
                # A link may be made as late as that, and lives its whole life from then.
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
    """Put those whose last try was wrong into the audit trail, which an error must not take back."""
    spent = [request.email for request in requests if request.code_tries == MAX_TRIES]
    if spent:
        async with resources.unit_of_work() as session:
            for address in spent:
                record(session, "sign_in_refused", "address", address, actor=SYSTEM, outcome=InvalidCode.code)
