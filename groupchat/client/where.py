"""Where a server is: a URL, or a host and a port. Pure."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORT = 12345
SCHEMES = ("udp", "tcp", "tls", "quic")


@dataclass(frozen=True, slots=True)
class Where:
    """`host` is a name, or an address without brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def parse_url(url: str) -> Where:
    """One of SCHEMES, `://`, and `HOST` or `HOST:PORT`. Raises ValueError, saying what is wrong."""
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
        port = port.removeprefix(":")
    elif rest.count(":") > 1:
        raise ValueError("an IPv6 address stands in brackets: [::1]:12345")
    else:
        host, _, port = rest.partition(":")
    if not host.isprintable() or not host or set(host) & set("/?#@ "):
        raise ValueError("there is only a host and a port in a URL")
    return Where(scheme.lower(), host, parse_port(port) if port else DEFAULT_PORT)


def parse_port(text: str) -> int:
    """Raises ValueError unless it is a decimal number from 1 to 65535."""
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65_535:
        return int(text)
    raise ValueError("a port is a number from 1 to 65535")
