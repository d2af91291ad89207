"""The gateway behind a real Caddy, in both URL modes, with a stand-in for a container at the far end."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from app.core.settings.model import Settings
from app.resources import Resources
from tests.support.http import direct_client
from tests.support.ports import reserved_port
from tests.support.proxy import Both, Edge, Peer, Site, Switchboard, caddy, serving


@pytest.fixture(scope="session", params=["path", "host"])
async def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """One Caddy a URL mode, for all tests."""
    port, api, peer = reserved_port(), Switchboard(), Peer()
    site = f"http://127.0.0.1:{port}" if request.param == "path" else f"http://*.apps.localhost:{port}"
    home = tmp_path_factory.mktemp("caddy")
    async with (
        serving(api) as api_port,
        serving(peer) as peer_port,
        caddy(home, port, site, api_port) as log,
    ):
        yield Edge(request.param, port, api, peer, peer_port, log)


@pytest.fixture
def settings(settings: Settings, edge: Edge) -> Settings:
    """The installation that this Caddy stands before."""
    local = f"127.0.0.1:{edge.port}/{{route}}" if edge.mode == "path" else f"{{route}}.apps.localhost:{edge.port}"
    addresses = {"public_url": f"http://localhost:{edge.port}", "workspace_url": f"http://{local}"}
    return settings.model_copy(update=addresses)


@pytest.fixture
def relay_socket(edge: Edge) -> Iterator[Path | None]:
    """A relay at a port in path mode, and at a Unix socket where each workspace has a host."""
    if edge.mode == "path":
        yield None
        return
    # A socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="spawner-", dir="/tmp") as folder:
        yield Path(folder) / "relay"


@pytest.fixture
async def site(
    edge: Edge, settings: Settings, resources: Resources, app: FastAPI, gateway: Starlette
) -> AsyncIterator[Site]:
    """The whole edge over this test's own tables."""
    edge.api.app = Both(app, gateway)
    edge.peer.received.clear()
    edge.peer.gate.clear()
    async with direct_client() as http:
        yield Site(edge, settings, resources, http, gateway)
    edge.api.app = None
