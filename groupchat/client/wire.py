"""One connection of a session: bytes -> lines, how soon it is known to be gone, and why there is none, in words."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any
from typing import Protocol as Interface

from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionRefusedError, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

MAX_LINE = 64 * 1024
"""The longest line in bytes that is taken from a server, which says none that is longer than some thousand."""

KEEPALIVE = (15, 5, 3)
"""TCP: after so many seconds of silence the server is probed; how often, in seconds; and how many times."""


class Owner(Interface):
    """Who has a connection."""

    def connected(self, wire: Wire) -> None: ...

    def received(self, wire: Wire, lines: list[bytes]) -> None: ...

    def disconnected(self, wire: Wire, reason: Failure) -> None: ...


class Wire(Protocol):
    """One connection: bytes -> lines."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._rest = b""

    def connectionMade(self) -> None:
        notice_silence(self.transport)
        self._owner.connected(self)

    def dataReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._owner.received(self, lines)
        if len(self._rest) > MAX_LINE:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._owner.disconnected(self, reason)

    def send(self, line: str) -> None:
        transport: Any = self.transport
        transport.write(line.encode() + b"\n")

    def close(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


def explain(failure: Failure) -> str:
    """Why there is no connection, in words."""
    if failure.check(ConnectionRefusedError):
        return "nothing is listening there"
    if failure.check(DNSLookupError):
        return "unknown host; check its spelling, or give its address"
    if failure.check(ConnectionClosed):
        return "the connection ended"
    if failure.check(ConnectError):
        reason = getattr(failure.value, "osError", None)
        said = failure.value.args[0] if failure.value is not None and failure.value.args else ""
        return str(getattr(reason, "strerror", None) or said or failure.getErrorMessage())
    if failure.value is not None and failure.value.args and isinstance(failure.value.args[0], list):
        reasons = "; ".join(str(part[-1]) for part in failure.value.args[0])  # OpenSSL's way to say it
        return f"no TLS: {reasons}; is it tls:// there, and not tcp://?"
    return failure.getErrorMessage()


def notice_silence(transport: Any) -> None:
    """If this is TCP, find out soon when the server can no longer be reached."""
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
            with suppress(OSError):  # it has ended already
                handle.setsockopt(level, option, value)
