"""Sessions of a service, without sockets: joining, resuming, hanging up, and joining again."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from groupchat.core.commands import Command, Leave, Poll, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage, Unavailable
from groupchat.core.limits import QUEUE
from groupchat.core.rules import DAY
from groupchat.service.seats import IConnection
from groupchat.service.subscriptions import IReader
from groupchat.service.upkeep import AT_ONCE
from tests.connections import KEY, SessionTestCase
from tests.logs import FailingLog
from tests.node import Node


class FakesTests(SessionTestCase):
    def test_the_fake_connection_provides_the_interfaces(self) -> None:
        connection = self.connection()
        self.assertTrue(verifyObject(IConnection, connection))
        self.assertTrue(verifyObject(IReader, connection))


class ResumeTests(SessionTestCase):
    delay = 0.5

    def setUp(self) -> None:
        super().setUp()
        self.alice = self.connection("Alice", KEY)
        self.again = self.connection()

    def test_resume_displaces_the_old_connection(self) -> None:
        seat = self.alice.seat
        self.again.resume(KEY)
        self.assertEqual((self.alice.words(), self.again.words()), (["displaced"], []))
        self.assertIs(self.again.seat, seat)
        self.assertEqual(self.seats.held, {})
        self.again.ask(Say("here"))
        self.settle()
        self.assertEqual((self.alice.words(), self.again.words()), ([], ["answered"]))
        self.assertEqual(self.lines(), ["Alice has joined", "Alice: here"])

    def test_pending_commands_are_answered_to_the_new_connection(self) -> None:
        asked: list[Command] = [Say("one", 1), Say("two", 2), Rename("Al", 3), Users(4), Whisper("Nobody: hi", 5)]
        self.alice.ask(*asked)
        self.clock.advance(0)
        self.again.resume(KEY)
        self.settle()
        self.assertEqual(self.alice.words(), ["displaced"])
        told = self.again.told()
        self.assertEqual([word for word, _ in told], ["answered"] * 4 + ["refused"])
        self.assertEqual([command for _, command in told], asked)

    def test_a_session_can_be_resumed_any_number_of_times(self) -> None:
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

    def test_an_unknown_key_displaces_nobody(self) -> None:
        for key in ("f0" * 32, "", KEY.upper()):
            self.assertRaises(IllegalMessage, self.again.resume, key)
        self.alice.ask(Leave())
        self.settle()
        self.assertRaises(IllegalMessage, self.again.resume, KEY)
        self.assertEqual(self.alice.words(), ["answered"])
        self.assertNoTrace()

    def test_resume_counts_as_contact(self) -> None:
        self.alice.hang_up(hold=True)
        self.clock.advance(30)
        self.again.resume(KEY)
        self.assertEqual(self.again.member.contact, self.clock.seconds())

    def test_a_bug_in_the_displaced_connection_is_survived(self) -> None:
        self.patch(self.alice, "displaced", lambda why: 1 / 0)
        self.again.resume(KEY)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.again.ask(Say("here"))
        self.settle()
        self.assertEqual(self.again.words(), ["answered"])


class HangUpTests(SessionTestCase):
    def test_without_a_hold_the_member_leaves_after_its_commands(self) -> None:
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

    def test_a_held_session_ends_after_its_seconds(self) -> None:
        self.hold_alice(300)
        self.node.pass_time(299)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(2)
        self.assertEqual(self.lines(), ["Alice has joined", "Alice has left the group"])
        self.assertNoTrace()
        self.assertRaises(IllegalMessage, self.connection().resume, KEY)
        self.connection("Alice", KEY)

    def test_resume_ends_the_hold(self) -> None:
        self.hold_alice(300)
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

    def test_a_hold_of_zero_ends_within_a_second(self) -> None:
        self.hold_alice(0)
        self.clock.advance(0.9)
        self.assertEqual(self.names(), ["Alice"])
        self.clock.advance(0.2)
        self.assertEqual(self.names(), [])

    def test_holds_that_end_together_are_ended_in_batches(self) -> None:
        self.start(hold=10)
        held = [self.connection(f"member{number}", f"{number:064x}") for number in range(AT_ONCE + 50)]
        for connection in held:
            connection.hang_up(hold=True)
        self.clock.pump([1.0] * 10)
        self.assertEqual(len(self.group.members), 50)
        self.clock.advance(1)
        self.assertEqual(len(self.group.members), 0)
        self.assertNoTrace()

    def test_hang_up_before_joining_leaves_no_trace(self) -> None:
        self.connection("Alice")
        for hold in (True, False):
            nobody, refused = self.connection(), self.connection()
            nobody.hang_up(hold=hold)
            refused.join("alice")
            refused.hang_up(hold=hold)
            self.settle()
            self.assertEqual((len(self.seats.live), self.seats.held), (1, {}))

    def test_a_leave_that_was_not_stored_is_tried_again(self) -> None:
        log = FailingLog([])
        self.use(Node(log, self.clock))
        alice = self.connection("Alice")
        log.failures = [Unavailable("the disk is full")] * 3
        alice.hang_up(hold=False)
        self.clock.pump([0, 1.0, 1.0])
        self.assertEqual(self.names(), ["Alice"])
        self.clock.pump([1.0, 0])
        self.assertEqual(self.names(), [])
        self.assertNoTrace()


class LateHangUpTests(SessionTestCase):
    delay = 0.5

    def test_hang_up_before_the_join_is_answered(self) -> None:
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

    def test_hang_up_before_a_join_that_loses_a_race(self) -> None:
        for hold in (True, False):
            self.start()
            first, second = self.connection(), self.connection()
            first.join("Alice")
            second.join("ALICE", KEY)
            second.hang_up(hold=hold)
            self.settle()
            self.assertEqual((first.words(), second.words()), (["answered"], []))
            self.assertEqual((self.names(), self.seats.held, len(self.seats.live)), (["Alice"], {}, 1))

    def test_with_a_full_queue_the_member_leaves_later(self) -> None:
        alice = self.connection("Alice")
        alice.ask(Say("one"), *(Poll() for _ in range(QUEUE)))
        alice.hang_up(hold=False)
        self.clock.pump([0, 0.5])
        self.assertEqual((self.lines()[1:], self.names()), (["Alice: one"], ["Alice"]))
        self.clock.pump([1.0, 0.5])
        self.assertEqual(self.names(), [])
        self.assertNoTrace()

    def test_a_hold_that_ends_takes_no_room_in_the_queue(self) -> None:
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

    def test_a_pending_leave_needs_no_hold(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Leave())
        alice.hang_up(hold=True)
        self.settle()
        self.assertEqual((alice.words(), self.names()), ([], []))
        self.assertNoTrace()


class VacateTests(SessionTestCase):
    """A session is resumed just when its member is about to leave."""

    delay = 0.5

    def test_resume_while_the_leave_is_pending_is_displaced(self) -> None:
        self.hold_alice(10)
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

    def test_resume_before_the_leave_begins_cancels_it(self) -> None:
        plain = self.connection("Alice", KEY)
        plain.ask(Say("one"))
        self.clock.advance(0)
        plain.hang_up(hold=False)  # the leave waits behind the text
        again = self.connection()
        again.resume(KEY)
        self.settle()
        self.assertEqual(again.words(), ["answered"])
        self.node.pass_time(1_000)
        self.assertEqual(self.names(), ["Alice"])
        again.ask(Say("two"))
        self.settle()
        self.assertEqual(self.lines(), ["Alice has joined", "Alice: one", "Alice: two"])


class JoinAgainTests(SessionTestCase):
    """A connection was lost before its join was answered. The client joins on another one, with the same key."""

    delay = 0.5

    def test_joining_again_while_the_first_join_is_pending(self) -> None:
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

    def test_joining_again_after_the_first_join(self) -> None:
        first, second = self.connection(), self.connection()
        first.join("Alice", KEY)
        first.hang_up(hold=True)
        self.settle()
        second.join("Alice", KEY)
        self.settle()
        self.assertEqual((second.words(), second.why), (["refused"], ["The name Alice is in use."]))
        second.resume(KEY)
        self.assertEqual((second.member.name, self.lines()), ("Alice", ["Alice has joined"]))

    def test_one_key_is_one_member(self) -> None:
        first, second = self.connection(), self.connection()
        first.join("Alice", KEY)
        second.join("Bob", KEY)
        self.settle()
        self.assertEqual((first.words(), second.words()), (["answered"], ["refused"]))
        self.assertEqual(self.names(), ["Alice"])


class SilentSessionTests(SessionTestCase):
    delay = 0.5

    def test_a_member_that_only_reads_is_held_as_long(self) -> None:
        self.start(idle=1, hold=300)
        alice = self.connection("Alice", KEY)
        self.node.pass_time(2 * DAY)
        alice.hang_up(hold=True)
        self.node.pass_time(298)
        self.settle()
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(3)
        self.settle()
        self.assertEqual(self.names(), [])

    def test_resume_while_the_idle_leave_is_pending_is_displaced(self) -> None:
        self.start(idle=1, hold=10 * int(DAY))
        alice = self.connection("Alice", KEY)
        alice.hang_up(hold=True)
        seat = alice.seat
        for _ in range(3 * 24 * 120):
            self.clock.advance(30)
            if seat.busy:
                break
        again = self.connection()
        again.resume(KEY)
        again.ask(Say("am I here?", 1))
        self.settle()
        self.assertEqual((again.words(), self.names()), (["displaced"], []))
        self.assertEqual(self.lines(), ["Alice has joined", "Alice has left the group"])
        self.assertNoTrace()
