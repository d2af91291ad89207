"""The worker that has just admitted launches, and told nobody yet, is killed, frozen or cut off from Redis."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import httpx
from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from app.models import Job, JobState, utcnow
from tests.chaos.cluster import Cluster
from tests.chaos.control import Fate
from tests.chaos.faults import fault
from tests.support.http import direct_client
from workers.jobs.checkpoints import Checkpoint

FIRE_SECONDS = 20
# Until another worker has admitted what came meanwhile, and claimed what the first one admitted.
TAKEOVER_SECONDS = 2.0


@fault
async def admitting_worker_killed(cluster: Cluster) -> AsyncIterator[None]:
    await _strike(cluster, Fate.KILLED)
    yield


@fault
async def admitting_worker_frozen(cluster: Cluster) -> AsyncIterator[None]:
    """SIGSTOP, for longer than its leases last."""
    try:
        await _strike(cluster, Fate.FROZEN)
        await cluster.last(5)
    finally:
        for pid in cluster.control.end(Fate.FROZEN):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    yield


@fault
async def admitting_worker_cut_off(cluster: Cluster) -> AsyncIterator[None]:
    """Every exchange of the one worker with Redis fails."""
    try:
        await _strike(cluster, Fate.CUT_OFF)
        await cluster.last(5)
    finally:
        cluster.control.end(Fate.CUT_OFF)
    yield


async def _strike(cluster: Cluster, fate: Fate) -> None:
    """Let one pass meet the fate, and hold the others to their time."""
    cluster.control.arm(fate, Checkpoint.ADMITTED)
    async with direct_client(timeout=20) as http:

        async def fired() -> bool:
            if cluster.control.armed(fate, Checkpoint.ADMITTED):
                await _launch(cluster, http)
            return not cluster.control.armed(fate, Checkpoint.ADMITTED)

        await cluster.until(fired, FIRE_SECONDS, f"a pass is {fate}")
        struck = utcnow()
        job_id = await _launch(cluster, http)
    waits = (Job.state == JobState.QUEUED) & Job.blocked_by.is_(None)
    other = aliased(Job)
    # A job whose workspace a dead worker still holds is claimed once that lease has run out.
    held = select(other.id).where(other.workspace_id == Job.workspace_id, other.lease_until > utcnow()).exists()
    admitted = waits & (Job.admitted_at <= struck) & (Job.run_at <= struck) & ~held

    async def taken_over() -> bool:
        late = select(func.count(Job.id)).where(admitted | (waits & Job.admitted_at.is_(None) & (Job.id == job_id)))
        async with cluster.resources.reads() as session:
            return await session.scalar(late) == 0

    await cluster.until(taken_over, TAKEOVER_SECONDS, f"another worker takes over from the one that was {fate}")


async def _launch(cluster: Cluster, http: httpx.AsyncClient) -> UUID | None:
    """Ask for a launch as one of the people whose workspace rests."""
    owners = {workspace.user_id for workspace in await cluster.running()}
    resting = [person for person in cluster.load.signed_in if person.user.id not in owners]
    await asyncio.sleep(0.1)
    return await cluster.load.act(http, cluster.dice.choice(resting or cluster.load.signed_in), "launch")
