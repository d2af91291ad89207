"""One run: an installation under load, a fault after the other, and a count after each."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.core import clock
from app.models import LIVE_STATES, Job, JobKind, JobState, utcnow
from app.resources import open_resources
from deploy.stack.engine import EngineFailed
from tests.chaos import claims, deaths, passes  # noqa: F401  # they register their faults
from tests.chaos.cluster import Cluster, Skipped
from tests.chaos.control import VARIABLE, Control
from tests.chaos.faults import FAULTS
from tests.chaos.leftovers import Leftovers, Sampler, count, tell, wait_quiet
from tests.chaos.load import Load
from tests.support.stack import ROOT, RunningStack, running_stack

HEAL_SECONDS = 15
QUIET_SECONDS = 60
# Faults that end containers; no other may.
HANDS = frozenset({"containers-killed", "containers-paused", "containers-removed"})
SETTINGS = {
    # Like the sessions: access tokens go by the platform's clock, which jumps.
    "SPAWNER_ACCESS_TOKEN_SECONDS": "2592000",
    "SPAWNER_ORPHAN_SECONDS": "2",
    "SPAWNER_RECONCILE_SECONDS": "1",
    "SPAWNER_NETWORK_RANGE": "10.220.0.0/16",
}


@dataclass(slots=True)
class Outcome:
    """What one fault came to."""

    fault: str
    healed: float = 0.0
    accepted: int = 0
    leftovers: Leftovers = field(default_factory=Leftovers)
    skipped: str = ""
    last_sick: set[UUID | str] = field(default_factory=set)
    misses: list[str] = field(default_factory=list)


@contextlib.contextmanager
def installation(instance: str, logs: Path) -> Iterator[tuple[RunningStack, Control]]:
    """The whole stack, with entry points that the suite reaches into. The clock of this process follows it."""
    control = Control(logs / "control")
    control.directory.mkdir()
    catalog = logs / "catalog.yaml"
    catalog.write_text((ROOT / "images" / "catalog.yaml").read_text() + claims.ENTRY)
    changes = {**SETTINGS, VARIABLE: str(control.directory), "SPAWNER_CATALOG": str(catalog)}
    with running_stack(
        "path",
        instance,
        logs,
        lease_seconds=3,
        worker_module="tests.chaos.worker",
        api_factory="tests.chaos.api:create",
        gateway_module="tests.chaos.gateway",
        changes=changes,
    ) as stack:
        clock.source = control.now
        try:
            yield stack, control
        finally:
            clock.source = clock.system


@asynccontextmanager
async def cluster_of(
    stack: RunningStack, control: Control, *, seed: int, people: int, pace: float, scale: float, pairs: int | None
) -> AsyncIterator[tuple[Cluster, Sampler]]:
    """People at work, someone who starts again what died, and someone who counts containers."""
    async with open_resources(stack.load_settings()) as resources:
        load, sampler = Load(stack, seed, people, pace), Sampler(stack)
        await load.sign_in(resources)
        cluster = Cluster(stack, resources, control, load, random.Random(seed), scale, pairs)
        tasks = [asyncio.create_task(work) for work in (load.run(), sampler.run(), supervise(stack))]
        try:
            yield cluster, sampler
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if error is not None and not isinstance(error, asyncio.CancelledError):
                raise error


async def supervise(stack: RunningStack) -> None:
    """Start workers again that died, as whatever runs an installation does."""
    while True:
        for name, process in list(stack.workers.items()):
            if process.poll() is not None:
                stack.start_worker(name)
        await asyncio.sleep(0.1)


async def strike(
    cluster: Cluster, sampler: Sampler, name: str, warm_seconds: float, heal_seconds: float = HEAL_SECONDS
) -> Outcome:
    """Load, the fault, the time until what it left is in order; then quiet, and the count."""
    outcome, before, since = Outcome(name), len(cluster.load.accepted), utcnow()
    cluster.load.resume()
    await asyncio.sleep(warm_seconds)
    try:
        async with FAULTS[name](cluster):
            pass
    except Skipped as skipped:
        outcome.skipped = str(skipped)
    except TimeoutError as error:
        outcome.misses.append(str(error))
    ended = time.monotonic()
    outcome.last_sick = await heal(cluster)
    outcome.healed = time.monotonic() - ended
    await cluster.load.pause()
    outcome.leftovers, _ = await wait_quiet(cluster.stack, cluster.resources, cluster.load.accepted, QUIET_SECONDS)
    outcome.accepted = len(cluster.load.accepted) - before
    await _judge(cluster, sampler, outcome, heal_seconds)
    if name not in HANDS:
        outcome.misses += await _stopped(cluster, since)
    return outcome


async def heal(cluster: Cluster) -> set[UUID | str]:
    """Wait until all that the fault left in disorder is in order, whatever came since; returns what was so last."""
    began = time.monotonic()
    sick: set[UUID | str] | None = None
    last: set[UUID | str] = set()
    while time.monotonic() - began < QUIET_SECONDS:
        with contextlib.suppress(EngineFailed, SQLAlchemyError, OSError):
            now = await _sick(cluster)
            sick = now if sick is None else sick & now
            if not sick:
                break
            last = sick
        await asyncio.sleep(0.25)
    return last


async def _sick(cluster: Cluster) -> set[UUID | str]:
    leftovers = await count(cluster.stack, cluster.resources, ())
    async with cluster.resources.reads() as session:
        live: Iterable[UUID] = await session.scalars(select(Job.id).where(Job.state.in_(LIVE_STATES)))
        return {*live, *leftovers.wrong, *leftovers.orphans}


async def _stopped(cluster: Cluster, since: datetime) -> list[str]:
    """Workspaces that the platform had to launch again by itself, though no hand and no cancelled job touched them."""
    cancelled = select(Job.workspace_id).where(Job.state == JobState.CANCELLED)
    query = select(Job).where(
        Job.by_system, Job.kind == JobKind.LAUNCH, Job.created_at >= since, Job.workspace_id.not_in(cancelled)
    )
    async with cluster.resources.reads() as session:
        jobs = list(await session.scalars(query))
    return [f"stopped by the fault:\n{await tell(cluster.resources, job.workspace_id)}" for job in jobs]


async def _judge(cluster: Cluster, sampler: Sampler, outcome: Outcome, heal_seconds: float) -> None:
    leftovers = outcome.leftovers
    if outcome.healed > heal_seconds:
        told = [await tell(cluster.resources, sick) if isinstance(sick, UUID) else sick for sick in outcome.last_sick]
        outcome.misses.append("\n".join([f"healed after {outcome.healed:.1f} s, last:", *told]))
    for what, offenders in (("lost", leftovers.lost), ("wrong", leftovers.wrong)):
        for offender, why in offenders.items():
            outcome.misses.append(f"{what}: {offender}: {why}\n{await tell(cluster.resources, offender)}")
    outcome.misses += [f"orphan: {name}" for name in sorted(leftovers.orphans)]
    for workspace, ids in sampler.doubled.items():
        outcome.misses.append(f"doubled: {workspace}: {ids}\n{await tell(cluster.resources, UUID(workspace))}")
    sampler.doubled.clear()
