"""Makes jobs durable: what the queue lost is sent again, what a dead worker held is taken from it."""

from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, text
from sqlalchemy.orm import InstrumentedAttribute

from app.auth.links import requeue_links
from app.gateway.handoff import purge
from app.models import IdempotencyKey, LinkRequest, MagicLink, Session, utcnow
from app.workspaces.progress import fail_overdue, requeue
from workers.context import context_of

log = structlog.get_logger(__name__)

# One number for the whole database: one reconciler at a time, however many workers run its cron.
RECONCILE_LOCK = 7_201_001

# Rows that have had their time: what is counted from, and how much longer they are kept.
EXPIRED: tuple[tuple[InstrumentedAttribute[datetime], timedelta], ...] = (
    (IdempotencyKey.created_at, timedelta(days=1)),
    (LinkRequest.created_at, timedelta(days=1)),
    (MagicLink.expires_at, timedelta(days=1)),
    (Session.expires_at, timedelta(days=7)),
)


async def reconcile(ctx: dict[str, Any]) -> None:
    """One pass. Every part may be repeated; a pass that finds another one under way does nothing."""
    context = context_of(ctx)
    async with context.resources.unit_of_work() as session:
        if not await session.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": RECONCILE_LOCK}):
            return
        overdue = await fail_overdue(session)
        waiting = await requeue(session)
        links = await requeue_links(session)
        await purge(session)
        for column, kept in EXPIRED:
            await session.execute(delete(column.class_).where(column < utcnow() - kept))
    if overdue or waiting or links:
        log.info("reconciled", overdue=overdue, waiting=waiting, links=links)
