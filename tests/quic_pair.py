"""A server and a client over QUIC in memory, and a network between them that a test can make bad."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.client.quic import QuicClient
from groupchat.client.trust import KnownServers
from groupchat.core.limits import Limits
from groupchat.frontends.quic import Quic
from groupchat.frontends.transfers.server import Peer
from groupchat.quic.certificate import load_or_make
from groupchat.quic.connection import Connection
from groupchat.quic.scheduler import Scheduler
from tests.lossy import Between, Conditions

STEP = 0.001
HOST = "192.0.2.1"


class Pair:
    """A server, `quic`, and a `client`. `connect` makes the server's protocol for each stream."""

    def __init__(
        self,
        connect: Callable[[Peer], IProtocol],
        *,
        delay: float = 0.02,
        loss: float = 0.0,
        seed: int = 1,
    ) -> None:
        self.clock: Any = MemoryReactorClock()
        self.bugs: list[str] = []
        self.network = Between(self.clock, Conditions(delay=delay, loss=loss), seed=seed)
        self.address = (HOST, 40_000)
        self.quic = Quic(Limits(), self.clock, self._bug, connect)
        self.quic.scheduler = Scheduler(self.clock, self.clock.seconds)
        self.quic.start(load_or_make(None))
        self.directory = tempfile.TemporaryDirectory(prefix="groupchat-test-")
        known = KnownServers(Path(self.directory.name) / "known", trust_new=True)
        self.client = QuicClient(self.clock, "localhost", 12345, known)
        self.client.scheduler = Scheduler(self.clock, self.clock.seconds)
        self.client.link = self

    def _bug(self, doing: str) -> None:
        self.bugs.append(f"{doing}: {Failure().getTraceback()}")

    @property
    def connection(self) -> Connection:
        """The server's side of the only connection."""
        (connection,) = self.quic.clients
        return connection

    def send(self, datagram: bytes) -> None:
        """Send a datagram from the client."""
        self.network.there.send(datagram, self.arrive)

    def arrive(self, datagram: bytes) -> None:
        self.quic.take(datagram, self.address, self._answer)

    def _answer(self, datagram: bytes, address: object) -> None:
        self.network.back.send(bytes(datagram), self.client.received)

    def run(self, until: Callable[[], object], seconds: float = 60.0) -> None:
        """Let time pass until a condition holds. Raise AssertionError after so many seconds, or if there was a bug."""
        end = self.clock.seconds() + seconds
        while not until():
            assert self.clock.seconds() < end, "the condition never held"
            self.clock.advance(STEP)
        assert not self.bugs, self.bugs[0]

    def wait(self, seconds: float) -> None:
        end = self.clock.seconds() + seconds
        self.run(lambda: self.clock.seconds() >= end, seconds + 1)

    def stop(self) -> None:
        self.client.close()
        self.quic.stop()
        self.network.stop()
        self.directory.cleanup()


@implementer(IHalfCloseableProtocol)
class Ear(Protocol):
    """Keeps all data that came in `heard`, and the other events in `told`."""

    transport: Any

    def __init__(self, first: bytes = b"") -> None:
        self.heard: bytes = bytearray()  # type: ignore[assignment] # grows without being copied
        self.told: list[str] = []
        self._first = first

    def connectionMade(self) -> None:
        if self._first:
            self.transport.write(self._first)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def readConnectionLost(self) -> None:
        self.told.append("end")

    def writeConnectionLost(self) -> None:
        self.told.append("not read")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.told.append(type(reason.value).__name__)


class Echo(Ear):
    """Sends back what it receives, and closes when the other side does."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        super().readConnectionLost()
        self.transport.loseConnection()


class Source(Ear):
    """Sends `size` bytes as fast as they are taken, and closes. `most` is the maximum that was unacknowledged."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size
        self.most = 0
        self._may = True

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._may = True
        while self._may and self.left:
            count = min(self.left, 16_384)
            self.left -= count
            self.transport.write(bytes(count))
            self.most = max(self.most, self.transport.core.unacknowledged(self.transport.id))
        if not self.left:
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def pauseProducing(self) -> None:
        self._may = False

    def stopProducing(self) -> None:
        self._may = False
