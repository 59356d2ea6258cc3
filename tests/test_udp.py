"""The UDP front end on real sockets in this process, and the networks that it accepts."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from groupchat.core.events import Joined, Said, Whispered
from groupchat.core.history import RANGES as MAX_RANGES
from groupchat.core.limits import Settings
from groupchat.frontends.udp import AT_ONCE, STEP, FiveMessages, UDPService, everywhere
from groupchat.log.memory import MemoryLog, Store
from groupchat.service.group_service import GroupService
from tests.daemon import SECONDS
from tests.logs import LateLog
from tests.node import Node

reactor: Any = installed


class UDPServiceTests(TestCase):
    def setUp(self) -> None:
        self.make(GroupService(Settings(), MemoryLog(), reactor, self.fail))

    def make(self, group_service: GroupService) -> None:
        self.group_service = group_service
        self.udp = UDPService(reactor, group_service, 0, ["127.0.0.1"], lambda: FiveMessages(group_service, 65_507))
        self.udp.privilegedStartService()
        (self.port,) = self.udp.ports
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(0)
        self.socket.connect(("127.0.0.1", self.port.getHost().port))

    def pause(self, seconds: float = 0.05) -> Deferred[None]:
        """Give something that must not happen the time to happen."""
        return deferLater(reactor, seconds, lambda: None)

    @inlineCallbacks
    def until(self, done: Callable[[], bool]) -> Any:
        deadline = reactor.seconds() + SECONDS
        while not done():
            assert reactor.seconds() < deadline
            yield deferLater(reactor, 0.001, lambda: None)

    @inlineCallbacks
    def receive(self) -> Any:
        """Return the next datagram."""
        arrivals = select.poll()
        arrivals.register(self.socket, select.POLLIN)
        yield self.until(lambda: bool(arrivals.poll(0)))
        return self.socket.recv(65_535)

    def assertNothingReceived(self) -> None:
        with self.assertRaises(BlockingIOError):
            self.socket.recv(1)

    @inlineCallbacks
    def test_early_datagrams_wait_until_the_service_starts(self) -> Any:
        self.socket.send(b"1 Alice")
        yield self.pause()
        self.assertNothingReceived()
        self.assertEqual(self.port.protocol.datagrams, 0)
        yield self.group_service.startService()
        self.udp.startService()
        self.assertEqual((yield self.receive()), b"")
        yield self.udp.stopService()
        yield self.group_service.stopService()

    @inlineCallbacks
    def test_stopping_answers_pending_requests_only(self) -> Any:
        clock = Clock()
        self.port.stopListening()
        self.make(GroupService(Settings(), LateLog(Store(), clock, 0.5), clock, self.fail))
        yield self.group_service.startService()
        self.udp.startService()
        self.socket.send(b"1 Alice")
        yield self.until(lambda: self.port.protocol.datagrams == 1)
        clock.advance(0)
        stopped = self.udp.stopService()
        self.socket.send(b"5")
        yield self.pause()
        self.assertNothingReceived()
        self.assertNoResult(stopped)
        clock.advance(0.5)
        yield stopped
        self.assertEqual((yield self.receive()), b"")
        self.assertNothingReceived()

    @inlineCallbacks
    def test_a_flood_cannot_starve_the_reactor(self) -> Any:
        yield self.group_service.startService()
        self.udp.startService()
        for _ in range(AT_ONCE + 10):
            self.socket.send(b"")
        self.port.doRead()
        self.assertEqual(self.port.protocol.datagrams, AT_ONCE)
        self.port.doRead()
        self.assertEqual(self.port.protocol.datagrams, AT_ONCE + 10)
        self.assertEqual(self.port.protocol.refusals, AT_ONCE + 10)
        yield self.udp.stopService()
        yield self.group_service.stopService()

    @inlineCallbacks
    def test_answers_of_many_ranges_leave_the_reactor_its_turns(self) -> Any:
        yield self.group_service.startService()
        self.udp.startService()
        group = self.group_service.group
        for member, name in enumerate(("Alice", "Bob"), 1):
            group.apply(Joined(member, name, name.lower(), 0.0, "h", None, name))
        group.apply(Joined(3, "Eve", "eve", 0.0, *self.socket.getsockname()))
        for _ in range(10_000):
            group.apply(Said(1, "Alice", "x", 0.0))
            group.apply(Whispered(1, "Alice", 2, "Bob", "x", 0.0))
        for _ in range(AT_ONCE):
            self.socket.send(b"5")
        turns: list[int] = []
        while self.port.protocol.datagrams < AT_ONCE:
            before = group.history.ranges
            self.port.doRead()
            turns.append(group.history.ranges - before)
        self.assertEqual(turns, [STEP * MAX_RANGES] * (AT_ONCE // STEP))
        yield self.udp.stopService()
        yield self.group_service.stopService()

    @inlineCallbacks
    def test_counters_are_logged_at_stop(self) -> Any:
        events = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        yield self.group_service.startService()
        self.udp.startService()
        for datagram in (b"1 Alice", b"5", b"6", b"Illegal message"):
            self.socket.send(datagram)
        yield self.until(lambda: self.port.protocol.datagrams == 4)
        yield self.udp.stopService()
        yield self.group_service.stopService()
        (counts,) = [event for event in events if "refusals" in event]
        self.assertEqual([counts[name] for name in ("datagrams", "replies", "refusals", "drops")], [4, 2, 1, 1])

    def tearDown(self) -> Any:
        return self.port.stopListening()


class AllowedTests(SynchronousTestCase):
    """Addresses outside of the networks are refused, and leave no trace."""

    def setUp(self) -> None:
        self.node = Node()

    def allow(self, *networks: str) -> None:
        """Accept only these networks from now on."""
        self.node.udp = FiveMessages(self.node.service, 65_507, [ip_network(network) for network in networks])
        self.node.udp.makeConnection(self.node.port)

    def test_addresses_in_and_outside_of_the_networks(self) -> None:
        self.allow("10.0.0.0/8", "192.0.2.1/32", "fe80::/10", "2001:db8::/32")
        for number, (host, allowed) in enumerate(
            [
                ("10.255.0.1", True),
                ("11.0.0.1", False),
                ("192.0.2.1", True),
                ("192.0.2.2", False),
                ("127.0.0.1", False),
                ("2001:db8::1", True),
                ("2001:db9::1", False),
                ("::1", False),
                ("fe80::1", True),
                ("fe80::1%2", True),
                ("fec0::1%2", False),
                ("::ffff:11.0.0.1", False),
                ("::ffff:10.0.0.1", False),
            ]
        ):
            reply = self.node.ask(number, f"1 member {number}", host)
            self.assertEqual(reply != "Illegal message", allowed, host)
            self.assertEqual((host, number) in self.node.service.seats.at, allowed, host)

    def test_requests_from_other_networks_change_nothing(self) -> None:
        self.allow("10.0.0.0/8")
        self.node.ask(1, "1 Alice")
        head = self.node.service.group.history.head
        for request in ["1 Bob", "2 hi", "3 Bob", "4", "5", "nonsense"]:
            self.assertEqual(self.node.ask(2, request, "11.0.0.1"), "Illegal message", request)
        self.assertEqual((self.node.service.group.history.head, len(self.node.service.seats.at)), (head, 1))
        self.assertEqual(self.node.udp.refusals, 6)

    def test_without_networks_all_are_refused(self) -> None:
        self.allow()
        for host in ("10.0.0.1", "::1"):
            self.assertEqual(self.node.ask(1, "1 Alice", host), "Illegal message")

    def test_a_member_of_an_allowed_network_stays_a_member(self) -> None:
        self.allow("10.0.0.0/8")
        self.node.ask(1, "1 Alice")
        self.node.ask(2, "1 Bob")
        self.assertEqual(self.node.ask(1, "2 hi"), "Bob has joined")
        self.assertEqual(self.node.ask(2, "5"), "Alice: hi")
        self.assertEqual(self.node.ask(2, "4"), "close")
        self.assertEqual(self.node.ask(2, "1 Bob"), "Alice")

    def test_networks_hold_for_members_of_before_a_restart(self) -> None:
        store = Store()
        before = Node(MemoryLog(store))
        before.ask(1, "1 Alice")
        before.ask(2, "1 Bob", "11.0.0.1")
        self.node = Node(MemoryLog(store))
        self.allow("10.0.0.0/8")
        self.assertEqual(self.node.ask(1, "5"), "Bob has joined")
        self.assertEqual(self.node.ask(2, "5", "11.0.0.1"), "Illegal message")

    def test_all_networks_are_allowed_by_default(self) -> None:
        for host in ("10.0.0.1", "::1", "fe80::1%2", "::ffff:10.0.0.1"):
            self.assertNotEqual(self.node.ask(1, f"1 {host.replace(':', '.')}", host), "Illegal message", host)


class EverywhereTests(TestCase):
    def test_ipv4_comes_first(self) -> None:
        self.assertEqual(next(everywhere()), "0.0.0.0")
