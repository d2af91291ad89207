"""`python -m app.gateway`: one gateway process. Any number may run, each at an address of its own or sharing a port."""

from functools import partial

from app.gateway.app import create_app
from app.http.server import read_addresses, serve, socket_path


def main() -> None:
    """Serve until told to stop."""
    addresses, shared = read_addresses("127.0.0.1:8001", "Serve the gateway.")
    path = socket_path(addresses[0])
    # Where the proxy reaches the gateway, it reaches its relay.
    relay = path.with_suffix(".relay") if path is not None else None
    serve(partial(create_app, relay_socket=relay), addresses, shared=shared)


if __name__ == "__main__":
    main()
