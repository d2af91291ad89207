"""Brings a workspace from any engine state to a running container."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiodocker
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume

from app.runtime.base import (
    ContainerExited,
    EgressUnenforceable,
    Endpoint,
    ImageMissing,
    NameTaken,
    Phase,
    Progress,
    Report,
    RunState,
    RuntimeFault,
    Status,
    SubnetTaken,
    Superseded,
)
from app.runtime.docker.calls import EngineRefused, call, shield_until_done
from app.runtime.docker.containers import Containers, is_name_taken
from app.runtime.docker.firewall import Firewall
from app.runtime.docker.networks import containers_on, ensure_network
from app.runtime.docker.objects import (
    CONFINEMENT,
    INSTALLATION,
    INSTANCE,
    WORKSPACE,
    confinement_of,
    container_body,
    egress_of,
    identity,
    network_of,
    status_of,
    subnet_of,
)
from app.runtime.docker.policy import Allowed, check
from app.runtime.egress import EGRESS_INTERNET
from app.runtime.spec import WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Launch:
    """One call of `ensure_running`. `starts` limits concurrent starts; for the rest see `DockerRuntime`."""

    docker: aiodocker.Docker
    containers: Containers
    starts: asyncio.Semaphore
    publish: bool
    allowed: Allowed
    firewall: Firewall | None
    spec: WorkspaceSpec
    report: Report

    async def advance(self) -> Endpoint | None:
        """Try to bring the container to running; None if a concurrent call interfered."""
        container = await self.containers.inspect(self.spec.name)
        # The network may still carry the rule of an earlier workspace.
        confine = self.spec.egress != EGRESS_INTERNET
        if container is not None and _outdated(self.spec, container, confinement_of(self.spec, self.allowed)):
            confine |= egress_of(container["Config"]["Labels"]) != EGRESS_INTERNET
            await self.containers.stop(container)
            await self.containers.remove(container["Id"])
            container = None
        if container is not None and (found := status_of(container)).state is RunState.RUNNING:
            return found.endpoint
        # One slot for both steps: the first launches of many are through before the last ones begin.
        async with self.starts:
            if not await self._create_and_start(container, confine=confine):
                return None
        container = await self.containers.inspect(self.spec.name)
        status = Status(RunState.ABSENT) if container is None else status_of(container)
        if status.state is RunState.EXITED:
            raise ContainerExited(f"the container ended at once, with exit code {status.exit_code}")
        return status.endpoint

    async def _create_and_start(self, container: Mapping[str, Any] | None, *, confine: bool) -> bool:
        """Start or unpause the container, or a new one; False if a concurrent call interfered."""
        if container is None:
            container_id, state = await self._create(), RunState.CREATED
        else:
            found = status_of(container)
            container_id, state = found.container_id, found.state
            if container_id is not None and state is RunState.CREATED:
                # The container's creator may have died before its network was checked.
                await self._own_network(container_id, await self._network())
        if container_id is None or state is RunState.ABSENT:
            return False
        if confine and state is not RunState.PAUSED:
            await self._confine(container_id, state)
        await self.report(Progress(Phase.STARTING))
        return await self._start(container_id, state)

    async def _create(self) -> str | None:
        """Create the container and a missing network; None if the container's name is just in use.

        Docker resolves the network at the start, so both are created concurrently. Podman resolves it at once: if the
        network came too late, the container is created again.
        """
        await self.report(Progress(Phase.CREATING))
        fault, made = await asyncio.gather(self._network(), self._create_container(), return_exceptions=True)
        if made is None and fault is None:
            made = await self._create_container()
        if isinstance(fault, BaseException) and not isinstance(fault, RuntimeFault):
            raise fault
        if isinstance(made, BaseException):
            raise made
        if made is not None:
            await self._own_network(made, fault)
        elif fault is not None:
            raise fault
        return made

    async def _network(self) -> RuntimeFault | None:
        """Ensure the network; returns the fault if it is unusable."""
        try:
            await ensure_network(self.docker, self.spec.instance, self.spec.network)
        except RuntimeFault as fault:
            return fault
        return None

    async def _own_network(self, container_id: str, fault: RuntimeFault | None) -> None:
        """Ensure that a new container has its network to itself; else remove the container and raise.

        Of two containers created on one network before this check, at least one sees the other. After a transient fault
        the container stays for the next call, which checks again.
        """
        if fault is None:
            owner = {INSTANCE: self.spec.instance, WORKSPACE: str(self.spec.workspace_id)}
            users = await containers_on(self.docker, self.spec.network.name)
            if all(owner.items() <= (user["Labels"] or {}).items() for user in users):
                return
            fault = SubnetTaken(f"another container uses the network {self.spec.network.name}")
        if not fault.transient:
            await self.containers.remove(container_id)
        raise fault

    async def _confine(self, container_id: str, state: RunState) -> None:
        """Apply the container's egress rules; on failure remove it if it never ran."""
        try:
            if self.firewall is None:
                raise EgressUnenforceable("the engine's host is not this one")
            network = await call(DockerNetwork(self.docker, self.spec.network.name).show())
            await self.firewall.set(subnet_of(network), self.spec.egress)
        except EgressUnenforceable as fault:
            if state is RunState.CREATED and not fault.transient:
                await self.containers.remove(container_id)
            raise

    async def _own_volume(self) -> None:
        """Ensure the volume with its labels: Podman drops labels of volumes created with a container.

        Raises `NameTaken` if it belongs to another database's workspace.
        """
        if self.spec.volume is None:
            return
        volume = DockerVolume(self.docker, self.spec.volume.name)
        try:
            labels = (await call(volume.show()))["Labels"] or {}
        except EngineRefused as refused:
            if refused.status != 404:
                raise
            body = {"Name": self.spec.volume.name, "Labels": identity(self.spec)}
            await shield_until_done(self.docker.volumes.create(body))
            # If another call was first, the engine returns the existing volume.
            labels = (await call(volume.show()))["Labels"] or {}
        if INSTANCE in labels:
            _require_known(self.spec, self.spec.volume.name, labels)

    async def _create_container(self) -> str | None:
        await self._own_volume()
        body = container_body(self.spec, self.allowed, publish=self.publish)
        check(body, self.allowed)
        try:
            container = await shield_until_done(self.docker.containers.create(body, name=self.spec.name))
        except EngineRefused as refused:
            if is_name_taken(refused) or _network_lost(refused):
                return None
            if refused.status == 404 and "no such image" in str(refused).lower():
                raise ImageMissing(f"{self.spec.image} is not on this engine") from refused
            raise
        return container.id

    async def _start(self, container_id: str, state: RunState) -> bool:
        """Start or unpause; False if the state changed meanwhile or the container had to be removed."""
        if state is RunState.PAUSED:
            return await self.containers.unpause(container_id)
        try:
            await self.containers.start(container_id)
        except EngineRefused as refused:
            if _network_lost(refused):
                return await self._start_with_network(container_id)
            if _half_started(refused):
                await self.containers.remove(container_id)
                return False
            if refused.status in (404, 409):
                return False
            raise
        return True

    async def _start_with_network(self, container_id: str) -> bool:
        await ensure_network(self.docker, self.spec.instance, self.spec.network)
        try:
            await self.containers.start(container_id)
        except EngineRefused as refused:
            if not _network_lost(refused):
                raise
            # The container insists on the id of a deleted network.
            await self.containers.remove(container_id)
            return False
        return True


def _outdated(spec: WorkspaceSpec, container: dict[str, Any], confinement: str) -> bool:
    """Return whether the container must be replaced. One of another workspace under this name is left from a
    deletion.
    """
    labels = container["Config"]["Labels"]
    if labels.get(INSTANCE) != spec.instance:
        raise NameTaken(f"the container {spec.name} belongs to somebody else")
    _require_known(spec, spec.name, labels)
    if labels[WORKSPACE] != str(spec.workspace_id) or container["State"]["Status"] == "dead":
        return True
    status = status_of(container)
    if status.revision > spec.revision:
        raise Superseded(status.revision)
    elsewhere = network_of(container) != spec.network.name
    # A container that ran keeps its network; one that never ran was created for an abandoned network.
    if status.revision < spec.revision or (status.state is RunState.CREATED and elsewhere):
        return True
    # A stricter policy is ineffective while a container with the old one can restart.
    if status.state not in (RunState.CREATED, RunState.EXITED):
        return False
    return egress_of(labels) != spec.egress or labels.get(CONFINEMENT) != confinement


def _require_known(spec: WorkspaceSpec, name: str, labels: Mapping[str, str]) -> None:
    """Raise `NameTaken` unless the object is the workspace's, or left from a deletion in the same database."""
    if labels.get(WORKSPACE) != str(spec.workspace_id) and labels.get(INSTALLATION) != spec.installation:
        raise NameTaken(f"{name} was made for a workspace that this database does not know")


def _half_started(refused: EngineRefused) -> bool:
    """Detect a container that an engine killed during its start left unusable: it must be recreated."""
    text = str(refused)
    return "task " in text and text.endswith("already exists")


def _network_lost(refused: EngineRefused) -> bool:
    """Detect a start that failed because the network is missing or duplicated.

    Engines share these words, but not their prefix; Podman reports a missing network as an internal error.
    """
    text = str(refused)
    absent = refused.status in (404, 500) and "network" in text and "not found" in text
    return absent or "is ambiguous" in text
