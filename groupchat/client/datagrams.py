"""How datagrams get to a server: a UDP socket that stays, whatever addresses this machine has meanwhile."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

RECEIVE_BUFFER = 4 * 1024 * 1024
"""What the kernel is asked to hold of what is not read yet, in bytes."""

AT_ONCE = 64
"""How many datagrams are read before others have their turn."""

MAX_DATAGRAM = 65_535


class Route(Protocol):
    """How datagrams get to the server."""

    def send(self, datagram: bytes) -> None:
        """Raises OSError, or UnreachableError."""


class Owner(Protocol):
    """Who has a socket."""

    def received(self, datagram: bytes) -> None: ...

    def refused(self, why: str) -> None:
        """Nothing listens to what was sent."""


@implementer(IReadDescriptor)
class Socket:
    """A Route: a UDP socket of its own, connected to one address, and made anew when this machine gets another one."""

    def __init__(self, reactor: Any, address: tuple[str, int], owner: Owner) -> None:
        self._reactor = reactor
        self._address = address
        self._owner = owner
        self._socket = self._open()

    def _open(self) -> socket.socket:
        """Raises OSError."""
        family, kind, number, _, where = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        opened = socket.socket(family, kind, number)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            opened.connect(where)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        self._reactor.addReader(self)
        return opened

    def send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            raise
        except ConnectionRefusedError:  # of an earlier one
            self._reactor.callLater(0, self._refused)
            raise
        except OSError:
            self.close()
            self._open()
            raise

    def doRead(self) -> None:
        for _ in range(AT_ONCE):
            try:
                datagram = self._socket.recv(MAX_DATAGRAM)
            except ConnectionRefusedError:
                self._refused()
                return
            except OSError:
                return
            self._owner.received(datagram)

    def _refused(self) -> None:
        if self._socket.fileno() >= 0:
            self._owner.refused("nothing is listening there")

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor's word for an error that is to be read: nothing listened to what was sent before."""
        if self._socket.fileno() >= 0:
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._reactor.addReader(self)
            self._refused()

    def logPrefix(self) -> str:
        return "QUIC"
