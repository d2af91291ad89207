"""The engine alone: image and limits of a launch of `hello`, without Spawner, on the engine's bridge or networks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiodocker
from aiodocker.containers import DockerContainer
from aiodocker.networks import DockerNetwork

from app.core.settings.model import Settings
from app.runtime.docker.objects import network_body
from app.workspaces.container_spec import network, subnet_count

IMAGE = "spawner/hello:1"
CONFIGURATION: dict[str, Any] = {
    "Image": IMAGE,
    "User": "65534",
    "HostConfig": {
        "NetworkMode": "bridge",
        "Memory": 64 << 20,
        "MemorySwap": 64 << 20,
        "NanoCpus": 500_000_000,
        "PidsLimit": 64,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Init": True,
        "Tmpfs": {"/tmp": ""},
    },
}


class Raw:
    """Creates and starts containers; `clean` removes them."""

    def __init__(self, docker: aiodocker.Docker, instance: str) -> None:
        self._docker = docker
        self._labels = {"spawner.instance": instance}
        self._made: list[DockerContainer] = []

    async def launch(self, network: str = "bridge") -> float:
        """Create and start one. Milliseconds."""
        host = {**CONFIGURATION["HostConfig"], "NetworkMode": network}
        began = time.perf_counter()
        container = await self._docker.containers.create({**CONFIGURATION, "HostConfig": host, "Labels": self._labels})
        self._made.append(container)
        await container.start()
        return (time.perf_counter() - began) * 1000

    async def rate(self, count: int) -> float:
        """Launches a second, of so many begun together."""
        began = time.perf_counter()
        await asyncio.gather(*(self.launch() for _ in range(count)))
        return count / (time.perf_counter() - began)

    async def rate_on_networks(self, settings: Settings, count: int) -> float:
        """The same, each on a network of its own that was made in advance."""
        async with self._networks(settings, count) as names:
            began = time.perf_counter()
            await asyncio.gather(*(self.launch(name) for name in names))
            seconds = time.perf_counter() - began
            await self.clean()
        return count / seconds

    @asynccontextmanager
    async def _networks(self, settings: Settings, count: int) -> AsyncIterator[list[str]]:
        """The last ones of the range, which no workspace comes to."""
        last = subnet_count(settings)
        made: list[DockerNetwork] = []
        try:
            for index in range(last - count, last):
                body = network_body(settings.instance, network(settings, index))
                made.append(await self._docker.networks.create(body))
            yield [network(settings, index).name for index in range(last - count, last)]
        finally:
            for each in made:
                await each.delete()

    async def clean(self) -> None:
        """Remove what was made; not measured."""
        await asyncio.gather(*(container.delete(force=True, v=True) for container in self._made))
        self._made.clear()
