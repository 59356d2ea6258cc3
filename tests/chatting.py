"""What is around a chat and its sessions, without it: witnesses of what they are told, and servers without sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.asks import Ask, Poll
from groupchat.client.files.progress import Bar
from groupchat.client.session import Listener, Session
from groupchat.client.trust import UntrustedError
from groupchat.client.view import Shown, View

GuestSaid = tuple[object, ...]


class Witness(Listener):
    """Writes down all that a session tells, in order."""

    def __init__(self) -> None:
        self.told: list[GuestSaid] = []
        self.lines: list[tuple[int, str]] = []
        self.distrusted: list[UntrustedError] = []

    def news(self) -> list[GuestSaid]:
        """What was told since this was last asked. Lines are in `lines` only."""
        told, self.told = self.told, []
        return told

    def heard_lines(self) -> list[str]:
        return [line for _, line in self.lines]

    def of_kind(self, kind: str) -> list[object]:
        return [told[1] for told in self.told if told[0] == kind]

    def joined(self, name: str, greeting: Sequence[str]) -> None:
        self.told.append(("joined", name, list(greeting)))

    def not_joined(self, why: str) -> None:
        self.told.append(("not joined", why))

    def untrusted(self, why: UntrustedError) -> None:
        self.distrusted.append(why)
        self.told.append(("untrusted", str(why)))

    def heard(self, lines: Sequence[tuple[int, str]]) -> None:
        assert lines
        self.lines.extend(lines)

    def answered(self, ask: Ask, words: Sequence[str]) -> None:
        self.told.append(("answered", ask, list(words)))

    def refused(self, ask: Ask, why: str) -> None:
        self.told.append(("refused", ask, why))

    def doubtful(self, ask: Ask) -> None:
        self.told.append(("doubtful", ask))

    def lost(self, why: str) -> None:
        self.told.append(("lost", why))

    def back(self, waiting: int) -> None:
        self.told.append(("back", waiting))

    def rejoined(self, name: str) -> None:
        self.told.append(("rejoined", name))

    def ended(self, why: str) -> None:
        self.told.append(("ended", why))


class FakeView(View):
    """A view in which the test is who reads, and answers questions."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.questions: list[str] = []
        self.name = ""
        self.closed = 0
        self.secret = False
        self.bars: list[Bar] = []
        self._then: Callable[[str], None] | None = None

    def news(self) -> list[tuple[str, str]]:
        """What was shown since this was last asked: of each line its kind, and its text."""
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

    def under_way(self, bars: Sequence[Bar]) -> None:
        self.bars = list(bars)

    def close(self) -> None:
        self.closed += 1


class FakeSession(Session):
    """Writes down what it is asked for, and does nothing."""

    def __init__(self) -> None:
        self.lacks: frozenset[type[Ask]] = frozenset([Poll])
        self.calls: list[GuestSaid] = []
        self.seat = "KEY 00112233445566778899aabbccddeeff"

    @property
    def proof(self) -> str:
        return self.seat

    def join(self, name: str) -> None:
        self.calls.append(("join", name))

    def ask(self, ask: Ask) -> None:
        self.calls.append(("ask", ask))

    def leave(self) -> None:
        self.calls.append(("leave",))

    def stop(self) -> None:
        self.calls.append(("stop",))

    def pause(self) -> None:
        self.calls.append(("pause",))

    def resume(self) -> None:
        self.calls.append(("resume",))


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
        """The lines that have come from the client since this was last asked."""
        data: bytes = self.transport.value()
        self.transport.clear()
        assert data.endswith(b"\n") or not data, data
        return data.decode().split("\n")[:-1]

    @property
    def is_closed(self) -> bool:
        """By the client."""
        return bool(self.transport.disconnecting or self.transport.disconnected)

    def lose(self, why: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(why or ConnectionDone()))


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Where a client connects to. A test says what comes of it: `accept` or `refuse`."""

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
