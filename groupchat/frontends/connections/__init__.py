"""Connections over streams: their limits, the ports they come to, and their sockets. All front ends share these."""

from groupchat.frontends.connections.listening import (
    PassedPort,
    PortEndpoint,
    PortsService,
    StreamService,
    TLSEndpoint,
)
from groupchat.frontends.connections.quotas import HostCounter, Quota
from groupchat.frontends.connections.registry import HTTP_ALPN, ConnectionRegistry, IConnected, Refused, host_of
from groupchat.frontends.connections.sockets import tune, writer

__all__ = [
    "HTTP_ALPN",
    "ConnectionRegistry",
    "HostCounter",
    "IConnected",
    "PassedPort",
    "PortEndpoint",
    "PortsService",
    "Quota",
    "Refused",
    "StreamService",
    "TLSEndpoint",
    "host_of",
    "tune",
    "writer",
]
