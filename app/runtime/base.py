"""The contract between workers and whatever runs containers.

A runtime speaks in outcomes, not in an engine's verbs. Every method may be repeated: a second call finds what the
first one made, by the name and labels that are derived from the spec, and finishes the work. A missing object is
success for `ensure_absent` and `ensure_stopped`. Every call ends within its deadline; nothing but `RuntimeFault`
and its subclasses leaves a runtime.
"""

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume and where the container sees it."""

    name: str
    mount: str


@dataclass(frozen=True, slots=True)
class WorkspaceSpec:
    """Everything an engine needs to run one workspace; built from rows and the catalogue, never from a request.

    `name` is the engine-wide unique name of the container and of its network. `incarnation` grows when a restart
    asks for a new container: a runtime replaces a container of a smaller one and refuses to touch a larger one.
    """

    instance: str
    workspace_id: UUID
    name: str
    incarnation: int
    image: str
    port: int
    subnet: str
    memory_bytes: int
    cpus: float
    pids: int
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    volume: Volume | None = None
    user: str | None = None
    read_only: bool = False


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
    incarnation: int = 0
    endpoint: Endpoint | None = None
    exit_code: int | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Owned:
    """A container that carries this installation's label."""

    workspace_id: UUID
    name: str
    status: Status


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to an owned container: `start`, `die`, `oom`, `pause`, `unpause` or `destroy`."""

    workspace_id: UUID
    action: str


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
    """The image is neither here nor at a registry that answers."""

    code = "image_missing"


class ImagePullFailed(RuntimeFault):
    """The registry answered, but the pull broke."""

    code = "image_pull_failed"
    transient = True


class SubnetTaken(RuntimeFault):
    """Another network on this host overlaps the subnet; the caller chooses another one."""

    code = "subnet_taken"


class ContainerExited(RuntimeFault):
    """The container was started and ended at once; its logs and its status say why."""

    code = "exited"


class Superseded(RuntimeFault):
    """The engine holds a newer incarnation than the one asked for."""

    code = "superseded"


class Runtime(Protocol):
    """An engine that runs workspaces."""

    async def ping(self) -> None:
        """Return if the engine answers within two seconds, else raise `EngineUnavailable`."""

    async def ensure_running(self, spec: WorkspaceSpec, report: Report) -> Endpoint:
        """Make the workspace's container run and say where it listens.

        Adopts, starts, unpauses or replaces what it finds under the spec's name. Starting is not readiness: the
        caller probes. Raises `ImageMissing`, `ImagePullFailed`, `SubnetTaken`, `ContainerExited`, `Superseded`,
        `EngineUnavailable`.
        """

    async def ensure_stopped(self, name: str) -> None:
        """Stop the container and keep it. It gets ten seconds to end by itself."""

    async def ensure_absent(self, name: str, *, volume: str | None = None) -> None:
        """Remove the container, its network, its anonymous volumes, and the named volume if one is given."""

    async def status(self, name: str) -> Status:
        """Look at one container."""

    async def list_owned(self, instance: str) -> list[Owned]:
        """List every container that carries the installation's label, in any state, without exit codes.

        What is left of a workspace without a container (its network, say) is listed as absent: `ensure_absent` ends it.
        """

    def logs(self, name: str, *, tail: int = 200, follow: bool = False) -> AsyncIterator[str]:
        """Yield log lines, oldest first, without line ends; ends when the container does or is not there."""

    def events(self, instance: str) -> AsyncIterator[Event]:
        """Yield events of owned containers from the moment of this call on, until the connection breaks or is silent.

        Call it, then list, then iterate, and nothing is missed; when it ends, do so again.
        """

    async def aclose(self) -> None:
        """Close connections. Nothing that runs is stopped."""
