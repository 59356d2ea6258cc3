"""Files over QUIC and bad networks, in memory: they arrive whole, whatever is lost on the way."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from groupchat.frontends.transfers.server import TransferServer
from groupchat.frontends.transfers.stream import TransferStream
from tests.lobby import Lobby
from tests.quic_pair import Ear, Pair
from tests.shelves import MemoryShelf, hash_of
from tests.slow import slow

MB = 1_000_000
NETWORKS = (0.0, 0.01, 0.05, 0.1, 0.2)
"""The share of datagrams that are lost, in each direction."""


class Sender(Ear):
    """The sender of a file, from the offset that the server asks for. It stops after `most` bytes."""

    def __init__(self, name: str, data: bytes, by: str, most: int = 0) -> None:
        head = f"PUT {len(data)} {hash_of(data)} {name}\nBY {by}\n"
        super().__init__(head.encode())
        self.sent = self._end = 0
        self._data = data
        self._most = most or len(data)
        self._began = False

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if not self._began and self.heard.startswith(b"go ") and b"\n" in self.heard:
            self._began = True
            self.offset = self.sent = int(self.heard.partition(b"\n")[0][3:])
            self.transport.registerProducer(self, True)
            self.resumeProducing()

    def resumeProducing(self) -> None:
        self._may = True
        while self._may and self.sent < self._most:
            piece = self._data[self.sent : min(self._most, self.sent + 16_384)]
            self.sent += len(piece)
            self.transport.write(piece)
        if self.sent == len(self._data):
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def pauseProducing(self) -> None:
        self._may = False

    def stopProducing(self) -> None:
        self._may = False

    @property
    def answer(self) -> bytes:
        return self.heard.partition(b"\n")[2]


class QuicFilesTestCase(SynchronousTestCase):
    def open(self, *, loss: float = 0.0, seed: int = 1, delay: float = 0.02) -> None:
        """Make a network, and a lobby with a shelf behind it. Bob polls for what the group is told."""
        self.shelf = MemoryShelf()
        servers: list[Any] = []
        self.pair = Pair(lambda peer: TransferStream(servers[0], peer), loss=loss, seed=seed, delay=delay)
        self.addCleanup(self.pair.stop)
        self.lobby = Lobby(clock=self.pair.clock)
        servers.append(TransferServer(self.lobby.registry, self.shelf, self._line))
        self.transfer_server = servers[0]
        self.lobby.ask(2, "1 Bob")
        self.bob = ""

    def _line(self, peer: Any) -> Protocol | None:
        return self.lobby.registry.buildProtocol(IPv4Address("UDP", peer.host, 0))

    def get(self, name: str, offset: int = 0, sha256: str = "-") -> Ear:
        ear = Ear()
        self.pair.client.open(ear, f"GET {offset} {sha256} {name}\n".encode())
        return ear

    def body(self, ear: Ear) -> bytes:
        return ear.heard.partition(b"\n")[2]

    def told(self) -> str:
        return str(self.lobby.ask(2, "5"))


class WholeTests(QuicFilesTestCase):
    def check(self, loss: float) -> None:
        """Send files of several sizes, and fetch them again."""
        self.open(loss=loss, seed=int(1000 * loss))
        self.pair.network.change(doubling=0.02, reordering=0.05, extra=0.02)
        for size in (0, 1, 1_500, 300_000, 2 * MB):
            data = random.Random(size).randbytes(size)
            name = f"{size}.bin"
            sender = Sender(name, data, "GUEST cron")
            self.pair.client.open(sender)
            self.pair.run(lambda sender=sender: b"\n" in sender.answer, 900)  # type: ignore[misc]
            self.assertEqual(sender.answer, f"ok {name}\n".encode())
            self.assertEqual(self.shelf.files[name], data)
            ear = self.get(name)
            self.pair.run(lambda ear=ear: "end" in ear.told, 900)  # type: ignore[misc]
            self.assertEqual(ear.heard.partition(b"\n")[0], f"ok {size} {hash_of(data)} 0".encode())
            self.assertEqual(self.body(ear), data)
        self.assertIn("cron shared 2000000.bin (2.0 MB)", self.told())

    def test_files_arrive_whole_over_a_bad_network(self) -> None:
        self.check(0.05)

    @slow
    def test_files_arrive_whole_over_every_network(self) -> None:
        for loss in NETWORKS:
            self.check(loss)

    def test_several_files_in_both_directions_arrive_whole(self) -> None:
        self.open(loss=0.02)
        files = {f"{number}.bin": random.Random(number).randbytes(300_000) for number in range(4)}
        self.shelf.files.update(files)
        ears = {name: self.get(name) for name in files}
        senders = {f"up{name}": Sender(f"up{name}", data, "GUEST cron") for name, data in files.items()}
        for sender in senders.values():
            self.pair.client.open(sender)
        self.pair.run(lambda: all("end" in ear.told for ear in ears.values()), 300)
        self.pair.run(lambda: all(sender.answer for sender in senders.values()), 300)
        self.assertEqual({name: self.body(ear) for name, ear in ears.items()}, files)
        self.assertEqual({name: self.shelf.files[f"up{name}"] for name in files}, files)


class CutTests(QuicFilesTestCase):
    def test_a_download_resumes_after_a_cut(self) -> None:
        self.open()
        data = random.Random(1).randbytes(2 * MB)
        self.shelf.files["photo.jpg"] = data
        first = self.get("photo.jpg")
        self.pair.run(lambda: len(first.heard) > MB)
        self.pair.network.cut()
        self.pair.run(lambda: "ConnectionLost" in first.told, 60)
        self.pair.network.mend()
        part = self.body(first)
        rest = self.get("photo.jpg", len(part), hash_of(data)[:16])
        self.pair.run(lambda: "end" in rest.told)
        self.assertEqual(rest.heard.partition(b"\n")[0], f"ok {len(data)} {hash_of(data)} {len(part)}".encode())
        self.assertEqual(part + self.body(rest), data)

    def test_an_upload_resumes_after_a_cut(self) -> None:
        self.open()
        data = random.Random(1).randbytes(2 * MB)
        first = Sender("photo.jpg", data, "GUEST cron", most=MB)
        self.pair.client.open(first)
        self.pair.run(lambda: first.sent == MB)
        self.pair.wait(2)
        self.pair.network.cut()
        self.pair.run(lambda: "ConnectionLost" in first.told, 60)
        self.pair.run(lambda: not self.pair.quic.clients, 60)
        self.pair.network.mend()
        rest = Sender("photo.jpg", data, "GUEST cron")
        self.pair.client.open(rest)
        self.pair.run(lambda: bool(rest.answer))
        self.assertEqual(rest.offset, MB)
        self.assertEqual(rest.answer, b"ok photo.jpg\n")
        self.assertEqual(self.shelf.files["photo.jpg"], data)

    def test_transfers_continue_after_a_change_of_address(self) -> None:
        self.open(loss=0.01)
        data = random.Random(1).randbytes(2 * MB)
        self.shelf.files["photo.jpg"] = data
        ear, sender = self.get("photo.jpg"), Sender("up.jpg", data, "GUEST cron")
        self.pair.client.open(sender)
        for number in range(5):
            before = len(ear.heard)
            self.pair.run(lambda before=before: len(ear.heard) > before + MB // 5)  # type: ignore[misc]
            self.pair.address = ("192.0.2.1", 50_000 + number)
        self.pair.run(lambda: "end" in ear.told and sender.answer, 300)
        self.assertEqual((self.body(ear), self.shelf.files["up.jpg"]), (data, data))
        self.assertEqual(self.pair.quic.total, 1)


class ForgeryTests(QuicFilesTestCase):
    def test_an_address_that_is_not_proven_is_no_member(self) -> None:
        """A client goes on sending from the forged address of a member."""
        self.open()
        self.lobby.ask(9, "1 Alice")
        member = ("10.0.0.1", 9)
        self.assertIn(member, self.lobby.service.group.by_address)
        ear = Ear()
        self.pair.client.open(ear, b"FILES\n")
        self.pair.run(lambda: "end" in ear.told)
        self.pair.address = member
        deliver = self.pair.client.received
        self.pair.client.received = lambda datagram: None  # type: ignore[method-assign]
        thief = Sender("photo.jpg", b"x", "ADDRESS")
        self.pair.client.open(thief)
        (connection,) = self.pair.quic.clients
        self.pair.run(lambda: connection.core.get_peer_address() == member)
        self.pair.wait(0.2)
        self.pair.address = ("192.0.2.1", 40_000)
        self.pair.client.received = deliver  # type: ignore[method-assign]
        self.pair.run(lambda: b"\n" in thief.heard)
        self.assertTrue(thief.heard.startswith(b"no "), thief.heard)
        self.assertEqual(self.shelf.files, {})

    def test_a_handshake_ended_elsewhere_proves_no_address(self) -> None:
        """Only a Retry token proves an address; the rest of a handshake may come from anywhere."""
        self.open()
        self.lobby.ask(9, "1 Alice")
        member, deliver = ("10.0.0.1", 9), self.pair.client.received

        def receive(datagram: bytes) -> None:
            deliver(datagram)
            if self.pair.quic.clients:  # the server has sent its part of the handshake
                self.pair.address = member
                self.pair.client.received = lambda datagram: None  # type: ignore[method-assign]

        self.pair.client.received = receive  # type: ignore[method-assign]
        self.pair.client.open(Sender("photo.jpg", b"x", "ADDRESS"))
        self.pair.run(lambda: self.pair.address == member)
        self.pair.wait(1)
        for connection in self.pair.quic.clients:
            self.assertNotEqual(connection.core.proven_address, member)

    def test_lines_and_files_share_a_connection(self) -> None:
        self.open()
        line = Ear()
        self.pair.client.open(line, b"LINES\n")
        self.pair.run(lambda: b"What is your name?" in line.heard)
        line.transport.write(b"Carol\n")
        self.pair.run(lambda: b"You are Carol" in line.heard)
        self.lobby.ask(2, "2 hello Carol")
        self.pair.run(lambda: b"Bob: hello Carol\n" in line.heard)
        sender = Sender("photo.jpg", b"x" * 5_000, "GUEST cron")
        self.pair.client.open(sender)
        self.pair.run(lambda: b"cron shared photo.jpg (5.0 kB)\n" in line.heard)
        line.transport.loseWriteConnection()
        self.pair.run(lambda: b"You have left the group" in line.heard and "ConnectionDone" in line.told)
