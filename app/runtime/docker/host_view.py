"""What the engine's host shows of a container's processes, where this process runs there and may look.

The engine does not tell where a program listens. `/proc` does, by the number of the container's first process. That
number is the host's: the group of the process names the container, and one that does not is somebody else's.
"""

import ipaddress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
GROUPS: Final = Path("/sys/fs/cgroup")
LISTENING: Final = "0A"
# Docker's own name server, which listens in every container and is no program of it.
RESOLVER: Final = "127.0.0.11"


def is_container(pid: int, container_id: str, proc: Path = PROC) -> bool:
    """Whether the process is the container's, as far as can be seen from here."""
    try:
        return pid > 0 and container_id in (proc / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def listening(pid: int, container_id: str, proc: Path = PROC) -> list[str] | None:
    """Addresses with ports where the container takes connections, in order; None where that cannot be seen."""
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
    """Read what the kernel writes as 32-bit numbers in the order of the machine's bytes."""
    words = [bytes.fromhex(text[index : index + 8])[::-1] for index in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    return f"[{address}]" if address.version == 6 else str(address)


def memory_kills(pid: int, container_id: str, proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """How many of the container's processes the kernel killed for want of memory; None where that cannot be seen."""
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
