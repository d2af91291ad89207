"""A worker's name, unique across hosts and containers."""

import os
import socket
from contextlib import suppress

PID_NAMESPACE = "/proc/self/ns/pid"


def place() -> str:
    """Return a name within which process ids are unique: the host or the container.

    The hostname does not distinguish containers on the host's network, and in each the worker is process 1.
    """
    host = socket.gethostname()
    with suppress(OSError):
        return f"{host}/{os.readlink(PID_NAMESPACE).strip('pid:[]')}"  # noqa: PTH115 - it leads to no file
    return host


def worker_name() -> str:
    """Return this process's name among all workers."""
    return f"{place()}:{os.getpid()}"
