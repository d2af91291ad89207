"""Deletes old ended jobs; keeps the newest of each workspace."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import CursorResult, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.retention import BATCH
from app.models import Workspace, utcnow

# Jobs kept per workspace, whatever their age.
KEPT_JOBS = 20
# Workspaces per statement.
CHUNK = 500

# For each workspace: deletes old jobs beyond the number kept. Timelines cascade.
DELETE_ENDED = text("""
DELETE FROM jobs WHERE ctid = ANY (ARRAY (
    SELECT ended.place
    FROM unnest(CAST(:workspaces AS uuid[])) AS workspace (id)
    CROSS JOIN LATERAL (
        SELECT created_at, id FROM jobs WHERE workspace_id = workspace.id
        ORDER BY created_at DESC, id DESC OFFSET :kept LIMIT 1
    ) AS newest
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM jobs
        WHERE workspace_id = workspace.id AND (created_at, id) <= (newest.created_at, newest.id)
            AND created_at < :before AND finished_at < :before AND state NOT IN ('queued', 'running')
        ORDER BY created_at, id LIMIT :batch
    ) AS ended
    LIMIT :batch
))
""")


async def next_workspaces(session: AsyncSession, after: UUID) -> Sequence[UUID]:
    """Return the next workspace ids after `after`, in order."""
    query = select(Workspace.id).where(Workspace.id > after).order_by(Workspace.id).limit(CHUNK)
    return (await session.scalars(query)).all()


async def delete_ended(session: AsyncSession, workspaces: Sequence[UUID], days: int) -> int:
    """Delete a batch of these workspaces' jobs that ended more than `days` ago; returns the count."""
    values = {"workspaces": list(workspaces), "kept": KEPT_JOBS, "batch": BATCH}
    result = await session.execute(DELETE_ENDED, {**values, "before": utcnow() - timedelta(days=days)})
    return result.rowcount if isinstance(result, CursorResult) else 0
