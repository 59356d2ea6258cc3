"""Ports, socket options and writing, on real sockets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import EventLoggingObserver, StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from groupchat.core.errors import CannotListen
from groupchat.core.limits import KEEPALIVE, SEND_BUFFER, Limits, Settings
from groupchat.frontends.connections import ConnectionRegistry, PortEndpoint, StreamService, tune, writer
from groupchat.frontends.lines import LinesProtocol
from groupchat.log.memory import MemoryLog
from groupchat.service.group_service import GroupService
from tests.daemon import SECONDS
from tests.lobby import STOPPING, WELCOME
from tests.sessions import RESET

reactor: Any = installed


class Silent(Protocol):
    """A protocol that does nothing."""


class PortTests(TestCase):
    def listen(self, number: int, interface: str | None) -> Any:
        port = self.successResultOf(PortEndpoint(reactor, number, interface).listen(Factory.forProtocol(Silent)))
        self.addCleanup(port.stopListening)
        return port

    def connect(self, host: str, number: int) -> None:
        socket.create_connection((host, number), timeout=SECONDS).close()

    def need_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"this machine has no IPv6: {error}")

    def test_port_endpoint_provides_its_interface(self) -> None:
        self.assertTrue(verifyObject(IStreamServerEndpoint, PortEndpoint(reactor, 0, None)))

    def test_a_port_on_all_addresses(self) -> None:
        number = self.listen(0, None).getHost().port
        self.connect("127.0.0.1", number)
        self.connect("127.0.0.2", number)
        self.need_ipv6()
        self.connect("::1", number)

    def test_a_port_on_one_address(self) -> None:
        for own, other in [("127.0.0.2", "127.0.0.1"), ("::1", "127.0.0.1")]:
            if ":" in own:
                self.need_ipv6()
            number = self.listen(0, own).getHost().port
            self.connect(own, number)
            with self.assertRaises(ConnectionRefusedError):
                self.connect(other, number)

    def test_a_port_in_use_cannot_be_bound(self) -> None:
        number = self.listen(0, "127.0.0.1").getHost().port
        self.failureResultOf(PortEndpoint(reactor, number, "127.0.0.1").listen(Factory.forProtocol(Silent)), OSError)
        with self.assertRaises(OSError):
            PortEndpoint(reactor, number, "127.0.0.1").bind()

    def test_options_of_a_tcp_socket_are_set(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        client = socket.create_connection(server.getsockname())
        self.addCleanup(client.close)
        taken, _ = server.accept()
        self.addCleanup(taken.close)
        transport = StringTransport()
        transport.socket = taken  # type: ignore[attr-defined]
        before = taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        tune(transport)
        self.assertEqual((before, taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)), (0, 1))
        idle = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        self.assertEqual(tuple(taken.getsockopt(socket.IPPROTO_TCP, option) for option in idle), KEEPALIVE)
        self.assertEqual(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
        # Linux holds as much again for itself, and may be told to give less.
        self.assertLessEqual(taken.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF), 2 * SEND_BUFFER)
        self.assertNotEqual(
            taken.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
            client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        )

    def test_other_transports_are_left_alone(self) -> None:
        tune(StringTransport())
        transport = StringTransport()
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        transport.socket = one  # type: ignore[attr-defined]
        tune(transport)
        self.assertEqual(one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 0)
        one.close()
        closed = socket.socket()
        closed.close()
        transport.socket = closed  # type: ignore[attr-defined]
        tune(transport)


class Connected(Protocol):
    """Fires a Deferred with its transport."""

    def __init__(self, made: Deferred[Any]) -> None:
        self._made = made

    def connectionMade(self) -> None:
        self._made.callback(self.transport)


class WriterTests(TestCase):
    """Writing at once, round the buffer of Twisted."""

    @inlineCallbacks
    def setUp(self) -> Any:  # type: ignore[override]
        made: Deferred[Any] = Deferred()
        factory = Factory.forProtocol(lambda: Connected(made))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.client = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=SECONDS)
        self.addCleanup(self.client.close)
        self.transport = yield made

    def test_data_is_sent_at_once(self) -> None:
        writer(self.transport)(b"hello\n")
        self.assertEqual((self.transport.dataBuffer, self.transport._tempDataLen), (b"", 0))
        self.assertEqual(self.client.recv(100), b"hello\n")  # the reactor had no turn
        self.transport.loseConnection()

    @inlineCallbacks
    def test_more_than_the_kernel_takes_arrives_in_order(self) -> Any:
        write = writer(self.transport)
        pieces = [b"%07d " % number * 4096 for number in range(1000)]  # 32 MB
        for piece in pieces:
            write(piece)
        self.assertGreater(len(self.transport.dataBuffer) + self.transport._tempDataLen, 1_000_000)
        self.client.setblocking(False)
        received = bytearray()
        deadline = reactor.seconds() + SECONDS
        while len(received) < 32_768_000:
            assert reactor.seconds() < deadline, len(received)
            try:
                received += self.client.recv(1_000_000)
            except BlockingIOError:
                yield deferLater(reactor, 0, lambda: None)
        self.assertTrue(received == b"".join(pieces))
        write(b"and on")
        self.assertEqual(self.client.recv(100), b"and on")
        self.transport.loseConnection()

    @inlineCallbacks
    def test_writing_to_a_closed_connection_loses_it(self) -> Any:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.client.close()
        write = writer(self.transport)
        deadline = reactor.seconds() + SECONDS
        while self.transport.connected:
            assert reactor.seconds() < deadline
            write(b"anybody?\n")
            yield deferLater(reactor, 0.01, lambda: None)

    def test_other_transports_are_written_to_as_usual(self) -> None:
        transport = StringTransport()
        writer(transport)(b"hello")
        self.assertEqual(transport.value(), b"hello")
        self.transport.TLS = True
        self.assertEqual(writer(self.transport), self.transport.write)
        self.transport.TLS = False
        self.transport.loseConnection()


@implementer(IStreamServerEndpoint)
class NoEndpoint:
    """An endpoint that cannot listen: it fails, or raises."""

    def __init__(self, raises: bool) -> None:
        self._raises = raises

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        if self._raises:
            raise OSError("no such interface")
        return fail(OSError("in use"))


class KnownEndpoint(PortEndpoint):
    """An endpoint that remembers its port."""

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        return super().listen(protocolFactory).addCallback(self._remember)

    def _remember(self, port: Any) -> Any:
        self.number = port.getHost().port
        return port


class ServiceTests(TestCase):
    """StreamService on real sockets."""

    def setUp(self) -> Any:
        self.group_service = GroupService(Settings(), MemoryLog(), reactor, self.fail)
        self.registry = ConnectionRegistry(self.group_service, Limits(), reactor, LinesProtocol)
        self.endpoint = KnownEndpoint(reactor, 0, "127.0.0.1")
        self.service = StreamService(self.registry, [self.endpoint])
        self.addCleanup(self.group_service.stopService)
        return self.group_service.startService()

    def connect(self) -> socket.socket:
        """Return a connection, which the kernel accepts before the daemon does."""
        connected = socket.create_connection(("127.0.0.1", self.endpoint.number), timeout=SECONDS)
        connected.setblocking(False)
        self.addCleanup(connected.close)
        return connected

    @inlineCallbacks
    def received(self, connected: socket.socket, upto: bytes) -> Any:
        """Return the bytes up to and including `upto`, or, if that is empty, up to the end of the connection."""
        data = b""
        deadline = reactor.seconds() + SECONDS
        while not upto or not data.endswith(upto):
            assert reactor.seconds() < deadline, data
            try:
                some = connected.recv(65_536)
            except BlockingIOError:
                yield deferLater(reactor, 0.01, lambda: None)
                continue
            if not some:
                break
            data += some
        return data

    @inlineCallbacks
    def test_early_connections_wait_and_late_ones_are_told(self) -> Any:
        self.service.privilegedStartService()
        connected = self.connect()
        connected.send(b"Alice\n")
        yield deferLater(reactor, 0.05, lambda: None)
        self.assertEqual(self.registry.total, 0)
        with self.assertRaises(BlockingIOError):
            connected.recv(1)
        yield self.service.startService()
        welcome = f"{WELCOME.format('Alice')}\n".encode()
        data = yield self.received(connected, welcome)
        self.assertTrue(data.startswith(b"* This is lobby, a group chat.\n"), data)
        events = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        stopped = self.service.stopService()
        data = yield self.received(connected, b"")
        self.assertEqual(data, f"{STOPPING}\n".encode())
        yield stopped
        self.assertEqual([(event["total"], event["refused"]) for event in events if "total" in event], [(1, 0)])

    @inlineCallbacks
    def test_start_binds_if_privileged_start_did_not(self) -> Any:
        yield self.service.startService()
        connected = self.connect()
        yield self.received(connected, b"* What is your name?\n")
        yield self.service.stopService()
        with self.assertRaises(ConnectionRefusedError):
            self.connect()

    @inlineCallbacks
    def test_an_endpoint_that_fails_is_reported(self) -> Any:
        for raises, why in [(False, "in use"), (True, "no such interface")]:
            service = StreamService(self.registry, [NoEndpoint(raises)])
            with self.assertRaises(CannotListen) as caught:
                yield service.startService()
            self.assertEqual(str(caught.exception), f"cannot listen for lines: {why}")
            self.assertFalse(self.registry.ready)
            yield service.stopService()
