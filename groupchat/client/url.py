"""The URL of a server. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_PORT = 12345
SCHEMES = ("udp", "tcp", "tls", "quic")

_ESCAPED_ZONE = re.compile("%25(?=.)")  # %25 alone is the zone 25


@dataclass(frozen=True, slots=True)
class ServerURL:
    """The URL of a server. `host` is a name, or an address without brackets. An IPv6 address may have a %zone."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{host_and_port(self.host, self.port)}"


def host_and_port(host: str, port: int) -> str:
    """Return `HOST:PORT`, with an IPv6 address in brackets."""
    return f"[{_ESCAPED_ZONE.sub('%2525', host, 1)}]:{port}" if ":" in host else f"{host}:{port}"


def without_zone(host: str) -> str:
    """Return a host without the %zone of its address: certificates have none."""
    return host.partition("%")[0] if ":" in host else host


def address(literal: str) -> str:
    """Return an address that stood in brackets. Its zone may follow %, or %25 as in RFC 6874: `fe80::1%25eth0`."""
    return _ESCAPED_ZONE.sub("%", literal, 1)


def parse_url(url: str) -> ServerURL:
    """Parse one of SCHEMES, `://`, and `HOST` or `HOST:PORT`. Raises ValueError, saying what is wrong."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise ValueError(
            f"a URL begins with {', '.join(f'{scheme}://' for scheme in SCHEMES[:-1])} or {SCHEMES[-1]}://"
        )
    rest = rest.removesuffix("/")
    if rest.startswith("["):
        host, closed, port = rest[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ValueError("an IPv6 address stands in brackets: [::1]:12345")
        host, port = address(host), port.removeprefix(":")
    elif rest.count(":") > 1:
        raise ValueError("an IPv6 address stands in brackets: [::1]:12345")
    else:
        host, _, port = rest.partition(":")
    if not host.isprintable() or not host or set(host) & set("/?#@ "):
        raise ValueError("there is only a host and a port in a URL")
    return ServerURL(scheme.lower(), host, parse_port(port) if port else DEFAULT_PORT)


def parse_port(text: str) -> int:
    """Return a port in decimal digits. Raises ValueError unless it is from 1 to 65535."""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65_535:
        return int(text)
    raise ValueError("a port is a number from 1 to 65535")
