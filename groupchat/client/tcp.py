"""TCP to a server: to the first of its host's addresses that answers. IPv6 addresses keep their zones.

A link-local address such as fe80::1 says nothing without its zone, the interface (RFC 4007), which Twisted's endpoint
drops. It comes from the URL, or from a name of the local network.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv6Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer


@implementer(IHostnameResolver)
class ZoneResolver:
    """Resolves names as another resolver does, and has the zone in the address itself: `fe80::1%2`."""

    def __init__(self, resolver: IHostnameResolver) -> None:
        self._resolver = resolver

    def resolveHostName(self, resolutionReceiver: IResolutionReceiver, *given: Any, **named: Any) -> IHostResolution:
        resolution: IHostResolution = self._resolver.resolveHostName(ZoneReceiver(resolutionReceiver), *given, **named)
        return resolution


@implementer(IResolutionReceiver)
class ZoneReceiver:
    def __init__(self, receiver: IResolutionReceiver) -> None:
        self.resolutionBegan = receiver.resolutionBegan
        self.resolutionComplete = receiver.resolutionComplete
        self._found = receiver.addressResolved

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv6Address) and address.scopeID:
            address = IPv6Address(address.type, f"{address.host}%{address.scopeID}", address.port)
        self._found(address)


def endpoint(reactor: Any, host: str, port: int) -> HostnameEndpoint:
    reactor.installNameResolver(ZoneResolver(reactor.nameResolver))
    return HostnameEndpoint(reactor, host, port)
