"""Link status for the waiting browser: the next step, and when to poll again.

To add a state: a member here, a branch in `find_wait`, a text in `app/web/messages/sign_in.py`, and the state's name in
`data-states` of the elements of `check_mail.html` that show it. A state must not depend on whether the address has an
account, since anyone may request links for any address. A state that can still change needs a poll interval.
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

# Most people open their mail within this time; the page polls less often afterwards.
EAGER = timedelta(minutes=2)
SOON_SECONDS = 3
LATER_SECONDS = 10


class WaitState(enum.StrEnum):
    """States of the waiting page, named in its `data-states`."""

    WAITING = "waiting"
    DELAYED = "delayed"
    FAILED = "failed"
    SIGNED_IN = "signed_in"
    USED_ELSEWHERE = "used_elsewhere"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Wait:
    """A state, and the seconds until the next poll; None if it is final."""

    state: WaitState
    again: int | None = None


async def find_wait(resources: Resources, browser: DeviceCookie, caller: Principal | None) -> Wait:
    """Return the status of this browser's last link request. One statement; none for a browser without a cookie.

    A browser sees only its own requests, and only the use of its own link. Another link's use is hidden: it would
    reveal that the address has an account.
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
    # A browser signed in before the request is waiting for another sign-in.
    if session_began is not None and (asked_at is None or session_began >= asked_at):
        return Wait(WaitState.SIGNED_IN)
    if asked_at is None:
        return Wait(WaitState.OVER)
    if used_at is not None and used_at >= asked_at:
        return Wait(WaitState.USED_ELSEWHERE)
    return _judge_mail(resources, asked_at, deliveries[0], delivered_at[0])


def _judge_mail(resources: Resources, asked_at: datetime, delivery: str | None, since: datetime | None) -> Wait:
    """Return the mail's status. `workers/jobs/send_mail.py` sets `delivery` alike for addresses that get no mail."""
    now = utcnow()
    if delivery == DeliveryState.FAILED:
        return Wait(WaitState.FAILED)
    if delivery == DeliveryState.DELAYED:
        return Wait(WaitState.DELAYED, LATER_SECONDS)
    # The link is created when the mail is sent; a mail may take as long as a link lives.
    begun = since if delivery == DeliveryState.RESUMED and since else asked_at
    if now >= begun + 2 * timedelta(seconds=resources.settings.magic_link_seconds):
        return Wait(WaitState.OVER)
    return Wait(WaitState.WAITING, SOON_SECONDS if now < asked_at + EAGER else LATER_SECONDS)


def _newest(column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Aggregate the column of all rows, newest first."""
    return func.array_agg(aggregate_order_by(column, LinkRequest.created_at.desc()))


async def find_destination(resources: Resources, browser: DeviceCookie) -> str | None:
    """Return the stored destination of this browser's last requested sign-in."""
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
