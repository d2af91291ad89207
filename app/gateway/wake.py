"""Waking a paused workspace for a request that waits, and starting a stopped one for a person who opens it."""

import asyncio
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from app.core.waiting import wait_and_clear
from app.models import Job, User
from app.resources import Resources
from app.workspaces import service
from app.workspaces.jobs.subscriptions import JobSubscriptions

# How long a request waits for a workspace to wake: below the time that the proxy waits for the gateway.
WAKE_SECONDS = 10.0
# News of a job may be lost; then its row says it.
LOOK_SECONDS = 1.0
# A workspace that failed so lately is not started again by the mere reload of its page.
CALM = timedelta(minutes=1)


async def launch(
    resources: Resources, owner_id: UUID, visitor_id: UUID, template: str, *, counted: bool = False
) -> UUID | None:
    """Ask for a launch in the visitor's name; the job, or None where it runs by now. Raises what refuses it.

    The audit trail names the visitor. Only the owner's own visit counts as use by the owner. Waking is not `counted`:
    many requests come to one workspace.
    """
    async with resources.unit_of_work() as session:
        owner = await session.get_one(User, owner_id)
        visitor = None if visitor_id == owner_id else await session.get_one(User, visitor_id)
        accepted = await service.request(session, resources, owner, template, counted=counted, by=visitor)
        return accepted.job.id if accepted.job is not None else None


async def ended(resources: Resources, watch: JobSubscriptions, job_id: UUID, until: float) -> None:
    """Return once the job has ended, or the loop's clock says `until`. No session is open meanwhile."""
    clock = asyncio.get_running_loop().time
    with watch.changes(job_id) as changed:
        while (left := until - clock()) > 0 and not watch.closing:
            async with resources.reads() as session:
                if not await session.scalar(select(Job.is_live).where(Job.id == job_id)):
                    return
            await wait_and_clear(changed, min(left, LOOK_SECONDS))
