"""The runtime protocol between workers and container engines.

Methods describe outcomes and are idempotent: a repeated call finds existing objects by the spec's names and labels, and
completes them. A missing object is success for `ensure_absent`, `ensure_stopped` and every `remove_…`. Every call has a
timeout and raises only `RuntimeFault` and subclasses.

Cancelling a mutating call waits for its pending engine request: once the call has ended, the engine receives nothing
more from it.
"""

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.runtime.spec import Network, WorkspaceSpec


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of a running workspace, as the proxy reaches it."""

    host: str
    port: int
    container_id: str
    image_digest: str


class RunState(enum.StrEnum):
    """Container states."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Status:
    """A container's observed state; `endpoint` is set while it runs or is paused."""

    state: RunState
    container_id: str | None = None
    revision: int = 0
    endpoint: Endpoint | None = None
    exit_code: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Owned:
    """A container with this instance's label. `network` is its network's name. `installation` is the database's id;
    earlier versions set none.
    """

    workspace_id: UUID
    name: str
    status: Status
    network: str | None = None
    installation: str | None = None


@dataclass(frozen=True, slots=True)
class OwnedVolume:
    """A named volume with this instance's label; `installation` as in `Owned`."""

    workspace_id: UUID
    name: str
    installation: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """All engine objects with an instance's label. Networks: names and, if set, `installation`."""

    containers: list[Owned]
    networks: list[str]
    volumes: list[OwnedVolume]
    installations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineSize:
    """The engine's capacity. Free disk is that of its data directory's file system; None if not visible."""

    memory_bytes: int
    cpus: int
    disk_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the engine can enforce; None if not visible from here.

    `tells_memory_kills`: events report out-of-memory kills in containers that keep running.
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
    """Counters of a running container since its start: CPU seconds, bytes received and sent."""

    cpu_seconds: float
    network_bytes: int


@dataclass(frozen=True, slots=True)
class Event:
    """An event of an owned container: `start`, `die`, `oom`, `pause`, `unpause` or `destroy`.

    `oom`: the kernel killed a process in it, not necessarily the first one. `at` is the engine's clock.
    """

    workspace_id: UUID
    action: str
    at: datetime


class Phase(enum.StrEnum):
    """The visible steps of `ensure_running`."""

    PULLING = "pulling"
    CREATING = "creating"
    STARTING = "starting"


@dataclass(frozen=True, slots=True)
class Progress:
    """A step has started or progressed; for pulls, bytes done and bytes known so far."""

    phase: Phase
    done_bytes: int | None = None
    total_bytes: int | None = None


Report = Callable[[Progress], Awaitable[None]]


async def ignore_progress(_: Progress) -> None:
    """Report nothing."""


class RuntimeFault(Exception):
    """The engine failed. `code` is stable; `transient` means that a retry may help."""

    code = "engine_error"
    transient = False


class EngineUnavailable(RuntimeFault):
    """The engine did not answer or timed out."""

    code = "engine_unavailable"
    transient = True


class ImageMissing(RuntimeFault):
    """The image is not on the engine; after a pull, also in no reachable registry."""

    code = "image_missing"


class ImagePullFailed(RuntimeFault):
    """The registry answered, but the pull failed."""

    code = "image_pull_failed"
    transient = True


class SubnetTaken(RuntimeFault):
    """Another container uses the network, or the subnet is in use; the caller chooses another."""

    code = "subnet_taken"


class NameTaken(RuntimeFault):
    """A container, network or volume of this name belongs to others or another database, and is not replaced.

    The message names it.
    """

    code = "name_taken"


class EgressUnenforceable(RuntimeFault):
    """The workspace's egress is restricted, and this host cannot enforce it."""

    code = "egress_unenforceable"


class ContainerExited(RuntimeFault):
    """The container exited right after its start; logs and status have the reason."""

    code = "exited"


class Superseded(RuntimeFault):
    """The engine has a newer revision than requested: `revision`."""

    code = "superseded"

    def __init__(self, revision: int) -> None:
        super().__init__(f"the engine holds revision {revision}")
        self.revision = revision


class Runtime(Protocol):
    """A container engine for workspaces."""

    async def ping(self) -> None:
        """Raise `EngineUnavailable` unless the engine answers within two seconds."""

    async def size(self) -> EngineSize:
        """Return the engine's capacity."""

    async def report(self) -> EngineReport:
        """Return what the engine can enforce."""

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        """Run the workspace's container and return its endpoint.

        Adopts, starts, unpauses or replaces the container of the spec's name, and creates a missing network; pulls no
        image. Does not wait for readiness: the caller probes. Raises `ImageMissing`, `SubnetTaken`, `ContainerExited`,
        `Superseded`, `NameTaken`, `EngineUnavailable`, `PolicyViolated`, `EgressUnenforceable`.
        """

    async def ensure_named(self, name: str, workspace_id: UUID, to: str) -> None:
        """Rename the workspace's container. Does nothing if it is missing or has the name already.

        Keeps its name if another container has the new one.
        """

    async def execute(
        self, name: str, workspace_id: UUID, command: Sequence[str], environment: Mapping[str, str], *, seconds: float
    ) -> int | None:
        """Run a command in the workspace's container, under its confinement, and return the exit code.

        None if the container does not run or the command times out; the command may then continue.
        """

    async def ensure_paused(self, name: str, workspace_id: UUID) -> Status:
        """Pause the container if it runs, and return its status. Leaves others as they are."""

    async def ensure_stopped(self, name: str, workspace_id: UUID) -> None:
        """Stop the container, also a paused one, and keep it. Kills it after a grace of ten seconds."""

    async def ensure_absent(self, name: str, workspace_id: UUID) -> None:
        """Remove the container and its anonymous volumes. Ignores another workspace's container of this name."""

    async def ensure_network(self, instance: str, network: Network) -> None:
        """Create a network in advance. Raises `SubnetTaken`."""

    async def remove_network(self, name: str) -> None:
        """Remove a network unless a container uses it."""

    async def reconcile_egress(self, instance: str) -> int:
        """Make the egress rules match the existing workspaces.

        Returns the number of rules added or removed. Raises `EgressUnenforceable`.
        """

    def egress_removals(self) -> AsyncGenerator[None, None]:
        """Yield at first and whenever rules may have been removed, also by this installation.

        Raises `EgressUnenforceable` at the first step.
        """

    async def check_egress(self) -> bool:
        """Return whether the base rules of all workspaces are in force. Raises `EgressUnenforceable`."""

    async def remove_volume(self, name: str) -> None:
        """Remove a named volume unless a container uses it."""

    async def pull(self, image: str, report: Report) -> None:
        """Pull an image. Raises `ImageMissing` if no registry has it, `ImagePullFailed` if the transfer fails."""

    async def image_digest(self, image: str) -> str | None:
        """Return the current digest of the image's name on the engine, as in `Endpoint.image_digest`; None if
        absent.
        """

    async def status(self, name: str) -> Status:
        """Return a container's status."""

    async def listening(self, name: str) -> list[str] | None:
        """Return the `address:port` pairs on which the container listens; None if not visible from here."""

    async def memory_kills(self, name: str) -> int | None:
        """Return the number of its processes killed for memory in this run; None if not visible from here."""

    async def usage(self, name: str) -> Usage | None:
        """Return a container's counters; None if it does not run.

        May take a second, as engines sample: query many containers concurrently.
        """

    async def list_owned(self, instance: str) -> Inventory:
        """List everything with the instance's label, containers in any state, without exit codes."""

    def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncGenerator[str, None]:
        """Yield log lines, oldest first, without line ends; ends when the container ends or is missing.

        Truncates lines at 64 KiB. Closing the generator closes the connection.
        """

    def events(self, instance: str) -> AsyncIterator[Event]:
        """Yield events of owned containers from this call on, until the connection breaks or goes silent.

        To miss nothing: call this, then list, then iterate; repeat when it ends.
        """

    async def aclose(self) -> None:
        """Close connections; stops no container."""
