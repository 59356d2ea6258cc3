"""What is logged of members: who came and went, by which way, from where and why; and no more than can be read."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from groupchat.core.commands import Ban, Leave, Mute, OperatorCommand, Promote, Remove, Rename, Say
from groupchat.core.limits import Limits
from groupchat.service.access_log import AT_ONCE, AWAY_SECONDS, PASSWORDS_AT_ONCE, RATE, SUMMARY_SECONDS
from tests.connections import KEY, Connection, SessionTestCase
from tests.lobby import Lobby, LobbyTestCase
from tests.logs import LateLog
from tests.node import Node

DAY = 86_400


@implementer(ILogObserver)
class Logged:
    """The lines of the log, while a test runs."""

    def __init__(self) -> None:
        self._events: list[LogEvent] = []
        globalLogPublisher.addObserver(self)

    def stop(self) -> None:
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        self._events.append(event)

    def lines(self, kind: str = "") -> list[str]:
        """Return the lines about members since the last call; with a kind, those of this kind."""
        events = [event for event in self._events if "kind" in event or "kinds" in event]
        self._events.clear()
        return [formatEvent(event) for event in events if kind in ("", event.get("kind"))]


class AccessLogTests(SessionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = Logged()
        self.addCleanup(self.log.stop)

    def logged(self) -> list[str]:
        self.settle()
        return self.log.lines()

    def tick(self, seconds: float) -> None:
        self.node.pass_time(seconds)
        self.settle()

    def connected(self, name: str, secret: str | None = None, host: str = "10.0.0.9", way: str = "tcp") -> Connection:
        connection = Connection(self.node.service, host)
        connection.way = way
        connection.join(name, secret)
        self.settle()
        return connection

    def operate(self, command: OperatorCommand) -> None:
        command.by = "root"
        self.node.service.operate(command).addErrback(lambda why: self.fail(str(why)))
        self.settle()

    def test_a_join_shows_the_way_and_the_address(self) -> None:
        self.connected("Alice", way="tls")
        self.node.ask(1, "1 Bob", host="2001:db8::1")
        self.assertEqual(self.logged(), ["10.0.0.9 (tls): Alice joined", "2001:db8::1 (udp): Bob joined"])

    def test_who_asks_to_leave_needs_no_reason(self) -> None:
        alice = self.connected("Alice")
        self.node.ask(1, "1 Bob")
        self.logged()
        alice.ask(Leave())
        self.node.ask(1, "4")
        self.assertEqual(self.logged(), ["10.0.0.9 (tcp): Alice left", "10.0.0.1 (udp): Bob left"])

    def test_texts_and_polls_are_not_logged(self) -> None:
        alice = self.connected("Alice")
        self.node.ask(1, "1 Bob")
        self.logged()
        alice.ask(Say("secret"))
        self.node.ask(1, "2 secret")
        self.node.ask(1, "5")
        self.assertEqual(self.logged(), [])

    def test_a_connection_that_ended_is_the_reason(self) -> None:
        self.connected("Alice").hang_up(hold=False)
        self.assertEqual(self.logged()[1:], ["10.0.0.9 (tcp): Alice left: its connection ended"])

    def test_a_break_is_logged_and_its_end(self) -> None:
        self.start(hold=60)
        self.connected("Alice", KEY).hang_up(hold=True)
        self.logged()
        self.tick(AWAY_SECONDS + 1)
        away = ["10.0.0.9 (tcp): Alice has no connection, and its seat is held for 60 s"]
        self.assertEqual(self.logged(), away)
        self.tick(5)
        self.assertEqual(self.logged(), [], "once is enough")
        again = Connection(self.node.service, "10.0.0.10")
        again.way = "web"
        again.resume(KEY)
        self.assertEqual(self.logged(), ["10.0.0.10 (web): Alice came back"])
        again.hang_up(hold=True)
        self.tick(61)
        held, left = self.logged()
        self.assertEqual(held, away[0].replace("tcp", "web"))
        self.assertEqual(left, "10.0.0.9 (web): Alice left: did not come back within 60 s")

    def test_a_short_break_is_not_logged(self) -> None:
        """A script over HTTP makes one between any two requests."""
        alice = self.connected("Alice", KEY, way="web")
        self.logged()
        for _ in range(20):
            alice.hang_up(hold=True)
            self.tick(AWAY_SECONDS - 2)
            alice.resume(KEY)
        self.assertEqual(self.logged(), [])

    def test_no_break_is_logged_when_the_seat_ends_with_it(self) -> None:
        self.start(hold=int(AWAY_SECONDS))
        self.connected("Alice", KEY).hang_up(hold=True)
        self.logged()
        self.tick(AWAY_SECONDS + 1)
        self.assertEqual(self.logged(), ["10.0.0.9 (tcp): Alice left: did not come back within 5 s"])

    def test_a_member_who_left_is_forgotten(self) -> None:
        self.start(hold=60)
        self.connected("Alice", KEY).hang_up(hold=True)
        self.tick(AWAY_SECONDS + 1)
        self.assertEqual(len(self.node.service.access_log._away), 1)
        self.tick(61)
        self.assertEqual(self.node.service.access_log._away, set())

    def test_a_session_that_is_taken_over_is_logged(self) -> None:
        self.connected("Alice", KEY)
        self.logged()
        Connection(self.node.service, "10.0.0.77").resume(KEY)
        self.assertEqual(self.logged(), ["10.0.0.77 (tcp): Alice goes on on another connection"])

    def test_silence_is_a_reason(self) -> None:
        self.start(idle=1, release=0)
        self.node.ask(1, "1 Bob")
        self.logged()
        self.tick(DAY + 180)
        self.assertEqual(self.logged(), ["10.0.0.1 (udp): Bob left: silent for 1 days"])

    def test_a_name_that_goes_to_another_is_a_reason(self) -> None:
        self.start(release=60)
        self.node.ask(1, "1 Bob")
        self.logged()
        self.tick(61)
        self.node.ask(2, "1 Bob")
        gone = "10.0.0.1 (udp): Bob left: its seat, or its name, went to the next who joined"
        self.assertEqual(self.logged(), [gone, "10.0.0.1 (udp): Bob joined"])

    def test_a_new_name_is_logged_with_the_old_one(self) -> None:
        alice = self.connected("Alice")
        self.logged()
        alice.ask(Rename("Al"))
        self.assertEqual(self.logged(), ["10.0.0.9 (tcp): Alice is called Al now"])

    def test_removals_bans_and_mutes_have_their_reason(self) -> None:
        for name in ("Alice", "Bob"):
            self.connected(name)
        self.logged()
        self.operate(Mute("Bob"))
        self.operate(Remove("Alice", why="spam"))
        self.operate(Ban("Mallory", 3600, why="rude"))
        self.operate(Ban("203.0.113.0/24"))
        muted, removed, name, network = self.logged()
        self.assertEqual(muted, "Muted by root: Bob of 10.0.0.9")
        self.assertEqual(removed, "10.0.0.9 (tcp): Alice was removed by root: spam")
        self.assertRegex(name, r"\ABanned by root: the name Mallory until 2023-11-14T\d\d:\d\d:\d\dZ: rude\Z")
        self.assertEqual(network, "Banned by root: 203.0.113.0/24")

    def test_whom_a_ban_ends_is_logged_as_removed(self) -> None:
        self.connected("Alice", host="203.0.113.5")
        self.logged()
        self.operate(Ban("203.0.113.0/24", why="flood"))
        self.tick(2)
        self.assertEqual(self.logged()[1:], ["203.0.113.5 (tcp): Alice was removed by root: flood"])

    def test_who_becomes_an_operator_is_logged(self) -> None:
        alice = self.connected("Alice")
        self.logged()
        alice.ask(Promote())
        self.assertEqual(self.logged(), ["10.0.0.9 (tcp): Alice became an operator"])

    def test_a_start_does_not_log_what_was_before_it(self) -> None:
        self.node.ask(1, "1 Bob")
        self.settle()
        self.log.lines()
        self.use(Node(LateLog(self.store, self.clock, self.delay), self.clock))
        self.settle()
        self.assertIn("Bob", [member.name for member in self.group.members.values()])
        self.assertEqual(self.log.lines(), [])

    def test_a_flood_costs_few_lines_and_is_summed_up(self) -> None:
        for number in range(1000):
            self.node.ask(number, f"1 Bob{number}", host=f"10.1.{number // 250}.{number % 250}")
        lines = self.logged()
        self.assertEqual(len(lines), AT_ONCE)
        self.tick(2)
        self.assertEqual(
            self.logged(), ["950 lines about members were left out here, as there were too many: joined 950"]
        )
        for _ in range(10):
            for number in range(1000):
                self.node.ask(number, "4", host=f"10.1.{number // 250}.{number % 250}")
                self.node.ask(number, f"1 Bob{number}", host=f"10.1.{number // 250}.{number % 250}")
            self.tick(1)
        lines = self.logged()
        self.assertLessEqual(len(lines), 2 * (AT_ONCE + 12 * RATE) + 12 / SUMMARY_SECONDS + 1)

    def test_a_flood_of_joins_hides_nothing_else(self) -> None:
        alice = self.connected("Alice")
        for number in range(1000):
            self.node.ask(number, f"1 Bob{number}", host=f"10.1.{number // 250}.{number % 250}")
        self.logged()
        alice.ask(Rename("Al"))
        self.node.service.access_log.wrong_password("10.0.0.3", "tcp", "")
        self.assertEqual(self.logged(), ["10.0.0.3 (tcp): wrong password", "10.0.0.9 (tcp): Alice is called Al now"])

    def test_summaries_come_at_most_every_ten_seconds(self) -> None:
        for _ in range(int(2 * SUMMARY_SECONDS)):
            for _ in range(PASSWORDS_AT_ONCE + 1):
                self.node.service.access_log.wrong_password("10.0.0.3", "tcp", "")
            self.tick(1)
        self.assertEqual(len([line for line in self.logged() if "left out" in line]), 2)

    def test_a_clock_that_is_set_back_delays_no_summary(self) -> None:
        for _ in range(2):
            for _ in range(PASSWORDS_AT_ONCE + 1):
                self.node.service.access_log.wrong_password("10.0.0.3", "tcp", "")
            self.clock.rightNow -= 1_000
            self.node.service.access_log.tick(self.clock.seconds())
            self.assertIn("left out", self.logged()[-1])

    def test_what_was_left_out_is_told_at_the_end(self) -> None:
        for _ in range(PASSWORDS_AT_ONCE + 3):
            self.node.service.access_log.wrong_password("10.0.0.3", "tcp", "")
        self.logged()
        self.node.service.stopService()
        self.tick(1)
        self.assertEqual(
            self.logged(), ["3 lines about members were left out here, as there were too many: password 3"]
        )


class WrongPasswordTests(LobbyTestCase):
    def setUp(self) -> None:
        self.open(Lobby(limits=Limits(password=b"sesame", operators=(b":open",))))
        self.log = Logged()
        self.addCleanup(self.log.stop)

    def test_wrong_passwords_show_their_address(self) -> None:
        caller = self.lobby.call("198.51.100.4")
        caller.ask("guess")
        self.assertEqual(self.log.lines(), ["198.51.100.4 (tcp): wrong password"])
        caller.ask("sesame")
        caller.ask("Alice")
        self.assertEqual(self.log.lines("password"), [])
        caller.ask("/operator guess")
        self.assertEqual(self.log.lines(), ["198.51.100.4 (tcp): wrong password of an operator"])

    def test_a_right_password_is_not_logged(self) -> None:
        self.lobby.call().ask("sesame")
        self.assertEqual(self.log.lines(), [])
