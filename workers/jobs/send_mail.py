"""Mails links. Idempotent: claims the row first, and writes the outcome only while the claim holds."""

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

# Well below the lease, so that one renewal may fail.
RENEW_SECONDS = 10

Settle = Callable[[AsyncSession, EmailDelivery], Awaitable[None]]


async def send_link(ctx: dict[str, Any], id: str) -> None:
    """Mail a `link_requests` row's link in the background; returns at once."""
    context = context_of(ctx)
    request_id = UUID(id)
    context.deliveries.start(request_id, partial(deliver, context, request_id))


async def deliver(context: WorkerContext, request_id: UUID) -> None:
    """Claim the request, try once, and write the outcome."""
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
        # A browser waiting for a mail that never comes sees delays like all others.
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
    """Return whether the requesting browser may see that its mail is late: it must not learn whether a mail exists.

    Errors before the recipient apply to everyone. Errors about the recipient count only if our own address gets the
    same one; errors about the content only if any address would get a mail.
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
    """Renew the claim until cancelled: servers may take minutes, and a dead worker must be noticed sooner."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            async with resources.unit_of_work() as session:
                await magic_links.renew_claim(session, delivery)
        except (SQLAlchemyError, RedisError, OSError) as error:
            log.warning("mail_claim_not_renewed", link_request=str(delivery.request_id), **cause(error))
