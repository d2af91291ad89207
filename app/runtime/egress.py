"""Egress policy of a workspace. Pure: runtimes enforce it."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

# Non-public networks: site, link, machine and multicast.
PRIVATE: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_PRIVATE: Final = tuple(map(ipaddress.IPv4Network, PRIVATE))


@dataclass(frozen=True, slots=True)
class Egress:
    """`networks` None permits every public address; an empty tuple permits nothing, not even DNS.

    A listed network may be private. The engine's host and other workspaces cannot be listed.
    """

    networks: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.networks is None:
            return "internet"
        return ",".join(self.networks) or "none"

    @classmethod
    def read(cls, text: str) -> Self:
        """Inverse of `str`; raises `ValueError` for other text."""
        if text in ("internet", "none"):
            return cls(None if text == "internet" else ())
        return cls(_checked(text.split(",")))


EGRESS_INTERNET: Final = Egress()
EGRESS_NONE: Final = Egress(())


def parse_egress(value: object) -> Egress:
    """Parse a catalogue's `internet`, `none` or list of networks. Raises `ValueError` with the reason."""
    if isinstance(value, Egress):
        return value
    if value in ("internet", "none"):
        return Egress.read(str(value))
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError("must be internet, none, or a list of networks such as 192.0.2.0/24")
    return Egress(_checked(value))


def _checked(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the networks sorted, without those contained in others."""
    networks = []
    for text in texts:
        try:
            network = ipaddress.IPv4Network(text)
        except ValueError:
            raise ValueError(f"{text} is no IPv4 network such as 192.0.2.0/24 (workspaces have no IPv6)") from None
        inside = any(network.subnet_of(private) for private in _PRIVATE)
        if not inside and (reached := [str(private) for private in _PRIVATE if network.overlaps(private)]):
            raise ValueError(f"{text} holds private addresses ({reached[0]}): name public and private networks apart")
        networks.append(network)
    return tuple(map(str, ipaddress.collapse_addresses(networks)))
