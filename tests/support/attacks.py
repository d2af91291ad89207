"""Attackers in workspaces, and what is there for them to attack."""

import io
import json
import os
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.runtime.base import Endpoint
from app.runtime.docker.runtime import DockerRuntime
from app.runtime.spec import WorkspaceSpec
from deploy.stack.engine import Engine
from tests.support.engine import DOCKER_URL, Steps, Workspaces, fetch
from tests.support.waiting import PATIENCE

# What the tests of runtimes take their subnets from.
RANGE = "10.214.0.0/16"
ATTACKER = Path(__file__).with_name("attacker.py")
DOCKERFILE = """
FROM spawner/jupyter:1
USER root
RUN cp /bin/bash /rootsh && chmod 4755 /rootsh
COPY attacker.py /attacker.py
USER 1000
CMD ["python3", "-u", "/attacker.py"]
"""


def build_attacker() -> Iterator[str]:
    """An image with Python, a setuid root shell, and the attacks as its program."""
    name, context = f"spawner-test/attacker:{secrets.token_hex(4)}", io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for path, content in (("Dockerfile", DOCKERFILE.encode()), ("attacker.py", ATTACKER.read_bytes())):
            item = tarfile.TarInfo(path)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    context.seek(0)
    with closing(Engine(DOCKER_URL)) as engine:
        engine.build(name, context, {}, lambda line: None)
    yield name
    subprocess.run(["docker", "--host", DOCKER_URL, "rmi", "-f", name], check=True, capture_output=True)


@dataclass(frozen=True)
class Prey:
    """The targets of attacks. Allowed visitors reach them."""

    neighbour: WorkspaceSpec
    endpoint: Endpoint


class Attack:
    """Starts attackers in networks that are there already, so that the host's side can be prepared."""

    def __init__(self, docker: DockerRuntime, workspace: Workspaces, image: str) -> None:
        self.docker, self.workspace, self.image = docker, workspace, image

    async def spec(self, **changes: Any) -> tuple[WorkspaceSpec, str]:
        """A workspace of the attacker's, and the host's address in its network."""
        limits = {"memory_bytes": 192 << 20, "pids": 64, "cpus": 1.0}
        spec = self.workspace(image=self.image, **{**limits, **changes})
        await self.docker.ensure_network(spec.instance, spec.network)
        first, _, last = spec.network.subnet.partition("/")[0].rpartition(".")
        return spec, f"{first}.{int(last) + 1}"

    async def run(
        self,
        spec: WorkspaceSpec,
        targets: dict[str, tuple[str, int]],
        names: list[str] | None = None,
        *,
        warm: bool = False,
    ) -> Endpoint:
        """Start the attacker; a `warm` one runs before it gets its workspace's name."""
        environment = {"TARGETS": json.dumps(targets), "NAMES": json.dumps(names or []), "HOST_PID": str(os.getpid())}
        spec.environment.update(environment)  # type: ignore[attr-defined]  # a dictionary, in tests
        if warm:
            seat = replace(spec, name=f"{spec.instance}-seat--{spec.workspace_id.hex}")
            await self.docker.ensure_running(seat, Steps())
            await self.docker.ensure_named(seat.name, spec.workspace_id, spec.name)
        endpoint = await self.docker.ensure_running(spec, steps := Steps())
        assert bool(steps.phases) is not warm
        await fetch(endpoint, "/live")
        return endpoint


async def outcomes(endpoint: Endpoint) -> dict[str, str]:
    found: dict[str, str] = json.loads(await fetch(endpoint, "/", seconds=PATIENCE))
    return found
