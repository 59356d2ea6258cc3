"""One connection that carries lines."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any
from typing import Protocol as Interface

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

MAX_LINE = 64 * 1024
"""The longest line in bytes that is accepted from a server: a legal one has some thousand."""

KEEPALIVE = (15, 5, 3)
"""TCP keepalive: seconds of silence before the first probe, seconds between probes, and number of probes."""


class LineHandler(Interface):
    """The owner of connections. All calls name the connection, since an old one may still report."""

    def connected(self, connection: LineConnection) -> None: ...

    def lines_received(self, connection: LineConnection, lines: list[bytes]) -> None: ...

    def disconnected(self, connection: LineConnection, reason: Failure) -> None: ...


class LineConnection(Protocol):
    """Splits what comes into lines. Lines that come together are reported together."""

    def __init__(self, handler: LineHandler) -> None:
        self._handler = handler
        self._rest = b""

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        detect_silence(self.transport)
        self._handler.connected(self)

    def dataReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._handler.lines_received(self, [line.removesuffix(b"\r") for line in lines])
        if len(self._rest) > MAX_LINE:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._handler.disconnected(self, reason)

    def send(self, line: str) -> None:
        self._transport.write(line.encode() + b"\n")

    def pause(self) -> None:
        self._transport.pauseProducing()

    def resume(self) -> None:
        self._transport.resumeProducing()

    def close(self) -> None:
        self._transport.loseConnection()

    def abort(self) -> None:
        self._transport.abortConnection()


def detect_silence(transport: Any) -> None:
    """Have TCP find out soon that the server can no longer be reached. Does nothing for other transports."""
    handle = getattr(transport, "socket", None)
    if not isinstance(handle, socket.socket):
        return
    idle, interval, count = KEEPALIVE
    for level, option, value in [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), idle),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), interval),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), count),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", None), 1000 * (idle + interval * count)),
    ]:
        if option is not None:
            with suppress(OSError):  # the connection has ended already
                handle.setsockopt(level, option, value)
