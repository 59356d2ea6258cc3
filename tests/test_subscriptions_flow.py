"""Live readers that are slow or far behind: how much each is given at once, and when it is dropped."""

from __future__ import annotations

import groupchat.service.subscriptions as subscriptions_module
from groupchat.core.commands import Say, Whisper
from groupchat.service.subscriptions import AT_ONCE
from tests.readers import Reader, SubscriptionTestCase


class PauseTests(SubscriptionTestCase):
    def test_a_paused_reader_is_given_everything_once_it_resumes(self) -> None:
        subscription = self.bob.listen()
        subscription.pauseProducing()
        self.carol.listen()
        for number in range(20):
            self.say(self.alice, f"a{number}")
            self.say(self.bob, f"b{number}")
            self.carol.ask(Whisper("Bob: psst"), Whisper("Alice: psst"))
            self.clock.advance(0)
        self.assertEqual((self.bob.given(), self.group.behind(self.bob.member)), ([], 40))
        self.assertEqual(len(self.carol.given()), 40)
        subscription.resumeProducing()
        self.assertEqual(self.bob.given(), [])
        self.clock.advance(0)
        expected = "".join(f"Alice: a{number}\nCarol (private): psst\n" for number in range(20))
        self.assertEqual(self.bob.given(), [expected])
        self.assertEqual(self.group.behind(self.bob.member), 0)

    def test_a_reader_that_pauses_while_reading_gets_the_rest_later(self) -> None:
        self.patch(subscriptions_module, "AT_ONCE", 30)
        reader = Reader()
        subscription = self.open(self.bob, reader)
        reader.then = subscription.pauseProducing
        self.say(self.alice, *(str(number) for number in range(9)))
        for count in (3, 6, 9):
            self.clock.pump([0, 0])
            self.assertEqual(reader.lines(), [f"Alice: {number}" for number in range(count)])
            subscription.resumeProducing()
        self.clock.pump([0, 0])
        self.assertEqual(len(reader.lines()), 9)

    def test_pausing_and_resuming_more_than_once_changes_nothing(self) -> None:
        subscription = self.bob.listen()
        subscription.resumeProducing()
        for _ in range(2):
            subscription.pauseProducing()
        self.say(self.alice, "one")
        for _ in range(2):
            subscription.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.bob.given(), ["Alice: one\n"])

    def test_a_stalled_reader_is_dropped_and_no_other(self) -> None:
        self.start(stall=60)
        subscription = self.bob.listen()
        slow = Reader()
        slower = self.open(self.carol, slow)
        self.alice.listen()
        subscription.pauseProducing()
        slower.pauseProducing()
        self.node.pass_time(59)
        slower.resumeProducing()
        slower.pauseProducing()
        self.assertEqual((self.bob.drops, slow.drops), (0, 0))
        self.node.pass_time(2)
        self.assertEqual((self.bob.drops, slow.drops), (1, 0))
        self.node.pass_time(57)
        self.assertEqual((self.bob.drops, slow.drops), (1, 0))
        self.node.pass_time(2)
        self.node.pass_time(1_000)
        self.assertEqual((self.bob.drops, slow.drops, self.alice.drops), (1, 1, 0))
        subscription.resumeProducing()
        self.say(self.carol, "one")
        self.assertEqual((self.bob.given(), self.alice.given()), ([], ["Carol: one\n"]))

    def test_lines_are_behind_until_every_reader_has_read(self) -> None:
        subscriptions = self.node.service.subscriptions
        subscription = self.bob.listen()
        self.assertEqual(subscriptions.lines_behind(), 0)
        subscription.pauseProducing()
        self.say(self.alice, "one")
        self.assertGreater(subscriptions.lines_behind(), 0)
        subscription.resumeProducing()
        self.assertGreater(subscriptions.lines_behind(), 0)
        self.clock.advance(0)
        self.assertEqual(subscriptions.lines_behind(), 0)


class AtOnceTests(SubscriptionTestCase):
    """A turn gives no more than AT_ONCE, so that a reader far behind holds up nobody."""

    def texts(self, count: int) -> list[str]:
        return [f"{number:04}" + "x" * 1_000 for number in range(count)]

    def test_a_long_backlog_comes_in_pieces_of_whole_lines(self) -> None:
        self.say(self.alice, *self.texts(200))
        for numbered in (False, True):
            reader = Reader()
            self.open(self.bob, reader, numbered=numbered)
            self.clock.advance(0)
            self.assertGreater(len(reader.pieces), 200 * 1_012 // AT_ONCE)
            for piece in reader.pieces:
                # AT_ONCE does not include the numbers.
                self.assertLessEqual(len(piece) - piece.count(b"\n") * 4 * numbered, AT_ONCE + 1)
                self.assertEqual(piece[-1:], b"\n")
            numbers = [f"{number} " if numbered else "" for number in range(4, 204)]
            lines = [f"{number}Alice: {text}" for number, text in zip(numbers, self.texts(200), strict=True)]
            self.assertEqual(reader.lines(), lines)
            self.assertEqual(self.group.behind(self.bob.member), 0)

    def test_each_turn_gives_one_piece_to_each_reader(self) -> None:
        self.say(self.alice, *self.texts(100))
        given: list[str] = []
        self.open(self.bob, Reader(lambda: given.append("Bob")))
        self.open(self.carol, Reader(lambda: given.append("Carol")))
        self.clock.advance(0)
        self.assertGreater(len(given), 6)
        self.assertEqual(given, ["Bob", "Carol"] * (len(given) // 2))

    def test_a_longer_line_goes_alone(self) -> None:
        self.patch(subscriptions_module, "AT_ONCE", 20)
        for numbered in (False, True):
            reader = Reader()
            self.open(self.bob, reader, after=self.group.history.head, numbered=numbered)
            self.say(self.alice, "one", "x" * 100, "two", "three")
            texts = [line.partition("Alice: ")[2] for line in reader.lines()]
            self.assertEqual(texts, ["one", "x" * 100, "two", "three"])
            self.assertEqual([piece.count(b"\n") for piece in reader.pieces], [1, 1, 1, 1])


class GapTests(SubscriptionTestCase):
    def gap(self, numbered: bool) -> list[str]:
        """Return the lines for a reader that was paused while more was said than is kept."""
        self.start(keep=5)
        reader = Reader()
        subscription = self.open(self.bob, reader, numbered=numbered)
        subscription.pauseProducing()
        self.say(self.alice, *(str(number) for number in range(20)))
        subscription.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(len(reader.pieces), 1)
        self.assertEqual(self.group.behind(self.bob.member), 0)
        self.say(self.alice, "more")
        return reader.lines()

    def test_a_gap_is_one_line_without_a_number(self) -> None:
        kept = [f"Alice: {number}" for number in range(15, 20)]
        self.assertEqual(self.gap(False), ["* 15 lines are no longer kept", *kept, "Alice: more"])
        lines = [f"{number} {line}" for number, line in enumerate([*kept, "Alice: more"], 19)]
        self.assertEqual(self.gap(True), ["* 15 lines are no longer kept", *lines])

    def test_a_gap_does_not_count_hidden_lines(self) -> None:
        self.start(keep=3)
        subscription = self.bob.listen(numbered=True)
        subscription.pauseProducing()
        self.alice.ask(Say("one"), Whisper("Carol: two"), Whisper("Bob: three"))
        self.say(self.bob, *(str(number) for number in range(10)))
        self.say(self.alice, "last")
        subscription.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.bob.given(), ["* 2 lines are no longer kept\n17 Alice: last\n"])
