"""Logs of a real container, from the engine to its owner."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiodocker
import pytest
from fastapi import FastAPI

from app.core.settings.model import Settings
from app.resources import Resources
from app.runtime.docker.objects import INCARNATION, PORT, WORKSPACE
from app.runtime.docker.runtime import DockerRuntime
from app.runtime.docker.streams import MAX_LINE
from tests.api.streaming import Sent, make_workspace, served
from tests.support.engine import DOCKER_URL
from tests.support.factories import sign_in
from tests.support.logs import FOLLOW, LOGS, lines, texts, working

Start = Callable[[str], Awaitable[aiodocker.containers.DockerContainer]]


@pytest.fixture
async def docker() -> AsyncIterator[DockerRuntime]:
    made = DockerRuntime(DOCKER_URL, publish="never", starts=1)
    yield made
    await made.aclose()


@pytest.fixture
async def start(engine: aiodocker.Docker, image: str, settings: Settings) -> AsyncIterator[Start]:
    """Start alice's container with a script; gone afterwards."""
    started = []

    async def start(script: str) -> aiodocker.containers.DockerContainer:
        labels = {WORKSPACE: str(uuid4()), PORT: "8080", INCARNATION: "1"}
        config: dict[str, Any] = {
            "Image": image,
            "Labels": labels,
            "Env": [f"SCRIPT={script}"],
            "HostConfig": {"NetworkMode": "none"},
        }
        container = await engine.containers.create(config, name=f"{settings.instance}-alice-hello")
        started.append(container)
        await container.start()
        return container

    yield start
    for container in started:
        await container.delete(force=True, v=True)


async def test_a_real_containers_log_is_read_and_followed_to_its_end(
    app: FastAPI, resources: Resources, settings: Settings, docker: DockerRuntime, start: Start
) -> None:
    alice = await sign_in(resources)
    await make_workspace(resources, alice.user)
    container = await start("for i in 1 2 3; do echo line $i; done; exec busybox sleep 60")
    async with working(settings, resources, docker), served(app, alice) as api, api.stream(FOLLOW) as stream:
        assert texts(await lines(stream, 3)) == ["line 1", "line 2", "line 3"]
        assert (await api.get(f"{LOGS}?tail=2")).json() == {"lines": ["line 2", "line 3"]}
        assert (await api.get(f"{LOGS}?tail=0")).json() == {"lines": []}
        await container.kill()
        assert await stream.rest() == [Sent("end", "{}", "end")]


async def test_a_line_without_end_does_not_fill_the_memory(
    docker: DockerRuntime, start: Start, settings: Settings
) -> None:
    container = await start("busybox head -c 300000 /dev/zero | busybox tr '\\0' x; echo; echo after")
    await container.wait()
    found = [line async for line in docker.logs(f"{settings.instance}-alice-hello")]
    assert [len(line) for line in found] == [MAX_LINE, 5]
