"""Fakes around a chat and its sessions: recorders of calls, a view, and servers without sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.commands import SessionCommand
from groupchat.client.files.progress import Bar
from groupchat.client.trust import UntrustedError
from groupchat.client.view import Shown, View
from groupchat.core.commands import Poll

AnyBase: Any = object


class Recorder(AnyBase):  # type: ignore[misc] # so that it passes for every interface
    """Records the calls of its methods in `told`, whatever their names: each with its arguments."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append((name, *arguments))

    def news(self) -> list[tuple[Any, ...]]:
        """Return the calls since `news` was last called."""
        told, self.told = self.told, []
        return told


class Witness(Recorder):
    """A SessionListener. The lines that were received are in `lines` only."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def heard_lines(self) -> list[str]:
        return [line for _, line in self.lines]

    def of_kind(self, kind: str) -> list[object]:
        return [told[1] for told in self.told if told[0] == kind]

    def untrusted(self, why: UntrustedError) -> None:
        self.told.append(("untrusted", str(why)))

    def received(self, lines: Sequence[tuple[int, str]]) -> None:
        assert lines
        self.lines.extend(lines)


class FakeView(View):
    """A View that a test reads, and whose questions a test answers."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.questions: list[str] = []
        self.name = ""
        self.closed = 0
        self.secret = False
        self.bars: list[Bar] = []
        self._then: Callable[[str], None] | None = None

    def news(self) -> list[tuple[str, str]]:
        """Return the kind and the text of each line shown since the last call."""
        shown, self.shown = self.shown, []
        return [(line.kind, line.text) for line in shown]

    def answer(self, text: str) -> None:
        then, self._then = self._then, None
        assert then is not None, "nothing was asked"
        then(text)

    def show(self, lines: Sequence[Shown]) -> None:
        self.shown.extend(lines)

    def ask(self, question: str, then: Callable[[str], None], *, secret: bool = False) -> None:
        self.questions.append(question)
        self.secret = secret
        self._then = then

    def name_is(self, name: str) -> None:
        self.name = name

    def show_progress(self, bars: Sequence[Bar]) -> None:
        self.bars = list(bars)

    def close(self) -> None:
        self.closed += 1


class FakeSession(Recorder):
    """A Session that does nothing."""

    unsupported: frozenset[type[SessionCommand]] = frozenset([Poll])
    proof = "KEY 00112233445566778899aabbccddeeff"
    keeps_seat = False


class Peer:
    """The server's side of one connection of a client."""

    def __init__(self, factory: Any) -> None:
        self.transport = StringTransport()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, *lines: str) -> None:
        self.send_bytes("".join([f"{line}\n" for line in lines]).encode())

    def send_bytes(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def sent(self) -> list[str]:
        """Return the lines that came from the client since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        assert data.endswith(b"\n") or not data, data
        return data.decode().split("\n")[:-1]

    @property
    def is_closed(self) -> bool:
        """True if the client closed the connection."""
        return bool(self.transport.disconnecting or self.transport.disconnected)

    def lose(self, why: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(why or ConnectionDone()))


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """An endpoint. A test decides about each connection: `accept` or `refuse`."""

    def __init__(self) -> None:
        self.attempts: list[tuple[IProtocolFactory, Deferred[Any]]] = []
        self.count = 0
        self.cancelled = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        attempt: Deferred[Any] = Deferred(self._cancel)
        self.attempts.append((protocolFactory, attempt))
        self.count += 1
        return attempt

    def _cancel(self, attempt: Deferred[Any]) -> None:
        self.attempts.clear()
        self.cancelled += 1

    def accept(self) -> Peer:
        [(factory, attempt)] = self.attempts
        self.attempts.clear()
        peer = Peer(factory)
        attempt.callback(peer.protocol)
        return peer

    def refuse(self, why: Exception) -> None:
        [(_factory, attempt)] = self.attempts
        self.attempts.clear()
        attempt.errback(Failure(why))
