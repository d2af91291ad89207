"""IP addresses and networks as settings write them."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address


Network = IPv4Network | IPv6Network


def read_network(text: str) -> Network:
    """Parse an address or a network such as 10.0.0.0/8; raises ValueError, also for bits beyond the mask."""
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return ip_network(f"{mapped}/{network.prefixlen - 96}") if mapped and network.prefixlen >= 96 else network
