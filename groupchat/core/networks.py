"""The addresses that limits count as one host."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv4Network, IPv6Address, IPv6Network, ip_network

_PREFIX = 64


def is_loopback(host: str) -> bool:
    """Return True for an address of this machine: behind a proxy that is not trusted, all clients have it."""
    return host.startswith("127.") or host == "::1"


@lru_cache(maxsize=4096)
def network_of(host: str) -> str:
    """Return an IPv4 address as it is, and an IPv6 address as its /64: whoever has one address has that whole network.

    The zone of a link-local address remains. An IPv4 address that is mapped into IPv6 counts as IPv4. What is no
    address, such as the host of a Unix socket, is returned as it is.
    """
    if ":" not in host:
        return host
    address, percent, zone = host.partition("%")
    try:
        number = IPv6Address(address)
    except AddressValueError:
        return host
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    network = IPv6Address(int(number) >> _PREFIX << _PREFIX)
    return f"{network}/{_PREFIX}{percent}{zone}"


def parsed(network: str) -> IPv4Network | IPv6Network:
    """Return an address or a network as a network. Raise ValueError if it is none.

    An IPv6 address has no zone then, and one of IPv4 that is mapped into IPv6 is one of IPv4.
    """
    address, slash, prefix = network.partition("/")
    found = ip_network(address.partition("%")[0] + slash + prefix, strict=False)
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped is not None and found.prefixlen >= 96:
        found = ip_network((mapped, found.prefixlen - 96), strict=False)
    return found
