"""The registry of connections, in memory: its limits, and how it stops."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.limits import STOP_SECONDS, STOP_STALL, Limits
from groupchat.frontends.connections import ConnectionRegistry, Refused
from groupchat.frontends.connections.registry import STEP
from groupchat.frontends.lines import LinesProtocol
from tests.lobby import OTHER_KEY, STOPPING, Caller, Lobby, late_lobby

TOO_MANY = b"* There are too many connections: try again later.\n"
TOO_MANY_OF_YOURS = b"* There are too many connections from your address.\n"


class LimitTests(SynchronousTestCase):
    def refused(self, lobby: Lobby, host: str) -> bytes:
        """Connect, expect to be refused, and return what is said before the connection is closed."""
        transport = StringTransport()
        protocol = lobby.registry.buildProtocol(IPv4Address("TCP", host, 40_000))
        self.assertIsInstance(protocol, Refused)
        assert protocol is not None
        protocol.makeConnection(transport)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.disconnected)
        protocol.connectionLost(Failure(ConnectionDone()))
        told: bytes = transport.value()
        return told

    def test_max_connections(self) -> None:
        lobby = Lobby(limits=Limits(max_connections=3))
        callers = [lobby.call(f"10.0.1.{number}") for number in range(3)]
        self.assertEqual(self.refused(lobby, "10.0.1.9"), TOO_MANY)
        callers[1].lose()
        lobby.call("10.0.1.9")
        self.assertEqual(self.refused(lobby, "10.0.1.1"), TOO_MANY)
        self.assertEqual((lobby.registry.total, lobby.registry.refused), (4, 2))

    def test_max_per_host(self) -> None:
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
        self.assertEqual((lobby.registry.connections, lobby.registry._per_host), ({}, {}))

    def test_max_per_host_of_zero_is_no_limit(self) -> None:
        lobby = Lobby(limits=Limits(max_per_host=0))
        for _ in range(50):
            lobby.call("10.0.1.1")
        self.assertEqual(len(lobby.registry.connections), 50)

    def test_transports_without_an_ip_address_are_one_host(self) -> None:
        lobby = Lobby(limits=Limits(max_per_host=1))
        protocol = lobby.registry.buildProtocol(UNIXAddress("/run/chat"))
        assert isinstance(protocol, LinesProtocol)
        protocol.makeConnection(StringTransport())
        self.assertIsInstance(lobby.registry.buildProtocol(None), Refused)
        self.assertIsInstance(lobby.registry.buildProtocol(IPv6Address("TCP", "::1", 1)), LinesProtocol)

    def test_nothing_is_accepted_before_the_start(self) -> None:
        lobby = Lobby()
        registry = ConnectionRegistry(lobby.service, Limits(), lobby.clock, LinesProtocol)
        self.assertIsNone(registry.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)))

    def test_a_refused_connection_is_aborted_if_it_does_not_close(self) -> None:
        clock, transport = Clock(), StringTransport()
        refusal = Refused(b"* No.\n", clock)
        refusal.makeConnection(transport)
        refusal.dataReceived(b"Alice\n")
        clock.advance(STOP_SECONDS)
        self.assertEqual((transport.value(), transport.disconnected), (b"* No.\n", True))
        refusal.connectionLost()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_refused_connection_that_closes_leaves_no_timer(self) -> None:
        clock, transport = Clock(), StringTransportWithDisconnection()
        transport.protocol = refusal = Refused(b"* No.\n", clock)
        refusal.makeConnection(transport)
        self.assertEqual((transport.value(), clock.getDelayedCalls()), (b"* No.\n", []))


class NameWithinTests(SynchronousTestCase):
    def test_a_connection_without_a_name_is_closed(self) -> None:
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

    def test_the_time_includes_the_password(self) -> None:
        lobby = Lobby(limits=Limits(name_within=10, password=b"sesame"))
        caller = lobby.call()
        lobby.pass_time(9)
        caller.ask("sesame")
        lobby.pass_time(1)
        self.assertTrue(caller.is_closing)

    def test_a_program_without_a_session_is_closed(self) -> None:
        lobby = Lobby(limits=Limits(name_within=10))
        robot, caller = lobby.program("Robot"), lobby.call()
        caller.ask(f"/resume {OTHER_KEY} 1")
        lobby.pass_time(10)
        self.assertEqual((robot.is_closing, caller.is_closing), (False, True))

    def test_a_closing_connection_that_stalls_is_dropped(self) -> None:
        lobby = Lobby(stall=20)
        alice = lobby.enter("Alice")
        alice.ask("/quit")
        lobby.pass_time(19)
        self.assertEqual((alice.is_closing, alice.transport.disconnected), (True, False))
        lobby.pass_time(1)
        self.assertTrue(alice.transport.disconnected)

    def test_a_bug_in_closing_is_survived(self) -> None:
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
        """Begin to stop. The list gets an element once that is done."""
        stopped: list[None] = []
        lobby.registry.stop().addCallback(stopped.append)
        return stopped

    def end(self, lobby: Lobby, *callers: Caller) -> list[list[str]]:
        """Lose these connections, which are closing. Return what each was told."""
        heard = [caller.heard() for caller in callers]
        for caller in callers:
            self.assertTrue(caller.is_closing)
            caller.lose()
        lobby.clock.pump([0.1] * 3)
        return heard

    def test_stopping_tells_every_connection(self) -> None:
        lobby = Lobby()
        alice, robot, nobody = lobby.enter("Alice"), lobby.program("Robot"), lobby.call()
        for caller in (alice, robot, nobody):
            caller.heard()
        stopped = self.stop(lobby)
        self.assertEqual(stopped, [])
        self.assertEqual(self.end(lobby, alice, robot, nobody), [[STOPPING]] * 3)
        self.assertEqual(stopped, [None])
        self.assertFalse(lobby.registry._ticker.running)

    def test_stopping_without_connections(self) -> None:
        self.assertEqual(self.stop(Lobby()), [None])

    def test_pending_commands_are_answered_before_stopping(self) -> None:
        lobby = late_lobby(0.5)
        alice, robot = lobby.call(), lobby.call()
        alice.send("Alice")
        robot.send(f"/numbered {OTHER_KEY} Robot")
        lobby.settle()
        lobby.clock.advance(0.5)
        self.assertEqual((alice.heard()[-1], robot.heard()[-1]), ("Robot has joined", "session 2 0 Robot"))
        alice.send("hi")
        robot.send("1 hello")
        stopped = self.stop(lobby)
        lobby.settle()
        self.assertEqual((alice.heard(), robot.heard()), ([], []))
        lobby.clock.pump([0.1] * 20)
        self.assertEqual(
            self.end(lobby, alice, robot),
            [["Robot: hello", STOPPING], ["ok 1", "3 Alice: hi", STOPPING]],
        )
        self.assertEqual(stopped, [None])

    def test_a_slow_reader_gets_its_lines_before_stopping(self) -> None:
        lobby = Lobby()
        alice, carol = lobby.enter("Alice"), lobby.enter("Carol")
        alice.heard()
        alice.lines.pauseProducing()
        carol.ask("hi")
        stopped = self.stop(lobby)
        lobby.clock.pump([0.1] * 4)
        self.assertEqual((alice.heard(), carol.heard()), ([], []))
        alice.lines.resumeProducing()
        lobby.clock.pump([0.1] * 2)
        self.assertEqual(self.end(lobby, alice, carol), [["Carol: hi", STOPPING], [STOPPING]])
        self.assertEqual(stopped, [None])

    def test_stopping_drops_a_stalled_reader(self) -> None:
        lobby = Lobby()
        alice, carol = lobby.enter("Alice"), lobby.enter("Carol")
        alice.lines.pauseProducing()
        carol.ask("hi")
        stopped = self.stop(lobby)
        lobby.clock.pump([STEP] * int(2 * STOP_STALL / STEP + 5))
        self.assertEqual((carol.is_closing, alice.transport.disconnected), (True, True))
        self.assertEqual(stopped, [])
        alice.lose()
        carol.lose()
        lobby.clock.pump([0.1] * 2)
        self.assertEqual(stopped, [None])

    def test_stopping_waits_as_long_as_some_reader_gets_on(self) -> None:
        lobby = Lobby()
        readers = [lobby.enter(f"Reader{number}") for number in range(4)]
        for reader in readers[1:]:
            reader.lines.pauseProducing()
        readers[0].ask("hi")
        stopped = self.stop(lobby)
        for reader in readers[1:]:
            lobby.clock.pump([0.1] * 4)
            self.assertFalse(readers[0].is_closing)
            reader.lines.resumeProducing()
            lobby.clock.pump([STEP] * 2)
        self.assertEqual(readers[3].heard()[-2:], ["Reader0: hi", STOPPING])
        self.assertEqual(stopped, [])
        self.end(lobby, *readers)
        self.assertEqual(stopped, [None])

    def test_stopping_does_not_wait_forever(self) -> None:
        lobby = Lobby()
        lobby.call()
        stopped = self.stop(lobby)
        lobby.clock.pump([STEP] * int(3 * STOP_SECONDS / STEP + 5))
        self.assertEqual(stopped, [None])
