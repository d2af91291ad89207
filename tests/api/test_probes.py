"""/livez says that the process lives; /readyz which part does not."""

import httpx
import pytest

from app.core.settings.model import Settings
from app.health.presence import announce, presence_key
from app.resources import Resources
from tests.api.conftest import NO_DATABASE, NO_REDIS, serving
from tests.conftest import INSTANCE

WELL = {
    "ready": True,
    "instance": INSTANCE,
    "database": "ok",
    "tables": "ok",
    "redis": "ok",
    "engine": "ok",
    "workers": 1,
}


async def beat(resources: Resources, name: str, engine: str) -> None:
    await announce(resources.redis, presence_key(resources.settings, "workers"), name, engine, 10)


@pytest.fixture
async def beating(resources: Resources) -> None:
    """A worker that was heard of just now, and whose engine answers."""
    await beat(resources, "one:1", "ok")


async def test_all_parts_well_is_ready(client: httpx.AsyncClient, beating: None) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, WELL)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"database_url": NO_DATABASE}, {**WELL, "ready": False, "database": "down", "tables": None}),
        ({"redis_url": NO_REDIS}, {**WELL, "ready": False, "redis": "down", "engine": "down", "workers": 0}),
    ],
    ids=["database", "redis"],
)
async def test_a_part_that_is_away_is_named(
    settings: Settings, beating: None, change: dict[str, str], seen: dict[str, object]
) -> None:
    async with serving(settings.model_copy(update=change)) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, seen)
        assert (await client.get("/livez")).json() == {"status": "ok"}


async def test_no_worker_is_not_ready(client: httpx.AsyncClient, resources: Resources) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {**WELL, "ready": False, "engine": "down", "workers": 0})


async def test_an_engine_that_no_worker_reaches_is_not_ready(client: httpx.AsyncClient, resources: Resources) -> None:
    await beat(resources, "one:1", "engine_unavailable")
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {**WELL, "ready": False, "engine": "down"})
    await beat(resources, "two:1", "ok")
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {**WELL, "workers": 2})


async def test_a_probe_asks_for_no_walk_over_all_keys_and_sees_no_other_installations_workers(
    client: httpx.AsyncClient, resources: Resources, beating: None
) -> None:
    other = presence_key(resources.settings.model_copy(update={"instance": "other"}), "workers")
    await announce(resources.redis, other, "two:1", "ok", 10)
    await resources.redis.config_resetstat()
    assert (await client.get("/readyz")).json() == WELL
    assert "cmdstat_scan" not in await resources.redis.info("commandstats")
