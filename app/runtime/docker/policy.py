"""Allow-list for create requests, independent of the catalogue.

Pure. Unlisted keys are rejected, so each new option must be added here too.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeGuard

from app.runtime.base import RuntimeFault

# Capabilities that an operator may allow: root's power in the container, none over network, engine or host.
GRANTABLE: Final = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "SYS_NICE"),
    )
)
# Host paths of engine, secrets and kernel settings; neither they, their parents nor their children can be mounted.
SYSTEM: Final = ("/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib/docker", "/var/run")
SOCKETS: Final = frozenset(("docker.sock", "containerd.sock", "podman.sock", "crio.sock"))

# Fixed, as an engine's own profile changes with its version.
SECCOMP: Final = json.dumps(json.loads(Path(__file__).with_name("seccomp.json").read_text()), separators=(",", ":"))
LOG_CONFIG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
TMPFS: Final = {"/tmp": "rw,nosuid,nodev,size=64m,mode=1777"}  # noqa: S108 # nosec B108 # the container's own
# Core dumps are written where the host's kernel says, outside the container's limits. Pending signals and message
# queues are counted per host user, whose limit is far higher.
ULIMITS: Final = [
    {"Name": "core", "Soft": 0, "Hard": 0},
    {"Name": "nofile", "Soft": 1024, "Hard": 8192},
    {"Name": "sigpending", "Soft": 1024, "Hard": 1024},
    {"Name": "msgqueue", "Soft": 0, "Hard": 0},
]
# Terminals are counted per host; a private devpts has its own limit.
MAX_TERMINALS: Final = 64
TERMINALS: Final = {
    "Type": "volume",
    "Target": "/dev/pts",
    "VolumeOptions": {
        "NoCopy": True,
        "DriverConfig": {
            "Name": "local",
            "Options": {
                "type": "devpts",
                "device": "devpts",
                "o": f"newinstance,nosuid,noexec,ptmxmode=0666,mode=0620,gid=5,max={MAX_TERMINALS}",
            },
        },
    },
}
# A DNS server that never answers (RFC 5737), for containers without DNS.
NO_RESOLVER: Final = ["198.51.100.1"]
IMPATIENT: Final = ["timeout:1", "attempts:1"]
LOOPBACK: Final = "127.0.0.1"
# CPU weight per processor: a sixteenth of the default 1024, at most half of it. With the default, workspaces would
# equal the platform.
CPU_SHARES: Final = 64
MIN_SHARES: Final = 2
MAX_SHARES: Final = 512

LARGEST: Final = 1 << 50

Test = Callable[[Any], bool]


class PolicyViolated(RuntimeFault):
    """The create request is not permitted: a bug in Spawner or in the catalogue."""

    code = "policy"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Privileges allowed by the operator: writable or read-only host paths, capabilities, OCI runtimes.

    `socket` is the engine's socket, which no mount may contain. `seccomp_file` is the profile's path on the engine's
    host, for engines that require a path.
    """

    mounts: Mapping[str, bool] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    socket: str = ""
    runtimes: frozenset[str] = frozenset()
    seccomp_file: str = ""

    @property
    def bounds_terminals(self) -> bool:
        """Whether the engine honours options of a volume created with a container. Podman does not: an empty folder
        would hide the terminals that Podman provides.
        """
        return not self.seccomp_file

    @property
    def security(self) -> list[str]:
        """Return the security options of every container."""
        return ["no-new-privileges:true", f"seccomp={self.seccomp_file or SECCOMP}"]


def check(body: Mapping[str, Any], allowed: Allowed) -> None:
    """Raise `PolicyViolated` if the request has anything unlisted."""
    if found := sorted(_violations(body, allowed)):
        raise PolicyViolated("; ".join(found))


def forbidden_path(path: str, socket: str = "") -> str | None:
    """Return why a host path cannot be mounted, or None. Follows links that exist here."""
    if not path.startswith("/") or os.path.normpath(path) != path or path.startswith("//"):
        return "is no absolute path in its plain form"
    for place in {path, os.path.realpath(path)}:
        if place == "/" or Path(place).name in SOCKETS or (socket and _within(socket, place)):
            return "would hand over the host"
        if any(_within(place, system) or _within(system, place) for system in SYSTEM):
            return "is a place of the system"
    return None


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _violations(body: Mapping[str, Any], allowed: Allowed) -> Iterator[str]:
    host, labels = body.get("HostConfig"), body.get("Labels")
    if not isinstance(host, dict) or not _texts(labels) or not (instance := labels.get("spawner.instance")):
        yield "HostConfig, or the label of the installation, is missing"
        return
    own = _fits(rf"{re.escape(instance)}[.-][a-zA-Z0-9_.-]+")
    rules: Mapping[str, Test] = {
        **HOST,
        "NetworkMode": own,
        "SecurityOpt": _is(allowed.security),
        "Runtime": lambda name: isinstance(name, str) and name in allowed.runtimes,
        "Mounts": lambda mounts: _all(
            mounts, lambda item: _volume(item, own) or _bind(item, allowed) or item == TERMINALS
        ),
        "CapAdd": lambda caps: _all(caps, lambda cap: isinstance(cap, str) and cap in GRANTABLE & allowed.capabilities),
    }
    yield from _failing("", body, BODY)
    yield from _failing("HostConfig.", host, rules)
    yield from (f"HostConfig.{key} is missing" for key in REQUIRED - host.keys())
    # gVisor and Kata have their own kernel and terminals.
    bounded = allowed.bounds_terminals and "Runtime" not in host
    if bounded and TERMINALS not in (host.get("Mounts") or ()):
        yield "HostConfig.Mounts lacks the container's own terminals"
    if host.get("MemorySwap") != host.get("Memory"):
        yield "HostConfig.MemorySwap is not HostConfig.Memory"


def _failing(place: str, given: Mapping[str, Any], rules: Mapping[str, Test]) -> Iterator[str]:
    for key, value in given.items():
        if key not in rules:
            yield f"{place}{key} is not allowed"
        elif not rules[key](value):
            yield f"{place}{key} holds what is not allowed"


def _all(values: object, test: Test) -> bool:
    return isinstance(values, list) and all(map(test, values))


def _texts(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(item, str) for pair in value.items() for item in pair)


def _whole(least: int, most: int) -> Test:
    return lambda value: type(value) is int and least <= value <= most


def _is(*wanted: object) -> Test:
    """Match exactly one of the values; True does not match 1."""
    return lambda value: any(type(value) is type(item) and value == item for item in wanted)


def _fits(pattern: str) -> Test:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _bindings(ports: object) -> bool:
    loopback = _is([{"HostIp": LOOPBACK, "HostPort": ""}])
    return isinstance(ports, dict) and all(PORT(port) and loopback(to) for port, to in ports.items())


def _volume(item: object, own: Test) -> bool:
    """Match a named volume of the installation without driver options, which could mount any host folder."""
    if not isinstance(item, dict) or item.keys() != {"Type", "Source", "Target", "VolumeOptions"}:
        return False
    options = item["VolumeOptions"]
    plain = isinstance(options, dict) and options.keys() == {"Labels"} and _texts(options["Labels"])
    return item["Type"] == "volume" and own(item["Source"]) and TARGET(item["Target"]) and plain


def _bind(item: object, allowed: Allowed) -> bool:
    if not isinstance(item, dict) or item.keys() != {"Type", "Source", "Target", "ReadOnly"}:
        return False
    source, read_only = item["Source"], item["ReadOnly"]
    if item["Type"] != "bind" or not isinstance(source, str) or source not in allowed.mounts:
        return False
    writable = read_only is False and allowed.mounts[source] is True
    return (read_only is True or writable) and TARGET(item["Target"]) and not forbidden_path(source, allowed.socket)


def _words(value: object) -> bool:
    """Match a command or arguments: a list, which no shell interprets."""
    return _all(value, lambda word: isinstance(word, str) and "\0" not in word) and bool(value and value[0])  # type: ignore[index]


PORT: Final = _fits(r"[1-9][0-9]{0,4}/tcp")
TARGET: Final = _fits(r"/[^:\0]+")

BODY: Final[Mapping[str, Test]] = {
    "Image": _fits(r"[a-z0-9][A-Za-z0-9._/:@-]*"),
    "Hostname": _fits(r"[a-z0-9-]{1,63}"),
    "Entrypoint": _words,
    "Cmd": _words,
    "Env": lambda values: _all(values, lambda item: isinstance(item, str)),
    "Labels": _texts,
    "ExposedPorts": lambda ports: isinstance(ports, dict) and all(PORT(port) and not ports[port] for port in ports),
    "HostConfig": lambda value: isinstance(value, dict),
    "User": _fits(r"[a-z0-9_][a-z0-9_-]*(:[a-z0-9_][a-z0-9_-]*)?"),
}
HOST: Final[Mapping[str, Test]] = {
    "IpcMode": _is("private"),
    "CgroupnsMode": _is("private"),
    "Memory": _whole(6 << 20, LARGEST),
    "MemorySwap": _whole(6 << 20, LARGEST),
    "NanoCpus": _whole(10_000_000, 1024 * 10**9),
    "CpuShares": _whole(MIN_SHARES, MAX_SHARES),
    "PidsLimit": _whole(4, 1_000_000),
    "CapDrop": _is(["ALL"]),
    "Ulimits": _is(ULIMITS),
    "Init": _is(True),
    "LogConfig": _is(LOG_CONFIG),
    "RestartPolicy": _is({"Name": "no"}),
    "ReadonlyRootfs": _is(True, False),
    "Tmpfs": _is(TMPFS),
    "PortBindings": _bindings,
    "Dns": _is(NO_RESOLVER),
    "DnsOptions": _is(IMPATIENT),
}
# Without these, engines grant a container more than intended.
REQUIRED: Final = frozenset(
    (
        *("NetworkMode", "IpcMode", "CgroupnsMode", "Memory", "MemorySwap", "NanoCpus", "CpuShares", "PidsLimit"),
        *("CapDrop", "SecurityOpt", "Ulimits", "LogConfig", "RestartPolicy"),
    )
)
