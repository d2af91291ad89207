"""Processor time and memory of the platform's processes, their children included, from /proc."""

from collections.abc import Mapping

import psutil  # type: ignore[import-untyped]


def processor_seconds(pid: int) -> float:
    """Processor time of a process and of all that it started, those that have ended included."""
    total = 0.0
    for process in _family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_megabytes(pid: int) -> float:
    """Resident memory of a process and of all that it started."""
    total = 0
    for process in _family(pid):
        try:
            total += process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return float(total) / 1e6


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class Meter:
    """Processor time of each part since `start`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before: dict[str, float] = {}

    def start(self) -> None:
        """Begin to count."""
        self._before = {name: processor_seconds(pid) for name, pid in self._pids.items()}

    def milliseconds(self) -> dict[str, float]:
        """Since `start`, a figure for each kind of part: workers are summed up."""
        found: dict[str, float] = {}
        for name, pid in self._pids.items():
            kind = name.rstrip("-0123456789")
            spent = (processor_seconds(pid) - self._before[name]) * 1000
            found[kind] = found.get(kind, 0.0) + spent
        return found
