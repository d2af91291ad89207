"""Rules that somebody removes are back because the kernel told of it: no pass looks here."""

import asyncio
import os
import subprocess
from contextlib import aclosing, closing

import pytest

from app.core.supervise import background_task
from app.runtime.base import EgressUnenforceable
from app.runtime.docker.firewall import Firewall
from app.runtime.docker.rule_watch import open_watch, removals
from app.runtime.docker.runtime import DockerRuntime
from tests.support.attacks import RANGE
from tests.support.engine import DOCKER_URL, eventually
from tests.support.waiting import PATIENCE
from workers.loops import egress
from workers.loops.egress import guard


def nft(*arguments: str) -> None:
    subprocess.run(["nft", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    "removal",
    ["delete table inet {}", "flush table inet {}", "flush chain inet {} leaving", "flush set inet {} networks"],
)
async def test_whatever_is_removed_is_back_though_nobody_looks(
    removal: str, guarded: DockerRuntime, instance: str
) -> None:
    firewall = Firewall(instance, RANGE)
    putting_back = 0
    keep = guarded.reconcile_egress

    async def counted(instance: str) -> int:
        nonlocal putting_back
        count = await keep(instance)
        putting_back += bool(count)
        return count

    guarded.reconcile_egress = counted  # type: ignore[method-assign]  # to see that it is the watch that puts back

    async def whole() -> bool:
        return (await firewall.read_state()).whole

    async def put_back() -> bool:
        return putting_back >= removed

    async with background_task(asyncio.create_task(guard(guarded, instance))):
        # Also what is removed twice, so that the watch goes on.
        for removed in (1, 2):  # noqa: B007  # read by `put_back`
            await eventually(whole)
            nft(*removal.format(firewall.table).split())
            await eventually(put_back)
            await eventually(whole)


async def test_changes_of_others_wake_nobody(guarded: DockerRuntime, instance: str) -> None:
    firewall = Firewall(instance, RANGE)
    other = Firewall(f"{instance}x", RANGE)
    with closing(open_watch()) as watch:
        async with aclosing(removals(watch, firewall.table)) as heard:
            hearing = asyncio.create_task(anext(heard))
            await other.ensure()
            await other.remove()
            await firewall.ensure()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await asyncio.shield(hearing)
            nft("flush", "table", "inet", firewall.table)
            async with asyncio.timeout(PATIENCE):
                await hearing


async def test_a_watch_that_breaks_is_opened_anew(
    guarded: DockerRuntime, instance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, firewall = 0, Firewall(instance, RANGE)
    real = guarded.egress_removals

    async def breaks():  # type: ignore[no-untyped-def]  # a generator, as the real one
        nonlocal opened
        opened += 1
        if opened == 1:
            raise BrokenWatch
        async for item in real():
            yield item

    class BrokenWatch(EgressUnenforceable):
        transient = True

    monkeypatch.setattr(egress, "PAUSE_SECONDS", 0)
    guarded.egress_removals = breaks  # type: ignore[method-assign]
    await firewall.remove()

    async def whole() -> bool:
        return (await firewall.read_state()).whole

    async with background_task(asyncio.create_task(guard(guarded, instance))):
        await eventually(whole)
    assert opened == 2


async def test_an_engine_elsewhere_has_nothing_to_watch() -> None:
    assert os.getuid() == 0
    runtime = DockerRuntime(DOCKER_URL, publish="never", starts=1)
    with pytest.raises(EgressUnenforceable):
        await anext(runtime.egress_removals())
    await runtime.aclose()
