"""The Docker Engine runtime."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiodocker
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume
from aiohttp import ClientTimeout

from app.runtime.base import (
    EgressUnenforceable,
    Endpoint,
    EngineReport,
    EngineSize,
    EngineUnavailable,
    Event,
    ImagePullFailed,
    Inventory,
    Report,
    RunState,
    RuntimeFault,
    Status,
    Usage,
)
from app.runtime.docker import host_view
from app.runtime.docker.calls import EngineRefused, call, engine_errors, ignore_not_found, shield_until_done
from app.runtime.docker.containers import Containers
from app.runtime.docker.firewall import DesiredRules, Firewall, gateway_of, is_local
from app.runtime.docker.launch import Launch
from app.runtime.docker.networks import ensure_network, list_networks, remove_network
from app.runtime.docker.objects import (
    EGRESS,
    INSTANCE,
    WORKSPACE,
    egress_of,
    network_of,
    owned_of,
    report_of,
    status_of,
    subnet_of,
    usage_of,
    volume_of,
)
from app.runtime.docker.policy import Allowed
from app.runtime.docker.pull import pull
from app.runtime.docker.rule_watch import open_watch, removals
from app.runtime.docker.streams import log_lines, next_object, stream
from app.runtime.egress import EGRESS_INTERNET
from app.runtime.spec import Network, WorkspaceSpec

CALL_SECONDS: Final = 30.0
PING_SECONDS: Final = 2.0
EVENTS_SILENCE_SECONDS: Final = 60.0
ACTIONS: Final = ("start", "die", "oom", "pause", "unpause", "destroy", "remove")
# Podman's event names, mapped to Docker's.
ALIASES: Final = {"remove": "destroy"}
MAX_ATTEMPTS: Final = 12
MAX_PAUSE: Final = 1.0


class DockerRuntime:
    """`Runtime` on Docker Engine 20.10 or later. See `app.runtime.base.Runtime`.

    `starts` limits concurrent creations and starts: beyond its cores an engine gets no faster, and slows the machine.
    `call_seconds` is the timeout of each engine call; a method makes several. `allowed` holds privileges beyond the
    defaults. Without a `firewall`, restricted workspaces are refused.
    """

    def __init__(
        self,
        docker_url: str,
        *,
        publish: str,
        starts: int,
        allowed: Allowed = Allowed(),  # noqa: B008  # frozen
        firewall: Firewall | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._url = docker_url
        self._allowed = allowed
        # This host's rules do not affect a remote engine.
        self._firewall = firewall if docker_url.startswith("unix:") else None
        self._starts = asyncio.Semaphore(starts)
        self._publish = publish == "loopback"
        self._call_seconds = call_seconds
        self._client: aiodocker.Docker | None = None

    @property
    def _docker(self) -> aiodocker.Docker:
        """Created at the first call: the client's session belongs to the running loop."""
        if self._client is None:
            self._client = aiodocker.Docker(self._url, timeout=ClientTimeout(total=self._call_seconds))
        return self._client

    @property
    def _containers(self) -> Containers:
        return Containers(self._docker, self._call_seconds)

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await call(self._docker.version())
        except TimeoutError as error:
            raise EngineUnavailable("the engine did not answer in time") from error

    async def size(self) -> EngineSize:
        info = await call(self._docker.system.info())
        free = await asyncio.to_thread(_free_bytes, info["DockerRootDir"]) if self._url.startswith("unix:") else None
        return EngineSize(info["MemTotal"], info["NCPU"], free)

    async def report(self) -> EngineReport:
        info, networks = await asyncio.gather(call(self._docker.system.info()), call(self._docker.networks.list()))
        quota = (
            await asyncio.to_thread(_project_quota, info["DockerRootDir"]) if self._url.startswith("unix:") else None
        )
        with engine_errors():
            return report_of(info, networks, quota=quota)

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        launch = Launch(
            self._docker, self._containers, self._starts, self._publish, self._allowed, self._firewall, spec, report
        )
        for race in range(MAX_ATTEMPTS):
            await backoff(race)
            endpoint = await launch.advance()
            if endpoint is not None:
                return endpoint
        raise EngineUnavailable(f"the container {spec.name} kept changing under us")

    async def ensure_named(self, name: str, workspace_id: UUID, to: str) -> None:
        container = await self._containers.inspect_of(name, workspace_id)
        if container is not None:
            await self._containers.rename(container["Id"], to)

    async def execute(
        self, name: str, workspace_id: UUID, command: Sequence[str], environment: Mapping[str, str], *, seconds: float
    ) -> int | None:
        container = await self._containers.inspect_of(name, workspace_id)
        if container is None:
            return None
        return await self._containers.execute(container["Id"], command, environment, seconds=seconds)

    async def ensure_paused(self, name: str, workspace_id: UUID) -> Status:
        for race in range(MAX_ATTEMPTS):
            await backoff(race)
            container = await self._containers.inspect_of(name, workspace_id)
            if container is None:
                return Status(RunState.ABSENT)
            status = status_of(container)
            if status.state is not RunState.RUNNING:
                return status
            if await self._containers.pause(container["Id"]):
                return replace(status, state=RunState.PAUSED)
        raise EngineUnavailable(f"the container {name} kept changing under us")

    async def ensure_stopped(self, name: str, workspace_id: UUID) -> None:
        container = await self._containers.inspect_of(name, workspace_id)
        if container is not None:
            await self._containers.stop(container)

    async def ensure_absent(self, name: str, workspace_id: UUID) -> None:
        container = await self._containers.inspect_of(name, workspace_id)
        if container is not None:
            # A running container may write to its volume and is stopped first; a paused one is idle.
            if status_of(container).state is RunState.RUNNING:
                await self._containers.stop(container)
            await self._containers.remove(container["Id"])
            await self._lift_egress(container)

    async def ensure_network(self, instance: str, network: Network) -> None:
        await ensure_network(self._docker, instance, network)

    async def remove_network(self, name: str) -> None:
        await remove_network(self._docker, name)

    async def reconcile_egress(self, instance: str) -> int:
        if self._firewall is None:
            raise EgressUnenforceable("the engine's host is not this one")

        async def read_desired() -> DesiredRules:
            label = [f"{INSTANCE}={instance}", EGRESS]
            networks, containers = await asyncio.gather(
                call(self._docker.networks.list(filters={"label": f"{INSTANCE}={instance}"})),
                call(self._docker.containers.list(all="true", filters=json.dumps({"label": label}))),
            )
            subnets = {item["Name"]: subnet for item in networks if (subnet := subnet_of(item))}
            rules = {network_of(item): egress_of(item["Labels"]) for item in containers}
            return DesiredRules(
                list(subnets.values()), {subnets[name]: rules[name] for name in subnets.keys() & rules.keys()}
            )

        return await self._firewall.reconcile(read_desired)

    async def egress_removals(self) -> AsyncGenerator[None, None]:
        if self._firewall is None:
            raise EgressUnenforceable("the engine's host is not this one")
        with closing(open_watch()) as watch:
            yield
            try:
                async for _ in removals(watch, self._firewall.table):
                    yield
            except OSError as error:
                raise EgressUnenforceable(f"the kernel tells nothing more of rules: {error}") from error

    async def check_egress(self) -> bool:
        networks = await call(self._docker.networks.list(filters={"driver": "bridge"}))
        subnets = [subnet for item in networks if (subnet := subnet_of(item))]
        if self._firewall is None or not any(is_local(gateway_of(subnet)) for subnet in subnets):
            raise EgressUnenforceable("the engine's networks are not on this machine")
        return (await self._firewall.read_state()).whole

    async def _lift_egress(self, container: Mapping[str, Any]) -> None:
        """Remove the egress rules before the network is reused. `reconcile_egress` repairs failures."""
        name = network_of(container)
        if (
            self._firewall is not None
            and name is not None
            and egress_of(container["Config"]["Labels"]) != EGRESS_INTERNET
        ):
            with suppress(RuntimeFault):
                network = await call(DockerNetwork(self._docker, name).show())
                await self._firewall.set(subnet_of(network), EGRESS_INTERNET)

    async def remove_volume(self, name: str) -> None:
        volume = DockerVolume(self._docker, name)
        with ignore_not_found():
            labels = (await call(volume.show()))["Labels"] or {}
            if INSTANCE not in labels or WORKSPACE not in labels:
                return
            try:
                await shield_until_done(volume.delete())
            except EngineRefused as refused:
                # 409: a container uses it, running or not.
                if refused.status != 409:
                    raise

    async def pull(self, image: str, report: Report) -> None:
        await pull(self._docker, image, report)
        if await self.image_digest(image) is None:
            raise ImagePullFailed(f"the pull of {image} ended early")

    async def image_digest(self, image: str) -> str | None:
        with ignore_not_found():
            digest: str = (await call(self._docker.images.inspect(image)))["Id"]
            return digest
        return None

    async def status(self, name: str) -> Status:
        container = await self._containers.inspect(name)
        return Status(RunState.ABSENT) if container is None else status_of(container)

    async def listening(self, name: str) -> list[str] | None:
        place = await self._on_this_host(name)
        return None if place is None else await asyncio.to_thread(host_view.listening, *place)

    async def memory_kills(self, name: str) -> int | None:
        place = await self._on_this_host(name)
        return None if place is None else await asyncio.to_thread(host_view.memory_kills, *place)

    async def _on_this_host(self, name: str) -> tuple[int, str] | None:
        """Return host pid of the container's first process, and container id; None if the engine may be remote."""
        container = await self._containers.inspect(name) if self._url.startswith("unix:") else None
        return None if container is None else (container["State"]["Pid"], container["Id"])

    async def usage(self, name: str) -> Usage | None:
        params = {"stream": "false", "one-shot": "true"}
        path = f"containers/{name}/stats"
        seconds = self._call_seconds
        with ignore_not_found():
            async with stream(
                self._docker, "GET", path, params, answer_seconds=seconds, silence_seconds=seconds
            ) as content:
                return usage_of(await next_object(content))
        return None

    async def list_owned(self, instance: str) -> Inventory:
        label = [f"{INSTANCE}={instance}", WORKSPACE]
        containers, networks, volumes = await asyncio.gather(
            call(self._docker.containers.list(all="true", filters=json.dumps({"label": label}))),
            list_networks(self._docker, instance),
            call(self._docker.volumes.list(filters={"label": label})),
        )
        return Inventory(
            [owned_of(container) for container in containers],
            sorted(networks),
            [volume_of(volume) for volume in volumes["Volumes"] or []],
            {name: installation for name, installation in networks.items() if installation is not None},
        )

    async def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        params = {"stdout": "1", "stderr": "1", "follow": "1" if follow else "0", "tail": str(tail)}
        path = f"containers/{name}/logs"
        seconds = self._call_seconds
        silence = None if follow else seconds
        with ignore_not_found():
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

    async def _events(self, instance: str, *, since: float) -> AsyncIterator[Event]:
        filters = {"type": ["container"], "event": ACTIONS, "label": [f"{INSTANCE}={instance}", WORKSPACE]}
        params = {"filters": json.dumps(filters), "since": f"{since:.6f}"}
        seconds = self._call_seconds
        async with stream(
            self._docker, "GET", "events", params, answer_seconds=seconds, silence_seconds=EVENTS_SILENCE_SECONDS
        ) as content:
            # A broken connection shows as silence. Both end the events: the caller subscribes again.
            with suppress(EngineUnavailable):
                while (message := await next_object(content)) is not None:
                    action = message["Action"]
                    owner = UUID(message["Actor"]["Attributes"][WORKSPACE])
                    yield Event(owner, ALIASES.get(action, action), _time_of(message))


def _time_of(message: Mapping[str, Any]) -> datetime:
    """Return an event's time, with microseconds."""
    return datetime.fromtimestamp(message["timeNano"] / 1_000_000_000, UTC)


async def backoff(race: int) -> None:
    """Wait before retrying, while another call changes the same container."""
    if race:
        await asyncio.sleep(min(0.01 * 2**race, MAX_PAUSE))


def _project_quota(folder: str, mounts: Path = Path("/proc/self/mounts")) -> bool | None:
    """Return whether the engine's file system has project quotas; None if not visible."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    holding = [words for words in lines if Path(folder).is_relative_to(words[1])]
    options = max(holding, key=lambda words: len(words[1]))[3].split(",") if holding else []
    return bool({"prjquota", "pquota"} & set(options))


def _free_bytes(folder: str) -> int | None:
    """Return the free bytes of the engine's folder, if it is in this machine's file system."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
