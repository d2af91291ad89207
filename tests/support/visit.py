"""Somebody at their running workspace."""

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.support.stack import RunningStack
from tests.support.waiting import PATIENCE

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@dataclass(frozen=True, slots=True)
class Visit:
    """Wanda at her running workspace. `http` holds her cookies at both origins, `url` ends with a slash."""

    stack: RunningStack
    http: httpx.Client
    headers: dict[str, str]
    url: str

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def cookies(self) -> str:
        """What a browser would send with a request to the workspace."""
        request = self.http.build_request("GET", self.url)
        return request.headers["Cookie"]

    def websocket(self, origin: str) -> ClientConnection:
        """Open the workspace's websocket as a page of that origin."""
        address = urlsplit(f"{self.url}ws")._replace(scheme="ws")
        # The proxy listens on loopback; Python's resolver does not know the names below `localhost`.
        raw = socket.create_connection(("127.0.0.1", address.port or 80), timeout=PATIENCE)
        headers = {"Cookie": self.cookies()}
        return connect(
            address.geturl(),
            sock=raw,
            origin=Origin(origin),
            additional_headers=headers,
            proxy=None,
            max_size=None,
            open_timeout=PATIENCE,
        )
