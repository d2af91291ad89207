"""What a workspace needs from an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.runtime.egress import EGRESS_INTERNET, Egress


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume and its path in the container."""

    name: str
    mount: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network for one workspace at a time: an engine-wide unique name, and a subnet as `address/prefix`.

    `installation` is the database's id, as in `WorkspaceSpec`.
    """

    name: str
    subnet: str
    installation: str | None = None


@dataclass(frozen=True, slots=True)
class HostMount:
    """A host path and its path in the container."""

    source: str
    mount: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class WorkspaceSpec:
    """Everything an engine needs to run one workspace; built from rows and catalogue, never from a request.

    `name` is the engine-wide unique container name. `revision` grows when a restart requests a new container: a runtime
    replaces smaller revisions and rejects larger ones. `installation` is the database's id; another workspace's object
    is replaced only if both have the same id. `runtime` names the OCI runtime, None the engine's default. An empty
    `command` uses the image's entrypoint; a `command` disables the image's arguments.
    """

    instance: str
    workspace_id: UUID
    name: str
    revision: int
    image: str
    port: int
    network: Network
    memory_bytes: int
    cpus: float
    pids: int
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    volume: Volume | None = None
    user: str | None = None
    read_only: bool = False
    egress: Egress = EGRESS_INTERNET
    mounts: tuple[HostMount, ...] = ()
    capabilities: tuple[str, ...] = ()
    installation: str | None = None
    runtime: str | None = None
