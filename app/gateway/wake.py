"""Resumes a paused workspace for a waiting request, and starts a stopped one for a visitor."""

import asyncio
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from app.core.waiting import wait_and_clear
from app.models import Job, User
from app.resources import Resources
from app.workspaces import service
from app.workspaces.jobs.subscriptions import JobSubscriptions

# Timeout for resuming: below the proxy's timeout for the gateway.
WAKE_SECONDS = 10.0
# Polls the job's row, as notifications may be lost.
LOOK_SECONDS = 1.0
# After a failure, reloading the page does not start the workspace for this long.
CALM = timedelta(minutes=1)


async def launch(
    resources: Resources, owner_id: UUID, visitor_id: UUID, template: str, *, counted: bool = False
) -> UUID | None:
    """Request a launch for the visitor; returns the job, or None if it already runs. Raises the launch's errors.

    The audit trail names the visitor. Only the owner's visit counts as use by the owner. Resuming is not `counted`: one
    workspace gets many requests.
    """
    async with resources.unit_of_work() as session:
        owner = await session.get_one(User, owner_id)
        visitor = None if visitor_id == owner_id else await session.get_one(User, visitor_id)
        accepted = await service.request(session, resources, owner, template, counted=counted, by=visitor)
        return accepted.job.id if accepted.job is not None else None


async def ended(resources: Resources, watch: JobSubscriptions, job_id: UUID, until: float) -> None:
    """Return once the job has ended, or at loop time `until`. Holds no session."""
    clock = asyncio.get_running_loop().time
    with watch.changes(job_id) as changed:
        while (left := until - clock()) > 0 and not watch.closing:
            async with resources.reads() as session:
                if not await session.scalar(select(Job.is_live).where(Job.id == job_id)):
                    return
            await wait_and_clear(changed, min(left, LOOK_SECONDS))
