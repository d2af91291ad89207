"""Mails links. Runs as often as it likes: the row is claimed first, and its outcome written only by who holds it."""

from typing import Any
from uuid import UUID

import structlog

from app.auth import links
from app.mail.sender import MailDeferred, MailRefused
from workers.context import context_of

log = structlog.get_logger(__name__)


async def send_link(ctx: dict[str, Any], id: str) -> None:
    """Mail the link that a `link_requests` row asks for; a server that is down is tried again for the link's life."""
    context = context_of(ctx)
    resources = context.resources
    async with resources.unit_of_work() as session:
        delivery = await links.claim_link(session, resources, UUID(id))
    if delivery is None:
        return
    settle = links.mark_sent
    try:
        await context.mailer.send(delivery.letter)
    except MailDeferred as error:
        log.warning("mail_deferred", link_request=id, attempt=delivery.attempt, reason=str(error))
        settle = links.put_off
    except MailRefused as error:
        log.warning("mail_refused", link_request=id, attempt=delivery.attempt, reason=str(error))
        settle = links.mark_refused
    async with resources.unit_of_work() as session:
        await settle(session, delivery)
