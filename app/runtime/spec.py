"""What a workspace needs of an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.runtime.egress import EGRESS_INTERNET, Egress


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume and where the container sees it."""

    name: str
    mount: str


@dataclass(frozen=True, slots=True)
class Network:
    """A network for one workspace at a time: its engine-wide unique name, and its subnet as `address/prefix`.

    `installation` is the database's id, as for `WorkspaceSpec`.
    """

    name: str
    subnet: str
    installation: str | None = None


@dataclass(frozen=True, slots=True)
class HostMount:
    """A path of the engine's host, and where the container sees it."""

    source: str
    mount: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class WorkspaceSpec:
    """Everything an engine needs to run one workspace; built from rows and the catalogue, never from a request.

    `name` is the engine-wide unique name of the container. `revision` grows when a restart asks for a new container:
    a runtime replaces a container of a smaller one and refuses to touch a larger one. `installation` is the id of the
    database that the spec comes from. What is of another workspace is replaced only where both carry the same id.
    `runtime` is the engine's name of the OCI runtime, None its default.
    An empty `command` is the image's own entrypoint; with a `command` the image's own arguments do not count.
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
