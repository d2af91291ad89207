"""Polls and requests to workspaces while forty launches keep the machine busy."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from bench.gateway import gateway_port, visit
from bench.launcher import require
from bench.launches import BURST, setting
from bench.load import Order, get, under_load
from bench.table import Row, at_most, figure, none_of, not_reached
from tests.support.stack import RunningStack

# Twenty requests a second of each kind, on two connections.
PACE = 0.1
CONNECTIONS = 2
SECONDS = 8.0
MOST = 100


async def meanwhile(stack: RunningStack) -> AsyncIterator[Row]:
    """Each kind of request comes at a steady pace, from processes of their own."""
    host = urlsplit(stack.public_url).netloc
    public = int(host.rpartition(":")[2])
    async with setting(stack, "busy", BURST + 1) as here:
        (launch,) = require([await here.launcher.run()])
        visited = await visit(stack, here.resources, launch.account)
        poll = get(launch.posted.json()["status_url"], launch.account.headers, host)
        proxy = int(visited.host.rpartition(":")[2])
        orders = {
            "poll of a job": Order(public, (poll,), CONNECTIONS, SECONDS, PACE),
            "decision of the gateway": Order(gateway_port(stack), (visited.question(),), CONNECTIONS, SECONDS, PACE),
            "page of a workspace": Order(proxy, (visited.request(),), CONNECTIONS, SECONDS, PACE),
        }
        loads = [under_load(order) for order in orders.values()]
        async with loads[0] as polls, loads[1] as decisions, loads[2] as pages:
            launches = await here.launcher.run_many(BURST)
            outcomes = dict(zip(orders, [(await load)[0] for load in (polls, decisions, pages)], strict=True))
        for what, outcome in outcomes.items():
            name = f"{what} while {BURST} launches run"
            yield none_of(f"{name}: failed", outcome.failures(200), len(outcome.milliseconds), str(outcome.statuses))
            if what == "page of a workspace":
                yield figure(f"{name}, p99", outcome.percentile(99), "ms")
            else:
                yield at_most(f"{name}, p99", outcome.percentile(99), MOST)
        failed = [one for one in launches if not one.succeeded]
        if failed:
            yield not_reached(f"{BURST - len(failed)} of {BURST} launches succeeded meanwhile", failed[0].why_not)
        await here.launcher.clean()
