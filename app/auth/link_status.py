"""What a browser that asked for a link is told while its page waits: whether to go on, and how soon to ask again.

To add a state: a member here and a branch in `find_wait`, a text in `app/web/messages/sign_in.py`, and the state's
name in `data-states` of what `check_mail.html` is to show then; the script needs no change. Two rules: a state must be
the same for an address with an account and for one without, as everybody may ask for everybody's; and a state in which
something may still change names the seconds after which the page asks again.
"""

import enum
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import InstrumentedAttribute

from app.accounts.device_cookie import DeviceCookie, hashes_of
from app.accounts.principal import Principal
from app.models import DeliveryState, LinkRequest, Session, utcnow
from app.resources import Resources

# Most people open their mail within that time; afterwards the page asks less often.
EAGER = timedelta(minutes=2)
SOON_SECONDS = 3
LATER_SECONDS = 10


class WaitState(enum.StrEnum):
    """What the page shows. Its names are in the page's `data-states`."""

    WAITING = "waiting"
    DELAYED = "delayed"
    FAILED = "failed"
    SIGNED_IN = "signed_in"
    USED_ELSEWHERE = "used_elsewhere"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Wait:
    """A state, and the seconds after which to ask again; None where nothing changes any more."""

    state: WaitState
    again: int | None = None


async def find_wait(resources: Resources, browser: DeviceCookie, caller: Principal | None) -> Wait:
    """How the last link that this browser asked for stands. One statement, none for a browser that has no cookie yet.

    A browser is told of its own requests alone, and of a request only that its own link was used: that another link
    of the account ended it stays unsaid, as it would tell a stranger that the address is in use.
    """
    if browser.is_new:
        return Wait(WaitState.SIGNED_IN if caller else WaitState.OVER)
    signed_in_at = select(Session.created_at).where(Session.id == caller.session_id) if caller else None
    query = select(
        func.max(LinkRequest.created_at),
        _newest(cast(LinkRequest.delivery, String)),
        _newest(LinkRequest.delivery_at),
        func.max(LinkRequest.used_at),
        literal(None) if signed_in_at is None else signed_in_at.scalar_subquery(),
    ).where(LinkRequest.browser_hash.in_(hashes_of(resources.tokens, browser)))
    async with resources.reads() as session:
        asked_at, deliveries, delivered_at, used_at, session_began = (await session.execute(query)).one()
    # Who was signed in before they asked waits for another sign-in.
    if session_began is not None and (asked_at is None or session_began >= asked_at):
        return Wait(WaitState.SIGNED_IN)
    if asked_at is None:
        return Wait(WaitState.OVER)
    if used_at is not None and used_at >= asked_at:
        return Wait(WaitState.USED_ELSEWHERE)
    return _judge_mail(resources, asked_at, deliveries[0], delivered_at[0])


def _judge_mail(resources: Resources, asked_at: datetime, delivery: str | None, since: datetime | None) -> Wait:
    """How the mail does. `workers/jobs/send_mail.py` makes `delivery` in the same way for an address that gets none."""
    now = utcnow()
    if delivery == DeliveryState.FAILED:
        return Wait(WaitState.FAILED)
    if delivery == DeliveryState.DELAYED:
        return Wait(WaitState.DELAYED, LATER_SECONDS)
    # The link is made when the mail is sent; a mail may take as long as a link lives.
    begun = since if delivery == DeliveryState.RESUMED and since else asked_at
    if now >= begun + 2 * timedelta(seconds=resources.settings.magic_link_seconds):
        return Wait(WaitState.OVER)
    return Wait(WaitState.WAITING, SOON_SECONDS if now < asked_at + EAGER else LATER_SECONDS)


def _newest(column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """The column of all rows, of the newest first."""
    return func.array_agg(aggregate_order_by(column, LinkRequest.created_at.desc()))


async def find_destination(resources: Resources, browser: DeviceCookie) -> str | None:
    """Where the last sign-in that this browser asked for leads, as it was kept."""
    if browser.is_new:
        return None
    query = (
        select(LinkRequest.destination)
        .where(LinkRequest.browser_hash.in_(hashes_of(resources.tokens, browser)))
        .order_by(LinkRequest.created_at.desc())
        .limit(1)
    )
    async with resources.reads() as session:
        return (await session.execute(query)).scalar()
