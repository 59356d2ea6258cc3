"""A UDP socket that is connected to a server."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IReactorFDSet, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.python.failure import Failure

from groupchat.client.text import quote


class UnreachableError(Exception):
    """A datagram could not be sent; `str()` is the system's reason."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 or IPv6 literal (with its `%scope`, if it has one) and a port."""

    host: str
    port: int


def resolve(host: str, port: int) -> list[Address]:
    """Return the host's addresses in the system's order, each once. Raises OSError, saying what is wrong."""
    found = []
    try:
        for *_, where in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            literal, _, *rest = (str(part) for part in where)
            scope = f"%{rest[1]}" if rest and rest[1] != "0" else ""  # IPv6: flow label, scope
            found.append(Address(literal + scope, port))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a host's name"
        raise OSError(f"unknown host {quote(host)}: {reason}; check its spelling, or give its address") from error
    return list(dict.fromkeys(found))


class DatagramReceiver(Protocol):
    """The conversation of the five messages."""

    def received(self, datagram: bytes) -> None: ...

    def refused(self, reason: str) -> None: ...


class QUICReceiver(Protocol):
    """A QUIC connection that shares the socket."""

    def owns(self, datagram: bytes) -> bool:
        """Return True if this datagram is for the QUIC connection."""

    def received(self, datagram: bytes) -> None: ...


class Demultiplexer(DatagramProtocol):
    """Passes on what comes. As the socket is connected, the system drops what is not from the server's address."""

    noisy = False

    def __init__(self, opened: UDPSocket, receiver: DatagramReceiver) -> None:
        self._socket = opened
        self._receiver = receiver

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        quic = self._socket.quic
        if quic is not None and quic.owns(datagram):
            quic.received(datagram)
        else:
            self._receiver.received(datagram)

    def connectionRefused(self) -> None:
        self._receiver.refused("nothing is listening")


class ZoneSocket(socket.socket):
    """A socket that connects to IPv6 addresses with a zone, such as `fe80::1%eth0`. Python's own drops the zone."""

    def connect(self, address: Any) -> None:
        host, port = address
        *_, where = socket.getaddrinfo(host, port, self.family, self.type, flags=socket.AI_NUMERICHOST)[0]
        super().connect(where)


class ConnectedPort(Port):
    """A port that stays open when a datagram is refused.

    Reactors on poll and epoll take the error event of a refused datagram for a lost connection, and never call
    `connectionRefused`. To the server a new port would be a new member, so this one is kept.
    """

    def createInternetSocket(self) -> socket.socket:
        made: socket.socket = super().createInternetSocket()
        return ZoneSocket(made.family, made.type, made.proto, made.detach())

    def connectionLost(self, reason: Failure | None = None) -> None:
        if reason is not None and self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.startReading()
            self.protocol.connectionRefused()
        else:
            super().connectionLost(reason)


class UDPSocket:
    """A DatagramSender, to the first of a host's addresses that does not refuse.

    Silence is no refusal: the request may have arrived. With `quic`, a QUIC connection shares the socket.
    """

    quic: QUICReceiver | None = None

    def __init__(self, reactor: IReactorFDSet, addresses: Sequence[Address]) -> None:
        self._reactor = reactor
        self._addresses = list(addresses)
        self._receiver: DatagramReceiver | None = None
        self._port: IUDPTransport | None = None

    def open(self, receiver: DatagramReceiver) -> None:
        """Connect to the next address. Raises UnreachableError if none of the addresses can be reached."""
        self._receiver = receiver
        reason = "it has no address"
        while self._addresses:
            try:
                self._port = self._connect(self._addresses.pop(0))
            except (CannotListenError, OSError) as error:
                reason = _reason(error)
            else:
                return
        raise UnreachableError(reason)

    def use_next(self) -> bool:
        assert self._receiver is not None
        previous = self._port
        try:
            self.open(self._receiver)
        except UnreachableError:
            return False
        if previous is not None:
            previous.stopListening()
        return True

    def send(self, datagram: bytes) -> None:
        assert self._port is not None
        try:
            self._port.write(datagram, None)
        except (MessageLengthError, OSError) as error:
            raise UnreachableError(_reason(error)) from error

    def _connect(self, address: Address) -> IUDPTransport:
        assert self._receiver is not None
        make: Any = ConnectedPort  # Twisted has no annotations here
        interface = "::" if ":" in address.host else ""
        port = make(0, Demultiplexer(self, self._receiver), interface, maxPacketSize=65_535, reactor=self._reactor)
        port.startListening()
        try:
            port.connect(address.host, address.port)
        except OSError:
            port.stopListening()
            raise
        return cast(IUDPTransport, port)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
