"""Six hundred launches at once through one worker, whose engine needs two seconds for each and no processor."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from sqlalchemy import func, select

from app.models import EngineCapacity, Job, JobKind, JobState
from app.resources import Resources, open_resources
from bench.accounts import sign_in_many
from bench.client import Client
from bench.launcher import Launcher
from bench.load import Order, get, under_load
from bench.processes import memory_megabytes
from bench.table import Failed, Row, at_most, figure, none_of
from tests.support.stack import RunningStack

LAUNCHES = 600
SECONDS = 60.0
POLL_SECONDS = 20.0
LOOK_SECONDS = 0.5
PACE = 0.1
# What an operator sets who has an engine of that kind.
SETTINGS = {
    "SPAWNER_WORKER_JOBS": str(LAUNCHES),
    "SPAWNER_LAUNCHES_AT_ONCE": str(LAUNCHES),
    "SPAWNER_QUEUE_LIMIT": str(LAUNCHES),
    "SPAWNER_LAUNCH_SECONDS": "300",
}


async def one_worker(stack: RunningStack) -> AsyncIterator[Row]:
    """All posted in one instant. The polls are of one job that waits with the others."""
    stack.workers["worker-2"].terminate()
    await asyncio.to_thread(stack.workers["worker-2"].wait, 30)
    pid = stack.workers["worker-1"].pid
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        await _until_measured(resources)
        launcher = Launcher(client, await sign_in_many(resources, "mass", LAUNCHES + 1))
        first = await launcher.post()
        if first.posted.status != 202:
            raise Failed(first.why_not)
        host = urlsplit(stack.public_url).netloc
        poll = get(first.posted.json()["status_url"], first.account.headers, host)
        order = Order(int(host.rpartition(":")[2]), (poll,), 2, POLL_SECONDS, PACE)
        began = time.perf_counter()
        async with under_load(order) as polls:
            launches = await asyncio.gather(*(launcher.post() for _ in range(LAUNCHES)))
            posted = time.perf_counter() - began
            succeeded, most = await _follow(resources, pid, began + SECONDS)
            seconds = time.perf_counter() - began
            (outcome,) = await polls
        refused = [launch for launch in launches if launch.posted.status != 202]
        why = ", ".join(sorted({launch.why_not for launch in refused}))[:200]
        yield none_of(
            f"{LAUNCHES} launches at once, one worker, 2 s each at the engine: refused", len(refused), LAUNCHES, why
        )
        yield none_of(f"of them not running after {SECONDS:.0f} s", LAUNCHES - min(succeeded - 1, LAUNCHES), LAUNCHES)
        yield figure("until the last one ran, or the time was over", seconds, "s")
        yield figure("until the last POST was answered", posted, "s")
        yield at_most("memory of the worker, at most", most, 250, "MB")
        yield none_of("polls that failed meanwhile", outcome.failures(200), len(outcome.milliseconds))
        yield at_most("poll meanwhile, p99", outcome.percentile(99), 200)


async def _until_measured(resources: Resources) -> None:
    """Wait until the worker has told what its engine has. Raises `TimeoutError`."""
    async with asyncio.timeout(30):
        while True:
            async with resources.reads() as session:
                if (await session.scalar(select(EngineCapacity.cpus)) or 0) >= 1000:
                    return
            await asyncio.sleep(0.2)


async def _follow(resources: Resources, pid: int, until: float) -> tuple[int, float]:
    """How many launches have succeeded, once all have or the time is over; and the most memory of the worker."""
    ended = select(func.count()).where(Job.kind == JobKind.LAUNCH, Job.state == JobState.SUCCEEDED)
    most = 0.0
    while True:
        most = max(most, memory_megabytes(pid))
        async with resources.reads() as session:
            succeeded = await session.scalar(ended) or 0
        if succeeded > LAUNCHES or time.perf_counter() > until:
            return succeeded, most
        await asyncio.sleep(LOOK_SECONDS)
