"""The addresses that limits count as one host."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

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
