"""What a worker calls itself: a name that no other worker has, wherever each of them runs."""

import os
import socket
from contextlib import suppress

PID_NAMESPACE = "/proc/self/ns/pid"


def place() -> str:
    """Name where process ids are unique: this host, and in a container of it that container.

    The host's name alone does not tell containers apart: on the host's network all of them have that of the host, and
    in each of them the worker is process 1.
    """
    host = socket.gethostname()
    with suppress(OSError):
        return f"{host}/{os.readlink(PID_NAMESPACE).strip('pid:[]')}"  # noqa: PTH115 - it leads to no file
    return host


def worker_name() -> str:
    """Name this process among all workers."""
    return f"{place()}:{os.getpid()}"
