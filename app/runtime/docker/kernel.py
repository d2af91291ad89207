"""Counters of the kernel that all containers of a host share, as data: what bounds them, and how high that has to be.

The kernel counts these for the machine or for a user of it, not for a container: one workspace that takes all leaves
its neighbours none. What an object costs is memory of the container that holds it, so a bound in proportion to the
memory that workspaces may have is one that memory limits keep everybody below.
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
    """What may run at once: bytes of memory promised to workspaces, their number, the processes of all."""

    memory_bytes: int
    workspaces: int
    processes: int


@dataclass(frozen=True, slots=True)
class Bound:
    """One sysctl. `object_bytes` is the least memory of its container that an object takes; `each` is how many a
    workspace can hold, where something of ours bounds that; else processes are counted. `host` is left to the host, and
    `most` is the largest value that the kernel takes.
    """

    name: str
    loses: str
    object_bytes: int = 0
    each: int = 0
    host: int = 0
    most: int = LARGEST
    zero_is_none: bool = False

    def needed(self, demand: Demand) -> int:
        """The least value with which no workspace takes another one's, or the host's."""
        if self.object_bytes:
            need = demand.memory_bytes // self.object_bytes
        else:
            need = demand.workspaces * self.each if self.each else demand.processes
        return min(need + self.host, self.most)


# Bytes are half of what Linux 6.18 charges, or less; `kernel.pty.max` keeps 1024 for the host by itself.
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
    """Bounds that are too low, each with what it is and what it has to be; what this host does not have is passed."""
    for bound in BOUNDS:
        value = read(bound.name, system)
        if value is None or (value == 0 and bound.zero_is_none):
            continue
        if value < (need := bound.needed(demand)):
            yield bound, value, need


def read(name: str, system: Path = SYSTEM) -> int | None:
    """A sysctl's value, or None where there is no such thing."""
    try:
        return int((system / name.replace(".", "/")).read_text())
    except (OSError, ValueError):
        return None


def settings_of(demand: Demand) -> Mapping[str, int]:
    """Every sysctl with the value that it needs."""
    return {bound.name: bound.needed(demand) for bound in BOUNDS}
