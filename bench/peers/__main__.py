"""`make bench-peers`: JupyterHub and Spawner side by side; keeps the table in docs/performance.md."""

import asyncio
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import uvloop

from app.resources import Resources, open_resources
from bench.__main__ import make_images
from bench.accounts import sign_in_many
from bench.child import LIKE_MAKE_UP
from bench.client import Client
from bench.gateway import visit
from bench.launcher import Launcher, require
from bench.load import Order, Outcome, get, in_turns
from bench.peers.hub import Hub, Spawned, running_hub
from bench.peers.packages import NotInstalled, Packages
from bench.processes import memory_megabytes
from bench.table import Failed, machine, percentile, write, written
from deploy.stack.console import StepFailed
from tests.support.stack import ROOT, RunningStack, running_stack

ALONE, BURSTS = 10, (16, 40)
ROUNDS = 3
CONNECTIONS = 16
ALL_SECONDS = 600
# Not a file of the sample image: both ways the container answers 404, of the same length.
NOWHERE = "nothing"
HEAD = ("what", "JupyterHub", "Spawner")


@dataclass(slots=True)
class Table:
    """Rows of two columns, written as they are measured."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, hub: str, ours: str) -> None:
        """One row."""
        self.rows.append((what, hub, ours))
        print(f"{what}: {hub} against {ours}", file=sys.stderr, flush=True)

    def text(self) -> str:
        """As Markdown."""
        lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|"]
        return "\n".join(lines + [f"| {' | '.join(row)} |" for row in self.rows])


@dataclass(frozen=True, slots=True)
class Sides:
    """Both, running side by side; what is measured runs on one of them at a time."""

    hub: Hub
    stack: RunningStack
    resources: Resources
    client: Client

    async def launcher(self, prefix: str, count: int) -> Launcher:
        """Launches of Spawner by so many new users."""
        return Launcher(self.client, await sign_in_many(self.resources, prefix, count))


async def measure(sides: Sides, table: Table) -> None:
    """All rows, those that take longest last."""
    hub, ours = sides.hub.memory(), {name: memory_megabytes(sides.stack.pids()[name]) for name in _ours(sides.stack)}
    names = ", ".join(ours)
    table.add(
        "memory at rest",
        f"{written(hub, 'MB', up=True)} (hub, proxy)",
        f"{written(sum(ours.values()), 'MB', up=True)} ({names})",
    )
    await _alone(sides, table)
    await _reads(sides, table)
    for count in BURSTS:
        await _burst(sides, table, count)


def _ours(stack: RunningStack) -> list[str]:
    """The parts that JupyterHub's two processes correspond to: no database, no mail."""
    return sorted(name for name in stack.pids() if name not in ("postgres", "mail"))


async def _alone(sides: Sides, table: Table) -> None:
    """In turns, the first of each not counted."""
    hub, launcher = [], await sides.launcher("alone", ALONE + 1)
    ours = []
    for user in await sides.hub.add_users(ALONE + 1):
        hub.append(_ready([await sides.hub.spawn(user)])[0])
        await sides.hub.clean()
        ours.append(require([await launcher.run()])[0].milliseconds)
        await launcher.clean()
    for name, percent in (("p50", 50), ("worst", 100)):
        table.add(
            f"one launch alone until it is ready, {name} of {ALONE}",
            *(_ms(found[1:], percent) for found in (hub, ours)),
        )


async def _burst(sides: Sides, table: Table, count: int) -> None:
    """So many in one instant, of each side in turn."""
    users, launcher = await sides.hub.add_users(count), await sides.launcher(f"burst{count}x", count)
    began = time.perf_counter()
    spawned = await asyncio.gather(*(sides.hub.spawn(user) for user in users))
    hub_seconds = time.perf_counter() - began
    await sides.hub.clean()
    began = time.perf_counter()
    launches = await launcher.run_many(count)
    our_seconds = time.perf_counter() - began
    await launcher.clean()
    hub, ours = _times(spawned), [launch.milliseconds for launch in launches if launch.succeeded]
    table.add(f"{count} launches in one instant: ready", f"{len(hub)} of {count}", f"{len(ours)} of {count}")
    table.add(
        "until the last one was ready", *(written(seconds, "s", up=True) for seconds in (hub_seconds, our_seconds))
    )
    table.add("until each was ready, p50 of those that were", *(_ms(found, 50) for found in (hub, ours)))
    posts = [launch.posted.milliseconds for launch in launches]
    table.add("until a launch was answered, p50", _ms(hub, 50) + " (it waits for the server)", _ms(posts, 50))


async def _reads(sides: Sides, table: Table) -> None:
    """A client's poll, and requests to a server, on each side in turn."""
    (user,), launcher = await sides.hub.add_users(1), await sides.launcher("reads", 1)
    _ready([await sides.hub.spawn(user)])
    (launch,) = require([await launcher.run()])
    visited = await visit(sides.stack, sides.resources, launch.account)
    host = urlsplit(sides.stack.public_url).netloc
    api = int(sides.stack.settings["SPAWNER_API_UPSTREAM"].split()[0].rpartition(":")[2])
    hub_poll = get(f"/hub/api/users/{user}", sides.hub.headers, sides.hub.host)
    our_poll = get(launch.posted.json()["status_url"], launch.account.headers, host)
    polls = await in_turns(Order(sides.hub.port, (hub_poll,)), Order(api, (our_poll,)), ROUNDS)
    table.add("polls a second: the user's model; the job", *(_rate(poll, 200) for poll in polls))
    table.add("the same, p50 at 8 connections", *(_ms(poll.milliseconds, 50) for poll in polls))
    hub_page = get(f"/user/{user}/{NOWHERE}", {}, f"127.0.0.1:{sides.hub.proxy_port}")
    our_page = get(visited.path + NOWHERE, {"Cookie": visited.cookie}, visited.host)
    proxy = int(visited.host.rpartition(":")[2])
    pages = await in_turns(
        Order(sides.hub.proxy_port, (hub_page,), CONNECTIONS), Order(proxy, (our_page,), CONNECTIONS), ROUNDS
    )
    table.add("proxied requests a second", *(_rate(page, 404) for page in pages))
    table.add(f"the same, p50 at {CONNECTIONS} connections", *(_ms(page.milliseconds, 50) for page in pages))
    await sides.hub.clean()
    await launcher.clean()


def _rate(outcome: Outcome, status: int) -> str:
    failed = outcome.failures(status)
    return f"{failed} failed: {outcome.statuses}" if failed else written(outcome.rate, "", up=False)


def _ready(spawned: list[Spawned]) -> list[float]:
    for one in spawned:
        if one.milliseconds is None:
            raise Failed(f"JupyterHub: {one.why}")
    return _times(spawned)


def _times(spawned: Sequence[Spawned]) -> list[float]:
    return [one.milliseconds for one in spawned if one.milliseconds is not None]


def _ms(values: list[float], percent: float) -> str:
    return written(percentile(values, percent), "ms", up=True) if values else "none"


async def _run(packages: Packages, stack: RunningStack, logs: Path, table: Table) -> None:
    connection = await asyncpg.connect(stack.services.database_owner_url.replace("+asyncpg", ""))
    await connection.execute("CREATE DATABASE hub")
    await connection.close()
    async with (
        asyncio.timeout(ALL_SECONDS),
        running_hub(packages, stack.services, stack.instance, logs) as hub,
        open_resources(stack.load_settings()) as resources,
        Client(stack.public_url) as client,
    ):
        await measure(Sides(hub, stack, resources, client), table)


def main() -> None:
    """Install, measure, write. Whatever fails is said in the table."""
    make_images()
    home, logs = ROOT / ".spawner" / "peers", ROOT / ".spawner" / "bench" / "peers"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    packages, table, measured_on = Packages(home), Table(), machine()
    try:
        packages.install()
        versions = packages.versions()
        instance = f"b{secrets.token_hex(4)}"
        with running_stack("path", instance, logs, lease_seconds=15, changes=LIKE_MAKE_UP, durable=True) as stack:
            uvloop.run(_run(packages, stack, logs, table))
    except NotInstalled as reason:
        sys.exit(f"nothing was measured: {reason}")
    except (Failed, StepFailed, OSError) as reason:
        table.add("the rest", f"not reached: {type(reason).__name__}: {reason}", "")
    text = f"Measured on {measured_on}, with {versions}.\n\n{table.text()}"
    print(text)
    write("peers", text)


if __name__ == "__main__":
    main()
