"""/livez says that the process lives; /readyz which part does not."""

import httpx
import pytest

from app.resources import Resources
from app.settings import Settings
from tests.api.conftest import NO_DATABASE, NO_REDIS, serving

WELL = {"ready": True, "database": "ok", "tables": "ok", "redis": "ok", "engine": "ok", "workers": 1}


@pytest.fixture
async def beating(resources: Resources) -> None:
    """A worker that was heard of just now, and whose engine answers."""
    await resources.redis.set("spawner:worker:one:1", "ok", ex=10)


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
    await resources.redis.set("spawner:worker:one:1", "engine_unavailable", ex=10)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {**WELL, "ready": False, "engine": "down"})
    await resources.redis.set("spawner:worker:two:1", "ok", ex=10)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {**WELL, "workers": 2})
