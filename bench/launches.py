"""Launches against the engine alone: one at a time, forty in one instant, and what the platform's processes spend."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiodocker
from sqlalchemy import func, select

from app.models import Network
from app.resources import Resources, open_resources
from bench.accounts import sign_in_many
from bench.client import Client
from bench.launcher import Launch, Launcher, require
from bench.processes import Meter
from bench.raw import Raw
from bench.table import (
    Failed,
    Row,
    at_most,
    figure,
    floor_plus,
    median,
    none_of,
    not_reached,
    percentile,
    share_of_floor,
)
from tests.support.stack import RunningStack

ROUNDS, LEAST_ROUNDS = 20, 3
# A slow machine takes fewer rounds.
ALONE_SECONDS = 20.0
BURST = 40
AT_ONCE = 16
REST_SECONDS = 25.0
SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Setting:
    """The engine alone and the platform, side by side."""

    raw: Raw
    launcher: Launcher
    resources: Resources


@asynccontextmanager
async def setting(stack: RunningStack, prefix: str, count: int) -> AsyncIterator[Setting]:
    """Accounts for so many launches, after one of each kind that is not measured."""
    async with (
        aiodocker.Docker(stack.engine.url) as docker,
        open_resources(stack.load_settings()) as resources,
        Client(stack.public_url) as client,
    ):
        accounts = await sign_in_many(resources, prefix, count + 2)
        raw, launcher = Raw(docker, stack.instance), Launcher(client, accounts)
        try:
            await raw.launch()
            require([await launcher.run(), await launcher.run()])
            await raw.clean()
            await launcher.clean()
            await _until_rested(resources)
            yield Setting(raw, launcher, resources)
        finally:
            await raw.clean()


async def _until_rested(resources: Resources) -> None:
    """Wait until the workers have made the networks that they keep ready, as they have where nobody launches."""
    ready = select(func.count()).where(Network.is_free, Network.ready)
    until = time.monotonic() + REST_SECONDS
    while time.monotonic() < until:
        async with resources.reads() as session:
            if (await session.scalar(ready) or 0) >= resources.settings.network_pool:
                return
        await asyncio.sleep(0.5)


async def alone(stack: RunningStack) -> AsyncIterator[Row]:
    """One launch at a time, in turns with the engine alone."""
    floors: list[float] = []
    launches: list[Launch] = []
    async with setting(stack, "alone", ROUNDS) as here:
        until = time.monotonic() + ALONE_SECONDS
        while len(launches) < ROUNDS and (len(launches) < LEAST_ROUNDS or time.monotonic() < until):
            floors.append(await here.raw.launch())
            await here.raw.clean()
            launches += require([await here.launcher.run()])
            await here.launcher.clean()
    times, posts = ([launch.milliseconds for launch in launches], [launch.posted.milliseconds for launch in launches])
    floor = median(floors)
    yield floor_plus(f"one launch until its job has ended, p50 of {len(launches)}", median(times), floor, 40)
    yield floor_plus("the same, p95", percentile(times, 95), floor, 120)
    yield figure("POST launch alone, p50", median(posts), "ms")


async def burst(stack: RunningStack) -> AsyncIterator[Row]:
    """Forty launches in one instant."""
    async with setting(stack, "burst", BURST) as here:
        floor = await here.raw.rate(BURST)
        yield figure(f"create and start by the engine alone, {BURST} in one instant", floor, "a second", up=False)
        await here.raw.clean()
        launches = await here.launcher.run_many(BURST)
        posts = [launch.posted.milliseconds for launch in launches]
        refused = [launch for launch in launches if launch.posted.status != 202]
        yield none_of(f"{BURST} launches in one instant: refused", len(refused), BURST, _reasons(refused))
        yield at_most("POST launch among them, p50", median(posts), 150)
        yield at_most("POST launch among them, p99", percentile(posts, 99), 500)
        ended = [launch for launch in launches if launch.succeeded]
        failed = [launch for launch in launches if launch.posted.status == 202 and not launch.succeeded]
        what = f"{BURST} launches in one instant until all have ended"
        if failed or not ended:
            yield not_reached(what, failed[0].why_not if failed else "all were refused", f"{SHARE} of the floor")
        else:
            # Those that were refused are no launches: the rate counts the others.
            seconds = max(launch.ended for launch in ended) - min(launch.began for launch in launches)
            yield share_of_floor(what, len(ended) / seconds, floor, SHARE)
        await here.launcher.clean()


def _reasons(launches: list[Launch]) -> str:
    return ", ".join(sorted({launch.why_not for launch in launches}))[:200]


async def processor(stack: RunningStack) -> AsyncIterator[Row]:
    """What the platform's own processes spend on a launch, sixteen at once."""
    async with setting(stack, "cpu", AT_ONCE) as here:
        floor = await here.raw.rate(AT_ONCE)
        await here.raw.clean()
        own = await here.raw.rate_on_networks(here.resources.settings, AT_ONCE)
        what = f"create and start by the engine alone, {AT_ONCE} in one instant, each on a network of its own"
        yield figure(what, own, "a second", up=False)
        meter = Meter(stack.pids())
        meter.start()
        launches = await here.launcher.run_many(AT_ONCE)
        spent = meter.milliseconds()
        succeeded = [launch for launch in launches if launch.succeeded]
        if not succeeded:
            raise Failed(launches[0].why_not)
        what = f"platform's processor time for a launch, {AT_ONCE} at once, all processes"
        yield at_most(what, sum(spent.values()) / len(succeeded), 60)
        for name, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
            yield figure(f"of it {name}", milliseconds / len(succeeded), "ms")
        if len(succeeded) < AT_ONCE:
            yield not_reached(f"{AT_ONCE} at once", next(one.why_not for one in launches if not one.succeeded))
        seconds = max(launch.ended for launch in succeeded) - min(launch.began for launch in launches)
        yield share_of_floor(f"launches, {AT_ONCE} at once", len(succeeded) / seconds, floor, SHARE)
        await here.launcher.clean()
