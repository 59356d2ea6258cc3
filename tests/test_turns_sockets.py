"""The sockets that Twisted's own reactor serves in one turn: few, the longest waiting first, and UDP always."""

from __future__ import annotations

import select
import socket
from typing import Any
from unittest import skipUnless

from twisted.internet.abstract import FileDescriptor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from groupchat.daemon.process import SOCKETS, limit_sockets
from groupchat.frontends.connections.listening import ACCEPTED, PortEndpoint, PortsService


class Reader(FileDescriptor):
    """One end of a pair of sockets, which the reactor reads from. The other end has sent something."""

    def __init__(self, reactor: EPollReactor) -> None:
        super().__init__(reactor)
        self._own, self._other = socket.socketpair()
        self._own.setblocking(False)
        self.fileno = self._own.fileno  # type: ignore[method-assign]
        self.reads = 0
        self.send()
        self.startReading()

    def send(self) -> None:
        self._other.send(b"x")

    def doRead(self) -> None:
        self.reads += 1
        self._own.recv(1)

    def close(self) -> None:
        self.stopReading()
        self._own.close()
        self._other.close()


@skipUnless(hasattr(select, "epoll"), "this system has no epoll")
class SocketsTests(TestCase):
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(Failure(ConnectionDone()))

    def readers(self, count: int) -> list[Reader]:
        found = [Reader(self.reactor) for _ in range(count)]
        for reader in found:
            self.addCleanup(reader.close)
        return found

    def test_a_turn_serves_few_sockets_and_the_port(self) -> None:
        readers, (port,) = self.readers(2 * SOCKETS + 10), self.readers(1)
        limit_sockets(self.reactor, [port])
        for turn in range(1, 4):
            self.reactor.doIteration(0)
            served = sum(reader.reads for reader in readers)
            self.assertLessEqual(served, turn * SOCKETS)
            self.assertGreaterEqual(served, min(turn * (SOCKETS - 1), len(readers)))
            if turn < 3:
                self.assertEqual(port.reads, turn)
                port.send()
        self.assertEqual({reader.reads for reader in readers}, {1})

    def test_those_that_wait_come_before_those_served_last(self) -> None:
        readers = self.readers(2 * SOCKETS)
        limit_sockets(self.reactor, [])
        self.reactor.doIteration(0)
        for reader in readers:
            reader.send()
        self.reactor.doIteration(0)
        self.assertEqual({reader.reads for reader in readers}, {1})

    def test_few_sockets_are_served_in_one_turn(self) -> None:
        readers = self.readers(SOCKETS - 1)
        limit_sockets(self.reactor, [])
        self.reactor.doIteration(0)
        self.assertEqual({reader.reads for reader in readers}, {1})

    def test_another_reactor_is_left_alone(self) -> None:
        reactor = object()
        limit_sockets(reactor, [])
        self.assertFalse(hasattr(reactor, "_poller"))

    def test_a_port_accepts_few_connections_in_a_turn(self) -> None:
        accepted = list[Protocol]()

        class Counter(Protocol):
            def connectionMade(self) -> None:
                accepted.append(self)

        ports = PortsService(Factory.forProtocol(Counter), [PortEndpoint(self.reactor, 0, "127.0.0.1")])
        self.successResultOf(ports.startService())
        address: Any = ports.ports[0].getHost()
        for _ in range(3 * ACCEPTED):
            self.addCleanup(socket.create_connection((address.host, address.port)).close)
        for turn in range(1, 4):
            self.reactor.doIteration(0)
            self.assertEqual(len(accepted), turn * ACCEPTED)
