"""Streams on which files are asked for, and brought: the first line says what a stream is. See wire/files.py.

Each stream is one request and its answer, and one connection may have many. What takes a stream over, once its first
line is read, is fed what came behind that line.
"""

from __future__ import annotations

import hmac
from collections.abc import Generator
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_LINE, PASSWORD_ATTEMPTS
from groupchat.files import File
from groupchat.frontends.transfers.download import Sending
from groupchat.frontends.transfers.server import Answer, Peer, TransferServer
from groupchat.frontends.transfers.upload import Uploading
from groupchat.wire import files as wire_files
from groupchat.wire.files import Get, ListFiles, OpenLines, Password, Put


@implementer(IHalfCloseableProtocol)
class TransferStream(Protocol):
    """One stream of a peer. What it is once its first line came, or its head, has it from then on."""

    transport: Any

    def __init__(self, transfer_server: TransferServer, peer: Peer) -> None:
        self._transfer_server = transfer_server
        self._peer = peer
        self._head = b""
        self._put: Put | None = None  # whose second line is to come
        self._taken: Any = None  # the protocol that has taken it over
        self._read_ended = False

    def connectionMade(self) -> None:
        self._alarm = self._transfer_server.registry.clock.callLater(
            self._transfer_server.registry.limits.name_within, self._waited
        )

    def _waited(self) -> None:
        self._refuse(NotNow("You asked for nothing. Come back when you know what you want."))

    def dataReceived(self, data: bytes) -> None:
        if self._taken is not None:
            self._taken.dataReceived(data)
            return
        self._head += data
        while self._taken is None and b"\n" in self._head:
            line, _, self._head = self._head.partition(b"\n")
            self._try(line)
        if self._taken is None and len(self._head) > MAX_LINE:
            self._refuse(IllegalMessage(f"That line is longer than {MAX_LINE} bytes."))

    def readConnectionLost(self) -> None:
        if self._taken is None and self._head:
            self.dataReceived(b"\n")  # what has no end of line is one
        if self._taken is None:
            self._refuse(IllegalMessage("There was no line."))
        elif IHalfCloseableProtocol.providedBy(self._taken):
            self._taken.readConnectionLost()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        if IHalfCloseableProtocol.providedBy(self._taken):
            self._taken.writeConnectionLost()
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._disarm()
        if self._taken is not None:
            self._taken.connectionLost(reason)

    def _disarm(self) -> None:
        if self._alarm.active():
            self._alarm.cancel()

    def _refuse(self, why: IllegalMessage) -> None:
        self._hand_over(_Refusing(self._transfer_server, self._peer, why))

    def _hand_over(self, answer: IProtocol) -> None:
        self._disarm()
        rest, self._head = self._head, b""
        self._taken = answer
        answer.makeConnection(self.transport)
        if rest:
            answer.dataReceived(rest)

    def _try(self, line: bytes) -> None:
        try:
            self._transfer_server.check_open()
            self._read(line)
        except IllegalMessage as why:
            self._refuse(why)
        except Exception:
            self._transfer_server.service.survive("reading the head of a stream")
            self._refuse(NotNow("The server made a mistake: try again later."))

    def _read(self, line: bytes) -> None:
        """A line of the head. Raises IllegalMessage."""
        transfer_server, peer = self._transfer_server, self._peer
        if self._put is not None:
            self._hand_over(Uploading(transfer_server, peer, self._put, wire_files.parse_sender(line)))
            return
        asked = wire_files.parse(line)
        if not peer.trusted and not isinstance(asked, OpenLines | Password):
            raise IllegalMessage("This group has a password: say it first (PASSWORD, or --password-file).")
        match asked:
            case OpenLines():
                self._be_live()
            case Password():
                self._hand_over(Checking(transfer_server, peer, asked.given))
            case ListFiles():
                self._hand_over(Listing(transfer_server, peer))
            case Get():
                self._hand_over(Sending(transfer_server, peer, asked))
            case Put():
                self._put = asked

    def _be_live(self) -> None:
        live = self._transfer_server.lines(self._peer)
        if live is None:
            raise NotNow("There are no live lines now: try again later.")
        self._hand_over(live)


class _Refusing(Answer):
    """Says why, and ends."""

    def __init__(self, transfer_server: TransferServer, peer: Peer, why: IllegalMessage) -> None:
        super().__init__(transfer_server, peer)
        self._why = why

    def begin(self) -> None:
        self.refuse(self._why)


_WRONG = IllegalMessage("That is not the password.")


class Checking(Answer):
    """PASSWORD: slow for whoever guesses, on however many streams."""

    def __init__(self, transfer_server: TransferServer, peer: Peer, given: bytes) -> None:
        super().__init__(transfer_server, peer)
        self._given = given
        self._wrong = False

    def begin(self) -> None:
        registry, peer = self.transfer_server.registry, self.peer
        password = registry.limits.password
        if password is None or peer.trusted:
            peer.trusted = True
            self.end(wire_files.accepted())
        elif peer.attempts >= PASSWORD_ATTEMPTS:
            self.refuse(_WRONG)  # also if it was asked before: the connection is being closed
        elif pause := registry.pause_of(peer.host):
            self.wait(pause)
        elif hmac.compare_digest(sha256(self._given).digest(), sha256(password).digest()):
            peer.trusted = True
            self.end(wire_files.accepted())
        else:
            peer.attempts += 1
            self._wrong = True
            registry.guessed(peer.host)
            self.wait(registry.pause_of(peer.host))

    def waited(self) -> None:
        if not self._wrong:
            self.begin()
            return
        self.refuse(_WRONG)
        if self.peer.attempts >= PASSWORD_ATTEMPTS:
            self.peer.close("That is not the password. Ask whoever runs this group for it.")


class Listing(Answer):
    """FILES. What is not taken is bounded, however often it is asked."""

    def __init__(self, transfer_server: TransferServer, peer: Peer) -> None:
        super().__init__(transfer_server, peer)
        self._size = 0  # of what is written

    @inlineCallbacks
    def begin(self) -> Generator[Deferred[Any], Any, None]:
        files: list[File] = yield self.transfer_server.shelf.listing()
        if self.is_over:
            return
        lines = [wire_files.entry(file.name, file.size, file.sha256, file.at) for file in files]
        answer = wire_files.count(len(files)) + b"".join(lines)
        self.transfer_server.hold_list(self.peer, len(answer))
        self._size = len(answer)
        self.end(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.transfer_server.hold_list(self.peer, -self._size)
