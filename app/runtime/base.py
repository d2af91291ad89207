"""The contract between workers and whatever runs containers.

A runtime speaks in outcomes, not in an engine's verbs. Every method may be repeated: a second call finds what the
first one made, by the name and labels that are derived from the spec, and finishes the work. A missing object is
success for `ensure_absent`, `ensure_stopped` and every `remove_…`. Every call ends within its deadline; nothing but
`RuntimeFault` and its subclasses leaves a runtime.

Cancelling a call that changes something waits for what was already asked of the engine: once the call has ended, with
whatever outcome, nothing of it is on its way to the engine any more.
"""

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.runtime.spec import Network, WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the proxy reaches a running workspace."""

    host: str
    port: int
    container_id: str
    image_digest: str


class RunState(enum.StrEnum):
    """What an engine says of a container."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a container; `endpoint` is set while it runs or is paused."""

    state: RunState
    container_id: str | None = None
    revision: int = 0
    endpoint: Endpoint | None = None
    exit_code: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Owned:
    """A container that carries this instance's label. `network` is the name of the one it is attached to, and
    `installation` the id of the database that it was made for; earlier versions wrote none.
    """

    workspace_id: UUID
    name: str
    status: Status
    network: str | None = None
    installation: str | None = None


@dataclass(frozen=True, slots=True)
class OwnedVolume:
    """A named volume that carries this instance's label; `installation` is as in `Owned`."""

    workspace_id: UUID
    name: str
    installation: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything on the engine that carries an instance's label. Of networks: the names, and the `installation` of
    each that has one.
    """

    containers: list[Owned]
    networks: list[str]
    volumes: list[OwnedVolume]
    installations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineSize:
    """What the engine has. Free disk is that of the file system that holds its data, None where it cannot be seen."""

    memory_bytes: int
    cpus: int
    disk_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What an engine can enforce. None where it cannot be seen from here.

    `tells_memory_kills` says whether its events tell of programs that the kernel killed though the container goes on.
    """

    product: str
    version: str
    user_namespaces: bool
    seccomp: bool
    apparmor: bool
    selinux: bool
    cgroup_version: str
    limits: Mapping[str, bool]
    disk_quota: bool | None
    live_restore: bool
    tells_memory_kills: bool
    icc: bool
    networks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counters of a running container since its start: seconds of processor, bytes received and sent."""

    cpu_seconds: float
    network_bytes: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to an owned container: `start`, `die`, `oom`, `pause`, `unpause` or `destroy`.

    With `oom` the kernel killed a process in it that took too much memory, which need not be the first one. `at` is the
    engine's clock.
    """

    workspace_id: UUID
    action: str
    at: datetime


class Phase(enum.StrEnum):
    """The steps of `ensure_running` that a user sees."""

    PULLING = "pulling"
    CREATING = "creating"
    STARTING = "starting"


@dataclass(frozen=True, slots=True)
class Progress:
    """A step has begun or moved; while pulling, bytes done of bytes known so far."""

    phase: Phase
    done_bytes: int | None = None
    total_bytes: int | None = None


Report = Callable[[Progress], Awaitable[None]]


class RuntimeFault(Exception):
    """The engine did not do what was asked. `code` is stable; `transient` says that trying again may help."""

    code = "engine_error"
    transient = False


class EngineUnavailable(RuntimeFault):
    """The engine did not answer, or not in time."""

    code = "engine_unavailable"
    transient = True


class ImageMissing(RuntimeFault):
    """The image is not on the engine; after a pull: nor at a registry that answers."""

    code = "image_missing"


class ImagePullFailed(RuntimeFault):
    """The registry answered, but the pull broke."""

    code = "image_pull_failed"
    transient = True


class SubnetTaken(RuntimeFault):
    """The network is in use by another container, or its subnet by something else; the caller chooses another one."""

    code = "subnet_taken"


class NameTaken(RuntimeFault):
    """A container, network or volume of this name is not ours, or of another database: it is not ours to replace.

    The message names it.
    """

    code = "name_taken"


class EgressUnenforceable(RuntimeFault):
    """The workspace may not reach everything, and this engine's host lets nobody see to that."""

    code = "egress_unenforceable"


class ContainerExited(RuntimeFault):
    """The container was started and ended at once; its logs and its status say why."""

    code = "exited"


class Superseded(RuntimeFault):
    """The engine holds a newer revision than the one asked for: `revision`."""

    code = "superseded"

    def __init__(self, revision: int) -> None:
        super().__init__(f"the engine holds revision {revision}")
        self.revision = revision


class Runtime(Protocol):
    """An engine that runs workspaces."""

    async def ping(self) -> None:
        """Return if the engine answers within two seconds, else raise `EngineUnavailable`."""

    async def size(self) -> EngineSize:
        """Look at what the engine has."""

    async def report(self) -> EngineReport:
        """Look at what the engine can enforce."""

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        """Make the workspace's container run and say where it listens.

        Adopts, starts, unpauses or replaces what it finds under the spec's name, and makes the network if it is
        missing; fetches no image. Starting is not readiness: the caller probes. Raises `ImageMissing`, `SubnetTaken`,
        `ContainerExited`, `Superseded`, `NameTaken`, `EngineUnavailable`, `PolicyViolated`, `EgressUnenforceable`.
        """

    async def ensure_paused(self, name: str, workspace_id: UUID) -> Status:
        """Freeze the container if it runs, and look at it. One that does not run is left as it is."""

    async def ensure_stopped(self, name: str, workspace_id: UUID) -> None:
        """Stop the container, a paused one too, and keep it. It gets ten seconds to end by itself."""

    async def ensure_absent(self, name: str, workspace_id: UUID) -> None:
        """Remove the container and its anonymous volumes. One of another workspace under this name is left alone."""

    async def ensure_network(self, instance: str, network: Network) -> None:
        """Make a network in advance. Raises `SubnetTaken`."""

    async def remove_network(self, name: str) -> None:
        """Remove a network that no container uses; one that is used stays."""

    async def reconcile_egress(self, instance: str) -> int:
        """See that rules hold what every workspace may connect to, and no rule outlives its container.

        Says how many were missing or too many. Raises `EgressUnenforceable`.
        """

    def egress_removals(self) -> AsyncGenerator[None, None]:
        """Yield at first, and whenever rules may have been removed. What removed them may be this installation.

        Raises `EgressUnenforceable` at the first step.
        """

    async def check_egress(self) -> bool:
        """Whether the rules that hold for every workspace are in force. Raises `EgressUnenforceable`."""

    async def remove_volume(self, name: str) -> None:
        """Remove a named volume that no container uses; one that is used stays."""

    async def pull(self, image: str, report: Report) -> None:
        """Fetch an image. Raises `ImageMissing` where no registry has it, `ImagePullFailed` where the way broke."""

    async def image_digest(self, image: str) -> str | None:
        """What the image's name stands for on the engine now, as `Endpoint.image_digest` has it; None if absent."""

    async def status(self, name: str) -> Status:
        """Look at one container."""

    async def listening(self, name: str) -> list[str] | None:
        """Addresses with ports where the container takes connections; None where that cannot be seen from here."""

    async def memory_kills(self, name: str) -> int | None:
        """How many of its processes the kernel killed in this run; None where that cannot be seen from here."""

    async def usage(self, name: str) -> Usage | None:
        """Read a container's counters; None if it does not run.

        An engine may look once a second and let a caller wait for that: ask for many containers at once.
        """

    async def list_owned(self, instance: str) -> Inventory:
        """List everything that carries the instance's label, containers in any state, without exit codes."""

    def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        """Yield log lines, oldest first, without line ends; ends when the container does or is not there.

        What exceeds 64 KiB of a line is left out. Closing it lets go of the engine.
        """

    def events(self, instance: str) -> AsyncIterator[Event]:
        """Yield events of owned containers from the moment of this call on, until the connection breaks or is silent.

        Call it, then list, then iterate, and nothing is missed; when it ends, do so again.
        """

    async def aclose(self) -> None:
        """Close connections. Nothing that runs is stopped."""
