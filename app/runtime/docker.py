"""Workspaces on one Docker Engine."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from uuid import UUID

import aiodocker
from aiodocker.volumes import DockerVolume
from aiohttp import ClientTimeout

from app.runtime.base import (
    ContainerExited,
    Endpoint,
    EngineUnavailable,
    Event,
    ImageMissing,
    ImagePullFailed,
    Owned,
    Phase,
    Progress,
    Report,
    RunState,
    RuntimeFault,
    Status,
    Superseded,
    WorkspaceSpec,
)
from app.runtime.docker_calls import EngineRefused, call
from app.runtime.docker_networks import drop_duplicates, ensure_network, list_networks, remove_networks
from app.runtime.docker_objects import INSTANCE, WORKSPACE, container_body, owned_of, status_of
from app.runtime.docker_pull import pull
from app.runtime.docker_streams import log_lines, next_object, stream

CALL_SECONDS: Final = 30.0
PING_SECONDS: Final = 2.0
STOP_SECONDS: Final = 10
EVENTS_SILENCE_SECONDS: Final = 60.0
ACTIONS: Final = ("start", "die", "oom", "pause", "unpause", "destroy")
RACES: Final = 12
LONGEST_PAUSE: Final = 1.0


class DockerRuntime:
    """`Runtime` on Docker Engine 20.10 or later. See `app.runtime.base.Runtime` for what its methods promise.

    `starts` is how many containers may be made or started at once: an engine does not get faster past its cores,
    and everything else on the machine gets slower. `call_seconds` bounds each call to the engine, and not a whole
    method, which makes several.
    """

    def __init__(self, docker_url: str, *, publish: str, starts: int, call_seconds: float = CALL_SECONDS) -> None:
        self._url = docker_url
        self._starts = asyncio.Semaphore(starts)
        self._publish = publish == "loopback"
        self._call_seconds = call_seconds
        self._timeout = ClientTimeout(total=call_seconds)
        self._stop_timeout = ClientTimeout(total=STOP_SECONDS + call_seconds)
        self._client: aiodocker.Docker | None = None

    @property
    def _docker(self) -> aiodocker.Docker:
        """Made at the first call: the client's session belongs to the loop that it is made in."""
        if self._client is None:
            self._client = aiodocker.Docker(self._url, timeout=self._timeout)
        return self._client

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await call(self._docker.version())
        except TimeoutError as error:
            raise EngineUnavailable("the engine did not answer in time") from error

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        for race in range(RACES):
            if race:
                # Somebody else is making or removing the same container: give them time, then look again.
                await asyncio.sleep(min(0.01 * 2**race, LONGEST_PAUSE))
            endpoint = await self._advance(spec, report)
            if endpoint is not None:
                return endpoint
        raise EngineUnavailable(f"the container {spec.name} kept changing under us")

    async def ensure_stopped(self, name: str) -> None:
        container = await self._inspect(name)
        if container is not None:
            await self._stop(container["Id"])

    async def ensure_absent(self, name: str, *, volume: str | None = None) -> None:
        container = await self._inspect(name)
        if container is not None:
            # A volume that stays deserves an orderly end of what writes to it.
            await self._remove(container["Id"], orderly=volume is None)
        await remove_networks(self._docker, name)
        if volume is not None:
            with _missing_is_fine():
                await call(DockerVolume(self._docker, volume).delete())

    async def status(self, name: str) -> Status:
        container = await self._inspect(name)
        return Status(RunState.ABSENT) if container is None else status_of(container)

    async def list_owned(self, instance: str) -> list[Owned]:
        filters = json.dumps({"label": [f"{INSTANCE}={instance}", WORKSPACE]})
        containers = await call(self._docker.containers.list(all="true", filters=filters))
        owned = [owned_of(container) for container in containers]
        names = {item.name for item in owned}
        for network in await list_networks(self._docker, instance):
            if network["Name"] not in names:
                owned.append(Owned(UUID(network["Labels"][WORKSPACE]), network["Name"], Status(RunState.ABSENT)))
        return owned

    async def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        params = {"stdout": "1", "stderr": "1", "follow": "1" if follow else "0", "tail": str(tail)}
        path = f"containers/{name}/logs"
        seconds = self._call_seconds
        silence = None if follow else seconds
        with _missing_is_fine():
            async with stream(
                self._docker, "GET", path, params, answer_seconds=seconds, silence_seconds=silence
            ) as content:
                async for line in log_lines(content):
                    yield line

    def events(self, instance: str) -> AsyncIterator[Event]:
        return self._events(instance, since=time.time())

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _advance(self, spec: WorkspaceSpec, report: Report) -> Endpoint | None:
        """Bring the container one whole way to running; None says that another call interfered."""
        container = await self._inspect(spec.name)
        if container is not None and _outdated(spec, container):
            await self._remove(container["Id"], orderly=True)
            container = None
        if container is None:
            container_id, state = await self._create(spec, report), RunState.CREATED
        else:
            found = status_of(container)
            container_id, state = found.container_id, found.state
            if state is RunState.RUNNING:
                return found.endpoint
        if container_id is None or state is RunState.ABSENT:
            return None
        async with self._starts:
            if not await self._start(spec, container_id, state, report):
                return None
        status = await self.status(spec.name)
        if status.state is RunState.EXITED:
            raise ContainerExited(f"the container ended at once, with exit code {status.exit_code}")
        return status.endpoint

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            container = await call(self._docker.containers.container(name).show())
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise
        if WORKSPACE not in (container["Config"]["Labels"] or {}):
            raise RuntimeFault(f"the container {name} belongs to somebody else")
        return container

    async def _create(self, spec: WorkspaceSpec, report: Report) -> str | None:
        """Make network and container, after a pull if need be; None if the container's name is just being used."""
        await report(Progress(Phase.CREATING))
        try:
            return await self._create_both(spec)
        except EngineRefused as refused:
            if refused.status != 404:
                raise
        try:
            await pull(self._docker, spec.image, report)
        except (ImageMissing, ImagePullFailed):
            await remove_networks(self._docker, spec.name)
            raise
        await report(Progress(Phase.CREATING))
        try:
            return await self._create_both(spec)
        except EngineRefused as refused:
            if refused.status != 404:
                raise
            await remove_networks(self._docker, spec.name)
            raise ImagePullFailed(f"the pull of {spec.image} ended early") from refused

    async def _create_both(self, spec: WorkspaceSpec) -> str | None:
        """The engine looks for the network when the container starts, so both are made at the same time."""
        async with self._starts:
            network, container = await asyncio.gather(
                ensure_network(self._docker, spec), self._create_container(spec), return_exceptions=True
            )
        if isinstance(network, BaseException):
            raise network
        if isinstance(container, BaseException):
            raise container
        return container

    async def _create_container(self, spec: WorkspaceSpec) -> str | None:
        body = container_body(spec, publish=self._publish)
        try:
            container = await call(self._docker.containers.create(body, name=spec.name))
        except EngineRefused as refused:
            if refused.status == 409 or _network_lost(refused):
                return None
            raise
        return container.id

    async def _start(self, spec: WorkspaceSpec, container_id: str, state: RunState, report: Report) -> bool:
        """Start or unpause; False if the container is not in that state any more or had to be removed."""
        await report(Progress(Phase.STARTING))
        container = self._docker.containers.container(container_id)
        try:
            await call(container.unpause() if state is RunState.PAUSED else container.start())
        except EngineRefused as refused:
            if not _network_lost(refused):
                if refused.status in (404, 409) or "is not paused" in str(refused):
                    return False
                raise
        else:
            return True
        await ensure_network(self._docker, spec)
        await drop_duplicates(self._docker, spec.name)
        try:
            await call(container.start())
        except EngineRefused as refused:
            if not _network_lost(refused):
                raise
            # It once ran in a network that is gone, and insists on that one's id.
            await self._remove(container_id, orderly=False)
            return False
        return True

    async def _stop(self, container_id: str) -> None:
        container = self._docker.containers.container(container_id)
        with _missing_is_fine():
            await call(container.stop(t=STOP_SECONDS, timeout=self._stop_timeout))

    async def _remove(self, container_id: str, *, orderly: bool) -> None:
        """Remove the container with its anonymous volumes and wait until it is gone."""
        if orderly:
            await self._stop(container_id)
        container = self._docker.containers.container(container_id)
        with _missing_is_fine():
            try:
                await call(container.delete(force=True, v=True, timeout=self._timeout))
            except EngineRefused as refused:
                if refused.status != 409:
                    raise
                # Somebody else is removing it.
                await call(container.wait(condition="removed", timeout=self._timeout))

    async def _events(self, instance: str, *, since: float) -> AsyncIterator[Event]:
        filters = {"type": ["container"], "event": ACTIONS, "label": [f"{INSTANCE}={instance}", WORKSPACE]}
        params = {"filters": json.dumps(filters), "since": f"{since:.6f}"}
        seconds = self._call_seconds
        async with stream(
            self._docker, "GET", "events", params, answer_seconds=seconds, silence_seconds=EVENTS_SILENCE_SECONDS
        ) as content:
            # What breaks without a word shows as silence. Both are the end: the caller subscribes again.
            with suppress(EngineUnavailable):
                while (message := await next_object(content)) is not None:
                    yield Event(UUID(message["Actor"]["Attributes"][WORKSPACE]), message["Action"])


def _outdated(spec: WorkspaceSpec, container: dict[str, Any]) -> bool:
    """Say whether the container must make way. One of another workspace under this name is what a deletion left."""
    labels = container["Config"]["Labels"]
    if labels.get(INSTANCE) != spec.instance:
        raise RuntimeFault(f"the container {spec.name} belongs to somebody else")
    if labels[WORKSPACE] != str(spec.workspace_id) or container["State"]["Status"] == "dead":
        return True
    incarnation = status_of(container).incarnation
    if incarnation > spec.incarnation:
        raise Superseded(f"{spec.name} runs incarnation {incarnation}, not {spec.incarnation}")
    return incarnation < spec.incarnation


def _network_lost(refused: EngineRefused) -> bool:
    """Recognise a start that failed because the network is absent, or is there twice."""
    text = str(refused)
    return (refused.status == 404 and text.startswith("network ")) or "is ambiguous" in text


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    try:
        yield
    except EngineRefused as refused:
        if refused.status != 404:
            raise
