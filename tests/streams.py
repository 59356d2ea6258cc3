"""Streams in memory for transfers of files: a lobby with a TransferServer, and clients of its streams."""

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


class MemoryTransport(StringTransport):
    """The server's end of a stream. `aborted` is true once it was reset."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", HOST, PORT))
        self.aborted = False

    @property
    def sender(self) -> Any:
        """The producer, which must be there."""
        assert self.producer is not None
        return self.producer

    @property
    def is_paused(self) -> bool:
        """True while the server takes no data."""
        return bool(self.producerState == "paused")

    def abortConnection(self) -> None:
        self.aborted = True


class StreamClient:
    """One stream and its client, which sends `step` bytes at once; 0 is all."""

    def __init__(self, lobby: Lobby, transfer_server: TransferServer, peer: Peer, step: int = 0) -> None:
        self._lobby = lobby
        self._step = step
        self.is_lost = False
        self.transport = MemoryTransport()
        self.stream = TransferStream(transfer_server, peer)
        self.stream.makeConnection(self.transport)

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

    def received(self) -> bytes:
        """Return what came since the last call."""
        self._lobby.settle()
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def received_text(self) -> str:
        return self.received().decode()

    @property
    def is_over(self) -> bool:
        self._lobby.settle()
        return bool(self.transport.disconnecting)


class StreamTestCase(SynchronousTestCase):
    """A test with a TransferServer. Alice has the address of the peer; Bob polls from elsewhere."""

    limits = Limits()
    step = 0

    def setUp(self) -> None:
        self.lobby = Lobby(limits=self.limits)
        for who, name in [(PORT, "Alice"), (2, "Bob")]:
            self.lobby.ask(who, f"1 {name}")
        self.lobby.settle()
        self.lobby.ask(2, "5")
        self.clients: list[StreamClient] = []
        self.shelf = MemoryShelf()
        self.closed: list[str] = []
        self.transfer_server = TransferServer(
            self.lobby.registry,
            self.shelf,
            lambda peer: self.lobby.registry.connect(peer.host),
        )
        self.peer = self.another_peer()

    def tearDown(self) -> None:
        """Check that nothing is left behind."""
        for client in self.clients:
            if not client.is_lost:
                client.lose()
        for _ in range(10):
            self.shelf.go_on()
            self.lobby.settle()
        self.assertEqual(
            (
                self.transfer_server.handlers,
                self.shelf.open_now,
                len(self.transfer_server.uploads),
                self.peer.downloads,
            ),
            ({}, 0, 0, 0),
        )
        self.assertEqual(self.peer.listed, 0)

    def another_peer(self, host: str = HOST) -> Peer:
        return Peer(host, lambda: (host, PORT), self.closed.append, trusted=self.limits.password is None)

    def open(self, peer: Peer | None = None) -> StreamClient:
        client = StreamClient(self.lobby, self.transfer_server, peer or self.peer, self.step)
        self.clients.append(client)
        return client

    def ask(self, request: str | bytes, peer: Peer | None = None) -> str:
        """Return the answer to a request, which ends the stream."""
        client = self.open(peer)
        client.send(request)
        answer = client.received_text()
        self.assertTrue(client.is_over, answer)
        return answer

    def put(self, name: str, data: bytes, by: str = "BY ADDRESS", **said: Any) -> StreamClient:
        """Announce an upload on a new stream."""
        client = self.open(said.get("peer"))
        client.send(f"PUT {said.get('size', len(data))} {said.get('sha256', hash_of(data))} {name}\n{by}\n")
        return client

    def watch(self) -> list[str]:
        """Return what the group was told since the last call."""
        self.lobby.settle()
        reply = self.lobby.ask(2, "5")
        return reply.split("\n") if reply else []
