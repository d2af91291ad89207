"""A worker dies at every point that every kind of job comes by."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from app.models import JobKind, Workspace
from tests.chaos.cluster import Cluster
from tests.chaos.control import CHECKPOINTS
from tests.chaos.faults import fault
from tests.support.factories import SignedIn
from tests.support.http import direct_client
from workers.jobs.checkpoints import Checkpoint

PAIRS = [(kind, checkpoint) for kind, checkpoints in CHECKPOINTS.items() for checkpoint in checkpoints]
FIRE_SECONDS = 20


@fault
async def worker_deaths(cluster: Cluster) -> AsyncIterator[None]:
    """One point after the other, while others work; whoever comes by first is hit."""
    pairs = cluster.dice.sample(PAIRS, len(PAIRS) if cluster.pairs is None else cluster.pairs)
    async with direct_client(timeout=20) as http:
        for kind, checkpoint in pairs:
            cluster.control.arm(kind, checkpoint)

            async def fired(kind: JobKind = kind, checkpoint: Checkpoint = checkpoint) -> bool:
                if cluster.control.armed(kind, checkpoint):
                    await _provoke(cluster, http, kind)
                    await asyncio.sleep(0.2)
                return not cluster.control.armed(kind, checkpoint)

            await cluster.until(fired, FIRE_SECONDS, f"a worker dies at {kind}:{checkpoint}")
    yield


async def _provoke(cluster: Cluster, http: httpx.AsyncClient, kind: JobKind) -> None:
    """Ask for something that comes by, as one of the people whose workspace rests."""
    running = await cluster.running()
    if kind == JobKind.PAUSE:
        if running:
            await cluster.pause(cluster.dice.choice(running))
        else:
            await cluster.load.act(http, _person(cluster, running, idle=True), "launch")
    elif kind == JobKind.LAUNCH:
        await cluster.load.act(http, _person(cluster, running, idle=True), "launch")
    else:
        await cluster.load.act(http, _person(cluster, running, idle=False), str(kind))


def _person(cluster: Cluster, running: list[Workspace], *, idle: bool) -> SignedIn:
    """Somebody whose workspace runs, or does not; anybody where there is none."""
    owners = {workspace.user_id for workspace in running}
    people = cluster.load.signed_in
    fitting = [person for person in people if (person.user.id not in owners) == idle]
    return cluster.dice.choice(fitting or people)
