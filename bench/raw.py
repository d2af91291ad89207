"""The engine alone: image and limits of a launch of `hello`, without Spawner and a network of its own."""

import asyncio
import time
from typing import Any

import aiodocker
from aiodocker.containers import DockerContainer

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

    async def launch(self) -> float:
        """Create and start one. Milliseconds."""
        began = time.perf_counter()
        container = await self._docker.containers.create({**CONFIGURATION, "Labels": self._labels})
        self._made.append(container)
        await container.start()
        return (time.perf_counter() - began) * 1000

    async def rate(self, count: int) -> float:
        """Launches a second, of so many begun together."""
        began = time.perf_counter()
        await asyncio.gather(*(self.launch() for _ in range(count)))
        return count / (time.perf_counter() - began)

    async def clean(self) -> None:
        """Remove what was made; not measured."""
        await asyncio.gather(*(container.delete(force=True, v=True) for container in self._made))
        self._made.clear()
