"""POST launch while workspaces burn the processor: what the platform's priority over workspaces is worth."""

from collections.abc import AsyncIterator

from app.resources import open_resources
from bench.accounts import Account, sign_in_many
from bench.client import Client
from bench.launcher import Launcher, require
from bench.table import Row, figure, median, percentile, written
from tests.support.stack import RunningStack

LAUNCHES = 10
BURNING = 4


async def priorities(stack: RunningStack) -> AsyncIterator[Row]:
    """The same launches before and while they burn."""
    async with open_resources(stack.load_settings()) as resources, Client(stack.public_url) as client:
        accounts = await sign_in_many(resources, "calm", 2 * LAUNCHES + 2)
        burning = Launcher(client, await sign_in_many(resources, "burning", BURNING), "burn")
        quiet = await _posts(client, accounts)
        require([await burning.run() for _ in range(BURNING)])
        busy = await _posts(client, accounts)
        what = f"POST launch while {BURNING} workspaces burn two processors each"
        for name, percent in (("p50", 50), ("p99", 99)):
            before = percentile([post for post, _ in quiet], percent)
            after = percentile([post for post, _ in busy], percent)
            yield figure(f"{what}, {name}; floor: at rest", after, "ms", floor=written(before, "ms", up=False))
        before, after = (median([whole for _, whole in found]) for found in (quiet, busy))
        yield figure(
            "the whole launch meanwhile, p50; floor: at rest", after, "ms", floor=written(before, "ms", up=False)
        )
        await burning.clean()


async def _posts(client: Client, accounts: list[Account]) -> list[tuple[float, float]]:
    """Milliseconds of each POST, and until its job has ended."""
    launcher = Launcher(client, accounts)
    launches = [require([await launcher.run()])[0] for _ in range(LAUNCHES + 1)][1:]
    await launcher.clean()
    return [(launch.posted.milliseconds, launch.milliseconds) for launch in launches]
