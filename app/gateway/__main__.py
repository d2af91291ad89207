"""`python -m app.gateway`: one gateway process. Several may run, on separate addresses or sharing a port."""

from functools import partial

from app.gateway.app import create_app
from app.http.server import read_addresses, serve, socket_path


def main() -> None:
    """Serve until a shutdown signal."""
    addresses, shared = read_addresses("127.0.0.1:8001", "Serve the gateway.")
    path = socket_path(addresses[0])
    # The proxy reaches the relay beside the gateway's socket.
    relay = path.with_suffix(".relay") if path is not None else None
    serve(partial(create_app, relay_socket=relay), addresses, shared=shared)


if __name__ == "__main__":
    main()
