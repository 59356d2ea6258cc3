"""Who may have a connection, and for how long: in memory; and the ports, on real sockets."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver, StringTransport, StringTransportWithDisconnection
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from groupchat.errors import CannotListen
from groupchat.frontends.lines import Lines
from groupchat.frontends.streams import STEP, Hub, PortEndpoint, Refusal, StreamService, tune, writer
from groupchat.limits import KEEPALIVE, SEND_BUFFER, STOP_SECONDS, Limits, Settings
from groupchat.log.memory import MemoryLog, Store
from groupchat.service import GroupService
from tests.logs import LateLog
from tests.test_lines import WELCOME, Caller, Lobby

reactor: Any = installed

TOO_MANY = b"* There are too many connections: try again later.\n"
TOO_MANY_OF_YOURS = b"* There are too many connections from your address.\n"
STOPPING = "* The server is stopping. What was said is kept: come back in a while."
PATIENCE = 20.0


class LimitTests(SynchronousTestCase):
    def refused(self, lobby: Lobby, host: str) -> bytes:
        """What a connection that is refused is told before it is closed."""
        transport = StringTransport()
        protocol = lobby.hub.buildProtocol(IPv4Address("TCP", host, 40_000))
        self.assertIsInstance(protocol, Refusal)
        assert protocol is not None
        protocol.makeConnection(transport)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.disconnected)
        protocol.connectionLost(Failure(ConnectionDone()))
        told: bytes = transport.value()
        return told

    def test_in_all(self) -> None:
        lobby = Lobby(limits=Limits(max_connections=3))
        callers = [lobby.call(f"10.0.1.{number}") for number in range(3)]
        self.assertEqual(self.refused(lobby, "10.0.1.9"), TOO_MANY)
        callers[1].lose()
        lobby.call("10.0.1.9")
        self.assertEqual(self.refused(lobby, "10.0.1.1"), TOO_MANY)
        self.assertEqual((lobby.hub.total, lobby.hub.refused), (4, 2))

    def test_of_one_address(self) -> None:
        lobby = Lobby(limits=Limits(max_per_host=2))
        callers = [lobby.call("10.0.1.1"), lobby.call("10.0.1.1"), lobby.call("10.0.1.2")]
        self.assertEqual(self.refused(lobby, "10.0.1.1"), TOO_MANY_OF_YOURS)
        self.assertEqual(self.refused(lobby, "::ffff:10.0.1.1"), TOO_MANY_OF_YOURS)
        callers.append(lobby.call("10.0.1.2"))
        callers[0].lose()
        callers.append(lobby.call("::ffff:10.0.1.1"))
        self.assertEqual(self.refused(lobby, "10.0.1.1"), TOO_MANY_OF_YOURS)
        for caller in callers[1:]:
            caller.lose()
        self.assertEqual((lobby.hub.connections, lobby.hub._per_host), ({}, {}))

    def test_no_limit_for_one_address(self) -> None:
        lobby = Lobby(limits=Limits(max_per_host=0))
        for _ in range(50):
            lobby.call("10.0.1.1")
        self.assertEqual(len(lobby.hub.connections), 50)

    def test_those_without_an_ip_address_count_as_one(self) -> None:
        lobby = Lobby(limits=Limits(max_per_host=1))
        protocol = lobby.hub.buildProtocol(UNIXAddress("/run/chat"))
        assert isinstance(protocol, Lines)
        protocol.makeConnection(StringTransport())
        self.assertIsInstance(lobby.hub.buildProtocol(None), Refusal)
        self.assertIsInstance(lobby.hub.buildProtocol(IPv6Address("TCP", "::1", 1)), Lines)

    def test_before_the_start_none_is_taken(self) -> None:
        lobby = Lobby()
        hub = Hub(lobby.service, Limits(), lobby.clock, Lines)
        self.assertIsNone(hub.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))

    def test_whoever_does_not_take_the_refusal_is_not_waited_for(self) -> None:
        clock, transport = Clock(), StringTransport()
        refusal = Refusal("No.", clock)
        refusal.makeConnection(transport)
        refusal.dataReceived(b"Alice\n")
        clock.advance(STOP_SECONDS)
        self.assertEqual((transport.value(), transport.disconnected), (b"* No.\n", True))
        refusal.connectionLost()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_refusal_that_is_taken_at_once_leaves_nothing(self) -> None:
        clock, transport = Clock(), StringTransportWithDisconnection()
        transport.protocol = refusal = Refusal("No.", clock)
        refusal.makeConnection(transport)
        self.assertEqual((transport.value(), clock.getDelayedCalls()), (b"* No.\n", []))


class NameWithinTests(SynchronousTestCase):
    def test_whoever_gives_no_name_is_closed(self) -> None:
        lobby = Lobby(limits=Limits(name_within=10))
        early = lobby.call()
        lobby.pass_time(5)
        late, alice = lobby.call(), lobby.enter("Alice")
        early.ask("alice", "*", "/help")
        lobby.pass_time(4)
        self.assertFalse(early.is_closing)
        lobby.pass_time(1)
        self.assertEqual(early.heard()[-1], "* You gave no name. Come back when you have one.")
        self.assertEqual((early.is_closing, late.is_closing), (True, False))
        lobby.pass_time(5)
        self.assertTrue(late.is_closing)
        lobby.pass_time(100)
        self.assertEqual((alice.is_closing, alice.heard()), (False, []))

    def test_the_password_is_part_of_it(self) -> None:
        lobby = Lobby(limits=Limits(name_within=10, password=b"sesame"))
        caller = lobby.call()
        lobby.pass_time(9)
        caller.ask("sesame")
        lobby.pass_time(1)
        self.assertTrue(caller.is_closing)

    def test_it_holds_for_programs_too_until_they_have_their_session(self) -> None:
        lobby = Lobby(limits=Limits(name_within=10))
        robot, caller = lobby.program("Robot"), lobby.call()
        caller.ask(f"/resume {'ff' * 16} 1")
        lobby.pass_time(10)
        self.assertEqual((robot.is_closing, caller.is_closing), (False, True))

    def test_whoever_does_not_take_what_is_left_is_dropped(self) -> None:
        lobby = Lobby(stall=20)
        alice = lobby.enter("Alice")
        alice.ask("/quit")
        lobby.pass_time(19)
        self.assertEqual((alice.is_closing, alice.transport.disconnected), (True, False))
        lobby.pass_time(1)
        self.assertTrue(alice.transport.disconnected)

    def test_a_bug_is_survived(self) -> None:
        lobby = Lobby(limits=Limits(name_within=10))
        caller = lobby.call()
        self.patch(caller.lines, "close", lambda *why: 1 / 0)
        lobby.pass_time(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del caller.lines.close
        lobby.pass_time(1)
        self.assertTrue(caller.is_closing)


class StopTests(SynchronousTestCase):
    def stop(self, lobby: Lobby) -> list[None]:
        """Begin to stop; the list is no longer empty once that is done."""
        stopped: list[None] = []
        lobby.hub.stop().addCallback(stopped.append)
        return stopped

    def end(self, lobby: Lobby, *callers: Caller) -> list[list[str]]:
        """What each was told before it was closed, and is gone."""
        heard = [caller.heard() for caller in callers]
        for caller in callers:
            self.assertTrue(caller.is_closing)
            caller.lose()
        lobby.clock.pump([0.1] * 3)
        return heard

    def test_everybody_is_told(self) -> None:
        lobby = Lobby()
        alice, robot, nobody = lobby.enter("Alice"), lobby.program("Robot"), lobby.call()
        for caller in (alice, robot, nobody):
            caller.heard()
        stopped = self.stop(lobby)
        self.assertEqual(stopped, [])
        self.assertEqual(self.end(lobby, alice, robot, nobody), [[STOPPING]] * 3)
        self.assertEqual(stopped, [None])
        self.assertFalse(lobby.hub._ticker.running)

    def test_with_nobody_there(self) -> None:
        self.assertEqual(self.stop(Lobby()), [None])

    def test_what_is_under_way_is_answered_and_told_first(self) -> None:
        clock = Clock()
        lobby = Lobby(LateLog(Store(), clock, 0.5), clock)
        alice, robot = lobby.call(), lobby.call()
        alice.send("Alice")
        robot.send(f"/numbered {'ff' * 16} Robot")
        lobby.settle()
        clock.advance(0.5)
        self.assertEqual((alice.heard()[-1], robot.heard()[-1]), ("Robot has joined", "session 2 0 Robot"))
        alice.send("hi")
        robot.send("1 hello")
        stopped = self.stop(lobby)
        lobby.settle()
        self.assertEqual((alice.heard(), robot.heard()), ([], []))
        clock.pump([0.1] * 20)
        self.assertEqual(
            self.end(lobby, alice, robot),
            [["Robot: hello", STOPPING], ["ok 1", "3 Alice: hi", STOPPING]],
        )
        self.assertEqual(stopped, [None])

    def test_a_slow_one_is_given_what_is_there_for_it(self) -> None:
        lobby = Lobby()
        alice, carol = lobby.enter("Alice"), lobby.enter("Carol")
        alice.heard()
        alice.lines.pauseProducing()
        carol.ask("hi")
        stopped = self.stop(lobby)
        lobby.clock.pump([0.1] * 5)
        self.assertEqual((alice.heard(), carol.heard()), ([], []))
        alice.lines.resumeProducing()
        lobby.clock.pump([0.1] * 2)
        self.assertEqual(self.end(lobby, alice, carol), [["Carol: hi", STOPPING], [STOPPING]])
        self.assertEqual(stopped, [None])

    def test_one_that_takes_nothing_is_dropped(self) -> None:
        lobby = Lobby()
        alice, carol = lobby.enter("Alice"), lobby.enter("Carol")
        alice.lines.pauseProducing()
        carol.ask("hi")
        stopped = self.stop(lobby)
        lobby.clock.pump([STEP] * int(2 * STOP_SECONDS / STEP + 5))
        self.assertEqual((carol.is_closing, alice.transport.disconnected), (True, True))
        self.assertEqual(stopped, [])
        alice.lose()
        carol.lose()
        lobby.clock.pump([0.1] * 2)
        self.assertEqual(stopped, [None])

    def test_one_that_never_ends_is_not_waited_for_for_ever(self) -> None:
        lobby = Lobby()
        lobby.call()
        stopped = self.stop(lobby)
        lobby.clock.pump([STEP] * int(3 * STOP_SECONDS / STEP + 5))
        self.assertEqual(stopped, [None])


class Silent(Protocol):
    """The protocol of whoever listens for nothing."""


def silence() -> Factory:
    return Factory.forProtocol(Silent)


class PortTests(TestCase):
    def listen(self, number: int, interface: str | None) -> Any:
        port = self.successResultOf(PortEndpoint(reactor, number, interface).listen(silence()))
        self.addCleanup(port.stopListening)
        return port

    def connect(self, host: str, number: int) -> None:
        socket.create_connection((host, number), timeout=PATIENCE).close()

    def test_it_is_an_endpoint(self) -> None:
        self.assertTrue(verifyObject(IStreamServerEndpoint, PortEndpoint(reactor, 0, None)))

    def test_everywhere(self) -> None:
        number = self.listen(0, None).getHost().port
        self.connect("127.0.0.1", number)
        self.connect("127.0.0.2", number)
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"this machine has no IPv6: {error}")
        self.connect("::1", number)

    def test_on_one_address_only(self) -> None:
        number = self.listen(0, "127.0.0.2").getHost().port
        self.connect("127.0.0.2", number)
        with self.assertRaises(ConnectionRefusedError):
            self.connect("127.0.0.1", number)

    def test_on_one_address_of_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"this machine has no IPv6: {error}")
        number = self.listen(0, "::1").getHost().port
        self.connect("::1", number)
        with self.assertRaises(ConnectionRefusedError):
            self.connect("127.0.0.1", number)

    def test_a_port_that_is_in_use(self) -> None:
        number = self.listen(0, "127.0.0.1").getHost().port
        self.failureResultOf(PortEndpoint(reactor, number, "127.0.0.1").listen(silence()), OSError)
        with self.assertRaises(OSError):
            PortEndpoint(reactor, number, "127.0.0.1").bind()

    def test_the_socket_of_a_connection_is_tuned(self) -> None:
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

    def test_what_has_no_tcp_socket_is_left_alone(self) -> None:
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


class Told(Protocol):
    """Somebody is told of its transport."""

    def __init__(self, made: Deferred[Any]) -> None:
        self._made = made

    def connectionMade(self) -> None:
        self._made.callback(self.transport)


class WriterTests(TestCase):
    """Writing past Twisted's buffer, which looks at `dataBuffer` and `_tempDataLen` of its transport."""

    @inlineCallbacks
    def setUp(self) -> Any:  # type: ignore[override]
        made: Deferred[Any] = Deferred()
        factory = Factory.forProtocol(lambda: Told(made))
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.client = socket.create_connection(("127.0.0.1", port.getHost().port), timeout=PATIENCE)
        self.addCleanup(self.client.close)
        self.transport = yield made

    def test_a_little_is_sent_at_once(self) -> None:
        writer(self.transport)(b"hello\n")
        self.assertEqual((self.transport.dataBuffer, self.transport._tempDataLen), (b"", 0))
        self.assertEqual(self.client.recv(100), b"hello\n")  # though the reactor had no turn
        self.transport.loseConnection()

    @inlineCallbacks
    def test_more_than_the_kernel_takes_comes_in_order(self) -> Any:
        write = writer(self.transport)
        pieces = [b"%07d " % number * 4096 for number in range(1000)]  # 32 MB
        for piece in pieces:
            write(piece)
        self.assertGreater(len(self.transport.dataBuffer) + self.transport._tempDataLen, 1_000_000)
        self.client.setblocking(False)
        received = bytearray()
        deadline = reactor.seconds() + PATIENCE
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
    def test_to_somebody_who_is_gone(self) -> Any:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.close()
        write = writer(self.transport)
        deadline = reactor.seconds() + PATIENCE
        while self.transport.connected:
            assert reactor.seconds() < deadline
            write(b"anybody?\n")
            yield deferLater(reactor, 0.01, lambda: None)

    def test_what_is_no_tcp_is_written_to_as_usual(self) -> None:
        transport = StringTransport()
        writer(transport)(b"hello")
        self.assertEqual(transport.value(), b"hello")
        self.transport.TLS = True
        self.assertEqual(writer(self.transport), self.transport.write)
        self.transport.TLS = False
        self.transport.loseConnection()


@implementer(IStreamServerEndpoint)
class NoEndpoint:
    """An endpoint that cannot be had: it fails, or raises."""

    def __init__(self, raises: bool) -> None:
        self._raises = raises

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        if self._raises:
            raise OSError("no such interface")
        return fail(OSError("in use"))


class KnownEndpoint(PortEndpoint):
    """Remembers on which port it listens."""

    def listen(self, protocolFactory: Any) -> Deferred[Any]:
        return super().listen(protocolFactory).addCallback(self._remember)

    def _remember(self, port: Any) -> Any:
        self.number = port.getHost().port
        return port


class ServiceTests(TestCase):
    """StreamService on real sockets."""

    def setUp(self) -> Any:
        self.group_service = GroupService(Settings(), MemoryLog(), reactor, self.fail)
        self.hub = Hub(self.group_service, Limits(), reactor, Lines)
        self.endpoint = KnownEndpoint(reactor, 0, "127.0.0.1")
        self.service = StreamService(self.hub, [self.endpoint])
        self.addCleanup(self.group_service.stopService)
        return self.group_service.startService()

    def connect(self) -> socket.socket:
        """A connection, which need not be taken yet: the kernel does that."""
        connected = socket.create_connection(("127.0.0.1", self.endpoint.number), timeout=PATIENCE)
        connected.setblocking(False)
        self.addCleanup(connected.close)
        return connected

    @inlineCallbacks
    def received(self, connected: socket.socket, upto: bytes) -> Any:
        """What comes, until it ends with this; empty is the end of the connection."""
        data = b""
        deadline = reactor.seconds() + PATIENCE
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
    def test_a_connection_that_comes_early_waits_and_one_at_the_end_is_told(self) -> Any:
        self.service.privilegedStartService()
        connected = self.connect()
        connected.send(b"Alice\n")
        yield deferLater(reactor, 0.05, lambda: None)
        self.assertEqual(self.hub.total, 0)
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
    def test_it_binds_when_it_starts_if_that_was_not_done_before(self) -> Any:
        yield self.service.startService()
        connected = self.connect()
        yield self.received(connected, b"* What is your name?\n")
        yield self.service.stopService()
        with self.assertRaises(ConnectionRefusedError):
            self.connect()

    @inlineCallbacks
    def test_an_endpoint_that_cannot_be_had(self) -> Any:
        for raises, why in [(False, "in use"), (True, "no such interface")]:
            service = StreamService(self.hub, [NoEndpoint(raises)])
            with self.assertRaises(CannotListen) as caught:
                yield service.startService()
            self.assertEqual(str(caught.exception), f"cannot listen for lines: {why}")
            self.assertFalse(self.hub.ready)
            yield service.stopService()
