"""A workspace's way from whatever the engine has of it to a running container."""

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
from app.runtime.docker.containers import Containers
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
    """One call of `ensure_running`. `starts` bounds the load; for the rest see `DockerRuntime`."""

    docker: aiodocker.Docker
    containers: Containers
    starts: asyncio.Semaphore
    publish: bool
    allowed: Allowed
    firewall: Firewall | None
    spec: WorkspaceSpec
    report: Report

    async def advance(self) -> Endpoint | None:
        """Bring the container one whole way to running; None says that another call interfered."""
        container = await self.containers.inspect(self.spec.name)
        # The network may have served a workspace with a rule before, and has none else.
        confine = self.spec.egress != EGRESS_INTERNET
        if container is not None and _outdated(self.spec, container, confinement_of(self.spec, self.allowed)):
            confine |= egress_of(container["Config"]["Labels"]) != EGRESS_INTERNET
            await self.containers.stop(container)
            await self.containers.remove(container["Id"])
            container = None
        if container is None:
            container_id, state = await self._create(), RunState.CREATED
        else:
            found = status_of(container)
            container_id, state = found.container_id, found.state
            if state is RunState.RUNNING:
                return found.endpoint
            if container_id is not None and state is RunState.CREATED:
                # Whoever made it may have died before its network was looked at.
                await self._own_network(container_id, await self._network())
        if container_id is None or state is RunState.ABSENT:
            return None
        if confine and state is not RunState.PAUSED:
            await self._confine(container_id, state)
        async with self.starts:
            await self.report(Progress(Phase.STARTING))
            if not await self._start(container_id, state):
                return None
        container = await self.containers.inspect(self.spec.name)
        status = Status(RunState.ABSENT) if container is None else status_of(container)
        if status.state is RunState.EXITED:
            raise ContainerExited(f"the container ended at once, with exit code {status.exit_code}")
        return status.endpoint

    async def _create(self) -> str | None:
        """Make the container, and the network if it is missing; None if the container's name is just being used.

        Docker looks for the network only when the container starts, so both are asked for at the same time. Podman
        looks at once: where the network came a moment too late, the container is asked for again.
        """
        await self.report(Progress(Phase.CREATING))
        async with self.starts:
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
        """See that the network is there, or say why it cannot be used."""
        try:
            await ensure_network(self.docker, self.spec.instance, self.spec.network)
        except RuntimeFault as fault:
            return fault
        return None

    async def _own_network(self, container_id: str, fault: RuntimeFault | None) -> None:
        """Let a container that never ran have its network for itself; else remove it again and raise.

        Of two containers of one network, each of which is made before this looks, at least one sees the other. After
        trouble that may pass, the container stays for the next call, which comes by here again.
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
        """See that the container will connect only where it may; where that cannot be, one that never ran goes."""
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
        """See that the volume is there, with its labels: Podman drops those that come with a container.

        Raises `NameTaken` where it holds the files of another database's workspace.
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
            # Another call may have been first: the engine then gives what is there.
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
            # Podman takes a name that is used for its own trouble.
            if refused.status == 409 or "name is already in use" in str(refused) or _network_lost(refused):
                return None
            if refused.status == 404 and "no such image" in str(refused).lower():
                raise ImageMissing(f"{self.spec.image} is not on this engine") from refused
            raise
        return container.id

    async def _start(self, container_id: str, state: RunState) -> bool:
        """Start or unpause; False if the container is not in that state any more or had to be removed."""
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
            # It once ran in a network that is gone, and insists on that one's id.
            await self.containers.remove(container_id)
            return False
        return True


def _outdated(spec: WorkspaceSpec, container: dict[str, Any], confinement: str) -> bool:
    """Say whether the container must make way. One of another workspace under this name is what a deletion left."""
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
    # What ran once keeps its network; what never ran was made for one that its maker gave up.
    if status.revision < spec.revision or (status.state is RunState.CREATED and elsewhere):
        return True
    # A rule that has become stricter is no rule while what was made under the old one can be started again.
    if status.state not in (RunState.CREATED, RunState.EXITED):
        return False
    return egress_of(labels) != spec.egress or labels.get(CONFINEMENT) != confinement


def _require_known(spec: WorkspaceSpec, name: str, labels: Mapping[str, str]) -> None:
    """Raise `NameTaken` unless the object is the workspace's, or what a deletion in the same database left."""
    if labels.get(WORKSPACE) != str(spec.workspace_id) and labels.get(INSTALLATION) != spec.installation:
        raise NameTaken(f"{name} was made for a workspace that this database does not know")


def _half_started(refused: EngineRefused) -> bool:
    """Recognise what an engine that was killed while it started a container never gets over: it has to be made anew."""
    text = str(refused)
    return "task " in text and text.endswith("already exists")


def _network_lost(refused: EngineRefused) -> bool:
    """Recognise a start that failed because the network is absent, or is there twice.

    Engines agree on these words, not on what stands before them; Podman takes a missing network for its own trouble.
    """
    text = str(refused)
    absent = refused.status in (404, 500) and "network" in text and "not found" in text
    return absent or "is ambiguous" in text
