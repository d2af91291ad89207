"""Client address and scheme from proxy headers; only TRUSTED_PROXIES are believed."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.networks import Address, Network, read_network

_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
_SCHEMES = ("http", "https")


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the client's address, given the peer and all X-Forwarded-For headers in order.

    `peer` is None for a Unix socket, which is trusted. Reads from right to left: the first untrusted address is the
    client. At a malformed entry the walk ends with the previous address. If all are trusted, the leftmost is
    the client.
    """
    at = _read(peer) if peer is not None else None
    if peer is not None and (at is None or not _trusts(trusted, at)):
        return str(at or peer)
    for word in reversed([word for header in forwarded for word in header.split(",")]):
        before = _read(word)
        if before is None:
            break
        at = before
        if not _trusts(trusted, at):
            break
    return str(at or "")


@lru_cache(4096)
def _read(word: str) -> Address | None:
    """Parse an address with or without a port, IPv6 in brackets or bare; None if malformed."""
    word = word.strip(" \t")
    ported = _PORT.fullmatch(word)
    try:
        address = ip_address((ported[1] or ported[2]) if ported else word)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


def _trusts(trusted: Sequence[Network], address: Address) -> bool:
    return any(address in network for network in trusted)


class ProxyHeadersMiddleware:
    """ASGI middleware: sets the client's address and scheme if the peer is a trusted proxy.

    Unix sockets are trusted: no other user can open ours.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self.app = app
        self._trusted = [read_network(text) for text in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and self._comes_from_proxy(scope):
            headers, peer = scope["headers"], scope["client"]
            lists = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
            address = client_address(peer[0] if peer else None, lists, self._trusted)
            scope["client"] = (address, 0 if lists or not peer else peer[1])
            schemes = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-proto"]
            if len(schemes) == 1 and schemes[0] in _SCHEMES:
                scope["scheme"] = schemes[0] if scope["type"] == "http" else schemes[0].replace("http", "ws")
        await self.app(scope, receive, send)

    def _comes_from_proxy(self, scope: Scope) -> bool:
        peer, own = scope.get("client"), scope.get("server")
        if peer is None:
            # uvicorn reports a Unix socket as its path without a port, and a lost connection without a peer.
            return own is not None and own[1] is None
        at = _read(peer[0])
        return at is not None and _trusts(self._trusted, at)
