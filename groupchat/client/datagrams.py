"""A UDP socket that stays connected to a server, whatever addresses this machine has meanwhile."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

RECEIVE_BUFFER = 4 * 1024 * 1024
"""The size of the kernel's receive buffer that is asked for, in bytes."""

READS_PER_TURN = 64
"""The number of datagrams that are read before the rest of the reactor has its turn."""

MAX_DATAGRAM = 65_535


class IDatagramSender(Protocol):
    """A way to the server for datagrams: a socket of its own, or that of the five messages."""

    def send(self, datagram: bytes) -> None:
        """Send a datagram. Raise OSError or UnreachableError."""


class IDatagramReceiver(Protocol):
    """The object that a socket reports to."""

    def received(self, datagram: bytes) -> None: ...

    def refused(self, why: str) -> None:
        """Nothing listens at the server's address."""


@implementer(IReadDescriptor)
class ConnectedSocket:
    """A UDP socket connected to one address. It is replaced when this machine gets another address itself.

    Raises OSError if there is no route to the address.
    """

    def __init__(self, reactor: Any, address: tuple[str, int], receiver: IDatagramReceiver) -> None:
        self._reactor = reactor
        self._address = address
        self._receiver = receiver
        self._open()

    def _open(self) -> None:
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

    def send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            raise
        except ConnectionRefusedError:  # caused by an earlier datagram
            self._reactor.callLater(0, self._refused)
            raise
        except OSError:
            self.close()
            self._open()
            raise

    def doRead(self) -> None:
        for _ in range(READS_PER_TURN):
            try:
                datagram = self._socket.recv(MAX_DATAGRAM)
            except ConnectionRefusedError:
                self._refused()
                return
            except OSError:
                return
            self._receiver.received(datagram)

    def _refused(self) -> None:
        if self._socket.fileno() >= 0:
            self._receiver.refused("nothing is listening there")

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def connectionLost(self, reason: Failure) -> None:
        """Clear the socket's error, and go on: reactors call this when an earlier datagram was refused."""
        if self._socket.fileno() >= 0:
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._reactor.addReader(self)
            self._refused()

    def logPrefix(self) -> str:
        return "QUIC"
