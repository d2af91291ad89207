"""Operations on a single container: inspect, stop, pause, remove."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import aiodocker
from aiohttp import ClientTimeout

from app.runtime.base import NameTaken
from app.runtime.docker.calls import EngineRefused, call, ignore_not_found, shield_until_done
from app.runtime.docker.objects import WORKSPACE

STOP_SECONDS: Final = 10
# Interval between inspections of a running command.
LOOK_SECONDS: Final = 0.02
# The message after another call has renamed the container.
OWN_NAME: Final = "same name as its current name"
# Messages of Docker, runc, and Podman, which uses status 500 for it.
WRONG_STATE: Final = ("is not paused", "cannot pause a ", "cannot resume a ", "container state improper")


class Containers:
    """The containers of one engine. `call_seconds` is the timeout of each call; a stop adds its grace."""

    def __init__(self, docker: aiodocker.Docker, call_seconds: float) -> None:
        self._docker = docker
        # Some calls of the client library have no timeout by default.
        self._timeout = ClientTimeout(total=call_seconds)
        self._stop_timeout = ClientTimeout(total=STOP_SECONDS + call_seconds)

    async def inspect(self, name: str) -> dict[str, Any] | None:
        """Inspect a container by name; None if there is none."""
        container = await self._show(name)
        if container is not None and _workspace_of(container) is None:
            raise NameTaken(f"the container {name} belongs to somebody else")
        return container

    async def inspect_of(self, name: str, workspace_id: UUID) -> dict[str, Any] | None:
        """Inspect this workspace's container by name; None also for another workspace's container."""
        container = await self._show(name)
        return container if container is not None and _workspace_of(container) == str(workspace_id) else None

    async def start(self, container_id: str) -> None:
        await shield_until_done(self._docker.containers.container(container_id).start())

    async def rename(self, container_id: str, name: str) -> None:
        """Rename the container; does nothing if it is gone, has the name, or the name is in use."""
        with ignore_not_found():
            try:
                await shield_until_done(self._docker.containers.container(container_id).rename(name))
            except EngineRefused as refused:
                if not is_name_taken(refused) and OWN_NAME not in str(refused):
                    raise

    async def execute(
        self, container_id: str, command: Sequence[str], environment: Mapping[str, str], *, seconds: float
    ) -> int | None:
        """Run a command and return its exit code; None if the container does not run, or on a timeout."""
        container = self._docker.containers.container(container_id)
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        try:
            started = await call(container.exec(list(command), environment=dict(environment)))
            await shield_until_done(started.start(detach=True))
            while clock() < until:
                state = await call(started.inspect())
                if not state["Running"]:
                    return int(state["ExitCode"])
                await asyncio.sleep(LOOK_SECONDS)
        except EngineRefused as refused:
            if refused.status not in (404, 409):
                raise
        return None

    async def pause(self, container_id: str) -> bool:
        """Pause the container; False if it no longer runs."""
        return await _in_state(self._docker.containers.container(container_id).pause())

    async def unpause(self, container_id: str) -> bool:
        """Unpause the container; False if it is no longer paused."""
        return await _in_state(self._docker.containers.container(container_id).unpause())

    async def stop(self, found: Mapping[str, Any]) -> None:
        """Stop an inspected container, and kill it after the grace. Unpauses a paused one first: Docker does so itself,
        Podman refuses.
        """
        container = self._docker.containers.container(found["Id"])
        if found["State"]["Status"] == "paused":
            await self.unpause(found["Id"])
        with ignore_not_found():
            await shield_until_done(container.stop(t=STOP_SECONDS, timeout=self._stop_timeout))

    async def remove(self, container_id: str) -> None:
        """Remove the container with its anonymous volumes and wait until it is gone."""
        container = self._docker.containers.container(container_id)
        with ignore_not_found():
            try:
                await shield_until_done(container.delete(force=True, v=True, timeout=self._timeout))
            except EngineRefused as refused:
                if refused.status != 409:
                    raise
                # Another call is already removing it.
                await call(container.wait(condition="removed", timeout=self._timeout))

    async def _show(self, name: str) -> dict[str, Any] | None:
        try:
            return await call(self._docker.containers.container(name).show())
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise


def is_name_taken(refused: EngineRefused) -> bool:
    """Return whether another container has the name. Podman reports that as an internal error."""
    return refused.status == 409 or "name is already in use" in str(refused)


async def _in_state(pending: Awaitable[None]) -> bool:
    """Return whether the container was in the state that the change requires."""
    try:
        await shield_until_done(pending)
    except EngineRefused as refused:
        # The engine's view lags briefly behind another call's change.
        if refused.status in (404, 409) or any(words in str(refused) for words in WRONG_STATE):
            return False
        raise
    return True


def _workspace_of(container: dict[str, Any]) -> str | None:
    label: str | None = (container["Config"]["Labels"] or {}).get(WORKSPACE)
    return label
