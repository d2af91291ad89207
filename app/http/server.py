"""Runs an ASGI application under uvicorn on TCP ports and Unix sockets."""

import argparse
import os
import socket
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

# Caddy's notation for Unix sockets: `unix/` and an absolute path.
UNIX = "unix/"
# Grace in seconds for open requests after the process has stopped listening.
FINISH_SECONDS = 10


def read_addresses(default: str, description: str) -> tuple[list[str], bool]:
    """Parse the command line; returns the addresses, and whether processes share the ports."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--listen",
        action="append",
        metavar="ADDRESS",
        help=f"host:port, or {UNIX}/path of a socket only for this user; may be repeated; default: {default}",
    )
    parser.add_argument(
        "--share-port", action="store_true", help="let other processes of this user listen on the same port"
    )
    given = parser.parse_args()
    return given.listen or [default], given.share_port


def socket_path(address: str) -> Path | None:
    """Return the path of a Unix socket address; None for `host:port`."""
    return Path(address.removeprefix(UNIX)) if address.startswith(f"{UNIX}/") else None


def bind(address: str, *, shared: bool = False) -> socket.socket:
    """Bind a socket to `host:port` or `unix//path`. Raises `SystemExit` with a message on failure.

    A Unix socket has mode 0600 and replaces one without a listener. A `shared` port may be bound by several processes
    of one user: the kernel distributes connections.
    """
    try:
        path = socket_path(address)
        return _bind_port(address, shared) if path is None else bind_path(path)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot listen on {address}: {error}") from None


def bind_path(path: Path) -> socket.socket:
    """Bind a Unix socket with mode 0600. Raises `OSError`, also if another process listens on the path."""
    with closing(socket.socket(socket.AF_UNIX)) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(str(path))
        raise OSError("another process listens there")
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    with ExitStack() as failed:
        made = failed.enter_context(socket.socket(socket.AF_UNIX))
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        failed.pop_all()
    return made


def _bind_port(address: str, shared: bool) -> socket.socket:
    host, _, port = address.rpartition(":")
    host, number = host.strip("[]"), int(port)
    with ExitStack() as failed:
        made = failed.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, number))
        failed.pop_all()
    return made


def serve(create: Callable[[], ASGIApp], addresses: Sequence[str], *, shared: bool = False) -> None:
    """Serve the application until a shutdown signal. The application logs requests itself."""
    app = create()
    sockets = [bind(address, shared=shared) for address in addresses]
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # The application evaluates proxy headers itself.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run(sockets=sockets)
    if not server.started:
        raise SystemExit(3)
