"""One worker leads; another takes over where it ends, dies or freezes."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from app.core.settings.model import Settings
from app.core.supervise import background_task
from app.resources import Resources, open_resources
from tests.conftest import ROOT
from tests.support.driving import until
from tests.support.waiting import PATIENCE
from workers.turns import LEASE_SECONDS, RENEW_SECONDS, lead

KEY = "spawner:test:leader"
OTHER = """
import asyncio, sys
from app.resources import make_redis
from workers.turns import lead

async def work():
    print("leads", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("stopped", flush=True)

asyncio.run(lead(make_redis(sys.argv[1]), sys.argv[2], work))
"""


class Candidate:
    """A worker that would lead; it knows whether it does."""

    def __init__(self) -> None:
        self.leads = False

    async def work(self) -> None:
        self.leads = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leads = False

    async def is_leader(self) -> bool:
        return self.leads

    @asynccontextmanager
    async def running(self, resources: Resources) -> AsyncIterator[None]:
        work: Callable[[], Coroutine[Any, Any, None]] = self.work
        async with background_task(asyncio.create_task(lead(resources.redis, KEY, work))):
            yield


async def test_one_leads_until_it_ends_and_then_another(resources: Resources) -> None:
    first, second = Candidate(), Candidate()
    async with first.running(resources):
        await until(first.is_leader)
        async with second.running(resources):
            await asyncio.sleep(2 * RENEW_SECONDS)
            assert (first.leads, second.leads) == (True, False)
    assert not first.leads
    async with second.running(resources):
        await until(second.is_leader)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_died_or_froze_is_replaced_and_stops_when_it_wakes(
    settings: Settings, resources: Resources, blow: signal.Signals
) -> None:
    heir = Candidate()
    command = (sys.executable, "-c", OTHER, settings.redis_url, KEY)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"leads\n"
        async with heir.running(resources):
            await asyncio.sleep(2 * RENEW_SECONDS)
            assert not heir.leads
            process.send_signal(blow)
            await until(heir.is_leader)
            if blow is signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)
                async with asyncio.timeout(PATIENCE):
                    assert await process.stdout.readline() == b"stopped\n"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    # What another may have to wait, its own pause included.
    assert LEASE_SECONDS + RENEW_SECONDS <= 2


async def test_everybody_leads_while_redis_does_not_answer(settings: Settings) -> None:
    first, second = Candidate(), Candidate()
    without = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})
    async with open_resources(without) as cut_off, first.running(cut_off), second.running(cut_off):
        await until(first.is_leader)
        await until(second.is_leader)
