"""Converts workspaces to Docker objects and back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from aiodocker.containers import DockerContainer

from app.runtime.base import Endpoint, EngineReport, Owned, OwnedVolume, RunState, Status, Usage
from app.runtime.docker.policy import (
    CPU_SHARES,
    IMPATIENT,
    LOG_CONFIG,
    LOOPBACK,
    MAX_SHARES,
    MIN_SHARES,
    NO_RESOLVER,
    TERMINALS,
    TMPFS,
    ULIMITS,
    Allowed,
)
from app.runtime.egress import EGRESS_INTERNET, EGRESS_NONE, Egress
from app.runtime.spec import Network, WorkspaceSpec

INSTANCE: Final = "spawner.instance"
# The database's id. The instance's name is not enough: another database may use the same one.
INSTALLATION: Final = "spawner.installation"
WORKSPACE: Final = "spawner.workspace"
INCARNATION: Final = "spawner.incarnation"
PORT: Final = "spawner.port"
# The container's egress; absent for internet.
EGRESS: Final = "spawner.egress"
# Digest of the seccomp profile, limits and OCI runtime of the container.
CONFINEMENT: Final = "spawner.confinement"
# Marks networks reserved for workspaces.
NETWORK: Final = "spawner.network"

# Container states by engine name. A container under removal counts as absent. Podman alone has `initialized` before a
# start, `stopping` until the last process has ended, and `stopped` until cleanup.
STATES: Final = {
    "created": RunState.CREATED,
    "initialized": RunState.CREATED,
    "running": RunState.RUNNING,
    "stopping": RunState.RUNNING,
    "restarting": RunState.RUNNING,
    "paused": RunState.PAUSED,
    "stopped": RunState.EXITED,
    "exited": RunState.EXITED,
    "dead": RunState.EXITED,
    "removing": RunState.ABSENT,
}


def identity(spec: WorkspaceSpec) -> dict[str, str]:
    """Return the labels of a workspace's container and volume."""
    return {
        **spec.labels,
        INSTANCE: spec.instance,
        WORKSPACE: str(spec.workspace_id),
        **_installation(spec.installation),
    }


def _installation(given: str | None) -> dict[str, str]:
    return {INSTALLATION: given} if given is not None else {}


def network_body(instance: str, network: Network) -> dict[str, Any]:
    return {
        "Name": network.name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": network.subnet}]},
        "Labels": {INSTANCE: instance, NETWORK: "workspace", **_installation(network.installation)},
    }


def confinement_of(spec: WorkspaceSpec, allowed: Allowed) -> str:
    """Return a digest of everything that confines a container's processes."""
    parts = [allowed.security, ULIMITS, TERMINALS, spec.runtime]
    return sha256(json.dumps(parts).encode()).hexdigest()[:12]


def cpu_shares(cpus: float) -> int:
    """Return a workspace's CPU weight, proportional to its processors."""
    return min(max(round(cpus * CPU_SHARES), MIN_SHARES), MAX_SHARES)


def container_body(spec: WorkspaceSpec, allowed: Allowed, *, publish: bool) -> dict[str, Any]:
    """Build the create request. Its network may be created later: Docker resolves it at the start."""
    port = f"{spec.port}/tcp"
    labels = {**identity(spec), INCARNATION: str(spec.revision), PORT: str(spec.port)}
    labels[CONFINEMENT] = confinement_of(spec, allowed)
    host: dict[str, Any] = {
        "NetworkMode": spec.network.name,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,
        "NanoCpus": round(spec.cpus * 1_000_000_000),
        "CpuShares": cpu_shares(spec.cpus),
        "PidsLimit": spec.pids,
        "CapDrop": ["ALL"],
        "SecurityOpt": allowed.security,
        "Ulimits": ULIMITS,
        "Init": True,
        "LogConfig": LOG_CONFIG,
        "RestartPolicy": {"Name": "no"},
        "ReadonlyRootfs": spec.read_only,
    }
    if spec.read_only:
        host["Tmpfs"] = TMPFS
    if spec.runtime is not None:
        host["Runtime"] = spec.runtime
    if spec.capabilities:
        host["CapAdd"] = list(spec.capabilities)
    if spec.egress != EGRESS_INTERNET:
        labels[EGRESS] = str(spec.egress)
    if spec.egress == EGRESS_NONE:
        # Without this, the engine's resolver would forward queries, and DNS can exfiltrate data.
        host |= {"Dns": NO_RESOLVER, "DnsOptions": IMPATIENT}
    if publish:
        host["PortBindings"] = {port: [{"HostIp": LOOPBACK, "HostPort": ""}]}
    if mounts := [*_terminals(spec, allowed), *_volumes(spec), *_binds(spec)]:
        host["Mounts"] = mounts
    body: dict[str, Any] = {
        "Image": spec.image,
        "Hostname": spec.name[:63].rstrip("-"),
        "Env": [f"{key}={value}" for key, value in spec.environment.items()],
        "Labels": labels,
        "ExposedPorts": {port: {}},
        "HostConfig": host,
    }
    if spec.user is not None:
        body["User"] = spec.user
    given = {"Entrypoint": list(spec.command), "Cmd": list(spec.args)}
    return body | {name: words for name, words in given.items() if words}


def _terminals(spec: WorkspaceSpec, allowed: Allowed) -> Iterator[dict[str, Any]]:
    """Mount a private devpts, unless the OCI runtime has its own kernel and terminals."""
    if spec.runtime is None and allowed.bounds_terminals:
        yield TERMINALS


def _volumes(spec: WorkspaceSpec) -> Iterator[dict[str, Any]]:
    """The engine creates the volume with the container. An empty volume copies files, owner and mode from the image's
    directory, so a non-root user owns its home.
    """
    if spec.volume is not None:
        options = {"Labels": identity(spec)}
        yield {
            "Type": "volume",
            "Source": spec.volume.name,
            "Target": spec.volume.mount,
            "VolumeOptions": options,
        }


def _binds(spec: WorkspaceSpec) -> Iterator[dict[str, Any]]:
    for item in spec.mounts:
        yield {"Type": "bind", "Source": item.source, "Target": item.mount, "ReadOnly": item.read_only}


def egress_of(labels: Mapping[str, str] | None) -> Egress:
    """Parse a container's egress label; an unknown value means no egress."""
    try:
        return Egress.read((labels or {}).get(EGRESS, "internet"))
    except ValueError:
        return EGRESS_NONE


def network_of(container: Mapping[str, Any] | DockerContainer) -> str | None:
    """Return the network's name of an inspected or listed container. Podman's `NetworkMode` is `bridge`, and its
    listing has none.
    """
    return next(iter(container["NetworkSettings"]["Networks"] or {}), None)


def subnet_of(network: Mapping[str, Any]) -> str:
    """Return a network's first subnet, or an empty string."""
    subnet: str = (network["IPAM"]["Config"] or [{}])[0].get("Subnet", "")
    return subnet


def report_of(info: Mapping[str, Any], networks: Sequence[Mapping[str, Any]], *, quota: bool | None) -> EngineReport:
    """Build the report from the engine's responses."""
    options = {part.partition("=")[2] for item in info["SecurityOptions"] or [] for part in item.split(",")[:1]}
    bridge = next((item for item in networks if item["Name"] == "bridge"), {})
    on_xfs = info["Driver"] == "overlay2" and ["Backing Filesystem", "xfs"] in (info["DriverStatus"] or [])
    podman = "BuildahVersion" in info
    return EngineReport(
        product="Podman" if podman else "Docker Engine",
        version=info["ServerVersion"],
        user_namespaces=bool(options & {"userns", "rootless"}),
        seccomp="seccomp" in options and not any("profile=unconfined" in item for item in info["SecurityOptions"]),
        apparmor="apparmor" in options,
        selinux="selinux" in options,
        cgroup_version=info.get("CgroupVersion", "1"),
        limits={
            "memory": info["MemoryLimit"],
            "swap": info["SwapLimit"],
            "pids": info.get("PidsLimit", False),
            "processors": info["CpuCfsQuota"],
        },
        disk_quota=quota if on_xfs else False,
        # Podman's containers run independently of its service.
        live_restore=podman or info["LiveRestoreEnabled"],
        tells_memory_kills=not podman,
        icc=(bridge.get("Options") or {}).get("com.docker.network.bridge.enable_icc", "true") == "true",
        networks={item["Name"]: subnet for item in networks if (subnet := subnet_of(item))},
    )


def status_of(container: Mapping[str, Any]) -> Status:
    """Parse an inspect response."""
    state = container["State"]
    labels = container["Config"]["Labels"] or {}
    run_state = STATES[state["Status"]]
    alive = run_state in (RunState.RUNNING, RunState.PAUSED)
    return Status(
        state=run_state,
        container_id=container["Id"],
        revision=int(labels.get(INCARNATION, 0)),
        endpoint=_endpoint(container["Id"], container["Image"], labels, container["NetworkSettings"])
        if alive
        else None,
        exit_code=state["ExitCode"] if run_state is RunState.EXITED else None,
        out_of_memory=bool(state["OOMKilled"]),
    )


def owned_of(container: DockerContainer) -> Owned:
    """Parse a listing's entry, which has neither exit code nor reason."""
    labels = container["Labels"]
    ports = {f"{item['PrivatePort']}/tcp": [{"HostPort": item.get("PublicPort")}] for item in container["Ports"] or []}
    networks = container["NetworkSettings"]["Networks"] or {}
    state = STATES[container["State"]]
    alive = state in (RunState.RUNNING, RunState.PAUSED)
    status = Status(
        state=state,
        container_id=container["Id"],
        revision=int(labels.get(INCARNATION, 0)),
        endpoint=_endpoint(container["Id"], container["ImageID"], labels, {"Ports": ports, "Networks": networks})
        if alive
        else None,
    )
    name = container["Names"][0].removeprefix("/")
    return Owned(UUID(labels[WORKSPACE]), name, status, network_of(container), labels.get(INSTALLATION))


def is_workspace_network(network: Mapping[str, Any]) -> bool:
    """Return whether the network is for workspaces. Earlier versions named it after its workspace and labelled it with
    the id.
    """
    labels = network["Labels"] or {}
    return INSTANCE in labels and (NETWORK in labels or WORKSPACE in labels)


def volume_of(volume: Mapping[str, Any]) -> OwnedVolume:
    """Parse a listing's entry."""
    labels = volume["Labels"]
    return OwnedVolume(UUID(labels[WORKSPACE]), volume["Name"], labels.get(INSTALLATION))


def usage_of(stats: Mapping[str, Any] | None) -> Usage | None:
    """Parse a container's counters. For a stopped container Docker returns empty ones or nothing, Podman an error with
    status 200.
    """
    if not stats or "cpu_stats" not in stats or not stats["cpu_stats"]["cpu_usage"]["total_usage"]:
        return None
    transferred = sum(item["rx_bytes"] + item["tx_bytes"] for item in (stats.get("networks") or {}).values())
    return Usage(stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1_000_000_000, transferred)


def _endpoint(identifier: str, image: str, labels: Mapping[str, str], network: Mapping[str, Any]) -> Endpoint | None:
    """Return the published port if any; a container that is ending has neither port nor address."""
    port = int(labels.get(PORT, 0))
    published = (network.get("Ports") or {}).get(f"{port}/tcp") or []
    for binding in published:
        if binding["HostPort"]:
            return Endpoint(LOOPBACK, int(binding["HostPort"]), identifier, image)
    for attachment in (network.get("Networks") or {}).values():
        if attachment["IPAddress"]:
            return Endpoint(attachment["IPAddress"], port, identifier, image)
    return None
