"""Commands of members without sockets: in batches, repeated, over the rate, and whispers."""

from __future__ import annotations

from collections.abc import Sequence

from groupchat.core.commands import Command, Join, Leave, Poll, Recall, Rename, Say, Users, Whisper
from groupchat.core.ids import WINDOW
from groupchat.core.limits import BURST, QUEUE
from tests.connections import KEY, Connection, SessionTestCase

ILLEGAL = "Illegal message"


class BatchTests(SessionTestCase):
    """Texts that a member sends without waiting share an entry of the log."""

    def setUp(self) -> None:
        super().setUp()
        self.alice, self.bob = self.connection("Alice"), self.connection("Bob")
        self.before = self.store.head

    def test_texts_of_one_turn_are_one_entry(self) -> None:
        texts = [Say(str(number)) for number in range(50)]
        self.alice.ask(*texts)
        self.assertEqual(self.alice.told(), [])
        self.settle()
        told = self.alice.told()
        self.assertEqual([word for word, _ in told], ["answered"] * 50)
        self.assertTrue(all(command is text for (_, command), text in zip(told, texts, strict=True)))
        self.assertEqual(self.entries(self.before), [["Said"] * 50])
        self.assertEqual(self.lines()[2:], [f"Alice: {number}" for number in range(50)])

    def test_mixed_commands_are_answered_once_and_in_order(self) -> None:
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

    def test_two_members_share_an_entry(self) -> None:
        for number in range(10):
            self.alice.ask(Say(f"a{number}"))
            self.bob.ask(Say(f"b{number}"))
        self.settle()
        self.assertEqual(self.entries(self.before), [["Said"] * 20])
        self.assertEqual((self.alice.words(), self.bob.words()), (["answered"] * 10, ["answered"] * 10))
        self.assertEqual(self.lines()[2:], [f"{who}{n}" for n in range(10) for who in ("Alice: a", "Bob: b")])

    def test_an_entry_is_bounded(self) -> None:
        self.alice.ask(*(Say(str(number)) for number in range(256 + QUEUE + 2)))
        self.settle()
        # The first 256 are appended at once. The next ones wait until these are back, and are appended together.
        self.assertEqual(self.alice.words(), ["dropped"] * 2 + ["answered"] * (256 + QUEUE))
        self.assertEqual([len(kinds) for kinds in self.entries(self.before)], [256, QUEUE])
        self.assertEqual(self.lines()[2:], [f"Alice: {number}" for number in range(256 + QUEUE)])


class LateBatchTests(SessionTestCase):
    delay = 0.5

    def test_texts_of_later_turns_wait_and_share_an_entry(self) -> None:
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
    """A client without an answer sends its command again, with the same id."""

    delay = 0.5

    def setUp(self) -> None:
        super().setUp()
        self.connection("Bob")
        self.alice = self.connection("Alice", KEY)

    def say(self, connection: Connection, *commands: Say | Whisper | Rename) -> list[str]:
        connection.ask(*commands)
        self.settle()
        return connection.words()

    def test_a_repeated_text_is_said_once(self) -> None:
        for asked in ([Say("hi", 1)], [Say("hi", 1)], [Say("other words", 1), Say("ho", 2)], [Say("ho", 2)]):
            self.assertEqual(self.say(self.alice, *asked), ["answered"] * len(asked))
        self.assertEqual(self.lines()[2:], ["Alice: hi", "Alice: ho"])

    def test_texts_without_an_id_are_said_each_time(self) -> None:
        self.assertEqual(self.say(self.alice, Say("hi"), Say("hi")), ["answered"] * 2)
        self.assertEqual(self.lines()[2:], ["Alice: hi"] * 2)

    def test_repeated_whispers_and_renames_take_effect_once(self) -> None:
        for _ in range(3):
            self.assertEqual(self.say(self.alice, Whisper("Bob: psst", 1), Rename("Al", 2)), ["answered"] * 2)
        self.assertEqual(self.lines()[2:], ["Alice (private): psst", "Alice changed his name to Al"])
        self.assertEqual(self.say(self.alice, Rename("Alice", 3), Rename("Al", 2)), ["answered"] * 2)
        self.assertEqual(self.names(), ["Bob", "Alice"])

    def test_commands_repeated_after_a_resume_take_effect_once(self) -> None:
        self.alice.ask(Say("one", 1), Say("two", 2), Rename("Al", 3))
        self.clock.advance(0)
        self.alice.hang_up(hold=True)
        again = self.connection()
        again.resume(KEY)
        again.ask(Say("one", 1), Say("two", 2), Rename("Al", 3), Say("three", 4))
        self.settle()
        # The commands of the earlier connection are answered here as well.
        self.assertEqual(again.words(), ["answered"] * 7)
        self.assertEqual(self.lines()[2:], ["Alice: one", "Alice: two", "Alice changed his name to Al", "Al: three"])

    def test_both_copies_may_be_in_one_entry(self) -> None:
        before = self.store.head
        asked: list[Say | Whisper] = [Say("hi", 1), Say("hi", 1), Whisper("Bob: psst", 2), Whisper("Bob: psst", 2)]
        self.assertEqual(self.say(self.alice, *asked), ["answered"] * 4)
        self.assertEqual(self.entries(before), [["Said", "Said", "Whispered", "Whispered"]])
        self.assertEqual(self.lines()[2:], ["Alice: hi", "Alice (private): psst"])

    def test_the_id_of_a_refused_command_can_be_used_again(self) -> None:
        self.assertEqual(self.say(self.alice, Say(" ", 1), Rename("Bob", 2)), ["refused"] * 2)
        self.assertEqual(self.say(self.alice, Say("hi", 1), Rename("Al", 2)), ["answered"] * 2)
        self.assertEqual(self.lines()[2:], ["Alice: hi", "Alice changed his name to Al"])

    def test_an_id_too_far_behind_the_highest_is_refused(self) -> None:
        self.say(self.alice, Say("high", 1_000))
        self.assertEqual(self.say(self.alice, Say("late", 1_001 - WINDOW)), ["answered"])
        self.assertEqual(self.say(self.alice, Say("too late", 1_000 - WINDOW)), ["refused"])
        self.assertIn("too far behind", self.alice.why[-1])

    def test_an_old_id_in_one_entry_with_the_highest_is_refused(self) -> None:
        late = Say("too late", 1_000 - WINDOW), Whisper("Bob: too late", 1)
        asked = (Say("high", 1_000), *late, Say("more", 1_001))
        self.assertEqual(self.say(self.alice, *asked), ["answered", "refused", "refused", "answered"])
        self.assertEqual(self.lines()[2:], ["Alice: high", "Alice: more"])
        self.assertEqual(self.node.fatal, 0)

    def test_each_member_has_its_own_ids(self) -> None:
        carol = self.connection("Carol", "f0" * 32)
        for connection in (self.alice, carol):
            self.assertEqual(self.say(connection, Say("hi", 1)), ["answered"])
        self.assertEqual(self.lines()[3:], ["Alice: hi", "Carol: hi"])


class RateTests(SessionTestCase):
    def setUp(self) -> None:
        self.start(rate=5)

    def texts(self, count: int) -> Sequence[str | None]:
        return [self.node.ask(1, f"2 {number}") for number in range(count)]

    def test_texts_over_the_rate_are_illegal_and_polls_are_free(self) -> None:
        self.node.join(["Alice", "Bob"])
        self.assertEqual(self.texts(BURST + 3), [""] * BURST + [ILLEGAL] * 3)
        self.assertEqual([self.node.ask(1, "5") for _ in range(1_000)], [""] * 1_000)
        self.assertEqual(self.node.ask(1, "3 Al"), ILLEGAL)
        self.clock.advance(1)
        self.assertEqual(self.texts(6), [""] * 5 + [ILLEGAL])
        self.assertEqual(self.node.ask(1, "4"), "close")
        waiting = str(self.node.ask(2, "5")).split("\n")
        self.assertEqual(len(waiting), BURST + 5 + 1)

    def test_each_member_has_its_own_rate(self) -> None:
        self.node.join(["Alice", "Bob"])
        self.texts(BURST + 1)
        self.assertNotEqual(self.node.ask(2, "2 hi"), ILLEGAL)

    def test_long_answers_count_and_repeated_commands_do_not(self) -> None:
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

    def test_a_whisper_waits_for_one_polling_member(self) -> None:
        self.assertEqual(self.whisper("Bob: psst").to, "Bob")
        self.alice.ask(Say("hi all"))
        self.assertEqual(self.whisper("bob dylan a song (yes)").to, "Bob Dylan")
        self.assertEqual(self.alice.words(), ["answered"] * 3)
        self.assertEqual(self.node.ask(1, "5"), "Alice (private): psst\nAlice: hi all")
        self.assertEqual(self.node.ask(2, "5"), "Alice: hi all")
        self.assertEqual(self.node.ask(3, "5"), "Alice: hi all\nAlice (private): a song (yes)")
        self.assertEqual([self.group.behind(member) for member in self.group.members.values()], [3, 0, 0, 0])

    def test_a_whisper_to_oneself_or_nobody_is_refused(self) -> None:
        before = self.store.head
        for words in ["Alice: hi", "alice hi", "Eve: hi", "Eve", "Bob", "Bob:", "Bob: ", ": hi", " ", "Bob: \x1b[2J"]:
            self.whisper(words)
            self.assertEqual(self.alice.words(), ["refused"], words)
        self.assertEqual(self.alice.why[:2], ["That is you."] * 2)
        self.assertIn("Nobody here is called Eve", self.alice.why[2])
        self.assertEqual(self.store.head, before)

    def test_a_whisper_to_a_member_who_leaves_is_refused(self) -> None:
        self.node.send(1, "4")
        self.alice.ask(Whisper("Bob: too late"))
        self.settle()
        self.assertEqual(self.alice.words(), ["refused"])
        self.assertNotIn("Alice (private): too late", self.lines())
