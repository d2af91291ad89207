"""Reads a container's processes from the host's `/proc`, if the engine is on this host and readable.

The engine does not report listening ports; `/proc` does, by the host pid of the container's first process. The cgroup
of that process must name the container: pids are reused.
"""

import ipaddress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
GROUPS: Final = Path("/sys/fs/cgroup")
LISTENING: Final = "0A"
# Docker's DNS server, which listens in every container.
RESOLVER: Final = "127.0.0.11"


def is_container(pid: int, container_id: str, proc: Path = PROC) -> bool:
    """Return whether the process belongs to the container, as far as visible."""
    try:
        return pid > 0 and container_id in (proc / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def listening(pid: int, container_id: str, proc: Path = PROC) -> list[str] | None:
    """Return the sorted `address:port` pairs on which the container listens; None if not visible."""
    if not is_container(pid, container_id, proc):
        return None
    found: set[tuple[int, str]] = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / str(pid) / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for _, local, _, state, *_ in map(str.split, lines):
            address, _, port = local.partition(":")
            if state == LISTENING and (shown := _address(address)) != RESOLVER:
                found.add((int(port, 16), shown))
    return [f"{address}:{port}" for port, address in sorted(found)]


def _address(text: str) -> str:
    """Parse the kernel's notation: 32-bit words in host byte order."""
    words = [bytes.fromhex(text[index : index + 8])[::-1] for index in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return f"[{address}]" if address.version == 6 else str(address)


def memory_kills(pid: int, container_id: str, proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """Return the number of the container's processes killed for memory; None if not visible."""
    if not is_container(pid, container_id, proc):
        return None
    try:
        lines = [line.split(":", 2) for line in (proc / str(pid) / "cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            places = [groups / "memory" / path.lstrip("/") / "memory.oom_control"]
        elif not controllers:
            places = [root / path.lstrip("/") / "memory.events" for root in (groups, groups / "unified")]
        else:
            continue
        for place in places:
            try:
                counts = dict(line.split() for line in place.read_text().splitlines())
                return int(counts["oom_kill"])
            except (OSError, ValueError, KeyError):
                continue
    return None
