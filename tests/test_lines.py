"""Live lines in memory: connections without sockets, to a group that members with datagrams are in too."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from groupchat import linecodec
from groupchat.commands import Command
from groupchat.errors import Unavailable
from groupchat.frontends.lines import AT_ONCE as LINES_AT_ONCE
from groupchat.frontends.lines import Lines
from groupchat.frontends.streams import Hub, IConnected
from groupchat.limits import (
    BURST,
    GREETING_LINES,
    HISTORY,
    MAX_ANSWER,
    MAX_HISTORY,
    MAX_LINE,
    MAX_NAMES,
    MAX_UNENDED,
    MAX_USERS,
    PASSWORD_ATTEMPTS,
    PASSWORD_PAUSE,
    QUEUE,
    Limits,
)
from groupchat.linecodec import HELP, Help
from groupchat.log import ILog
from groupchat.log.memory import Store
from groupchat.seats import IConnection
from groupchat.subscriptions import AT_ONCE, IReader
from tests.logs import FailingLog, LateLog
from tests.node import Node

KEY = "00112233445566778899aabbccddeeff"
OTHER_KEY = "ff" * 16
ASKED = "* What is your name?"
WELCOME = "* You are {}. What you type goes to all; /help tells more, and Ctrl-D leaves."
CANNOT = "The server cannot take that now: send it again."


class Caller:
    """One connection and whoever is at its other end. `step` is how many bytes come at once; 0 is all."""

    def __init__(self, lobby: Lobby, host: str, step: int = 0) -> None:
        self._lobby = lobby
        self._step = step
        self.transport = StringTransport()
        protocol = lobby.hub.buildProtocol(IPv4Address("TCP", host, 40_000))
        assert isinstance(protocol, Lines), protocol
        self.lines = protocol
        self.lines.makeConnection(self.transport)

    def send(self, *lines: str) -> None:
        """These lines, at once."""
        self.send_bytes("".join([f"{line}\r\n" for line in lines]).encode())

    def send_bytes(self, data: bytes) -> None:
        step = self._step or len(data) or 1
        for at in range(0, len(data), step):
            self.lines.dataReceived(data[at : at + step])

    def heard(self) -> list[str]:
        """What has come since this was last asked, once nothing more comes."""
        self._lobby.settle()
        data: bytes = self.transport.value()
        self.transport.clear()
        data = data.replace(linecodec.NO_TIMING_MARK, b"")
        assert data.endswith(b"\n") or not data, data
        return data.decode().split("\n")[:-1]

    def ask(self, *lines: str) -> list[str]:
        self.heard()
        self.send(*lines)
        return self.heard()

    @property
    def is_closing(self) -> bool:
        self._lobby.settle()
        return self.transport.disconnecting

    def half_close(self) -> None:
        """Send nothing more."""
        self.lines.readConnectionLost()

    def lose(self) -> None:
        """The connection is no more."""
        self.lines.connectionLost(Failure(ConnectionDone()))


class Lobby(Node):
    """A node that has live lines, too. It is noon."""

    def __init__(
        self, log: ILog | None = None, clock: Clock | None = None, limits: Limits | None = None, **settings: int
    ) -> None:
        clock = clock or Clock()
        clock.rightNow = 12 * 3600.0
        super().__init__(log, clock, **settings)
        self.hub = Hub(self.service, limits or Limits(), clock, Lines)
        self.hub.start()

    def settle(self) -> None:
        """Let all happen that needs no time."""
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def call(self, host: str = "10.0.0.9", step: int = 0) -> Caller:
        return Caller(self, host, step)

    def enter(self, name: str, *more: str, host: str = "10.0.0.9") -> Caller:
        """A member, who has heard all there is so far."""
        caller = self.call(host)
        assert WELCOME.format(name) in caller.ask(name, *more), name
        return caller

    def program(self, name: str, key: str = KEY) -> Caller:
        """A member in a numbered session."""
        caller = self.call()
        heard = caller.ask(f"/numbered {key} {name}")
        assert heard[-1].startswith("session "), heard
        return caller

    def watch(self) -> list[str]:
        """What the lines of the group were since this was last asked, as a member with datagrams is told."""
        reply = self.ask(1, "5")
        assert reply is not None
        return reply.split("\n") if reply else []


class LobbyTestCase(SynchronousTestCase):
    """A test with a lobby, in which Bob is, who polls."""

    def setUp(self) -> None:
        self.open(Lobby())

    def open(self, lobby: Lobby) -> None:
        self.lobby = lobby
        self.assertEqual(lobby.ask(1, "1 Bob"), "")
        lobby.settle()


class InterfaceTests(LobbyTestCase):
    def test_a_connection_is_what_it_says(self) -> None:
        for interface in (IConnection, IConnected, IReader, IHalfCloseableProtocol, IPushProducer):
            self.assertTrue(verifyObject(interface, self.lobby.call().lines))


class ConversationTests(LobbyTestCase):
    """The same words, however the bytes come."""

    script = (
        "alice:b",
        "",
        "Alice",
        "Hi, I am Alice",
        "//users",
        "/users",
        "/msg Bob: psst",
        "/name Al",
        "/nonsense",
        "/history 3",
        "😀 é",
        "/help",
        "/quit",
        "is not said",
    )

    def talk(self, step: int) -> tuple[list[str], list[str], list[str]]:
        """What Alice hears, Carol hears, and Bob is told."""
        self.open(Lobby())
        carol, alice = self.lobby.enter("Carol"), self.lobby.call(step=step)
        alice.send(*self.script)
        heard = alice.heard()
        self.assertTrue(alice.transport.disconnecting)
        alice.lose()
        return heard, carol.heard(), self.lobby.watch()

    def test_a_script_byte_by_byte_in_pieces_and_all_at_once(self) -> None:
        said = [
            "Alice has joined",
            "Alice: Hi, I am Alice",
            "Alice: /users",
            "Alice (private): psst",
            "Alice changed his name to Al",
            "Al: 😀 é",
            "Al has left the group",
        ]
        for step in (0, 1, 7):
            alice, carol, bob = self.talk(step)
            self.assertEqual(bob, ["Carol has joined", *said], step)
            self.assertEqual(carol, [line for line in said if "private" not in line], step)
            self.assertEqual(
                [re.sub(r"joined \d\d:\d\d, \d behind", "joined then", line) for line in alice],
                [
                    "* This is lobby, a group chat.",
                    "* Said last:",
                    "*   Bob has joined",
                    "*   Carol has joined",
                    "* Here now: Carol, Bob.",
                    ASKED,
                    f"* A name has no : , ( or ) in it, and does not begin with / # @ or *. {ASKED[2:]}",
                    WELCOME.format("Alice"),
                    "* 3 here:",
                    "* Bob  polling, joined then",
                    "* Carol  live, joined then",
                    "* Alice  live, joined then",
                    "* Only Bob will see that.",
                    "* You are Al now.",
                    "* There is no such command: see /help. To say a line that begins with /, write two.",
                    "*   Alice: /users",
                    "*   Alice (private): psst",
                    "*   Alice changed his name to Al",
                    *[f"* {line}" for line in HELP],
                    "* You have left the group.",
                ],
                step,
            )

    def test_texts_go_to_the_others_at_once_and_are_not_echoed(self) -> None:
        alice, carol = self.lobby.enter("Alice"), self.lobby.enter("Carol")
        self.assertEqual(alice.heard(), ["Carol has joined"])
        alice.send("one", "two")
        self.assertEqual((alice.heard(), carol.heard()), ([], ["Alice: one", "Alice: two"]))
        carol.send("three")
        self.assertEqual((alice.heard(), carol.heard()), (["Carol: three"], []))

    def test_members_of_both_kinds_are_told_the_same(self) -> None:
        lobby = self.lobby
        alice = lobby.enter("Alice")
        self.assertEqual(lobby.watch(), ["Alice has joined"])
        lobby.ask(1, "2 hi")
        lobby.ask(1, "3 Bobby")
        lobby.ask(2, "1 Dora")
        lobby.ask(2, "4")
        self.assertEqual(
            alice.heard(),
            ["Bob: hi", "Bob changed his name to Bobby", "Dora has joined", "Dora has left the group"],
        )
        self.assertEqual(lobby.watch(), ["Dora has joined", "Dora has left the group"])
        alice.send("hello", "/msg bobby psst", "/name Al", "/quit")
        alice.heard()
        self.assertEqual(
            lobby.watch(),
            ["Alice: hello", "Alice (private): psst", "Alice changed his name to Al", "Al has left the group"],
        )

    def test_a_whisper_is_heard_by_one(self) -> None:
        alice, carol, dora = (self.lobby.enter(name) for name in ("Alice", "Carol", "Dora"))
        for caller in (alice, carol, dora):
            caller.heard()
        self.assertEqual(alice.ask("/msg Carol: psst"), ["* Only Carol will see that."])
        self.assertEqual((carol.heard(), dora.heard()), (["Alice (private): psst"], []))
        self.assertEqual(self.lobby.watch()[-1], "Dora has joined")
        self.assertEqual(dora.ask("/history"), [f"*   {name} has joined" for name in ("Bob", "Alice", "Carol", "Dora")])
        self.assertEqual(carol.ask("/history 1"), ["*   Alice (private): psst"])

    def test_wrong_arguments_get_one_line_each_and_do_nothing(self) -> None:
        alice, carol = self.lobby.enter("Alice"), self.lobby.enter("Carol")
        head = self.successResultOf(self.lobby.log.head())
        for line in [
            "/",
            "/nonsense",
            "/msg",
            "/msg Nobody: hi",
            "/msg Carol",
            "/msg Carol:",
            "/msg Alice: me",
            "/name",
            "/name Carol",
            "/name Alice",
            "/name a:b",
            "/history x",
            "/history 0",
            f"/history {MAX_HISTORY + 1}",
            " ",
            "x" * 4097,
            "x" * (MAX_LINE + 1),
            "\x1b[2J",
        ]:
            heard = alice.ask(line)
            self.assertEqual(len(heard), 1, line)
            self.assertRegex(heard[0], r"\A\* [A-Z].*\.\Z", line)
        alice.send_bytes(b"\xe9\n")
        self.assertEqual(alice.heard(), ["* That is not UTF-8."])
        self.assertEqual((carol.heard(), self.successResultOf(self.lobby.log.head())), ([], head))

    def test_one_that_says_too_much_is_told_so_once_for_each_line_that_is_not_said(self) -> None:
        self.open(Lobby(rate=1))
        carol, alice = self.lobby.enter("Carol"), self.lobby.enter("Alice")
        carol.heard()
        heard = alice.ask(*[f"text {number}" for number in range(BURST + 3)])
        self.assertEqual(heard, ["* Slow down: you say too much at once."] * 3)
        self.assertEqual(carol.heard(), [f"Alice: text {number}" for number in range(BURST)])
        self.lobby.pass_time(1)
        self.assertEqual(alice.ask("again", "and again"), ["* Slow down: you say too much at once."])
        self.assertEqual(carol.heard(), ["Alice: again"])

    def test_a_thousand_lines_at_once_are_all_said_in_order(self) -> None:
        carol, alice = self.lobby.enter("Carol"), self.lobby.enter("Alice")
        carol.heard()
        numbers = [str(number) for number in range(1000)]
        self.assertEqual(alice.ask(*numbers), [])
        self.assertEqual(carol.heard(), [f"Alice: {number}" for number in numbers])


class GreetingTests(LobbyTestCase):
    def test_in_an_empty_group(self) -> None:
        lobby = Lobby()
        self.assertEqual(lobby.call().heard(), ["* This is lobby, a group chat.", "* Nobody is here yet.", ASKED])

    def test_it_shows_the_last_lines_and_never_a_whisper(self) -> None:
        alice = self.lobby.enter("Alice")
        for number in range(GREETING_LINES):
            alice.ask(f"text {number}", f"/msg Bob: secret {number}")
        self.lobby.ask(1, "2 hi")
        lines = [f"*   Alice: text {number}" for number in range(1, GREETING_LINES)]
        self.assertEqual(
            self.lobby.call().heard(),
            ["* This is lobby, a group chat.", "* Said last:", *lines, "*   Bob: hi", "* Here now: Alice, Bob.", ASKED],
        )

    def test_the_names_are_bounded(self) -> None:
        for number in range(100):
            self.lobby.ask(2 + number, f"1 member {number:03} of a long list")
        (names,) = [line for line in self.lobby.call().heard() if line.startswith("* Here now: ")]
        self.assertLess(len(names), MAX_NAMES + 20)
        self.assertRegex(names, r"\A\* Here now: member 099.*, \(\d+ more\)\.\Z")

    def test_refused_names_are_asked_for_again(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        for line in ["Bob", "bob", "*", "/users", "/numbered", "/numbered x Alice", "  ", "x" * 33, "close"]:
            (heard,) = caller.ask(line)
            self.assertRegex(heard, r"\A\* [A-Z].*\. What is your name\?\Z", line)
        caller.send_bytes(b"\xff\xe9\n")
        self.assertEqual(caller.heard(), ["* That is not UTF-8. What is your name?"])
        self.assertEqual(caller.ask("", ""), [])
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice")])

    def test_help_and_quit_before_there_is_a_name(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.ask("/help")[1:], [f"* {line}" for line in HELP])
        self.assertEqual(caller.ask("/quit"), ["* Bye."])
        self.assertTrue(caller.is_closing)
        self.assertEqual(self.lobby.watch(), [])

    def test_lines_between_greeting_and_join_are_neither_lost_nor_doubled(self) -> None:
        caller = self.lobby.call()
        self.assertIn("*   Bob has joined", caller.heard())
        self.lobby.ask(1, "2 before")
        self.lobby.ask(2, "1 Carol")
        self.lobby.ask(1, "2 between")
        caller.send("Alice")
        self.lobby.ask(1, "2 after")
        self.assertEqual(
            caller.heard(),
            [WELCOME.format("Alice"), "Bob: before", "Carol has joined", "Bob: between", "Bob: after"],
        )

    def test_whispers_between_greeting_and_join_are_not_shown(self) -> None:
        carol = self.lobby.enter("Carol")
        caller = self.lobby.call()
        carol.ask("/msg Bob: psst", "all")
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice"), "Carol: all"])

    def test_whoever_joins_with_a_race_for_a_name_is_asked_again(self) -> None:
        first, second = self.lobby.call(), self.lobby.call()
        first.heard()
        second.heard()
        first.send("Alice")
        second.send("ALICE", "Alicia", "hi")
        self.assertEqual(
            second.heard(),
            [f"* Somebody else was first. {ASKED[2:]}", WELCOME.format("Alicia"), "Alice has joined"],
        )
        self.assertEqual(first.heard(), [WELCOME.format("Alice"), "Alicia has joined", "Alicia: hi"])


class EndTests(LobbyTestCase):
    """The end of input leaves, after all that came before it."""

    def leave(self, caller: Caller, how: str) -> None:
        match how:
            case "half-close":
                caller.half_close()
            case "loss":
                caller.lose()
            case "Ctrl-D":
                caller.send_bytes(b"\x04")
            case "Ctrl-D of telnet":
                caller.send_bytes(b"\xff\xec")
            case "Ctrl-C of telnet":
                caller.send_bytes(b"\xff\xf4\xff\xfd\x06")

    ways = ("half-close", "loss", "Ctrl-D", "Ctrl-D of telnet", "Ctrl-C of telnet")

    def test_all_that_came_before_is_said(self) -> None:
        count = 10 * QUEUE
        for how in self.ways:
            self.open(Lobby())
            caller = self.lobby.call()
            caller.send("Alice", *[str(number) for number in range(count)])
            self.leave(caller, how)
            self.lobby.settle()
            texts = [f"Alice: {number}" for number in range(count)]
            self.assertEqual(self.lobby.watch(), ["Alice has joined", *texts, "Alice has left the group"], how)
            if how != "loss":
                self.assertEqual(caller.heard()[-1], "* You have left the group.", how)
                self.assertTrue(caller.is_closing, how)
                caller.lose()
            self.assertAllIsGone(how)

    def assertAllIsGone(self, how: str) -> None:
        """Nothing is left of whoever was connected."""
        self.lobby.settle()
        service = self.lobby.service
        self.assertEqual((self.lobby.hub.connections, service.seats.live, service.seats.held), ({}, {}, {}), how)
        subscriptions = service.subscriptions
        self.assertEqual((subscriptions._awake, subscriptions._paused), ({}, {}), how)

    def test_telnet_is_told_that_there_are_no_timing_marks(self) -> None:
        """It asks for one after each Ctrl-C and Ctrl-Z, and shows nothing before it has its answer."""
        for data in (b"\xff\xf4\xff\xfd\x06", b"\xff\xed\xff\xfd\x06"):
            for step in (0, 1, 2):
                self.open(Lobby())
                caller = self.lobby.call(step=step)
                caller.ask("Alice")
                caller.send_bytes(data)
                self.assertEqual(caller.transport.value(), b"\xff\xfc\x06", (data, step))

    def test_half_a_line_is_said_but_not_after_ctrl_c(self) -> None:
        for how in self.ways:
            self.open(Lobby())
            alice = self.lobby.enter("Alice")
            alice.send_bytes(b"half a line")
            self.leave(alice, how)
            self.lobby.settle()
            said = [] if how.startswith("Ctrl-C") else ["Alice: half a line"]
            self.assertEqual(self.lobby.watch(), ["Alice has joined", *said, "Alice has left the group"], how)

    def test_what_a_full_connection_sent_is_said_when_it_is_lost(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send("one", "two")
        alice.lose()
        self.assertAllIsGone("loss")
        said = ["Alice has joined", "Alice: one", "Alice: two", "Alice has left the group"]
        self.assertEqual(self.lobby.watch(), said)

    def test_what_comes_after_the_end_is_not_read_nor_held(self) -> None:
        for sign in (b"\x04", b"\xff\xf4"):
            self.open(Lobby())
            alice = self.lobby.enter("Alice")
            alice.lines.pauseProducing()
            alice.send_bytes(b"before\n" + sign)
            for _ in range(100):
                alice.send_bytes(b"after\n" * 100)
            self.assertEqual(len(alice.lines._lines), 1)
            alice.lines.resumeProducing()
            alice.heard()
            said = ["Alice has joined", "Alice: before", "Alice has left the group"]
            self.assertEqual(self.lobby.watch(), said)

    def test_the_end_before_there_is_a_name(self) -> None:
        for how in self.ways:
            self.open(Lobby())
            caller = self.lobby.call()
            self.leave(caller, how)
            if how != "loss":
                self.assertTrue(caller.is_closing, how)
                caller.lose()
            self.assertAllIsGone(how)
            self.assertEqual(self.lobby.watch(), [])

    def test_a_connection_that_is_lost_while_its_join_is_under_way(self) -> None:
        clock = Clock()
        self.lobby = Lobby(LateLog(Store(), clock, 1.0), clock)
        caller = self.lobby.call()
        caller.send("Alice", "hi")
        self.lobby.settle()
        caller.lose()
        for _ in range(5):
            self.lobby.pass_time(1)
        self.assertAllIsGone("loss")
        self.assertEqual(self.lobby.service.group.history.head, 3)

    def test_a_connection_that_is_closed_while_its_join_is_under_way(self) -> None:
        clock = Clock()
        self.lobby = Lobby(LateLog(Store(), clock, 1.0), clock)
        caller = self.lobby.call()
        caller.send("Alice")
        self.lobby.settle()
        caller.lines.close("Enough.")
        for _ in range(3):
            self.lobby.pass_time(1)
        self.assertEqual(caller.heard()[-1], "* Enough.")
        caller.lose()
        for _ in range(3):
            self.lobby.pass_time(1)
        self.assertAllIsGone("closing")

    def test_a_connection_that_is_lost_while_it_leaves(self) -> None:
        for first, then in [("half-close", "loss"), ("Ctrl-D", "half-close"), ("Ctrl-D", "loss")]:
            self.open(Lobby())
            alice = self.lobby.enter("Alice")
            self.leave(alice, first)
            self.leave(alice, then)
            self.lobby.settle()
            if then != "loss":
                alice.lose()
            self.assertAllIsGone(f"{first}, {then}")
            self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_whoever_hangs_up_while_nothing_can_be_stored_leaves_when_it_can(self) -> None:
        log = FailingLog([])
        self.open(Lobby(log))
        alice = self.lobby.enter("Alice")
        log.failures = [Unavailable("full")] * 3
        appended = len(log.appended)
        alice.half_close()
        self.assertEqual(alice.heard(), [f"* {CANNOT}"])
        self.assertTrue(alice.is_closing)
        self.assertEqual(len(log.appended), appended + 1)
        alice.lose()
        self.lobby.pass_time(5)
        for _ in range(5):
            self.lobby.pass_time(1)
        self.assertAllIsGone("half-close")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_quit_is_the_last_thing_said(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/quit", "more", "/users", "/help", "/nonsense"), ["* You have left the group."])
        self.assertTrue(alice.is_closing)
        alice.send("more")
        self.assertEqual(alice.heard(), [])
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_a_line_without_an_end_is_not_read_for_ever(self) -> None:
        alice = self.lobby.enter("Alice")
        for _ in range(MAX_UNENDED // 1024):
            alice.send_bytes(b"x" * 1024)
        self.assertFalse(alice.is_closing)
        alice.send_bytes(b"x")
        self.assertEqual(alice.heard(), ["* That line has no end."])
        self.assertTrue(alice.is_closing)
        alice.send_bytes(b"x\nhi\n")
        alice.lose()
        self.assertAllIsGone("too long")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_a_bug_while_reading_a_line_costs_that_line_only(self) -> None:
        alice = self.lobby.enter("Alice")
        self.patch(linecodec, "parse", _buggy(linecodec.parse))
        alice.send("one", "bug", "two")
        alice.heard()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: one", "Alice: two"])
        self.lobby.pass_time(2)
        alice.send("bug", "three")  # of which nobody is woken by an answer
        alice.heard()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.lobby.watch(), ["Alice: three"])


def _buggy(parse: Callable[[str, int], Command | Help]) -> Callable[[str, int], Command | Help]:
    def parse_or_fail(line: str, client_id: int = 0) -> Command | Help:
        if line == "bug":
            raise ZeroDivisionError
        return parse(line, client_id)

    return parse_or_fail


class LookTests(LobbyTestCase):
    """/users and /history, and their bounds."""

    def test_users(self) -> None:
        lobby = self.lobby
        alice, program = lobby.enter("Alice"), lobby.program("Robot")
        program.lose()
        lobby.ask(1, "2 hi")
        found = [re.sub(r"joined \d\d:\d\d,", "joined TODAY,", line) for line in alice.ask("/users")]
        self.assertEqual(
            found,
            [
                "* 3 here:",
                "* Bob  polling, joined TODAY, 0 behind",
                "* Alice  live, joined TODAY, 0 behind",
                "* Robot  away, joined TODAY, 1 behind",
            ],
        )

    def test_whoever_joined_on_another_day_is_shown_with_the_date(self) -> None:
        alice = self.lobby.enter("Alice")
        self.lobby.clock.rightNow += 3 * 86_400
        self.assertRegex(alice.ask("/users")[1], r"joined 1970-01-0\d \d\d:\d\d, \d behind\Z")

    def test_the_only_one(self) -> None:
        lobby = Lobby()
        alice = lobby.enter("Alice")
        self.assertEqual(alice.ask("/users")[0], "* Only you are here:")
        self.assertEqual(len(alice.ask("/users")), 2)

    def test_no_more_users_than_the_bound(self) -> None:
        alice = self.lobby.enter("Alice")
        for number in range(2, MAX_USERS):
            self.lobby.ask(number, f"1 member {number}")
        alice.heard()
        self.assertEqual(len(alice.ask("/users")), 1 + MAX_USERS)
        self.lobby.ask(9_999, "1 one more")
        alice.heard()
        found = alice.ask("/users")
        self.assertEqual((found[0], len(found), found[-1]), (f"* {MAX_USERS + 1} here:", 2 + MAX_USERS, "* and 1 more"))

    def test_history_shows_what_one_was_told_and_said(self) -> None:
        alice = self.lobby.enter("Alice")
        self.lobby.ask(1, "2 hi")
        alice.ask("hello", "/msg Bob: psst")
        lines = ["Bob has joined", "Alice has joined", "Bob: hi", "Alice: hello", "Alice (private): psst"]
        self.assertEqual(alice.ask("/history"), [f"*   {line}" for line in lines])
        self.assertEqual(alice.ask("/history 2"), [f"*   {line}" for line in lines[-2:]])

    def test_history_is_bounded_in_lines_and_bytes(self) -> None:
        alice = self.lobby.enter("Alice")
        for number in range(MAX_HISTORY + 10):
            self.lobby.ask(1, f"2 {number}")
        alice.heard()
        self.assertEqual(len(alice.ask(f"/history {MAX_HISTORY}")), MAX_HISTORY)
        self.assertEqual(len(alice.ask("/history")), HISTORY)
        for number in range(30):
            self.lobby.ask(1, f"2 {number}" + "x" * 4000)
        alice.heard()
        found = alice.ask(f"/history {MAX_HISTORY}")
        self.assertEqual(found[-1], "*   Bob: 29" + "x" * 4000)
        self.assertEqual(len(found), MAX_ANSWER // (len("Bob: 29\n") + 4000))

    def test_what_is_asked_is_answered_after_what_was_said_before(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(
            alice.ask("one", "/name Al", "/history 1", "two", "/nonsense", "/help", "/history 1"),
            [
                "* You are Al now.",
                "*   Alice changed his name to Al",
                "* There is no such command: see /help. To say a line that begins with /, write two.",
                *[f"* {line}" for line in HELP],
                "*   Al: two",
            ],
        )


class NumberedTests(LobbyTestCase):
    """Programs: every line has its number, every request its id and its answer."""

    def test_a_session(self) -> None:
        lobby = self.lobby
        caller = lobby.call()
        caller.heard()
        self.assertEqual(caller.ask(f"/numbered {KEY} Robot"), ["session 2 0 Robot"])
        lobby.ask(1, "2 hi")
        self.assertEqual(caller.heard(), ["3 Bob: hi"])
        self.assertEqual(caller.ask("1 hello", "2 //x", "3 /msg Bob: psst"), ["ok 1", "ok 2", "ok 3"])
        lobby.ask(1, "2 again")
        self.assertEqual(caller.heard(), ["7 Bob: again"])
        self.assertEqual(caller.ask("4 /name Bot"), ["ok 4"])
        self.assertEqual(
            caller.ask("5 /history 3"),
            ["= 6 Robot (private): psst", "= 7 Bob: again", "= 8 Robot changed his name to Bot", "ok 5"],
        )
        self.assertEqual(
            [re.sub(r",.*", "", line) for line in caller.ask("6 /users")],
            ["= 2 here:", "= Bob  polling", "= Bot  live", "ok 6"],
        )
        self.assertEqual(caller.ask("7 /help"), [*[f"= {line}" for line in HELP], "ok 7"])
        self.assertEqual(caller.ask("8 /quit"), ["ok 8"])
        self.assertTrue(caller.is_closing)
        caller.lose()
        said = ["Robot: hello", "Robot: /x", "Robot (private): psst", "Robot changed his name to Bot"]
        self.assertEqual(lobby.watch(), [said[3], "Bot has left the group"])
        self.assertEqual(
            [line.removeprefix("*   ") for line in lobby.call().heard()[2:-2] if "Robot" in line],
            ["Robot has joined", said[0], said[1], said[3]],
        )

    def test_refusals_carry_the_id(self) -> None:
        program = self.lobby.program("Robot")
        for line, answer in [
            ("hello", "no 0 In a numbered"),
            ("0 hello", "no 0 In a numbered"),
            ("1 /nonsense", "no 1 There is no such command"),
            ("2 ", "no 2 There is nothing"),
            ("2", "no 2 There is nothing"),
            ("3 /msg Nobody: hi", "no 3 Nobody here has that name"),
            ("4 /name Bob", "no 4 The name Bob is in use"),
            ("5 /history x", "no 5 Write /history"),
        ]:
            (heard,) = program.ask(line)
            self.assertTrue(heard.startswith(answer), (line, heard))
        self.assertEqual(program.ask("", "6 hi"), ["ok 6"])
        self.assertEqual(self.lobby.watch(), ["Robot has joined", "Robot: hi"])

    def test_what_is_sent_again_takes_effect_once(self) -> None:
        program = self.lobby.program("Robot")
        self.assertEqual(program.ask("1 hi", "1 hi"), ["ok 1", "ok 1"])
        self.assertEqual(
            program.ask("1 hi", "2 /name Bot", "2 /name Bot", "3 /msg Bob: x", "3 /msg Bob: x"),
            ["ok 1", "ok 2", "ok 2", "ok 3", "ok 3"],
        )
        self.assertEqual(
            self.lobby.watch(),
            ["Robot has joined", "Robot: hi", "Robot changed his name to Bot", "Bot (private): x"],
        )

    def test_resumed_from_each_number_nothing_is_missing_and_nothing_twice(self) -> None:
        program = self.lobby.program("Robot")
        self.lobby.ask(1, "2 one")
        program.send("1 own")
        self.lobby.ask(1, "2 two")
        self.lobby.ask(2, "1 Carol")
        lines = ["3 Bob: one", "5 Bob: two", "6 Carol has joined"]
        heard = program.heard()
        self.assertEqual([line for line in heard if line != "ok 1"], lines)
        for number in range(10):
            caller = self.lobby.call()
            caller.heard()
            place = min(max(number, 2), 6)
            after = [line for line in lines if int(line.split()[0]) > place]
            self.assertEqual(
                caller.ask(f"/resume {KEY} {number}"), [f"session {place} {len(after)} Robot", *after], number
            )
            self.assertEqual(program.heard(), ["* This session goes on on another connection."])
            self.assertTrue(program.is_closing)
            program.lose()
            program = caller
        self.lobby.settle()
        self.assertEqual(len(self.lobby.hub.connections), 1)
        self.assertEqual(self.lobby.watch()[-1], "Carol has joined")

    def test_it_is_held_when_the_connection_ends_however_that_is(self) -> None:
        for end in [Caller.lose, Caller.half_close, lambda program: program.send_bytes(b"\x04")]:
            self.open(Lobby(hold=100))
            program = self.lobby.program("Robot")
            end(program)
            if not program.lines._lost:
                self.assertTrue(program.is_closing)
                program.lose()
            self.lobby.settle()
            self.assertEqual(self.lobby.ask(1, "2 hi"), "Robot has joined")
            self.lobby.pass_time(90)
            caller = self.lobby.call()
            caller.heard()
            self.assertEqual(caller.ask(f"/resume {KEY} 2"), ["session 2 1 Robot", "3 Bob: hi"])
            caller.lose()
            self.lobby.pass_time(90)
            self.assertEqual(self.lobby.watch(), [])
            self.lobby.pass_time(30)
            self.assertEqual(self.lobby.watch(), ["Robot has left the group"])
            caller = self.lobby.call()
            caller.heard()
            (heard,) = caller.ask(f"/resume {KEY} 2")
            self.assertTrue(heard.startswith("no 0 There is no such session"), heard)
            self.assertEqual(caller.ask(f"/numbered {KEY} Robot")[0][:8], "session ")

    def test_a_bad_key_and_a_wrong_one(self) -> None:
        self.lobby.program("Robot")
        caller = self.lobby.call()
        caller.heard()
        for line in [f"/resume {OTHER_KEY} 2", f"/resume {KEY[:-1]}e 2"]:
            (heard,) = caller.ask(line)
            self.assertTrue(heard.startswith("no 0 There is no such session"), heard)
        (heard,) = caller.ask(f"/numbered {OTHER_KEY} Robot")
        self.assertEqual(heard, "no 0 The name Robot is in use.")
        for line in ["/resume 12 2", f"/resume {KEY}", "/numbered key Robot", "1 hi", "Alice"]:
            (heard,) = caller.ask(line)
            self.assertTrue(heard.startswith("no 0 "), heard)
        self.assertEqual(caller.ask(f"/numbered {OTHER_KEY} Alice", "1 hi"), ["session 3 0 Alice", "ok 1"])

    def test_joining_again_with_the_same_key_goes_on(self) -> None:
        program = self.lobby.program("Robot")
        self.lobby.ask(1, "2 hi")
        program.lose()
        caller = self.lobby.call()
        caller.heard()
        self.assertEqual(caller.ask(f"/numbered {KEY} Robot"), ["session 2 1 Robot", "3 Bob: hi"])
        self.assertEqual(self.lobby.watch(), [])

    def test_joining_again_before_the_first_join_is_answered(self) -> None:
        first, second = self.lobby.call(), self.lobby.call()
        first.heard()
        second.heard()
        first.send(f"/numbered {KEY} Robot")
        first.lose()
        second.send(f"/numbered {KEY} Robot", "1 hi")
        self.assertEqual(second.heard(), ["session 2 0 Robot", "ok 1"])
        self.assertEqual(self.lobby.watch(), ["Robot has joined", "Robot: hi"])

    def test_what_is_not_read_when_the_connection_is_lost_has_no_effect(self) -> None:
        """The program sends it again. Not even what would begin a session is read then."""
        program = self.lobby.program("Robot")
        program.send(*[f"{number} {number}" for number in range(1, 100)], f"/numbered {OTHER_KEY} Ghost")
        program.send_bytes(b"200 half a li")
        program.lose()
        self.lobby.settle()
        self.assertEqual(set(self.lobby.service.group.by_key), {"bob", "robot"})
        self.assertNotIn("Robot: half a li", self.lobby.watch())
        self.assertEqual(self.lobby.service.seats.live[next(iter(self.lobby.service.seats.live))].client, None)

    def test_what_is_not_read_while_full_cannot_begin_a_session_when_the_connection_is_lost(self) -> None:
        program = self.lobby.program("Robot")
        program.send(*["1 /help"] * 64, f"/resume {KEY} 0", *["1 /help"] * 64)
        program.lose()
        self.lobby.settle()
        self.assertFalse(self.lobby.service.seats.is_connected(self.lobby.service.group.by_key["robot"]))

    def test_displaced_while_things_are_under_way(self) -> None:
        """What the old connection asked is answered to the new one, in which it may be asked again."""
        program = self.lobby.program("Robot")
        lines = [f"{number} text {number}" for number in range(1, 2 * QUEUE)]
        program.send(*lines)
        caller = self.lobby.call()
        caller.send(f"/resume {KEY} 2", *lines)
        answers = caller.heard()[-5 * QUEUE :]
        self.assertEqual(program.heard(), ["* This session goes on on another connection."])
        for _ in range(3):
            refused = [line.split()[1] for line in answers if line.startswith("no ")]
            answers += caller.ask(*[lines[int(number) - 1] for number in refused])
        self.assertEqual({line for line in answers if line.startswith("ok ")}, {f"ok {n}" for n in range(1, 2 * QUEUE)})
        texts = [line for line in self.lobby.watch() if line != "Robot has joined"]
        self.assertEqual(sorted(texts), sorted(f"Robot: text {number}" for number in range(1, 2 * QUEUE)))

    def test_what_cannot_be_stored_is_to_be_sent_again(self) -> None:
        log = FailingLog([])
        self.open(Lobby(log))
        program = self.lobby.program("Robot")
        log.failures = [Unavailable("full")]
        self.assertEqual(program.ask("1 hi"), [f"busy 1 {CANNOT}"])
        self.assertEqual(program.ask("1 hi"), ["ok 1"])
        self.assertEqual(self.lobby.watch(), ["Robot has joined", "Robot: hi"])

    def test_lines_that_are_no_longer_kept_are_told_of(self) -> None:
        self.open(Lobby(keep=10))
        program = self.lobby.program("Robot")
        program.lose()
        for number in range(20):
            self.lobby.ask(1, f"2 {number}")
        caller = self.lobby.call()
        caller.heard()
        heard = caller.ask(f"/resume {KEY} 2")
        self.assertEqual(heard[:3], ["session 2 20 Robot", "* 10 lines are no longer kept", "13 Bob: 10"])
        self.assertEqual(len(heard), 12)


class PasswordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lobby = Lobby(limits=Limits(password="sésame".encode(), name_within=60))
        self.lobby.ask(1, "1 Bob")

    def test_nothing_of_the_group_is_shown_before_it(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.heard(), ["* What is the password?"])
        for line in ["/help", "Bob", ""]:
            caller = self.lobby.call(host=f"10.0.1.{len(line)}")
            self.assertEqual(caller.ask(line), [])
            self.lobby.pass_time(PASSWORD_PAUSE)
            self.assertEqual(caller.heard(), ["* That is not the password. What is it?"])

    def test_the_right_one(self) -> None:
        caller = self.lobby.call()
        heard = caller.ask("sésame", "Alice", "hi")
        self.assertEqual((heard[0], heard[-2:]), ("* This is lobby, a group chat.", [ASKED, WELCOME.format("Alice")]))
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: hi"])

    def test_lines_after_a_wrong_one_wait_and_the_right_one_opens(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.ask("sesame", "sésame", "Alice", "hi"), [])
        self.assertEqual(caller.transport.producerState, "paused")
        self.lobby.pass_time(PASSWORD_PAUSE - 0.1)
        self.assertEqual((caller.heard(), self.lobby.watch()), ([], []))
        self.lobby.pass_time(0.2)
        heard = caller.heard()
        self.assertEqual(heard[:2], ["* That is not the password. What is it?", "* This is lobby, a group chat."])
        self.assertEqual(caller.transport.producerState, "producing")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: hi"])

    def test_one_that_gives_too_many_is_closed(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        caller.send(*["wrong"] * PASSWORD_ATTEMPTS, "sésame", "Alice")
        for _ in range(PASSWORD_ATTEMPTS - 1):
            self.lobby.pass_time(PASSWORD_PAUSE)
            self.assertEqual(caller.heard(), ["* That is not the password. What is it?"])
            self.assertFalse(caller.is_closing)
        self.lobby.pass_time(PASSWORD_PAUSE)
        self.assertEqual(caller.heard(), ["* That is not the password. Ask whoever runs this group for it."])
        self.assertTrue(caller.is_closing)
        self.assertEqual(self.lobby.watch(), [])

    def test_more_connections_from_one_address_guess_no_faster(self) -> None:
        callers = [self.lobby.call() for _ in range(5)]
        for caller in callers:
            caller.ask("wrong")
        wrong = 0
        for _ in range(3):
            self.lobby.pass_time(PASSWORD_PAUSE)
            wrong += sum(len(caller.heard()) for caller in callers)
        self.assertEqual(wrong, 3)
        self.assertEqual(self.lobby.call("10.0.0.10").ask("sésame")[-1], ASKED)

    def test_whoever_hangs_up_after_a_wrong_one_is_told(self) -> None:
        caller = self.lobby.call()
        caller.ask("wrong")
        caller.half_close()
        self.assertFalse(caller.is_closing)
        self.lobby.pass_time(PASSWORD_PAUSE)
        self.assertEqual(caller.heard(), ["* That is not the password. What is it?"])
        self.assertTrue(caller.is_closing)

    def test_one_that_is_gone_before_it_is_told(self) -> None:
        caller = self.lobby.call()
        caller.ask("wrong", "wrong", "wrong", "sésame", "Alice")
        caller.lose()
        self.lobby.pass_time(10 * PASSWORD_PAUSE)
        self.assertEqual((self.lobby.hub.connections, self.lobby.watch()), ({}, []))


class BackPressureTests(LobbyTestCase):
    """A transport that takes nothing more is given nothing more, and is not read."""

    def test_nothing_is_written_while_it_is_paused_and_all_of_it_later(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        texts = [f"Bob: {number} {'x' * 1000}" for number in range(100)]
        for text in texts:
            self.lobby.ask(1, text.replace("Bob:", "2"))
        self.assertEqual(alice.heard(), [])
        alice.lines.resumeProducing()
        self.assertEqual(alice.heard(), texts)

    def test_one_that_is_slow_is_given_a_bounded_piece_at_a_time(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        texts = [f"Bob: {number} {'x' * 1000}" for number in range(100)]
        for text in texts:
            self.lobby.ask(1, text.replace("Bob:", "2"))
        give, pieces = alice.lines.give, list[int]()

        def give_and_fill(data: bytes) -> None:
            pieces.append(len(data))
            give(data)
            alice.lines.pauseProducing()

        self.patch(alice.lines, "give", give_and_fill)
        heard: list[str] = []
        while len(heard) < len(texts):
            alice.lines.resumeProducing()
            some = alice.heard()
            self.assertTrue(some)
            heard += some
        self.assertEqual(heard, texts)
        self.assertLessEqual(max(pieces), AT_ONCE)
        self.assertEqual(len(pieces), 4)

    def test_nothing_is_read_while_it_is_paused(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send("one", "/users")
        self.assertEqual(alice.transport.producerState, "paused")
        self.assertEqual((alice.heard(), self.lobby.watch()), ([], ["Alice has joined"]))
        alice.lines.resumeProducing()
        self.assertEqual(alice.heard()[0], "* 2 here:")
        self.assertEqual(alice.transport.producerState, "producing")
        self.assertEqual(self.lobby.watch(), ["Alice: one"])

    def test_answers_that_fill_it_stop_the_reading(self) -> None:
        """One that asks and asks, and takes no answer, gets as many as fill the transport."""
        alice = self.lobby.enter("Alice")
        give = alice.lines.give

        def give_and_fill(data: bytes) -> None:
            give(data)
            if len(alice.transport.value()) > 2000:
                alice.lines.pauseProducing()

        self.patch(alice.lines, "give", give_and_fill)
        alice.send(*["/help"] * 1000)
        answer = sum(len(line) + 3 for line in HELP)
        self.lobby.settle()
        self.assertLess(len(alice.transport.value()), 2000 + 2 * answer)
        self.assertEqual(alice.transport.producerState, "paused")
        count = 0
        while some := alice.heard():
            count += some.count(f"* {HELP[0]}")
            alice.lines.resumeProducing()
        self.assertEqual(count, 1000)
        self.assertEqual(alice.transport.producerState, "producing")

    def test_many_lines_that_are_answered_at_once_leave_the_others_their_turns(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.heard()
        alice.send(*["/help"] * 1000)
        first = alice.transport.value().decode().count(HELP[0])
        self.assertEqual(first, LINES_AT_ONCE)
        self.assertEqual(alice.heard().count(f"* {HELP[0]}"), 1000)
        self.assertEqual(alice.transport.producerState, "producing")

    def test_it_is_read_no_faster_than_it_is_answered(self) -> None:
        clock = Clock()
        self.lobby = Lobby(LateLog(Store(), clock, 1.0), clock)
        self.lobby.ask(1, "1 Bob")
        self.lobby.pass_time(1)
        alice = self.lobby.call()
        alice.send("Alice")
        self.lobby.settle()
        self.lobby.pass_time(1)
        self.assertEqual(alice.heard()[-1], WELCOME.format("Alice"))
        alice.send(*[str(number) for number in range(1000)])
        most = len(alice.lines._under_way)
        for _ in range(200):
            self.lobby.settle()
            most = max(most, len(alice.lines._under_way))
            self.assertEqual(alice.transport.producerState, "paused" if alice.lines._lines else "producing")
            clock.advance(1.0)
        self.assertEqual(most, QUEUE)
        self.assertEqual(alice.transport.producerState, "producing")
        texts = [line for line in self.lobby.watch() if line.startswith("Alice: ")]
        self.assertEqual(texts, [f"Alice: {number}" for number in range(1000)])

    def test_a_refused_line_waits_for_what_was_asked_before_it(self) -> None:
        clock = Clock()
        self.lobby = Lobby(LateLog(Store(), clock, 1.0), clock)
        alice = self.lobby.call()
        alice.send("Alice", "hi", "/nonsense", "/name Al", "/nonsense")
        heard = alice.heard()
        for _ in range(6):
            clock.advance(1.0)
            heard += alice.heard()
        self.assertEqual([line[:9] for line in heard[3:]], ["* You are", "* There i", "* You are", "* There i"])

    def test_one_that_is_full_while_it_joins(self) -> None:
        """As with TLS, which takes nothing before its handshake is done."""
        caller = self.lobby.call()
        caller.heard()
        caller.send("Alice")
        caller.lines.pauseProducing()
        self.lobby.settle()
        self.lobby.ask(1, "2 hi")
        self.assertEqual(caller.heard(), [WELCOME.format("Alice")])
        caller.lines.resumeProducing()
        self.assertEqual(caller.heard(), ["Bob: hi"])

    def test_one_that_takes_nothing_for_too_long_is_dropped(self) -> None:
        self.open(Lobby(stall=30))
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        self.lobby.pass_time(29)
        self.assertFalse(alice.transport.disconnected)
        self.lobby.pass_time(30)
        self.assertTrue(alice.transport.disconnected)
        alice.lose()
        self.lobby.settle()
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_closing_reads_again_so_that_the_end_of_the_other_side_is_heard(self) -> None:
        clock = Clock()
        self.lobby = Lobby(LateLog(Store(), clock, 1.0), clock)
        alice = self.lobby.call()
        alice.send("Alice", *["x"] * 100)
        self.assertEqual(alice.transport.producerState, "paused")
        alice.lines.close("Enough.")
        self.assertEqual((alice.transport.producerState, alice.transport.producer), ("producing", None))
        self.assertEqual(alice.lines._lines, [])
