"""Kernel limits that all containers of a host share, and the values they need.

The kernel counts these per machine or per host user, so one workspace could exhaust them for all. Each object also uses
memory of its container. A limit in proportion to the workspaces' total memory is therefore never reached before memory
limits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.runtime.docker.firewall import MAX_CONNECTIONS
from app.runtime.docker.policy import MAX_TERMINALS

SYSTEM: Final = Path("/proc/sys")
LARGEST: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Demand:
    """The maximum load: bytes of memory promised to workspaces, number of workspaces, processes of all."""

    memory_bytes: int
    workspaces: int
    processes: int


@dataclass(frozen=True, slots=True)
class Bound:
    """One sysctl. `object_bytes` is an object's minimum memory, charged to its container. `each` is the maximum per
    workspace where we limit it; otherwise processes are counted. `host` is reserved for the host; `most` is the
    kernel's maximum.
    """

    name: str
    loses: str
    object_bytes: int = 0
    each: int = 0
    host: int = 0
    most: int = LARGEST
    zero_is_none: bool = False

    def needed(self, demand: Demand) -> int:
        """Return the least value at which no workspace can exhaust the limit."""
        if self.object_bytes:
            need = demand.memory_bytes // self.object_bytes
        else:
            need = demand.workspaces * self.each if self.each else demand.processes
        return min(need + self.host, self.most)


# Bytes are at most half of what Linux 6.18 charges; `kernel.pty.max` itself reserves 1024 for the host.
BOUNDS: Final = (
    Bound("fs.inotify.max_user_instances", "no program can watch files", object_bytes=512, host=128),
    Bound("fs.inotify.max_user_watches", "no program can watch more files", object_bytes=256, host=8192),
    Bound("fs.epoll.max_user_watches", "servers take no connections", object_bytes=128, host=8192),
    Bound("fs.file-max", "no program can open a file", object_bytes=128, host=65536),
    Bound("fs.pipe-user-pages-soft", "pipes shrink to two pages", object_bytes=64, zero_is_none=True),
    Bound("kernel.pty.max", "nobody gets a terminal", each=MAX_TERMINALS, host=1024, most=1 << 20),
    Bound("kernel.pid_max", "no program can be started", host=4096, most=1 << 22),
    Bound("net.netfilter.nf_conntrack_max", "connections are dropped", each=MAX_CONNECTIONS, host=16384),
)


def lacking(demand: Demand, system: Path = SYSTEM) -> Iterator[tuple[Bound, int, int]]:
    """Yield limits that are too low, with current and needed value; skips those that this host lacks."""
    for bound in BOUNDS:
        value = read(bound.name, system)
        if value is None or (value == 0 and bound.zero_is_none):
            continue
        if value < (need := bound.needed(demand)):
            yield bound, value, need


def read(name: str, system: Path = SYSTEM) -> int | None:
    """Return a sysctl's value, or None if missing."""
    try:
        return int((system / name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return None


def settings_of(demand: Demand) -> Mapping[str, int]:
    """Return every sysctl with its needed value."""
    return {bound.name: bound.needed(demand) for bound in BOUNDS}
