"""How a workspace is written down as Docker's objects, and read back from them."""

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
# The id of the database that the object was made for. The name of the instance alone is no proof: a fresh or another
# database may be given the same one.
INSTALLATION: Final = "spawner.installation"
WORKSPACE: Final = "spawner.workspace"
INCARNATION: Final = "spawner.incarnation"
PORT: Final = "spawner.port"
# Where its container may connect to; there is none where that is the internet.
EGRESS: Final = "spawner.egress"
# Which system calls, limits and OCI runtime its container was made with.
CONFINEMENT: Final = "spawner.confinement"
# Marks a network that is made for workspaces, one after the other.
NETWORK: Final = "spawner.network"

# What engines call a container, and what that means here. One that is being removed is as good as gone. Podman alone
# says `initialized` before a start, `stopping` until the last process has ended, and `stopped` until it has tidied up.
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
    """Labels that a workspace's container and volume carry."""
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
    """Changes with whatever holds a container's processes."""
    parts = [allowed.security, ULIMITS, TERMINALS, spec.runtime]
    return sha256(json.dumps(parts).encode()).hexdigest()[:12]


def cpu_shares(cpus: float) -> int:
    """A workspace's weight: workspaces share what the platform leaves in proportion to their processors."""
    return min(max(round(cpus * CPU_SHARES), MIN_SHARES), MAX_SHARES)


def container_body(spec: WorkspaceSpec, allowed: Allowed, *, publish: bool) -> dict[str, Any]:
    """Describe the container. It names its network, which may be made later: the engine looks for it at the start."""
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
        # Else the engine would ask its own name server for the container, and names can carry anything out.
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
    """Another runtime than the engine's own brings a kernel, and terminals, of its own."""
    if spec.runtime is None and allowed.bounds_terminals:
        yield TERMINALS


def _volumes(spec: WorkspaceSpec) -> Iterator[dict[str, Any]]:
    """The engine makes the volume with the container. An empty one takes over the files, owner and mode of the image's
    directory at the mount point, which is how a non-root user comes to own its home.
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
    """Where a container may connect to, by its labels; nowhere where another version's words are not understood."""
    try:
        return Egress.read((labels or {}).get(EGRESS, "internet"))
    except ValueError:
        return EGRESS_NONE


def network_of(container: Mapping[str, Any] | DockerContainer) -> str | None:
    """The name of the network of a container that was inspected or listed. Its `NetworkMode` is `bridge` on Podman, and
    in Podman's listing there is none.
    """
    return next(iter(container["NetworkSettings"]["Networks"] or {}), None)


def subnet_of(network: Mapping[str, Any]) -> str:
    """A network's first subnet; nothing where it has none."""
    subnet: str = (network["IPAM"]["Config"] or [{}])[0].get("Subnet", "")
    return subnet


def report_of(info: Mapping[str, Any], networks: Sequence[Mapping[str, Any]], *, quota: bool | None) -> EngineReport:
    """Read the engine's answers about itself."""
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
        # Each container of Podman has a process that looks after it, whether the service runs or not.
        live_restore=podman or info["LiveRestoreEnabled"],
        tells_memory_kills=not podman,
        icc=(bridge.get("Options") or {}).get("com.docker.network.bridge.enable_icc", "true") == "true",
        networks={item["Name"]: subnet for item in networks if (subnet := subnet_of(item))},
    )


def status_of(container: Mapping[str, Any]) -> Status:
    """Read the answer to an inspection."""
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
    """Read one entry of a listing, which knows neither exit codes nor why a container ended."""
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
    """Tell networks of workspaces. Earlier versions named each after its workspace and labelled it with its id."""
    labels = network["Labels"] or {}
    return INSTANCE in labels and (NETWORK in labels or WORKSPACE in labels)


def volume_of(volume: Mapping[str, Any]) -> OwnedVolume:
    """Read one entry of a listing."""
    labels = volume["Labels"]
    return OwnedVolume(UUID(labels[WORKSPACE]), volume["Name"], labels.get(INSTALLATION))


def usage_of(stats: Mapping[str, Any] | None) -> Usage | None:
    """Read a container's counters. Where it does not run, Docker answers with empty ones or with nothing, and Podman
    with an error whose status is 200.
    """
    if not stats or "cpu_stats" not in stats or not stats["cpu_stats"]["cpu_usage"]["total_usage"]:
        return None
    transferred = sum(item["rx_bytes"] + item["tx_bytes"] for item in (stats.get("networks") or {}).values())
    return Usage(stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1_000_000_000, transferred)


def _endpoint(identifier: str, image: str, labels: Mapping[str, str], network: Mapping[str, Any]) -> Endpoint | None:
    """Prefer the published port; a container that is just ending has neither port nor address."""
    port = int(labels.get(PORT, 0))
    published = (network.get("Ports") or {}).get(f"{port}/tcp") or []
    for binding in published:
        if binding["HostPort"]:
            return Endpoint(LOOPBACK, int(binding["HostPort"]), identifier, image)
    for attachment in (network.get("Networks") or {}).values():
        if attachment["IPAddress"]:
            return Endpoint(attachment["IPAddress"], port, identifier, image)
    return None
