"""Deletes expired rows once an hour, so that no table grows for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.access import shares
from app.accounts.users import purge_unconfirmed
from app.audit import trail
from app.core.db import Base
from app.core.logging import cause
from app.core.redis_names import redis_key
from app.core.retention import delete_batch
from app.gateway import origin_handoff
from app.models import (
    ApiToken,
    IdempotencyKey,
    Invitation,
    LinkRequest,
    MagicLink,
    RetiredWorkspace,
    Session,
    utcnow,
)
from app.resources import Resources
from app.workspaces.jobs import history
from workers.context import WorkerContext
from workers.turns import take_turn

log = structlog.get_logger(__name__)

INTERVAL = 3600
# Deletes a batch and returns its number of rows.
Purge = Callable[[AsyncSession], Awaitable[int]]

# The start of the retention, and its length.
EXPIRED: tuple[tuple[type[Base], InstrumentedAttribute[Any], timedelta], ...] = (
    (IdempotencyKey, IdempotencyKey.created_at, timedelta(days=1)),
    # A link created in the last hour and renewed within another may live for a day from then.
    (LinkRequest, LinkRequest.expires_at, timedelta(days=2)),
    (MagicLink, MagicLink.expires_at, timedelta(days=1)),
    (Invitation, Invitation.expires_at, timedelta(days=30)),
    (Session, Session.expires_at, timedelta(days=7)),
    (ApiToken, ApiToken.expires_at, timedelta(days=30)),
    # Long after the last container of such an account is gone.
    (RetiredWorkspace, RetiredWorkspace.retired_at, timedelta(days=90)),
)


async def retention_forever(context: WorkerContext) -> None:
    """Run a pass each hour, in the first worker to ask, until cancelled. A failed pass is followed by the next."""
    resources = context.resources
    while True:
        await asyncio.sleep(INTERVAL - time.time() % INTERVAL)
        key = redis_key(resources.settings.instance, "retention", str(round(time.time() / INTERVAL)))
        try:
            if await take_turn(resources.redis, key, 2 * INTERVAL):
                await delete_expired(resources)
        except (SQLAlchemyError, RedisError, OSError) as error:
            log.warning("rows_not_deleted", **cause(error))


async def delete_expired(resources: Resources) -> None:
    """Delete all expired rows. Idempotent."""
    purges: dict[str, Purge] = {
        "handoffs": origin_handoff.purge,
        "shares": shares.purge,
        "unconfirmed": purge_unconfirmed,
        **{table.__tablename__: partial(_delete_expired, table, column, kept) for table, column, kept in EXPIRED},
        "audit": partial(trail.prune, days=resources.settings.audit_days),
    }
    deleted = {name: await _repeat(resources, purge) for name, purge in purges.items()}
    deleted["jobs"] = await _delete_jobs(resources)
    if any(deleted.values()):
        log.info("rows_deleted", **{name: count for name, count in deleted.items() if count})


async def _delete_expired(
    table: type[Base], column: InstrumentedAttribute[Any], kept: timedelta, session: AsyncSession
) -> int:
    return await delete_batch(session, table, column < utcnow() - kept)


async def _repeat(resources: Resources, purge: Purge) -> int:
    """Delete batches, each in its own transaction, until none is left."""
    total = 0
    while True:
        async with resources.unit_of_work() as session:
            count = await purge(session)
        total += count
        if not count:
            return total


async def _delete_jobs(resources: Resources) -> int:
    total, after = 0, UUID(int=0)
    while True:
        async with resources.reads() as session:
            workspaces = await history.next_workspaces(session, after)
        if not workspaces:
            return total
        after = workspaces[-1]
        total += await _repeat(
            resources, partial(history.delete_ended, workspaces=workspaces, days=resources.settings.job_days)
        )
