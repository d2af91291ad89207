"""A worker dies with a warm seat in its hands, at every point that such a launch comes by."""

import asyncio
from collections.abc import AsyncIterator

from sqlalchemy import func, select

from app.models import JobKind, Seat, SeatState, Workspace
from tests.chaos.cluster import Cluster
from tests.chaos.control import WARM_LAUNCH
from tests.chaos.faults import fault
from tests.support.factories import SignedIn
from tests.support.http import direct_client
from workers.jobs.checkpoints import Checkpoint

TEMPLATE, SEATS = "seat", 2
# Of its own, so that seats and other launches do not take each other's room. Goes at the end of the sample catalogue.
ENTRY = f"""
  - key: {TEMPLATE}
    name: {{en: Seat, de: Platz}}
    description: {{en: Runs in advance., de: Läuft im Voraus.}}
    image: spawner/hello:1
    port: 8080
    limits: {{memory: 64M, cpus: 0.1, pids: 64}}
    probe: {{path: /, deadline_seconds: 20}}
    read_only: true
    warm: {SEATS}
"""
FIRE_SECONDS = 30


@fault
async def claims_killed(cluster: Cluster) -> AsyncIterator[None]:
    """As many people as there are seats launch at once; nobody else does, so that a seat's worker is hit."""
    await cluster.load.pause()
    async with direct_client(timeout=20) as http:
        for checkpoint in WARM_LAUNCH:
            await cluster.until(lambda: _ready(cluster), FIRE_SECONDS, "seats are ready")
            cluster.control.arm(JobKind.LAUNCH, checkpoint)
            people = await _without(cluster)
            launches = (cluster.load.act(http, person, "launch", template=TEMPLATE) for person in people[:SEATS])
            await asyncio.gather(*launches)

            async def fired(checkpoint: Checkpoint = checkpoint) -> bool:
                return not cluster.control.armed(JobKind.LAUNCH, checkpoint)

            await cluster.until(fired, FIRE_SECONDS, f"a worker dies at {checkpoint} of a warm launch")
    yield


async def _ready(cluster: Cluster) -> bool:
    async with cluster.resources.reads() as session:
        ready = select(func.count()).where(Seat.template == TEMPLATE, Seat.state == SeatState.READY)
        return await session.scalar(ready) == SEATS


async def _without(cluster: Cluster) -> list[SignedIn]:
    """People who never had a workspace of the template: a launch of theirs takes a seat."""
    async with cluster.resources.reads() as session:
        owners = set(await session.scalars(select(Workspace.user_id).where(Workspace.template == TEMPLATE)))
    return [person for person in cluster.load.signed_in if person.user.id not in owners]
