"""One container at a time: look, stop, pause, remove."""

from collections.abc import Awaitable, Mapping
from typing import Any, Final
from uuid import UUID

import aiodocker
from aiohttp import ClientTimeout

from app.runtime.base import NameTaken
from app.runtime.docker.calls import EngineRefused, call, ignore_not_found, shield_until_done
from app.runtime.docker.objects import WORKSPACE

STOP_SECONDS: Final = 10
# Of Docker, of runc, and of Podman, which says it with a status of its own troubles.
WRONG_STATE: Final = ("is not paused", "cannot pause a ", "cannot resume a ", "container state improper")


class Containers:
    """The containers of one engine. `call_seconds` bounds each call, and a stop beyond the grace that it gives."""

    def __init__(self, docker: aiodocker.Docker, call_seconds: float) -> None:
        self._docker = docker
        # The client library lets some calls wait for ever unless they are told otherwise.
        self._timeout = ClientTimeout(total=call_seconds)
        self._stop_timeout = ClientTimeout(total=STOP_SECONDS + call_seconds)

    async def inspect(self, name: str) -> dict[str, Any] | None:
        """Look at a workspace's container by its name; None if there is none."""
        container = await self._show(name)
        if container is not None and _workspace_of(container) is None:
            raise NameTaken(f"the container {name} belongs to somebody else")
        return container

    async def inspect_of(self, name: str, workspace_id: UUID) -> dict[str, Any] | None:
        """Look at this workspace's container by its name; what else bears the name is as good as none."""
        container = await self._show(name)
        return container if container is not None and _workspace_of(container) == str(workspace_id) else None

    async def start(self, container_id: str) -> None:
        await shield_until_done(self._docker.containers.container(container_id).start())

    async def pause(self, container_id: str) -> bool:
        """Freeze it; False if it is not running any more."""
        return await _in_state(self._docker.containers.container(container_id).pause())

    async def unpause(self, container_id: str) -> bool:
        """Wake it; False if it is not paused any more."""
        return await _in_state(self._docker.containers.container(container_id).unpause())

    async def stop(self, found: Mapping[str, Any]) -> None:
        """Ask a container that was inspected to end, and end it after the grace. A paused one is woken to hear this:
        Docker does so itself, Podman refuses.
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
                # Somebody else is removing it.
                await call(container.wait(condition="removed", timeout=self._timeout))

    async def _show(self, name: str) -> dict[str, Any] | None:
        try:
            return await call(self._docker.containers.container(name).show())
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise


async def _in_state(pending: Awaitable[None]) -> bool:
    """Say whether the container was in the state that the change needs."""
    try:
        await shield_until_done(pending)
    except EngineRefused as refused:
        # For a moment after another call's change, the engine's own view is behind its container's.
        if refused.status in (404, 409) or any(words in str(refused) for words in WRONG_STATE):
            return False
        raise
    return True


def _workspace_of(container: dict[str, Any]) -> str | None:
    label: str | None = (container["Config"]["Labels"] or {}).get(WORKSPACE)
    return label
