"""What the container received last, and websockets through the proxy."""

import base64

from websockets.asyncio.client import connect

from tests.support.proxy import Owned, Received, Site


def last(site: Site) -> Received:
    return site.edge.peer.received[-1]


def socket_to(site: Site, owned: Owned, origin: str | None, cookie: bool = True) -> connect:
    url = f"ws://{site.host(owned.route)}{site.path(owned.route, '/ws')}"
    headers = {**(owned.cookie if cookie else {}), **({"Origin": origin} if origin else {})}
    return connect(url, host="127.0.0.1", port=site.edge.port, additional_headers=headers, proxy=None)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def socket(site: Site, owned: Owned, headers: dict[str, str], query: str = "") -> connect:
    url = f"ws://{site.host(owned.route)}{site.path(owned.route, '/ws')}{query}"
    return connect(url, host="127.0.0.1", port=site.edge.port, additional_headers=headers, proxy=None)
