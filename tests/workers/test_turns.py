"""One worker leads; another takes over where it ends, dies or freezes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from app.core.settings.model import Settings
from app.core.supervise import background_task
from app.resources import Resources, open_resources
from tests.support.driving import until
from workers.turns import LEASE_SECONDS, RENEW_SECONDS, lead

KEY = "spawner:test:leader"


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


async def test_one_that_died_is_replaced_when_its_lease_runs_out(resources: Resources) -> None:
    await resources.redis.set(KEY, "dead", px=round(LEASE_SECONDS * 1000))
    heir = Candidate()
    async with heir.running(resources):
        await until(heir.is_leader)
        assert await resources.redis.get(KEY) != b"dead"
    assert LEASE_SECONDS + RENEW_SECONDS <= 2


async def test_one_that_was_frozen_stops_when_it_hears_of_another(resources: Resources) -> None:
    frozen = Candidate()
    async with frozen.running(resources):
        await until(frozen.is_leader)
        await resources.redis.set(KEY, "another")

        async def stopped() -> bool:
            return not frozen.leads

        await until(stopped)
    assert await resources.redis.get(KEY) == b"another"


async def test_everybody_leads_while_redis_does_not_answer(settings: Settings) -> None:
    first, second = Candidate(), Candidate()
    without = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})
    async with open_resources(without) as cut_off, first.running(cut_off), second.running(cut_off):
        await until(first.is_leader)
        await until(second.is_leader)
