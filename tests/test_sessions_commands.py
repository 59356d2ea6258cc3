"""What members ask of a service, without a socket: much at once, twice, too much, and for one's ears only."""

from __future__ import annotations

from collections.abc import Sequence

from groupchat.core.commands import Command, Join, Leave, Poll, Recall, Rename, Say, Users, Whisper
from groupchat.core.ids import WINDOW
from groupchat.core.limits import BURST, QUEUE
from tests.connections import KEY, Connection, SessionTestCase

ILLEGAL = "Illegal message"


class BatchTests(SessionTestCase):
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


class LateBatchTests(SessionTestCase):
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


class RepeatedTests(SessionTestCase):
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


class RateTests(SessionTestCase):
    def setUp(self) -> None:
        self.start(rate=5)

    def texts(self, count: int) -> Sequence[str | None]:
        return [self.node.ask(1, f"2 {number}") for number in range(count)]

    def test_over_udp_too_much_is_illegal_and_polls_are_free(self) -> None:
        self.node.join(["Alice", "Bob"])
        self.assertEqual(self.texts(BURST + 3), [""] * BURST + [ILLEGAL] * 3)
        self.assertEqual([self.node.ask(1, "5") for _ in range(1_000)], [""] * 1_000)
        self.assertEqual(self.node.ask(1, "3 Al"), ILLEGAL)
        self.clock.advance(1)
        self.assertEqual(self.texts(6), [""] * 5 + [ILLEGAL])
        self.assertEqual(self.node.ask(1, "4"), "close")
        waiting = str(self.node.ask(2, "5")).split("\n")
        self.assertEqual(len(waiting), BURST + 5 + 1)

    def test_one_members_haste_is_not_anothers(self) -> None:
        self.node.join(["Alice", "Bob"])
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


class WhisperTests(SessionTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alice = self.connection("Alice")
        self.node.join(["Bob", "Carol", "Bob Dylan"])

    def whisper(self, words: str) -> Whisper:
        command = Whisper(words)
        self.alice.ask(command)
        self.settle()
        return command

    def test_it_waits_for_somebody_who_polls_and_for_nobody_else(self) -> None:
        self.assertEqual(self.whisper("Bob: psst").to, "Bob")
        self.alice.ask(Say("hi all"))
        self.assertEqual(self.whisper("bob dylan a song (yes)").to, "Bob Dylan")
        self.assertEqual(self.alice.words(), ["answered"] * 3)
        self.assertEqual(self.node.ask(1, "5"), "Alice (private): psst\nAlice: hi all")
        self.assertEqual(self.node.ask(2, "5"), "Alice: hi all")
        self.assertEqual(self.node.ask(3, "5"), "Alice: hi all\nAlice (private): a song (yes)")
        self.assertEqual([self.group.behind(member) for member in self.group.members.values()], [3, 0, 0, 0])

    def test_to_oneself_or_to_nobody_it_is_refused_and_not_in_the_log(self) -> None:
        before = self.store.head
        for words in ["Alice: hi", "alice hi", "Eve: hi", "Eve", "Bob", "Bob:", "Bob: ", ": hi", " ", "Bob: \x1b[2J"]:
            self.whisper(words)
            self.assertEqual(self.alice.words(), ["refused"], words)
        self.assertEqual(self.alice.why[:2], ["That is you."] * 2)
        self.assertIn("Nobody here is called Eve", self.alice.why[2])
        self.assertEqual(self.store.head, before)

    def test_to_somebody_who_leaves_meanwhile_it_is_refused(self) -> None:
        self.node.send(1, "4")
        self.alice.ask(Whisper("Bob: too late"))
        self.settle()
        self.assertEqual(self.alice.words(), ["refused"])
        self.assertNotIn("Alice (private): too late", self.lines())
