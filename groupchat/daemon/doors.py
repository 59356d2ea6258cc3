"""The doors that are open, and what a newcomer can copy to come in by them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IListeningPort

from groupchat.frontends.connections import StreamService
from groupchat.frontends.udp import UDPService

if TYPE_CHECKING:
    from groupchat.frontends.web.serving import WebService


@dataclass(frozen=True, slots=True)
class Door:
    """A port that people can come in by. `host` is empty if it is every address of this machine."""

    scheme: str
    """udp, quic, tcp, tls, http or https."""
    host: str
    port: int


def ways_in(name: str, doors: Sequence[Door]) -> str:
    """Return what a newcomer can copy to join the group `name`: one line for each way in."""
    program = _client()
    here = _own_address()
    lines = [f"{name} is open. Ways to join:"]
    for door in doors:
        host = door.host or here
        url = f"{door.scheme}://{f'[{host}]' if ':' in host else host}:{door.port}"
        match door.scheme:
            case "http" | "https":
                lines.append(f"  browser  {url}")
                lines.append(f"  HTTP     curl -d 'hello' '{url}/messages?name=NAME'")
            case "tcp":
                lines.append(f"  client   {program} {url} --name NAME")
                lines.append(f"  telnet   telnet {host} {door.port}    or: nc -N {host} {door.port}")
            case "udp":
                lines.append(f"  UDP      socat - {url.replace('udp://', 'UDP-DATAGRAM:')}    then type: 1 NAME")
            case _:
                lines.append(f"  {door.scheme.upper():7}  {program} {url} --name NAME")
    return "\n".join(lines)


def _client() -> str:
    """Return how to start the client: as the neighbour of the program that runs, if it is installed there."""
    found = Path(sys.argv[0]).absolute().with_name("groupchat")
    if not found.is_file():
        return "groupchat"
    if not found.is_relative_to(Path.cwd()):
        return str(found)
    typed = str(found.relative_to(Path.cwd()))
    return typed if "/" in typed else f"./{typed}"


def _own_address() -> str:
    """Return the address under which others on the network reach this machine, or localhost if there is none."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation (RFC 5737); connecting sends nothing
        except OSError:
            return "localhost"
        return str(probe.getsockname()[0])


def doors(
    has_quic: bool,
    streams: Mapping[str, Sequence[tuple[str, Any]]],
    udp: UDPService,
    lines: StreamService,
    web: WebService | None,
) -> Iterator[Door]:
    """Return the ports that are open, those that are easiest to use first."""
    if web is not None:
        for (where, _), port in zip(streams["web"], web.ports, strict=True):
            yield from _door("https" if where.startswith("ssl:") else "http", port)
    for (where, _), port in zip(streams["tcp"], lines.ports, strict=True):
        yield from _door("tls" if where.startswith("ssl:") else "tcp", port)
    for scheme in ("quic", "udp") if has_quic else ("udp",):
        yield from _door(scheme, udp.ports[0])


def _door(scheme: str, port: IListeningPort) -> Iterator[Door]:
    address: Any = port.getHost()
    if hasattr(address, "port"):  # a Unix socket has none
        yield Door(scheme, "" if address.host in ("", "::", "0.0.0.0") else address.host, address.port)
