"""`make simulation`: 10,000 people and 6,000 running workspaces on an engine that takes no processor.

Everything but the engine is real. The figures are what the platform itself needs; the table stands in docs/capacity.md.
"""

import asyncio
import secrets
import shutil
import sys
import time
from dataclasses import astuple, dataclass
from urllib.parse import urlsplit

import uvloop
from sqlalchemy import func, select, text

from app.accounts.session_cookies import access_name
from app.models import EngineCapacity, Job, JobState
from app.resources import Resources, open_resources
from bench.accounts import Account, sign_in_many
from bench.child import LIKE_MAKE_UP
from bench.client import Client
from bench.gateway import gateway_port, visit
from bench.launcher import Launcher
from bench.load import Order, get, under_load
from bench.processes import Meter, memory_megabytes
from bench.table import Failed, as_table, machine, percentile, write
from tests.support.stack import ROOT, RunningStack, running_stack

PEOPLE, RUNNING = 10_000, 6_000
# Accounts made in one transaction, and launches posted at once.
BATCH, AT_ONCE = 500, 100
MORE = 300
REST_SECONDS, LOAD_SECONDS = 60.0, 20.0
LAUNCH_DEADLINE = 900.0
CONNECTIONS, PACE = 4, 0.04
PAGE = ROOT / "docs" / "capacity.md"
SETTINGS = {
    "SPAWNER_WORKER_JOBS": "64",
    "SPAWNER_LAUNCHES_AT_ONCE": "64",
    "SPAWNER_QUEUE_LIMIT": str(PEOPLE),
    "SPAWNER_QUEUE_SECONDS": "3600",
    # The engine of `fake_worker` tells of 1,000 processors and a TiB.
    "SPAWNER_CPU_OVERCOMMIT": "100",
    "SPAWNER_MEMORY_OVERCOMMIT": "100",
    # A /16 holds 4,096 networks.
    "SPAWNER_NETWORK_RANGE": "10.208.0.0/12",
}
HEAD = ("what", "figure", "processor time", "of it")


@dataclass(frozen=True, slots=True)
class Line:
    """One row: the platform's processor time, and the parts that took most of it."""

    what: str
    figure: str
    processor: str = ""
    parts: str = ""


class Simulation:
    """One installation, filled and measured."""

    def __init__(self, stack: RunningStack, resources: Resources, client: Client) -> None:
        self._stack, self._resources, self._client = stack, resources, client
        self._host = urlsplit(stack.public_url).netloc
        self._accounts: list[Account] = []
        self.lines: list[Line] = []

    def add(self, what: str, figure: str, spent: dict[str, float] | None = None, per: float = 1.0) -> None:
        """One row; `spent` is in milliseconds of processor time, and divided by `per`."""
        parts = {name: value / per for name, value in (spent or {}).items()}
        most = sorted(parts.items(), key=lambda item: -item[1])[:4]
        total = f"{sum(parts.values()):.2f} ms" if parts else ""
        self.lines.append(Line(what, figure, total, ", ".join(f"{name} {value:.2f}" for name, value in most)))
        print(*astuple(self.lines[-1]), sep=" | ", file=sys.stderr, flush=True)

    async def run(self) -> None:
        """Each step builds on the one before."""
        await self._until_measured()
        await self._sign_up()
        launcher = Launcher(self._client, self._accounts[: RUNNING + MORE])
        status_url = await self._launch(launcher, RUNNING, "launch, until all run")
        await self._rest()
        await self._requests(status_url)
        beside = f"launch, {MORE} more in one instant beside {RUNNING:,} that run"
        await self._launch(launcher, MORE, beside, at_once=MORE)
        await self._database_size()

    async def _until_measured(self) -> None:
        async with asyncio.timeout(30):
            while True:
                async with self._resources.reads() as session:
                    if (await session.scalar(select(EngineCapacity.cpus)) or 0) >= 1000:
                        return
                await asyncio.sleep(0.2)

    async def _sign_up(self) -> None:
        for first in range(0, PEOPLE, BATCH):
            self._accounts += await sign_in_many(self._resources, f"person{first}x", BATCH)

    async def _launch(self, launcher: Launcher, count: int, what: str, at_once: int = AT_ONCE) -> str:
        """Post so many, a number at once, and wait until all have ended; returns the last one's job."""
        meter, began = self._meter(), time.perf_counter()
        left, milliseconds, path = count, list[float](), ""

        async def post() -> None:
            nonlocal left, path
            while left > 0:
                left -= 1
                launch = await launcher.post()
                if launch.posted.status != 202:
                    raise Failed(launch.why_not)
                milliseconds.append(launch.posted.milliseconds)
                path = launch.posted.json()["status_url"]

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(post())
        await self._until_ended()
        seconds = time.perf_counter() - began
        figure = f"{count:,} in {seconds:.0f} s, POST p99 {percentile(milliseconds, 99):,.0f} ms"
        self.add(what, figure, meter.milliseconds(), count)
        return path

    async def _until_ended(self) -> None:
        live = select(func.count()).where(Job.is_live)
        failed = select(func.count()).where(Job.state == JobState.FAILED)
        async with asyncio.timeout(LAUNCH_DEADLINE):
            while True:
                async with self._resources.reads() as session:
                    if wrong := await session.scalar(failed):
                        raise Failed(f"{wrong} launches failed")
                    if not await session.scalar(live):
                        return
                await asyncio.sleep(0.5)

    async def _rest(self) -> None:
        meter = self._meter()
        await asyncio.sleep(REST_SECONDS)
        self.add(f"{RUNNING:,} that run, a second of it", "", meter.milliseconds(), REST_SECONDS)
        found = {name: memory_megabytes(pid) for name, pid in sorted(self._stack.pids().items())}
        for name, megabytes in found.items():
            # The second worker has been stopped.
            if megabytes:
                self.add(f"memory, {name}", f"{megabytes:.0f} MB")

    async def _requests(self, status_url: str) -> None:
        owner = await self._owner_of(status_url)
        visited = await visit(self._stack, self._resources, owner)
        public, gateway = int(self._host.rpartition(":")[2]), gateway_port(self._stack)
        await self._load("poll of a job", Order(public, (get(status_url, owner.headers, self._host),)))
        await self._load("list of workspaces", Order(public, (get("/api/user/containers", owner.headers, self._host),)))
        page = {"Cookie": f"{access_name(self._resources.settings)}={owner.cookie}", "Accept": "text/html"}
        await self._load("home page", Order(public, (get("/", page, self._host),)))
        await self._load("decision of the gateway", Order(gateway, (visited.question(),)))

    async def _owner_of(self, status_url: str) -> Account:
        async with self._resources.reads() as session:
            user_id = await session.scalar(select(Job.user_id).where(Job.id == status_url.rpartition("/")[2]))
        return next(account for account in self._accounts if account.user_id == user_id)

    async def _load(self, what: str, order: Order) -> None:
        """A hundred requests a second."""
        paced = Order(order.port, order.heads, CONNECTIONS, LOAD_SECONDS, PACE)
        meter = self._meter()
        async with under_load(paced) as load:
            (outcome,) = await load
        outcome.require(200, what)
        self.add(what, f"p99 {outcome.percentile(99):.1f} ms", meter.milliseconds(), len(outcome.milliseconds))

    async def _database_size(self) -> None:
        async with self._resources.reads() as session:
            size = await session.scalar(text("SELECT pg_database_size(current_database())")) or 0
        self.add("the database", f"{size / 1e6:.0f} MB")

    def _meter(self) -> Meter:
        meter = Meter(self._stack.pids())
        meter.start()
        return meter


async def simulate(stack: RunningStack) -> list[Line]:
    """All steps; returns what was measured before one failed."""
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        simulation = Simulation(stack, resources, client)
        try:
            await simulation.run()
        except (Failed, TimeoutError) as error:
            simulation.add("not reached", str(error) or "the time was over")
        return simulation.lines


def main() -> None:
    """Measure, print, and keep the table in docs/capacity.md."""
    logs = ROOT / ".spawner" / "simulation"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    measured_on, began = machine(), time.monotonic()
    installed = running_stack(
        "host",
        f"b{secrets.token_hex(4)}",
        logs,
        lease_seconds=15,
        worker_module="bench.fake_worker",
        changes={**LIKE_MAKE_UP, **SETTINGS},
        durable=True,
    )
    with installed as stack:
        stack.workers["worker-2"].terminate()
        stack.workers["worker-2"].wait(30)
        lines = uvloop.run(simulate(stack))
    text = f"Measured on {measured_on}, in {(time.monotonic() - began) / 60:.1f} minutes.\n\n{as_table(lines, HEAD)}"
    print(text)
    write("simulation", text, PAGE)


if __name__ == "__main__":
    main()
