"""Streams in memory on which files are asked for: a lobby with a transfer_server, and who is at the other end."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.limits import Limits
from groupchat.frontends.transfers.server import Peer, TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from tests.lobby import Lobby
from tests.shelves import MemoryShelf, hash_of

HOST = "10.0.0.1"
PORT = 1


class Pipe(StringTransport):
    """The server's end of a stream. `aborted` once it was reset; `halted` while nothing is to come."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", HOST, PORT))
        self.aborted = False

    @property
    def sends(self) -> Any:
        """What produces; it must be there."""
        assert self.producer is not None
        return self.producer

    @property
    def halted(self) -> bool:
        return bool(self.producerState == "paused")

    def abortConnection(self) -> None:
        self.aborted = True


class Asker:
    """One stream and whoever is at its other end. `step` is how many bytes come at once; 0 is all."""

    def __init__(self, lobby: Lobby, transfer_server: TransferServer, peer: Peer, step: int = 0) -> None:
        self._lobby = lobby
        self._step = step
        self.is_lost = False
        self.pipe = Pipe()
        self.stream = TransferStream(transfer_server, peer)
        self.stream.makeConnection(self.pipe)

    def send(self, data: str | bytes) -> None:
        raw = data.encode() if isinstance(data, str) else data
        step = self._step or len(raw) or 1
        for at in range(0, len(raw), step):
            self.stream.dataReceived(raw[at : at + step])

    def end(self) -> None:
        self.stream.readConnectionLost()

    def lose(self, *, cleanly: bool = True) -> None:
        self.is_lost = True
        self.stream.connectionLost(Failure(ConnectionDone() if cleanly else ConnectionLost()))

    def heard(self) -> bytes:
        """What has come since this was last asked."""
        self._lobby.settle()
        data: bytes = self.pipe.value()
        self.pipe.clear()
        return data

    def said(self) -> str:
        return self.heard().decode()

    @property
    def is_over(self) -> bool:
        self._lobby.settle()
        return bool(self.pipe.disconnecting)


class DeskTestCase(SynchronousTestCase):
    """A test with a transfer_server. Alice is at the address of the peer, Bob polls from elsewhere."""

    limits = Limits()
    step = 0

    def setUp(self) -> None:
        self.lobby = Lobby(limits=self.limits)
        for who, name in [(PORT, "Alice"), (2, "Bob")]:
            self.lobby.ask(who, f"1 {name}")
        self.lobby.settle()
        self.lobby.ask(2, "5")
        self.askers: list[Asker] = []
        self.shelf = MemoryShelf()
        self.closed: list[str] = []
        self.transfer_server = TransferServer(
            self.lobby.registry,
            self.shelf,
            lambda peer: self.lobby.registry.connect(peer.host),
        )
        self.peer = self.another_peer()

    def tearDown(self) -> None:
        """Nothing is left of whoever is gone."""
        for asker in self.askers:
            if not asker.is_lost:
                asker.lose()
        for _ in range(10):
            self.shelf.go_on()
            self.lobby.settle()
        self.assertEqual(
            (self.transfer_server.answers, self.shelf.open_now, self.peer.uploads, self.peer.downloads), ({}, 0, 0, 0)
        )
        self.assertEqual(self.peer.listed, 0)

    def another_peer(self, host: str = HOST) -> Peer:
        return Peer(host, lambda: (host, PORT), self.closed.append, trusted=self.limits.password is None)

    def open(self, peer: Peer | None = None) -> Asker:
        asker = Asker(self.lobby, self.transfer_server, peer or self.peer, self.step)
        self.askers.append(asker)
        return asker

    def ask(self, request: str | bytes, peer: Peer | None = None) -> str:
        """The answer to one request; it is over then."""
        asker = self.open(peer)
        asker.send(request)
        answer = asker.said()
        self.assertTrue(asker.is_over, answer)
        return answer

    def put(self, name: str, data: bytes, by: str = "BY ADDRESS", **said: Any) -> Asker:
        """A stream on which an upload was announced."""
        asker = self.open(said.get("peer"))
        asker.send(f"PUT {said.get('size', len(data))} {said.get('sha256', hash_of(data))} {name}\n{by}\n")
        return asker

    def watch(self) -> list[str]:
        """What the group was told since this was last asked."""
        self.lobby.settle()
        reply = self.lobby.ask(2, "5")
        return reply.split("\n") if reply else []
