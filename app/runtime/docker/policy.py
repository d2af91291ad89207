"""What a request to create a container may hold: an allow-list over the whole request, whatever the catalogue says.

Pure. A key that is not named here is refused, so a new option is added on purpose, here too.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeGuard

from app.runtime.base import RuntimeFault

# What an operator may allow: the power of root inside the container, none over its network, its engine or its host.
GRANTABLE: Final = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT", "SYS_NICE"),
    )
)
# Places of a host that hold its engine, its secrets or its kernel's switches; nothing above or below them is mounted.
SYSTEM: Final = ("/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/var/lib/docker", "/var/run")
SOCKETS: Final = frozenset(("docker.sock", "containerd.sock", "podman.sock", "crio.sock"))

# The system calls that a container may make. An engine's own profile changes with its version.
SECCOMP: Final = json.dumps(json.loads(Path(__file__).with_name("seccomp.json").read_text()), separators=(",", ":"))
LOG_CONFIG: Final = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
TMPFS: Final = {"/tmp": "rw,nosuid,nodev,size=64m,mode=1777"}  # noqa: S108 # nosec B108 # the container's own
# A core dump is written where the host's kernel is told to, past every limit of the container. Pending signals and
# message queues are counted for a user of the whole machine: a host's own user of that number has far more.
ULIMITS: Final = [
    {"Name": "core", "Soft": 0, "Hard": 0},
    {"Name": "nofile", "Soft": 1024, "Hard": 8192},
    {"Name": "sigpending", "Soft": 1024, "Hard": 1024},
    {"Name": "msgqueue", "Soft": 0, "Hard": 0},
]
# Terminals are counted for the machine. A devpts of the container's own has a bound of its own; it goes with it.
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
# A name server that answers nobody (RFC 5737), for containers that are to reach none.
NO_RESOLVER: Final = ["198.51.100.1"]
IMPATIENT: Final = ["timeout:1", "attempts:1"]
LOOPBACK: Final = "127.0.0.1"
# Weight of a workspace where processors are scarce: for each one that it may use a sixteenth of the 1024 that a process
# group without a number has, and half of that at most. Containers without a number would be the platform's equals.
CPU_SHARES: Final = 64
MIN_SHARES: Final = 2
MAX_SHARES: Final = 512

LARGEST: Final = 1 << 50

Test = Callable[[Any], bool]


class PolicyViolated(RuntimeFault):
    """The request to create a container holds what no workspace may have: a mistake of ours or of the catalogue."""

    code = "policy"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator lists beyond the rest: host paths and whether they may be written, capabilities, OCI runtimes.

    `socket` is the path of the engine's own, which nothing that is mounted may hold. `seccomp_file` is a copy of the
    seccomp profile on the engine's host, for an engine that takes a path instead of the profile.
    """

    mounts: Mapping[str, bool] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    socket: str = ""
    runtimes: frozenset[str] = frozenset()
    seccomp_file: str = ""

    @property
    def bounds_terminals(self) -> bool:
        """Whether the engine heeds the options of a volume that comes with a container. Podman, which reads files,
        does not: it would put an empty folder over the terminals that it gives each container itself.
        """
        return not self.seccomp_file

    @property
    def security(self) -> list[str]:
        """The security options of every container."""
        return ["no-new-privileges:true", f"seccomp={self.seccomp_file or SECCOMP}"]


def check(body: Mapping[str, Any], allowed: Allowed) -> None:
    """Raise `PolicyViolated` if the request holds anything that is not on the list."""
    if found := sorted(_violations(body, allowed)):
        raise PolicyViolated("; ".join(found))


def forbidden_path(path: str, socket: str = "") -> str | None:
    """Why a path of the host is never mounted, or None. A link is judged by what it points to, where that is here."""
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
    # Another runtime (gVisor, Kata) has a kernel of its own, and that kernel's terminals.
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
    """Exactly one of them; True is no 1."""
    return lambda value: any(type(value) is type(item) and value == item for item in wanted)


def _fits(pattern: str) -> Test:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _bindings(ports: object) -> bool:
    loopback = _is([{"HostIp": LOOPBACK, "HostPort": ""}])
    return isinstance(ports, dict) and all(PORT(port) and loopback(to) for port, to in ports.items())


def _volume(item: object, own: Test) -> bool:
    """A named volume of the installation; a driver's options could make it any folder of the host."""
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
    """A command or arguments: a list, which no shell reads."""
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
# Without these an engine gives a container more than ours have.
REQUIRED: Final = frozenset(
    (
        *("NetworkMode", "IpcMode", "CgroupnsMode", "Memory", "MemorySwap", "NanoCpus", "CpuShares", "PidsLimit"),
        *("CapDrop", "SecurityOpt", "Ulimits", "LogConfig", "RestartPolicy"),
    )
)
