"""Counts what is left: jobs that never ended, containers that are two, things nobody wants, rows that lie."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select

from app.models import LIVE_STATES, Job, JobEvent, Network, Seat, Workspace, WorkspaceStatus
from app.resources import Resources
from app.runtime.docker.objects import INSTANCE, WORKSPACE
from app.workspaces.container_spec import network_index
from app.workspaces.states import ALIVE, SETTLED
from deploy.stack.engine import Engine, EngineFailed
from tests.support.http import direct_client
from tests.support.stack import RunningStack

SAMPLE_SECONDS = 0.25
# What the engine may say of a workspace at rest.
FITS = {
    WorkspaceStatus.NOT_CREATED: {"absent"},
    WorkspaceStatus.RUNNING: {"running"},
    WorkspaceStatus.PAUSED: {"paused"},
    WorkspaceStatus.STOPPED: {"absent", "created", "exited", "dead"},
    WorkspaceStatus.ERROR: {"absent", "created", "exited", "dead"},
}


@dataclass(slots=True)
class Sampler:
    """Looks at the engine all the while; remembers each workspace that ever had two containers alive."""

    stack: RunningStack
    doubled: dict[str, list[str]] = field(default_factory=dict)
    samples: int = 0

    async def run(self) -> None:
        """Until cancelled. A connection of its own, so that nobody waits for it."""
        engine = Engine(self.stack.engine.url)
        try:
            while True:
                try:
                    containers, _ = await asyncio.to_thread(engine.list_labelled, f"{INSTANCE}={self.stack.instance}")
                    self._count(containers)
                except EngineFailed:
                    pass
                await asyncio.sleep(SAMPLE_SECONDS)
        finally:
            engine.close()

    def _count(self, containers: list[dict[str, Any]]) -> None:
        self.samples += 1
        alive: dict[str, list[str]] = defaultdict(list)
        for container in containers:
            if container["State"] in ("running", "paused", "restarting"):
                alive[container["Labels"][WORKSPACE]].append(container["Id"])
        self.doubled.update({workspace: ids for workspace, ids in alive.items() if len(ids) > 1})


@dataclass(slots=True)
class Leftovers:
    """Offenders by what is the matter with them, each with a sentence."""

    jobs: int = 0
    ended: int = 0
    by_state: dict[str, int] = field(default_factory=dict)
    lost: dict[UUID, str] = field(default_factory=dict)
    wrong: dict[UUID, str] = field(default_factory=dict)
    orphans: set[str] = field(default_factory=set)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.wrong or self.orphans)


async def count(
    stack: RunningStack, resources: Resources, accepted: Iterable[UUID], *, probe: bool = False
) -> Leftovers:
    """Compare what was accepted with rows, and rows with the engine. `probe` asks each workspace for its page too."""
    label = f"{INSTANCE}={stack.instance}"
    containers, networks = await asyncio.to_thread(stack.engine.list_labelled, label)
    async with resources.reads() as session:
        states = dict((await session.execute(select(Job.id, Job.state))).all())
        rows = list(await session.scalars(select(Workspace)))
        seats = set(map(str, await session.scalars(select(Seat.id))))
        indices = set(await session.scalars(select(Network.index)))
        live = set(await session.scalars(select(Job.workspace_id).where(Job.state.in_(LIVE_STATES))))
    leftovers = Leftovers(jobs=len(states), ended=sum(state not in LIVE_STATES for state in states.values()))
    for state in states.values():
        leftovers.by_state[state] = leftovers.by_state.get(state, 0) + 1
    for job_id in {*accepted, *states}:
        if job_id not in states or states[job_id] in LIVE_STATES:
            leftovers.lost[job_id] = str(states.get(job_id, "unknown"))
    engine = {container["Labels"][WORKSPACE]: container for container in containers}
    known = {str(row.engine_id) for row in rows if row.status != WorkspaceStatus.NOT_CREATED or row.id in live}
    known |= seats
    leftovers.orphans = {engine[owner]["Names"][0].lstrip("/") for owner in engine.keys() - known}
    leftovers.orphans |= {name for name in networks if network_index(resources.settings, name) not in indices}
    taken = Counter(row.engine_id for row in rows)
    for row in rows:
        if taken[row.engine_id] > 1:
            leftovers.wrong[row.id] = "another workspace has the same container"
        elif row.id not in live and (fault := await _fault(row, engine.get(str(row.engine_id)), probe)):
            leftovers.wrong[row.id] = fault
    return leftovers


async def _fault(row: Workspace, container: dict[str, Any] | None, probe: bool) -> str | None:
    state = container["State"] if container else "absent"
    if row.status not in SETTLED or state not in FITS[row.status]:
        return f"the row says {row.status}, wanted {row.desired_state}; the engine says {state}"
    if (row.reserved_memory is not None) != (row.status in ALIVE):
        return f"the row says {row.status} and room is {'' if row.reserved_memory else 'not '}taken for it"
    if row.status == WorkspaceStatus.RUNNING and probe:
        try:
            async with direct_client(timeout=5) as http:
                answer = await http.get(f"http://{row.host}:{row.port}/")
        except httpx.HTTPError as error:
            return f"the row says running at {row.host}:{row.port}, where nobody answers: {error!r}"
        return None if answer.status_code < 500 else f"the workspace answers {answer.status_code}"
    return None


async def wait_quiet(
    stack: RunningStack, resources: Resources, accepted: Iterable[UUID], seconds: float
) -> tuple[Leftovers, float]:
    """Count until all is in order, or time is over. Returns the last count, and how long it took."""
    began = time.monotonic()
    ids = list(accepted)
    while True:
        try:
            leftovers = await count(stack, resources, ids, probe=True)
        except EngineFailed as error:
            leftovers = Leftovers(orphans={f"the engine does not answer: {error}"})
        waited = time.monotonic() - began
        if leftovers.clean or waited > seconds:
            return leftovers, waited
        await asyncio.sleep(0.3)


async def tell(resources: Resources, id: UUID) -> str:
    """The timeline of a job, or of a workspace's latest jobs."""
    lines = []
    async with resources.reads() as session:
        query = select(Job).where((Job.id == id) | (Job.workspace_id == id)).order_by(Job.created_at.desc()).limit(4)
        for job in reversed(list(await session.scalars(query))):
            lines.append(
                f"  {job.kind} {job.id} of {job.workspace_id}: {job.state}, generation {job.generation}, "
                f"attempts {job.attempts}, lease until {job.lease_until}, run at {job.run_at}, waits {job.blocked_by}"
            )
            events = select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id)
            lines += [
                f"    {line.at:%H:%M:%S.%f} {line.step} {line.detail or ''}" for line in await session.scalars(events)
            ]
    return "\n".join(lines) or f"  nothing is known of {id}"
