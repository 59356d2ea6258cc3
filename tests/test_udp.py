"""The UDP front end on real sockets in this process: when it reads, and that nothing it is sent can starve the rest."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from groupchat.frontends.udp import AT_ONCE, FiveMessages, UDPService, everywhere
from groupchat.log.memory import MemoryLog, Store
from groupchat.rules import Settings
from groupchat.service import GroupService
from tests.logs import LateLog

reactor: Any = installed


class UDPServiceTests(TestCase):
    def setUp(self) -> None:
        self.make(GroupService(Settings(), MemoryLog(), reactor, self.fail))

    def make(self, group_service: GroupService) -> None:
        self.group_service = group_service
        self.udp = UDPService(reactor, group_service, 0, ["127.0.0.1"], lambda: FiveMessages(group_service, 65_507))
        self.udp.privilegedStartService()
        (self.port,) = self.udp._ports
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.settimeout(0)
        self.socket.connect(("127.0.0.1", self.port.getHost().port))

    def wait(self, seconds: float = 0.1) -> Deferred[None]:
        return deferLater(reactor, seconds, lambda: None)

    def received(self) -> list[bytes]:
        replies = []
        while True:
            try:
                replies.append(self.socket.recv(65_535))
            except BlockingIOError:
                return replies

    @inlineCallbacks
    def test_a_datagram_that_comes_early_waits_until_the_state_is_there(self) -> Any:
        self.socket.send(b"1 Alice")
        yield self.wait()
        self.assertEqual((self.received(), self.port.protocol.datagrams), ([], 0))
        yield self.group_service.startService()
        self.udp.startService()
        yield self.wait()
        self.assertEqual(self.received(), [b""])
        yield self.udp.stopService()
        yield self.group_service.stopService()

    @inlineCallbacks
    def test_stopping_answers_what_is_under_way_and_takes_nothing_more(self) -> Any:
        clock = Clock()
        self.port.stopListening()
        self.make(GroupService(Settings(), LateLog(Store(), clock, 0.5), clock, self.fail))
        yield self.group_service.startService()
        self.udp.startService()
        self.socket.send(b"1 Alice")
        yield self.wait()
        clock.advance(0)
        stopped = self.udp.stopService()
        self.socket.send(b"5")
        yield self.wait()
        self.assertEqual(self.received(), [])
        self.assertNoResult(stopped)
        clock.advance(0.5)
        yield stopped
        self.assertEqual(self.received(), [b""])

    @inlineCallbacks
    def test_a_flood_leaves_the_reactor_its_turns(self) -> Any:
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
    def test_its_counters_are_logged_at_stop(self) -> Any:
        events = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        yield self.group_service.startService()
        self.udp.startService()
        for datagram in (b"1 Alice", b"5", b"6", b"Illegal message"):
            self.socket.send(datagram)
        yield self.wait()
        yield self.udp.stopService()
        yield self.group_service.stopService()
        (counts,) = [event for event in events if "refusals" in event]
        self.assertEqual([counts[name] for name in ("datagrams", "replies", "refusals", "drops")], [4, 2, 1, 1])

    def tearDown(self) -> Any:
        return self.port.stopListening()


class EverywhereTests(TestCase):
    def test_ipv4_comes_first(self) -> None:
        self.assertEqual(next(everywhere()), "0.0.0.0")
