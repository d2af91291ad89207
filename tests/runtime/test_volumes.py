"""A file of a workspace survives what it should, on a real engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.settings.model import Settings
from app.models import JobKind
from app.resources import Resources
from app.runtime.base import Runtime
from app.workspaces import service
from app.workspaces.volumes import VolumePolicy
from tests.conftest import TestWorker, worker_on
from tests.support.engine import Workspaces, fetch
from tests.support.factories import SignedIn

CATALOG = """\
templates:
  - key: files
    name: {{en: Files, de: Dateien}}
    description: {{en: Notes each start., de: Merkt sich jeden Start.}}
    image: {image}
    port: 8080
    volume: /data
    user: "1000:1000"
    environment:
      SCRIPT: "trap 'exit 0' TERM; echo started >> /data/starts; busybox httpd -f -p 8080 -h /data & wait"
    limits: {{memory: 32M, cpus: 0.5, pids: 32}}
    probe: {{path: /starts, deadline_seconds: 20}}
    default: true
"""


@pytest.fixture
def settings(settings: Settings, instance: str, image: str, tmp_path: Path) -> Settings:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG.format(image=image))
    return settings.model_copy(update={"catalog": catalog, "instance": instance, "network_pool": 0})


@pytest.fixture
async def worker(
    settings: Settings, resources: Resources, runtime: Runtime, workspace: Workspaces
) -> AsyncIterator[TestWorker]:
    async with worker_on(settings, resources, runtime) as made:
        yield made


async def test_a_file_survives_everything_but_the_deletion_of_the_volume(
    resources: Resources, worker: TestWorker, runtime: Runtime, alice: SignedIn
) -> None:
    async def do(kind: JobKind, volume: VolumePolicy | None = None) -> None:
        async with resources.unit_of_work() as session:
            await service.request(session, resources, alice.user, "files", kind, volume=volume)
        await worker.drain()

    async def starts() -> int:
        endpoint = (await runtime.status(f"{resources.settings.instance}-alice-files")).endpoint
        assert endpoint is not None
        return len((await fetch(endpoint, "/starts")).splitlines())

    async def volumes() -> int:
        await worker.reconcile()
        return len((await runtime.list_owned(resources.settings.instance)).volumes)

    await do(JobKind.LAUNCH)
    assert await starts() == 1
    await do(JobKind.STOP)
    await do(JobKind.LAUNCH)
    assert await starts() == 2
    await do(JobKind.RESTART)
    assert await starts() == 3
    await do(JobKind.DELETE, VolumePolicy.KEEP)
    assert await volumes() == 1
    await do(JobKind.LAUNCH)
    assert await starts() == 4
    await do(JobKind.DELETE, VolumePolicy.DELETE)
    assert await volumes() == 0
    await do(JobKind.LAUNCH)
    assert await starts() == 1
