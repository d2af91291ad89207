"""Processes that read the catalogue at different times know different templates: somebody says so."""

import asyncio
from dataclasses import replace

import httpx

from app.core.settings.model import Settings
from app.health.presence import announce, list_present, presence_key
from app.health.processes import list_processes, register
from app.resources import Resources, open_resources
from tests.conftest import TestWorker
from tests.support.driving import until
from tests.support.factories import make_user, sign_in
from workers.doctor import examine


async def test_processes_with_another_catalogue_are_named_in_overview_and_doctor(
    client: httpx.AsyncClient, settings: Settings, resources: Resources, worker: TestWorker
) -> None:
    root = await sign_in(resources, await make_user(resources, "root", is_admin=True))

    async def overview() -> dict[str, object]:
        answer = await client.get("/api/admin/overview", headers=root.headers)
        body: dict[str, object] = answer.json()
        return body

    first = asyncio.create_task(register(resources, "api"))
    try:
        await until(lambda: _count(resources, 1))
        assert ((await overview())["catalogs_differ"], len(resources.catalog.digest)) == (False, 12)
        changed = [one.model_copy(update={"port": 1 + one.port}) for one in resources.catalog.templates]
        async with open_resources(settings) as other:
            object.__setattr__(other.catalog, "templates", tuple(changed))
            second = asyncio.create_task(register(other, "worker"))
            try:
                await until(lambda: _count(resources, 2))
                seen = await overview()
                found = {finding.name: finding for finding in await examine.findings(worker.context)}
            finally:
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert seen["catalogs_differ"] is True
    processes = seen["processes"]
    assert isinstance(processes, list)
    assert [one["kind"] for one in processes] == ["api", "worker"]
    assert (found["catalogues"].level, processes[1]["name"] in found["catalogues"].text) == ("fail", True)
    assert processes[0]["name"] not in found["catalogues"].text


async def _count(resources: Resources, wanted: int) -> bool:
    return len(await list_processes(resources)) == wanted


async def test_a_process_that_is_heard_of_no_more_is_forgotten(resources: Resources) -> None:
    registering = asyncio.create_task(register(resources, "api"))
    await until(lambda: _count(resources, 1))
    registering.cancel()
    await asyncio.gather(registering, return_exceptions=True)
    key = presence_key(resources.settings, "processes")
    assert 0 < await resources.redis.ttl(key) <= 20
    # One that still speaks keeps the hash, and not what others said in it.
    await announce(resources.redis, key, "gone", "{}", 0)
    await announce(resources.redis, key, "here", "{}", 20)
    assert "gone" not in await list_present(resources.redis, key)
    assert not await resources.redis.hexists(key, "gone")  # type: ignore[misc]  # its types are those of both clients


async def test_processes_of_another_installation_on_the_same_redis_are_not_seen(resources: Resources) -> None:
    other = replace(resources, settings=resources.settings.model_copy(update={"instance": "other"}))
    registering = asyncio.create_task(register(other, "api"))
    try:
        await until(lambda: _count(other, 1))
        assert await list_processes(resources) == []
    finally:
        registering.cancel()
        await asyncio.gather(registering, return_exceptions=True)


async def test_the_digest_is_of_the_templates_and_not_of_how_they_are_written(
    settings: Settings, resources: Resources
) -> None:
    async with open_resources(settings) as again:
        assert again.catalog.digest == resources.catalog.digest
    fewer = type(resources.catalog)(resources.catalog.templates[:1])
    assert fewer.digest != resources.catalog.digest
