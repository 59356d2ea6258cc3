"""The bad network that other tests use is as bad as it says, and no worse."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from .lossy import Address, Between, Conditions, Line, Lossy, Relay

PATIENCE = 60.0


class LineTest(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.came: list[bytes] = []

    def line(self, seed: int = 0, **conditions: Any) -> Line:
        return Line(self.clock, Conditions(**conditions), seed)

    def send(self, line: Line, *datagrams: bytes) -> None:
        for datagram in datagrams:
            line.send(datagram, self.came.append)

    def send_many(self, line: Line, count: int = 10_000) -> list[int]:
        """Send so many datagrams, and return the numbers of those that arrived, in order of arrival."""
        self.send(line, *(b"%d" % number for number in range(count)))
        self.clock.advance(10)
        return [int(datagram) for datagram in self.came]

    def assert_about(self, came: int, share: float) -> None:
        """Check that about a share of 10,000 datagrams came."""
        self.assertLess(abs(came / 10_000 - share), 0.02)

    def test_a_datagram_arrives_after_its_delay(self) -> None:
        line = self.line(delay=0.02)
        self.send(line, b"one")
        self.clock.advance(0.01)
        self.send(line, b"two")
        self.clock.advance(0.009)
        self.assertEqual(self.came, [])
        self.clock.advance(0.002)
        self.assertEqual(self.came, [b"one"])
        self.clock.advance(0.01)
        self.assertEqual(self.came, [b"one", b"two"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_datagram_without_delay_arrives_in_a_later_turn(self) -> None:
        self.send(self.line(), b"one")
        self.assertEqual(self.came, [])
        self.clock.advance(0)
        self.assertEqual(self.came, [b"one"])

    def test_one_timer_is_enough(self) -> None:
        line = self.line(delay=0.02)
        self.send(line, *[b"x"] * 100)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_good_line_delivers_all_in_order(self) -> None:
        self.assertEqual(self.send_many(self.line(delay=0.02)), list(range(10_000)))

    def test_a_share_is_lost(self) -> None:
        line = self.line(loss=0.05)
        came = self.send_many(line)
        self.assertEqual(came, sorted(set(came)))
        self.assert_about(len(came), 0.95)
        self.assertEqual(line.lossy.lost, 10_000 - len(came))

    def test_the_same_seed_loses_the_same(self) -> None:
        first = self.send_many(self.line(seed=7, loss=0.5))
        self.came.clear()
        again = self.send_many(self.line(seed=7, loss=0.5))
        self.came.clear()
        other = self.send_many(self.line(seed=8, loss=0.5))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_a_share_is_doubled(self) -> None:
        line = self.line(doubling=0.05)
        came = self.send_many(line)
        self.assertEqual(sorted(set(came)), list(range(10_000)))
        self.assert_about(len(came), 1.05)
        self.assertEqual(line.lossy.doubled, len(came) - 10_000)

    def test_a_share_is_late(self) -> None:
        line = self.line(delay=0.01, reordering=0.1, extra=0.05)
        self.send(line, *(b"%d" % number for number in range(10_000)))
        self.clock.advance(0.01)
        self.assert_about(len(self.came), 0.9)
        self.clock.advance(0.05)
        came = [int(datagram) for datagram in self.came]
        self.assertNotEqual(came, sorted(came))
        self.assertEqual(sorted(came), list(range(10_000)))

    def test_what_exceeds_the_room_is_lost(self) -> None:
        line = self.line(delay=1, room=25)
        self.send(line, *[b"ten bytes."] * 5)
        self.clock.advance(1)
        self.assertEqual((len(self.came), line.lossy.lost), (2, 3))
        self.send(line, b"ten bytes.")
        self.clock.advance(1)
        self.assertEqual(len(self.came), 3)

    def test_the_rate_is_held(self) -> None:
        line = self.line(delay=0.5, rate=100)
        self.send(line, *[b"ten bytes."] * 20)
        self.clock.advance(0.5 + 0.1)
        self.assertEqual(len(self.came), 1)
        self.clock.pump([0.1] * 9)
        self.assertEqual(len(self.came), 10)

    def test_a_datagram_that_is_too_large_is_lost(self) -> None:
        line = self.line(largest=1472)
        self.send(line, bytes(1472), bytes(1473))
        self.clock.advance(0)
        self.assertEqual([len(datagram) for datagram in self.came], [1472])

    def test_sent_and_arrived_datagrams_are_counted(self) -> None:
        lossy = Lossy(Conditions(delay=1, largest=3))
        for datagram in (b"a", b"bb", b"too long"):
            lossy.put(datagram, self.came.append, 0.0)
        lossy.deliver(0.9)
        self.assertEqual((lossy.came, lossy.came_bytes, lossy.passed, lossy.passed_bytes), (3, 11, 0, 0))
        lossy.deliver(1.0)
        self.assertEqual((lossy.passed, lossy.passed_bytes, lossy.lost), (2, 3, 1))
        self.assertIsNone(lossy.next_at)

    def test_a_receiver_may_answer_over_the_same_line(self) -> None:
        """Other datagrams may still be waiting for delivery then."""
        line = self.line(delay=1)
        line.send(b"ping", lambda _: self.send(line, b"pong"))
        line.send(b"other", self.came.append)
        self.clock.pump([1, 1])
        self.assertEqual(self.came, [b"other", b"pong"])


class BetweenTest(TestCase):
    def test_nothing_passes_while_both_directions_are_cut(self) -> None:
        clock, came = Clock(), list[bytes]()
        between = Between(clock, Conditions(delay=1))
        between.there.send(b"under way", came.append)
        between.cut()
        between.there.send(b"there", came.append)
        between.back.send(b"back", came.append)
        clock.advance(1)
        between.mend()
        between.back.send(b"mended", came.append)
        clock.advance(1)
        self.assertEqual(came, [b"mended"])
        self.assertEqual((between.there.lossy.lost, between.back.lossy.lost), (2, 1))

    def test_conditions_can_change(self) -> None:
        clock, came = Clock(), list[bytes]()
        between = Between(clock, Conditions(loss=1.0))
        between.there.send(b"lost", came.append)
        between.change(loss=0.0)
        between.there.send(b"there", came.append)
        between.back.send(b"back", came.append)
        clock.advance(0)
        self.assertEqual(came, [b"there", b"back"])


class Echo(DatagramProtocol):
    """Sends each datagram back, and keeps it with its sender."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, Address]] = []

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.heard.append((datagram, addr))
        self.transport.write(datagram, addr)  # type: ignore[union-attr]


class Asker(Echo):
    """Keeps the answers."""

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self.heard.append((datagram, addr))


class RelayTest(TestCase):
    def setUp(self) -> None:
        self.server = Echo()
        self.relay = Relay(reactor, ("127.0.0.1", self.listen(self.server)), Conditions(delay=0.001))
        self.addCleanup(self.relay.close_all)

    def listen(self, protocol: DatagramProtocol) -> int:
        port = reactor.listenUDP(0, protocol, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def asker(self) -> Asker:
        asker = Asker()
        self.listen(asker)
        return asker

    def ask(self, asker: Asker, datagram: bytes) -> None:
        asker.transport.write(datagram, ("127.0.0.1", self.relay.port))  # type: ignore[union-attr]

    @inlineCallbacks
    def until_heard(self, asker: Asker, count: int) -> Any:
        for _ in range(int(PATIENCE / 0.01)):
            if len(asker.heard) >= count:
                return
            yield deferLater(reactor, 0.01)
        self.fail(f"heard {asker.heard}")

    @inlineCallbacks
    def test_each_client_gets_its_own_answers(self) -> Any:
        one, two = self.asker(), self.asker()
        self.ask(one, b"from one")
        self.ask(two, b"from two")
        yield self.until_heard(one, 1)
        yield self.until_heard(two, 1)
        relay = ("127.0.0.1", self.relay.port)
        self.assertEqual((one.heard, two.heard), ([(b"from one", relay)], [(b"from two", relay)]))
        self.assertEqual(len({address for _, address in self.server.heard}), 2)
        for line in (self.relay.there.lossy, self.relay.back.lossy):
            self.assertEqual((line.came, line.passed, line.passed_bytes), (2, 2, 16))

    @inlineCallbacks
    def test_nothing_passes_while_the_relay_is_cut(self) -> Any:
        asker = self.asker()
        self.relay.cut()
        self.ask(asker, b"lost")
        while not self.relay.there.lossy.lost:
            yield deferLater(reactor, 0.01)
        self.relay.mend()
        self.ask(asker, b"heard")
        yield self.until_heard(asker, 1)
        self.assertEqual([datagram for datagram, _ in asker.heard], [b"heard"])

    test_nothing_passes_while_the_relay_is_cut.timeout = PATIENCE  # type: ignore[attr-defined]


class ProgramTest(TestCase):
    def test_it_runs_as_a_process(self) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        to = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "tests.lossy", "--to", to, "--rtt", "0.002"]
        root = Path(__file__).resolve().parent.parent
        with Popen(command, cwd=root, stdin=DEVNULL, stdout=PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline().split()[-1])
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(client.close)
            for one in (client, server):
                one.settimeout(PATIENCE)
            client.sendto(b"question", ("127.0.0.1", port))
            datagram, address = server.recvfrom(100)
            server.sendto(b"the " + datagram, address)
            self.assertEqual(client.recv(100), b"the question")
            process.terminate()
            self.assertIn("there came=1 came_bytes=8 passed=1", process.stdout.read())
