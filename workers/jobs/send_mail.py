"""Mails links. Runs as often as it likes: the row is claimed first, and its outcome written only by who holds it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth import magic_links
from app.auth.errors import ClaimLost
from app.auth.magic_links import EmailDelivery
from app.core.logging import cause
from app.core.supervise import background_loop
from app.mail.sender import MailDeferred, MailRefused, MailUnanswered, Stage
from app.resources import Resources
from workers.context import WorkerContext, context_of

log = structlog.get_logger(__name__)

# Well below the lease's life, so that one renewal may fail.
RENEW_SECONDS = 10

Settle = Callable[[AsyncSession, EmailDelivery], Awaitable[None]]


async def send_link(ctx: dict[str, Any], id: str) -> None:
    """Mail the link that a `link_requests` row asks for, beside the worker's jobs; returns at once."""
    context = context_of(ctx)
    request_id = UUID(id)
    context.deliveries.start(request_id, partial(deliver, context, request_id))


async def deliver(context: WorkerContext, request_id: UUID) -> None:
    """Claim the request, make one attempt, and write what became of it."""
    resources = context.resources
    async with resources.unit_of_work() as session:
        delivery = await magic_links.claim_link(session, resources, request_id)
    if delivery is None:
        return
    async with background_loop("mail_claim", partial(_keep_claim, resources, delivery), essential=False):
        settle = await _attempt(context, delivery)
    async with resources.unit_of_work() as session:
        await settle(session, delivery)


async def _attempt(context: WorkerContext, delivery: EmailDelivery) -> Settle:
    async def begin() -> None:
        async with context.resources.unit_of_work() as session:
            await magic_links.begin_transmission(session, delivery)

    if delivery.letter is None:
        # Whoever waits for a mail that never comes is told of a delay when others are.
        return magic_links.mark_dropped if await _is_ready(context) else partial(magic_links.reschedule, delayed=True)
    facts = {"link_request": str(delivery.request_id), "attempt": delivery.attempt, "server": context.mailer.host}
    began = time.monotonic()
    try:
        await context.mailer.send(delivery.letter, begin)
    except MailDeferred as error:
        log.warning("mail_deferred", **facts, stage=error.stage, reason=str(error))
        delayed = await _is_told(context, delivery, error.stage)
        return partial(magic_links.reschedule, transmitted=error.stage is Stage.CONTENT, delayed=delayed)
    except MailUnanswered as error:
        log.warning("mail_unanswered", **facts, reason=str(error))
        return partial(magic_links.reschedule, delayed=delivery.for_anybody)
    except MailRefused as error:
        log.warning("mail_refused", **facts, reason=str(error))
        return magic_links.mark_refused
    except ClaimLost:
        log.warning("mail_claim_lost", **facts)
        return magic_links.reschedule
    log.info("mail_sent", **facts, ms=round((time.monotonic() - began) * 1000, 1))
    return magic_links.mark_sent


async def _is_told(context: WorkerContext, delivery: EmailDelivery, stage: Stage) -> bool:
    """Whether the browser that asked may be told that its mail is late: it must not learn whether there is a mail.

    What the server says before it knows the recipient, it says to all. What it says to a recipient counts only where it
    says the same to our own address, and what it says to the content where any address would have got one.
    """
    match stage:
        case Stage.SERVER:
            return True
        case Stage.CONTENT if delivery.for_anybody:
            return True
        case _:
            return not await _is_ready(context)


async def _is_ready(context: WorkerContext) -> bool:
    try:
        await context.mailer.check()
    except MailDeferred as error:
        log.warning("mail_server_not_ready", stage=error.stage, reason=str(error))
        return False
    return True


async def _keep_claim(resources: Resources, delivery: EmailDelivery) -> None:
    """Renew the claim until cancelled: a server may think for minutes, and a dead worker must be noticed sooner."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            async with resources.unit_of_work() as session:
                await magic_links.renew_claim(session, delivery)
        except (SQLAlchemyError, RedisError, OSError) as error:
            log.warning("mail_claim_not_renewed", link_request=str(delivery.request_id), **cause(error))
