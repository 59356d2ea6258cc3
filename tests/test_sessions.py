"""Sessions over a service, without a socket: batches, resuming, hanging up, repeating, restarts, and the rate."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from groupchat.commands import Command, Join, Leave, Poll, Recall, Rename, Say, Users, Whisper
from groupchat.errors import IllegalMessage, Unavailable
from groupchat.ids import WINDOW
from groupchat.limits import BURST, QUEUE
from groupchat.log.memory import MemoryLog, Store
from groupchat.seats import IConnection
from groupchat.subscriptions import IReader
from groupchat.upkeep import AT_ONCE
from tests.connections import Connection
from tests.durable import DurableNode
from tests.logs import FailingLog, LateLog
from tests.node import Node

ILLEGAL = "Illegal message"
KEY = "0f" * 32


class Sessions(SynchronousTestCase):
    """A test with one node, whose log gives back what is appended `delay` seconds later; with 0, in the next turn."""

    delay = 0.0

    def setUp(self) -> None:
        self.start()

    def start(self, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store = Store(retain=10_000)
        self.node = Node(LateLog(self.store, self.clock, self.delay), self.clock, **settings)
        self.group = self.node.service.group
        self.seats = self.node.service.seats

    def settle(self) -> None:
        """Until all that was asked so far is answered."""
        for _ in range(5):
            self.clock.pump([0, self.delay])

    def connection(self, name: str = "", secret: str | None = None, host: str = "10.0.0.9") -> Connection:
        """A connection; with a name, that of a member who was told so."""
        connection = Connection(self.node.service, host)
        if name:
            connection.join(name, secret)
            self.settle()
            self.assertEqual(connection.words(), ["answered"])
        return connection

    def names(self) -> list[str]:
        return [member.name for member in self.group.members.values()]

    def lines(self) -> list[str]:
        """All that was said and done."""
        return bytes(self.group.history.read(0, self.group.history.head, 1 << 30)[0]).decode().split("\n")

    def entries(self, after: int) -> list[list[str]]:
        """The kinds of the events of each entry, but for records of cursors."""
        found = [[type(event).__name__ for event in entry.events] for entry in self.store.read(after, 1000)]
        return [kinds for kinds in found if kinds != ["Seen"]]

    def assertNoTrace(self) -> None:
        self.assertEqual((self.seats.live, self.seats.held), ({}, {}))


class FakesTests(Sessions):
    def test_a_connection_is_what_the_service_wants(self) -> None:
        connection = self.connection()
        self.assertTrue(verifyObject(IConnection, connection))
        self.assertTrue(verifyObject(IReader, connection))


class BatchTests(Sessions):
    """What one source says without waiting goes as one entry."""

    def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = self.connection("Alice"), self.connection("Bob")
        self.before = self.store.head

    def test_texts_are_one_entry_and_answered_in_order(self) -> None:
        texts = [Say(str(number)) for number in range(50)]
        self.alice.ask(*texts)
        self.assertEqual(self.alice.told(), [])
        self.settle()
        told = self.alice.told()
        self.assertEqual([word for word, _ in told], ["answered"] * 50)
        self.assertTrue(all(command is text for (_, command), text in zip(told, texts, strict=True)))
        self.assertEqual(self.entries(self.before), [["Said"] * 50])
        self.assertEqual(self.lines()[2:], [f"Alice: {number}" for number in range(50)])

    def test_with_anything_else_between_all_are_answered_in_order_and_each_once(self) -> None:
        asked: list[Command] = [
            Say("one"),
            Whisper("Bob: two"),
            Say("three"),
            Rename("Al"),
            Say("four"),
            Poll(),
            Say("five"),
            Say(" "),
            Say("six"),
            Whisper("Nobody: seven"),
            Join("Al"),
            Users(),
            Recall(5),
            Say("eight"),
            Leave(),
            Say("nine"),
        ]
        self.alice.ask(*asked)
        self.settle()
        told = self.alice.told()
        self.assertEqual(
            [(word, getattr(command, "text", type(command).__name__)) for word, command in told],
            [
                ("answered", "one"),
                ("answered", "Whisper"),
                ("answered", "three"),
                ("answered", "Rename"),
                ("answered", "four"),
                ("answered", "Poll"),
                ("answered", "five"),
                ("refused", " "),
                ("answered", "six"),
                ("refused", "Whisper"),
                ("answered", "Join"),
                ("answered", "Users"),
                ("answered", "Recall"),
                ("answered", "eight"),
                ("answered", "Leave"),
                ("refused", "nine"),
            ],
        )
        self.assertEqual([command for _, command in told], asked)
        self.assertEqual(
            self.entries(self.before),
            [["Said", "Whispered", "Said"], ["Renamed"], ["Said"], ["Said"], ["Said"], ["Said"], ["Left"]],
        )
        self.assertEqual(
            self.lines()[2:],
            [
                "Alice: one",
                "Alice (private): two",
                "Alice: three",
                "Alice changed his name to Al",
                *(f"Al: {text}" for text in ("four", "five", "six", "eight")),
                "Al has left the group",
            ],
        )

    def test_two_sources_share_an_entry_and_each_keeps_its_order(self) -> None:
        for number in range(10):
            self.alice.ask(Say(f"a{number}"))
            self.bob.ask(Say(f"b{number}"))
        self.settle()
        self.assertEqual(self.entries(self.before), [["Said"] * 20])
        self.assertEqual((self.alice.words(), self.bob.words()), (["answered"] * 10, ["answered"] * 10))
        self.assertEqual(self.lines()[2:], [f"{who}{n}" for n in range(10) for who in ("Alice: a", "Bob: b")])

    def test_an_entry_has_an_end(self) -> None:
        self.alice.ask(*(Say(str(number)) for number in range(256 + QUEUE + 2)))
        self.settle()
        # The first 256 go at once. The next ones wait until these are back, and go together then.
        self.assertEqual(self.alice.words(), ["dropped"] * 2 + ["answered"] * (256 + QUEUE))
        self.assertEqual([len(kinds) for kinds in self.entries(self.before)], [256, QUEUE])
        self.assertEqual(self.lines()[2:], [f"Alice: {number}" for number in range(256 + QUEUE)])


class LateBatchTests(Sessions):
    delay = 0.5

    def test_a_text_of_a_later_turn_waits_for_those_under_way_and_goes_with_what_waits_too(self) -> None:
        alice = self.connection("Alice")
        before = self.store.head
        for turn in range(3):
            alice.ask(Say(f"{turn}a"), Say(f"{turn}b"))
            self.clock.advance(0)
        self.assertEqual(self.entries(before), [["Said"] * 2])
        self.settle()
        self.assertEqual(alice.words(), ["answered"] * 6)
        self.assertEqual(self.entries(before), [["Said"] * 2, ["Said"] * 4])
        self.assertEqual(self.lines()[1:], [f"Alice: {turn}{letter}" for turn in range(3) for letter in "ab"])


class ResumeTests(Sessions):
    delay = 0.5

    def setUp(self) -> None:
        super().setUp()
        self.alice = self.connection("Alice", KEY)
        self.again = self.connection()

    def test_who_had_the_session_is_told_that_it_is_displaced(self) -> None:
        seat = self.alice.seat
        self.again.resume(KEY)
        self.assertEqual((self.alice.words(), self.again.words()), (["displaced"], []))
        self.assertIs(self.again.seat, seat)
        self.assertEqual(self.seats.held, {})
        self.again.ask(Say("here"))
        self.settle()
        self.assertEqual((self.alice.words(), self.again.words()), ([], ["answered"]))
        self.assertEqual(self.lines(), ["Alice has joined", "Alice: here"])

    def test_all_that_is_under_way_is_answered_to_the_new_connection(self) -> None:
        asked: list[Command] = [Say("one", 1), Say("two", 2), Rename("Al", 3), Users(4), Whisper("Nobody: hi", 5)]
        self.alice.ask(*asked)
        self.clock.advance(0)
        self.again.resume(KEY)
        self.settle()
        self.assertEqual(self.alice.words(), ["displaced"])
        told = self.again.told()
        self.assertEqual([word for word, _ in told], ["answered"] * 4 + ["refused"])
        self.assertEqual([command for _, command in told], asked)

    def test_a_session_goes_on_whether_its_connection_ended_or_not_and_as_often_as_one_likes(self) -> None:
        self.alice.ask(Say("one"))
        self.alice.hang_up(hold=True)
        for number in range(3):
            self.again.resume(KEY)
            self.assertEqual(self.seats.held, {})
            self.settle()
            self.assertEqual(self.again.words(), ["answered"] if number == 0 else [])
            self.again.hang_up(hold=True)
        self.assertEqual(self.alice.words(), [])
        self.assertEqual(self.names(), ["Alice"])

    def test_an_unknown_key_is_refused_and_nobody_is_displaced(self) -> None:
        for key in ("f0" * 32, "", KEY.upper()):
            self.assertRaises(IllegalMessage, self.again.resume, key)
        self.alice.ask(Leave())
        self.settle()
        self.assertRaises(IllegalMessage, self.again.resume, KEY)
        self.assertEqual(self.alice.words(), ["answered"])
        self.assertNoTrace()

    def test_it_is_a_sign_of_life(self) -> None:
        self.alice.hang_up(hold=True)
        self.clock.advance(30)
        self.again.resume(KEY)
        self.assertEqual(self.again.member.contact, self.clock.seconds())

    def test_a_bug_of_who_is_displaced_is_survived(self) -> None:
        self.patch(self.alice, "displaced", lambda why: 1 / 0)
        self.again.resume(KEY)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.again.ask(Say("here"))
        self.settle()
        self.assertEqual(self.again.words(), ["answered"])


class HangUpTests(Sessions):
    def test_without_a_hold_the_member_leaves_once_all_that_it_asked_is_done(self) -> None:
        alice = self.connection("Alice")
        alice.ask(Say("one"), Rename("Al"), Say("two"))
        alice.hang_up(hold=False)
        self.settle()
        self.assertEqual(
            self.lines(),
            ["Alice has joined", "Alice: one", "Alice changed his name to Al", "Al: two", "Al has left the group"],
        )
        self.assertEqual(alice.words(), [])
        self.assertNoTrace()

    def test_with_one_it_is_there_for_so_many_seconds_and_no_longer(self) -> None:
        self.start(hold=300)
        self.connection("Alice", KEY).hang_up(hold=True)
        self.node.pass_time(299)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(2)
        self.assertEqual(self.lines(), ["Alice has joined", "Alice has left the group"])
        self.assertNoTrace()
        self.assertRaises(IllegalMessage, self.connection().resume, KEY)
        self.connection("Alice", KEY)

    def test_not_if_it_is_resumed_meanwhile_and_each_hold_is_as_long(self) -> None:
        self.start(hold=300)
        self.connection("Alice", KEY).hang_up(hold=True)
        self.node.pass_time(299)
        again = self.connection()
        again.resume(KEY)
        self.node.pass_time(10_000)
        self.assertEqual(self.names(), ["Alice"])
        again.hang_up(hold=True)
        self.node.pass_time(299)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(2)
        self.assertEqual(self.names(), [])

    def test_a_hold_of_no_seconds_ends_with_the_next(self) -> None:
        self.start(hold=0)
        self.connection("Alice", KEY).hang_up(hold=True)
        self.clock.advance(0.9)
        self.assertEqual(self.names(), ["Alice"])
        self.clock.advance(0.2)
        self.assertEqual(self.names(), [])

    def test_many_leave_a_few_at_a_time(self) -> None:
        self.start(hold=10)
        held = [self.connection(f"member{number}", f"{number:064x}") for number in range(AT_ONCE + 50)]
        for connection in held:
            connection.hang_up(hold=True)
        self.clock.pump([1.0] * 10)
        self.assertEqual(len(self.group.members), 50)
        self.clock.advance(1)
        self.assertEqual(len(self.group.members), 0)
        self.assertNoTrace()

    def test_whoever_was_no_member_leaves_no_trace(self) -> None:
        self.connection("Alice")
        for hold in (True, False):
            nobody, refused = self.connection(), self.connection()
            nobody.hang_up(hold=hold)
            refused.join("alice")
            refused.hang_up(hold=hold)
            self.settle()
            self.assertEqual((len(self.seats.live), self.seats.held), (1, {}))

    def test_what_could_not_be_stored_is_tried_again(self) -> None:
        log = FailingLog([])
        self.node = Node(log, self.clock)
        self.group, self.seats = self.node.service.group, self.node.service.seats
        alice = self.connection("Alice")
        log.failures = [Unavailable("the disk is full")] * 3
        alice.hang_up(hold=False)
        self.clock.pump([0, 1.0, 1.0])
        self.assertEqual(self.names(), ["Alice"])
        self.clock.pump([1.0, 0])
        self.assertEqual(self.names(), [])
        self.assertNoTrace()


class LateHangUpTests(Sessions):
    delay = 0.5

    def test_before_the_answer_to_a_join(self) -> None:
        for hold in (True, False):
            self.start()
            alice = self.connection()
            alice.join("Alice", KEY)
            alice.hang_up(hold=hold)
            self.settle()
            self.assertEqual(alice.words(), [])
            self.assertEqual(self.names(), ["Alice"] if hold else [])
            if hold:
                self.connection().resume(KEY)
                self.node.pass_time(1_000)
                self.assertEqual(self.names(), ["Alice"])

    def test_before_a_join_of_which_a_race_makes_nothing(self) -> None:
        for hold in (True, False):
            self.start()
            first, second = self.connection(), self.connection()
            first.join("Alice")
            second.join("ALICE", KEY)
            second.hang_up(hold=hold)
            self.settle()
            self.assertEqual((first.words(), second.words()), (["answered"], []))
            self.assertEqual((self.names(), self.seats.held, len(self.seats.live)), (["Alice"], {}, 1))

    def test_with_a_full_queue_the_member_leaves_a_second_later(self) -> None:
        alice = self.connection("Alice")
        alice.ask(Say("one"), *(Poll() for _ in range(QUEUE)))
        alice.hang_up(hold=False)
        self.clock.pump([0, 0.5])
        self.assertEqual((self.lines()[1:], self.names()), (["Alice: one"], ["Alice"]))
        self.clock.pump([1.0, 0.5])
        self.assertEqual(self.names(), [])
        self.assertNoTrace()

    def test_a_hold_that_ends_while_something_is_under_way_takes_no_room_in_the_queue(self) -> None:
        self.delay = 60.0
        self.start(hold=1)
        alice = self.connection("Alice", KEY)
        alice.ask(Say("one"))
        self.clock.advance(0)
        alice.hang_up(hold=True)
        self.clock.pump([1.0] * 40)
        again = self.connection()
        again.resume(KEY)
        again.ask(*(Poll() for _ in range(QUEUE)))
        self.settle()
        self.assertEqual(again.words(), ["answered"] * (1 + QUEUE))

    def test_a_leave_under_way_needs_no_hold(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Leave())
        alice.hang_up(hold=True)
        self.settle()
        self.assertEqual((alice.words(), self.names()), ([], []))
        self.assertNoTrace()


class VacateTests(Sessions):
    """Somebody resumes a session that is just being given up."""

    delay = 0.5

    def test_who_comes_when_that_is_under_way_is_told_and_keeps_nothing(self) -> None:
        self.start(hold=10)
        self.connection("Alice", KEY).hang_up(hold=True)
        while not self.store.read(self.store.head - 1, 1)[0].events[0].line().endswith("left the group"):  # type: ignore[union-attr]
            self.clock.advance(0.25)
        self.assertEqual(self.names(), ["Alice"])
        again = self.connection()
        again.resume(KEY)
        again.ask(Say("still here?"), Poll())
        self.settle()
        self.assertEqual(again.words(), ["displaced"])
        self.assertEqual(self.lines(), ["Alice has joined", "Alice has left the group"])
        self.assertNoTrace()
        self.connection("Alice", KEY)

    def test_who_comes_before_it_begins_stays(self) -> None:
        plain = self.connection("Alice", KEY)
        plain.ask(Say("one"))
        self.clock.advance(0)
        plain.hang_up(hold=False)  # waits behind the text
        again = self.connection()
        again.resume(KEY)
        self.settle()
        self.assertEqual(again.words(), ["answered"])
        self.node.pass_time(1_000)
        self.assertEqual(self.names(), ["Alice"])
        again.ask(Say("two"))
        self.settle()
        self.assertEqual(self.lines(), ["Alice has joined", "Alice: one", "Alice: two"])


class JoinAgainTests(Sessions):
    """A connection was cut before the answer to its join. Its client joins on another, with the same key."""

    delay = 0.5

    def test_while_the_first_join_is_under_way(self) -> None:
        first, second = self.connection(), self.connection()
        first.join("Alice", KEY)
        self.clock.advance(0)
        first.hang_up(hold=True)
        second.join("Alice", KEY)
        self.settle()
        self.assertEqual((first.words(), second.words()), ([], ["refused"]))
        second.resume(KEY)
        second.ask(Say("here I am"))
        self.settle()
        self.assertEqual(second.words(), ["answered"])
        self.assertEqual(self.lines(), ["Alice has joined", "Alice: here I am"])
        self.node.pass_time(1_000)
        self.assertEqual((self.names(), len(self.seats.live)), (["Alice"], 1))

    def test_once_it_is_done(self) -> None:
        first, second = self.connection(), self.connection()
        first.join("Alice", KEY)
        first.hang_up(hold=True)
        self.settle()
        second.join("Alice", KEY)
        self.settle()
        self.assertEqual((second.words(), second.why), (["refused"], ["The name Alice is in use."]))
        second.resume(KEY)
        self.assertEqual((second.member.name, self.lines()), ("Alice", ["Alice has joined"]))

    def test_one_key_is_one_member_whatever_the_names(self) -> None:
        first, second = self.connection(), self.connection()
        first.join("Alice", KEY)
        second.join("Bob", KEY)
        self.settle()
        self.assertEqual((first.words(), second.words()), (["answered"], ["refused"]))
        self.assertEqual(self.names(), ["Alice"])


class RepeatedTests(Sessions):
    """A client that was not answered sends its line again, with the same id."""

    delay = 0.5

    def setUp(self) -> None:
        super().setUp()
        self.connection("Bob")
        self.alice = self.connection("Alice", KEY)

    def say(self, connection: Connection, *commands: Say | Whisper | Rename) -> list[str]:
        connection.ask(*commands)
        self.settle()
        return connection.words()

    def test_it_is_answered_again_and_said_once(self) -> None:
        for asked in ([Say("hi", 1)], [Say("hi", 1)], [Say("other words", 1), Say("ho", 2)], [Say("ho", 2)]):
            self.assertEqual(self.say(self.alice, *asked), ["answered"] * len(asked))
        self.assertEqual(self.lines()[2:], ["Alice: hi", "Alice: ho"])

    def test_without_an_id_it_is_said_as_often_as_it_is_sent(self) -> None:
        self.assertEqual(self.say(self.alice, Say("hi"), Say("hi")), ["answered"] * 2)
        self.assertEqual(self.lines()[2:], ["Alice: hi"] * 2)

    def test_whispers_and_renames_likewise(self) -> None:
        for _ in range(3):
            self.assertEqual(self.say(self.alice, Whisper("Bob: psst", 1), Rename("Al", 2)), ["answered"] * 2)
        self.assertEqual(self.lines()[2:], ["Alice (private): psst", "Alice changed his name to Al"])
        self.assertEqual(self.say(self.alice, Rename("Alice", 3), Rename("Al", 2)), ["answered"] * 2)
        self.assertEqual(self.names(), ["Bob", "Alice"])

    def test_across_a_resume(self) -> None:
        self.alice.ask(Say("one", 1), Say("two", 2), Rename("Al", 3))
        self.clock.advance(0)
        self.alice.hang_up(hold=True)
        again = self.connection()
        again.resume(KEY)
        again.ask(Say("one", 1), Say("two", 2), Rename("Al", 3), Say("three", 4))
        self.settle()
        # Those of the connection before are answered here too.
        self.assertEqual(again.words(), ["answered"] * 7)
        self.assertEqual(self.lines()[2:], ["Alice: one", "Alice: two", "Alice changed his name to Al", "Al: three"])

    def test_both_copies_in_one_entry(self) -> None:
        before = self.store.head
        asked: list[Say | Whisper] = [Say("hi", 1), Say("hi", 1), Whisper("Bob: psst", 2), Whisper("Bob: psst", 2)]
        self.assertEqual(self.say(self.alice, *asked), ["answered"] * 4)
        self.assertEqual(self.entries(before), [["Said", "Said", "Whispered", "Whispered"]])
        self.assertEqual(self.lines()[2:], ["Alice: hi", "Alice (private): psst"])

    def test_what_was_refused_may_be_asked_again_with_its_id(self) -> None:
        self.assertEqual(self.say(self.alice, Say(" ", 1), Rename("Bob", 2)), ["refused"] * 2)
        self.assertEqual(self.say(self.alice, Say("hi", 1), Rename("Al", 2)), ["answered"] * 2)
        self.assertEqual(self.lines()[2:], ["Alice: hi", "Alice changed his name to Al"])

    def test_an_id_far_behind_the_highest_is_refused_and_one_not_so_far_is_not(self) -> None:
        self.say(self.alice, Say("high", 1_000))
        self.assertEqual(self.say(self.alice, Say("late", 1_001 - WINDOW)), ["answered"])
        self.assertEqual(self.say(self.alice, Say("too late", 1_000 - WINDOW)), ["refused"])
        self.assertIn("too far behind", self.alice.why[-1])

    def test_also_in_one_entry_with_the_highest(self) -> None:
        late = Say("too late", 1_000 - WINDOW), Whisper("Bob: too late", 1)
        asked = (Say("high", 1_000), *late, Say("more", 1_001))
        self.assertEqual(self.say(self.alice, *asked), ["answered", "refused", "refused", "answered"])
        self.assertEqual(self.lines()[2:], ["Alice: high", "Alice: more"])
        self.assertEqual(self.node.fatal, 0)

    def test_the_ids_of_one_member_are_not_anothers(self) -> None:
        carol = self.connection("Carol", "f0" * 32)
        for connection in (self.alice, carol):
            self.assertEqual(self.say(connection, Say("hi", 1)), ["answered"])
        self.assertEqual(self.lines()[3:], ["Alice: hi", "Carol: hi"])


class RestartSuite(Sessions):
    """What a node finds that starts on the log of another: with `restart`, which each kind of log does its way."""

    def restart(self, kill: bool) -> None:
        raise NotImplementedError

    def check_who_is_there(self, kill: bool) -> None:
        self.connection("Plain")
        self.connection("Nia", KEY)
        self.assertEqual(self.ask_udp("1 Una"), "Nia, Plain")
        self.restart(kill)
        self.settle()
        self.assertEqual(self.names(), ["Nia", "Una"])
        self.assertEqual(self.lines()[3:], ["Plain has left the group"])
        self.node.pass_time(299)
        self.settle()
        self.assertEqual(self.names(), ["Nia", "Una"])
        self.node.pass_time(2)
        self.settle()
        self.assertEqual(self.names(), ["Una"])
        self.assertNoTrace()

    def ask_udp(self, request: str) -> str | None:
        return self.node.ask(1, request)

    def check_it_goes_on(self, kill: bool) -> None:
        alice = self.connection("Alice", KEY)
        self.connection("Bob", "f0" * 32)
        alice.ask(Say("one", 1), Whisper("Bob: two", 2), Rename("Al", 3))
        self.settle()
        before = self.lines()
        self.restart(kill)
        again = self.connection()
        again.resume(KEY)
        self.settle()
        self.assertEqual((again.member.name, self.lines()), ("Al", before))
        again.ask(Say("one", 1), Whisper("Bob: two", 2), Rename("Al", 3), Say("four", 4), Say("four", 4))
        self.settle()
        self.assertEqual(again.words(), ["answered"] * 5)
        self.assertEqual(self.lines(), [*before, "Al: four"])
        self.node.pass_time(1_000)
        self.settle()
        self.assertEqual(self.names(), ["Al"])


class MemoryRestartTests(RestartSuite):
    def restart(self, kill: bool) -> None:
        if kill:
            for tail in tuple(self.store.wakers):
                self.store.wakers.remove(tail)
            self.node.service._ticker.stop()
        else:
            stopped = self.node.service.stopService()
            self.settle()
            self.successResultOf(stopped)
        self.node = Node(MemoryLog(self.store), self.clock)
        self.group, self.seats = self.node.service.group, self.node.service.seats

    def test_numbered_sessions_are_held_and_other_connections_leave(self) -> None:
        for kill in (True, False):
            self.start()
            self.check_who_is_there(kill)

    def test_a_session_goes_on_and_what_is_repeated_is_said_once(self) -> None:
        for kill in (True, False):
            self.start()
            self.check_it_goes_on(kill)


class SqliteRestartTests(RestartSuite):
    node: DurableNode

    def start(self, **settings: Any) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-sessions-"))
        self.addCleanup(shutil.rmtree, directory)
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.directory = directory
        self.use(DurableNode(directory / "group.sqlite", self.clock, **settings))

    def use(self, node: DurableNode) -> None:
        self.node, self.group, self.seats = node, node.service.group, node.service.seats

    def settle(self) -> None:
        for _ in range(3):
            self.node.settle()

    def restart(self, kill: bool) -> None:
        if kill:
            path = self.node.cut_off(self.directory / "after")
            self.node.service._ticker.stop()
        else:
            self.node.stop()
            path = self.node.path
        self.use(DurableNode(path, self.clock))

    def test_numbered_sessions_are_held_and_other_connections_leave(self) -> None:
        for kill in (True, False):
            self.start()
            self.check_who_is_there(kill)

    def test_a_session_goes_on_and_what_is_repeated_is_said_once(self) -> None:
        for kill in (True, False):
            self.start()
            self.check_it_goes_on(kill)


class ClockTests(Sessions):
    """A clock that is set, or a machine that slept, makes nobody leave who could not have come back."""

    def test_a_clock_that_jumps_ahead_vacates_nobody_at_once(self) -> None:
        self.start(hold=300)
        self.connection("Alice", KEY).hang_up(hold=True)
        self.node.pass_time(100)
        self.clock.advance(1_000_000)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(298)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(3)
        self.assertEqual(self.names(), [])

    def test_a_clock_that_is_set_back_holds_nobody_for_longer(self) -> None:
        self.start(hold=300)
        self.connection("Alice", KEY).hang_up(hold=True)
        self.node.pass_time(100)
        self.clock.rightNow -= 1_000_000
        for call in self.clock.getDelayedCalls():
            call.reset(1.0)
        self.clock.advance(1)
        self.node.pass_time(301)
        self.assertEqual(self.names(), [])

    def test_whose_connection_ended_for_good_is_not_held_for_that(self) -> None:
        log = FailingLog([])
        self.node = Node(log, self.clock)
        self.group, self.seats = self.node.service.group, self.node.service.seats
        alice = self.connection("Alice")
        log.failures = [Unavailable("the disk is full")]
        alice.hang_up(hold=False)
        self.clock.advance(0)
        self.assertEqual(self.names(), ["Alice"])
        self.clock.advance(1_000_000)
        self.clock.advance(1)
        self.assertEqual(self.names(), [])


class RateTests(Sessions):
    def setUp(self) -> None:
        self.start(rate=5)

    def texts(self, count: int) -> Sequence[str | None]:
        return [self.node.ask(1, f"2 {number}") for number in range(count)]

    def test_over_udp_too_much_is_illegal_and_polls_are_free(self) -> None:
        self.node.ask(1, "1 Alice")
        self.node.ask(2, "1 Bob")
        self.node.ask(1, "5")
        self.assertEqual(self.texts(BURST + 3), [""] * BURST + [ILLEGAL] * 3)
        self.assertEqual([self.node.ask(1, "5") for _ in range(1_000)], [""] * 1_000)
        self.assertEqual(self.node.ask(1, "3 Al"), ILLEGAL)
        self.clock.advance(1)
        self.assertEqual(self.texts(6), [""] * 5 + [ILLEGAL])
        self.assertEqual(self.node.ask(1, "4"), "close")
        waiting = str(self.node.ask(2, "5")).split("\n")
        self.assertEqual(len(waiting), BURST + 5 + 1)

    def test_one_members_haste_is_not_anothers(self) -> None:
        self.node.ask(1, "1 Alice")
        self.node.ask(2, "1 Bob")
        self.node.ask(1, "5")
        self.texts(BURST + 1)
        self.assertNotEqual(self.node.ask(2, "2 hi"), ILLEGAL)

    def test_what_looks_long_counts_and_what_was_done_already_does_not(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Say("hi", 1))
        self.settle()
        for _ in range(2 * BURST):
            alice.ask(Say("hi", 1))
        alice.told()
        for number in range(BURST):
            alice.ask(Users() if number % 2 else Recall(5))
        told = alice.words()
        self.assertEqual(told, ["answered"] * (BURST - 1) + ["refused"])
        self.assertIn("Slow down", alice.why[-1])


class WhisperTests(Sessions):
    def setUp(self) -> None:
        super().setUp()
        self.alice = self.connection("Alice")
        for who, name in [(1, "Bob"), (2, "Carol"), (3, "Bob Dylan")]:
            self.node.ask(who, f"1 {name}")
        for who in (1, 2, 3):
            self.node.ask(who, "5")

    def whisper(self, words: str) -> Whisper:
        command = Whisper(words)
        self.alice.ask(command)
        self.settle()
        return command

    def test_it_waits_for_somebody_who_polls_and_for_nobody_else(self) -> None:
        self.assertEqual(self.whisper("Bob: psst").to, "Bob")
        self.alice.ask(Say("hi all"))
        self.assertEqual(self.whisper("bob dylan a song: yes").to, "Bob Dylan")
        self.assertEqual(self.alice.words(), ["answered"] * 3)
        self.assertEqual(self.node.ask(1, "5"), "Alice (private): psst\nAlice: hi all")
        self.assertEqual(self.node.ask(2, "5"), "Alice: hi all")
        self.assertEqual(self.node.ask(3, "5"), "Alice: hi all\nAlice (private): a song: yes")
        self.assertEqual([self.group.behind(member) for member in self.group.members.values()], [3, 0, 0, 0])

    def test_to_oneself_or_to_nobody_it_is_refused_and_not_in_the_log(self) -> None:
        before = self.store.head
        for words in ["Alice: hi", "alice hi", "Eve: hi", "Eve", "Bob", "Bob:", "Bob: ", ": hi", " ", "Bob: \x1b[2J"]:
            self.whisper(words)
            self.assertEqual(self.alice.words(), ["refused"], words)
        self.assertEqual(self.alice.why[:2], ["That is you."] * 2)
        self.assertIn("Nobody here has that name", self.alice.why[2])
        self.assertEqual(self.store.head, before)

    def test_to_somebody_who_leaves_meanwhile_it_is_refused(self) -> None:
        self.node.send(1, "4")
        self.alice.ask(Whisper("Bob: too late"))
        self.settle()
        self.assertEqual(self.alice.words(), ["refused"])
        self.assertNotIn("Alice (private): too late", self.lines())
