"""Ports of loopback that belong to one process of a test run."""

import socket

_HELD: list[socket.socket] = []


def reserved_port() -> int:
    """Return a port that no server of another test gets.

    Connections are refused until a server is told to listen at it. The socket that holds the port is bound, does not
    listen and stays until the process ends: the kernel gives the port to nobody who asks for any port, and to a server
    that names it.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _HELD.append(held)
    return int(held.getsockname()[1])
