"""What a fault has in its reach: the installation, its database, its people, and dice."""

import asyncio
import random
import subprocess
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.models import LIVE_STATES, Job, JobKind, Workspace, WorkspaceStatus
from app.resources import Resources
from app.runtime.docker.objects import INSTANCE
from app.workspaces import service
from tests.chaos.control import Control
from tests.chaos.load import Load
from tests.support.stack import RunningStack


class Skipped(Exception):
    """This fault cannot be had on this machine, and why."""


@dataclass(slots=True)
class Cluster:
    """`scale` shortens what a fault lasts; `pairs` is how many of the points of death are tried, None for all."""

    stack: RunningStack
    resources: Resources
    control: Control
    load: Load
    dice: random.Random
    scale: float = 1.0
    pairs: int | None = None

    async def last(self, seconds: float) -> None:
        """How long a fault lasts."""
        await asyncio.sleep(seconds * self.scale)

    async def docker(self, *arguments: str) -> str:
        """What a hand does at the engine. An object that is gone meanwhile is no matter."""
        command = ["docker", "--host", self.stack.engine.url, *arguments]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    async def victims(self, most: int) -> list[str]:
        """Ids of some of our running containers."""
        label = f"{INSTANCE}={self.stack.instance}"
        containers, _ = await asyncio.to_thread(self.stack.engine.list_labelled, label)
        running = sorted(container["Id"] for container in containers if container["State"] == "running")
        return self.dice.sample(running, min(most, len(running)))

    async def running(self) -> list[Workspace]:
        """Workspaces that run and that no job is changing."""
        live = select(Job.id).where(Job.workspace_id == Workspace.id, Job.state.in_(LIVE_STATES)).exists()
        query = select(Workspace).where(Workspace.status == WorkspaceStatus.RUNNING, ~live).order_by(Workspace.id)
        async with self.resources.reads() as session:
            return list(await session.scalars(query))

    async def pause(self, workspace: Workspace) -> None:
        """Begin what the platform begins by itself when nobody uses a workspace."""
        async with self.resources.unit_of_work() as session:
            row = await session.get_one(Workspace, workspace.id, with_for_update={"key_share": True})
            if row.status == WorkspaceStatus.RUNNING:
                await service.begin(session, self.resources, row, JobKind.PAUSE)

    async def until(self, condition: Any, seconds: float, what: str) -> None:
        """Wait for a condition; raises `TimeoutError` with a sentence."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s") from None
