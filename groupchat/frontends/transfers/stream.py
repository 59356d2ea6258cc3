"""The first line of a stream, which says what the stream is for. See wire/files.py.

Each stream is one request and its answer, and one connection may have many. The protocol that takes over a
stream gets the data after that line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_LINE
from groupchat.frontends.transfers import handlers
from groupchat.frontends.transfers.server import MISTAKE, Peer, RequestHandler, TransferServer
from groupchat.wire import files as wire_files
from groupchat.wire.files import Get, ListFiles, OpenLines, Password, Put


@implementer(IHalfCloseableProtocol)
class TransferStream(Protocol, TimeoutMixin):
    """One stream of a peer, until its request is read."""

    transport: Any

    def __init__(self, transfer_server: TransferServer, peer: Peer) -> None:
        self._server = transfer_server
        self._peer = peer
        self._head = b""
        self._put: Put | None = None  # a request of which the second line is to come
        self._handler: Any = None  # the protocol that took the stream over

    def connectionMade(self) -> None:
        self.setTimeout(self._server.registry.limits.name_within)

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        return self._server.registry.clock.callLater(period, func)

    def timeoutConnection(self) -> None:
        self._refuse(NotNow("You asked for nothing. Come back when you know what you want."))

    def dataReceived(self, data: bytes) -> None:
        if self._handler is not None:
            self._handler.dataReceived(data)
            return
        self._head += data
        while self._handler is None and b"\n" in self._head:
            line, _, self._head = self._head.partition(b"\n")
            self._handle(line)
        if self._handler is None and len(self._head) > MAX_LINE:
            self._refuse(IllegalMessage(f"That line is longer than {MAX_LINE} bytes."))

    def readConnectionLost(self) -> None:
        if self._handler is None and self._head:
            self.dataReceived(b"\n")  # the last line needs no end of line
        if self._handler is None:
            self._refuse(IllegalMessage("There was no line."))
        elif IHalfCloseableProtocol.providedBy(self._handler):
            self._handler.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        if IHalfCloseableProtocol.providedBy(self._handler):
            self._handler.writeConnectionLost()
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.setTimeout(None)
        if self._handler is not None:
            self._handler.connectionLost(reason)

    def _refuse(self, why: IllegalMessage) -> None:
        handler = RequestHandler(self._server, self._peer)
        self._hand_over(handler)
        handler.refuse(why)

    def _hand_over(self, handler: IProtocol) -> None:
        self.setTimeout(None)
        rest, self._head = self._head, b""
        self._handler = handler
        handler.makeConnection(self.transport)
        if rest:
            handler.dataReceived(rest)

    def _handle(self, line: bytes) -> None:
        try:
            self._server.check_running()
            self._read(line)
        except IllegalMessage as why:
            self._refuse(why)
        except Exception:
            self._server.service.survive("reading the head of a stream")
            self._refuse(MISTAKE)

    def _read(self, line: bytes) -> None:
        """Read a line of the head. Raises IllegalMessage."""
        server, peer = self._server, self._peer
        if self._put is not None:
            self._hand_over(handlers.UploadHandler(server, peer, self._put, wire_files.parse_sender(line)))
            return
        asked = wire_files.parse(line)
        if not peer.trusted and not isinstance(asked, OpenLines | Password):
            raise IllegalMessage("This group has a password: say it first (PASSWORD, or --password-file).")
        if not isinstance(asked, OpenLines | Password):  # live lines tell it by themselves
            server.check_ban(peer)
        match asked:
            case OpenLines():
                lines = server.lines(peer)
                if lines is None:
                    raise NotNow("There are no live lines now: try again later.")
                self._hand_over(lines)
            case Password():
                self._hand_over(handlers.PasswordHandler(server, peer, asked.given))
            case ListFiles():
                self._hand_over(handlers.ListHandler(server, peer))
            case Get():
                self._hand_over(handlers.DownloadHandler(server, peer, asked))
            case Put():
                self._put = asked
