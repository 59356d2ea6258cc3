"""Live readers: which lines each is given, and when."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.internet.interfaces import IPushProducer
from zope.interface.verify import verifyObject

import groupchat.service.subscriptions as subscriptions_module
from groupchat.core.commands import Rename, Say, Whisper
from groupchat.core.group import Group, Run
from groupchat.service.subscriptions import AT_ONCE, IReader, Subscription, Turn
from tests.readers import Reader, SubscriptionTestCase, may_read


class GivingTests(SubscriptionTestCase):
    def test_a_subscription_is_a_producer(self) -> None:
        self.assertTrue(verifyObject(IPushProducer, self.alice.listen()))
        self.assertTrue(verifyObject(IReader, Reader()))

    def test_lines_of_one_turn_are_given_in_one_piece(self) -> None:
        for connection in (self.alice, self.bob, self.carol):
            connection.listen()
        self.alice.ask(*(Say(str(number)) for number in range(100)))
        self.carol.ask(Say("hi"))
        self.assertEqual(self.bob.given(), [])
        self.clock.advance(0)
        of_alice = "".join(f"Alice: {number}\n" for number in range(100))
        self.assertEqual(self.bob.given(), [of_alice + "Carol: hi\n"])
        self.assertEqual(self.alice.given(), ["Carol: hi\n"])
        self.assertEqual(self.carol.given(), [of_alice])

    def test_lines_are_given_once_and_not_before_the_turn_ends(self) -> None:
        self.bob.listen()
        self.alice.ask(Say("hi"))
        self.node.service._appender._flush()
        self.assertEqual((self.alice.words(), self.bob.given()), (["answered"], []))
        self.clock.advance(0)
        self.assertEqual(self.bob.given(), ["Alice: hi\n"])
        self.clock.pump([0, 0, 1.0])
        self.assertEqual(self.bob.given(), [])

    def test_several_entries_of_one_turn_wake_a_reader_once(self) -> None:
        turns: list[float] = []
        turn = self.node.service.subscriptions._turn

        def counted() -> None:
            turns.append(self.clock.seconds())
            turn()

        self.patch(self.node.service.subscriptions, "_turn", counted)
        self.bob.listen()
        for connection in (self.alice, self.carol):
            connection.ask(Say("hi"))
            self.node.service._appender._flush()
        self.clock.advance(0)
        self.assertEqual((self.bob.given(), len(turns)), (["Alice: hi\nCarol: hi\n"], 1))

    def test_a_reader_is_given_older_lines_after_its_cursor(self) -> None:
        self.say(self.alice, "four", "five", "six")
        self.bob.listen()
        self.carol.listen(after=5)
        late = Reader()
        self.open(self.carol, late, after=1_000)
        self.assertEqual(self.bob.given(), [])
        self.clock.advance(0)
        self.assertEqual(self.bob.given(), ["Alice: four\nAlice: five\nAlice: six\n"])
        self.assertEqual((self.carol.given(), late.pieces), (["Alice: six\n"], []))
        self.say(self.alice, "seven")
        self.assertEqual((self.carol.given(), late.pieces), (["Alice: seven\n"], [b"Alice: seven\n"]))

    def test_lines_are_rendered_once_for_all_readers_at_one_cursor(self) -> None:
        readers = [Reader() for _ in range(50)]
        for reader in readers:
            self.open(self.bob if reader in readers[:25] else self.carol, reader)
        takes: list[bool] = []
        take = Subscription._take

        def counted(it: Subscription, group: Group, turn: Turn) -> tuple[bytes, int, int]:
            takes.append(it.render is not None)
            return take(it, group, turn)

        self.patch(Subscription, "_take", counted)
        self.say(self.alice, "one", "two")
        self.assertEqual(takes, [False])
        self.assertEqual(readers[0].pieces, [b"Alice: one\nAlice: two\n"])
        for reader in readers:
            self.assertEqual(len(reader.pieces), 1)
            self.assertIs(reader.pieces[0], readers[0].pieces[0])

    def test_readers_at_one_cursor_may_render_differently(self) -> None:
        plain, numbered = Reader(), Reader()
        self.open(self.bob, plain)
        self.open(self.carol, numbered, numbered=True)
        self.say(self.alice, "one", "two")
        self.assertEqual(plain.pieces, [b"Alice: one\nAlice: two\n"])
        self.assertEqual(numbered.pieces, [b"4 Alice: one\n5 Alice: two\n"])

    def test_each_render_function_is_called_once(self) -> None:
        written: list[object] = []

        def as_events(runs: Sequence[Run]) -> bytes:
            written.append(runs)
            return b"".join([b"id: %d\ndata: %s\n\n" % run for run in runs])

        place = self.group.place(self.bob.member, 3)
        readers = [Reader() for _ in range(3)]
        for connection, reader in zip((self.bob, self.bob, self.carol), readers, strict=True):
            self.node.service.subscriptions.open(connection.member, place, reader, as_events)
        numbered = Reader()
        self.open(self.carol, numbered, numbered=True)
        self.say(self.alice, "one")
        self.assertEqual([reader.pieces for reader in readers], [[b"id: 4\ndata: Alice: one\n\n"]] * 3)
        self.assertEqual((written, numbered.pieces), ([[(4, b"Alice: one")]], [b"4 Alice: one\n"]))

    def test_own_lines_and_whispers_to_others_are_not_given(self) -> None:
        for connection in (self.alice, self.bob, self.carol):
            connection.listen()
        dora = self.joined("Dora")
        dora.listen(numbered=True)
        self.alice.ask(Say("one"), Whisper("Bob: two"), Say("three"))
        self.bob.ask(Whisper("Carol: four"), Whisper("Alice: five"), Rename("Robert"))
        self.clock.advance(0)
        self.assertEqual("".join(self.alice.given()[1:]), "Bob (private): five\nBob changed his name to Robert\n")
        self.assertEqual("".join(self.bob.given()[1:]), "Alice: one\nAlice (private): two\nAlice: three\n")
        self.assertEqual(
            "".join(self.carol.given()[1:]),
            "Alice: one\nAlice: three\nBob (private): four\nBob changed his name to Robert\n",
        )
        self.assertEqual("".join(dora.given()), "5 Alice: one\n7 Alice: three\n10 Bob changed his name to Robert\n")

    def test_a_reader_moves_the_cursor_of_its_member(self) -> None:
        self.bob.listen()
        self.say(self.alice, "one", "two")
        self.assertEqual(
            [(m.cursor, self.group.behind(m)) for m in (self.bob.member, self.carol.member)], [(5, 0), (3, 2)]
        )
        self.assertIn(self.bob.member, self.group.moved)

    def test_a_closed_subscription_is_given_nothing(self) -> None:
        opened = [self.bob.listen(), self.carol.listen()]
        self.alice.ask(Say("one"))
        self.node.service._appender._flush()
        self.node.service.subscriptions.close(opened[0])
        opened[1].stopProducing()
        self.clock.advance(0)
        self.say(self.alice, "two")
        for subscription in opened:
            subscription.resumeProducing()
            subscription.pauseProducing()
            subscription.resumeProducing()
        self.clock.advance(100)
        self.assertEqual((self.bob.given(), self.carol.given()), ([], []))
        self.assertEqual((self.bob.drops, self.carol.drops), (0, 0))

    def test_a_reader_closed_by_another_in_a_turn_is_given_nothing(self) -> None:
        opened: list[Subscription] = []
        first = Reader(lambda: self.node.service.subscriptions.close(opened[0]))
        self.open(self.bob, first)
        second, third = Reader(), Reader()
        opened.append(self.open(self.bob, second))
        self.open(self.carol, third)
        self.say(self.alice, "one")
        self.assertEqual([len(reader.pieces) for reader in (first, second, third)], [1, 0, 1])

    def test_a_reader_that_raises_is_closed_and_others_go_on(self) -> None:
        broken = Reader(lambda: 1 / 0)
        self.open(self.bob, broken)
        self.carol.listen()
        other = Reader()
        self.open(self.bob, other)
        for text in ("one", "two"):
            self.say(self.alice, text)
            self.assertEqual(self.carol.given(), [f"Alice: {text}\n"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((broken.pieces, len(other.pieces)), ([b"Alice: one\n"], 2))
        self.assertEqual(self.alice.words(), ["answered"] * 2)

    def test_lines_that_could_not_be_given_move_no_cursor(self) -> None:
        self.open(self.bob, Reader(lambda: 1 / 0))
        self.say(self.alice, "one")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.bob.member.cursor, self.group.behind(self.bob.member)), (3, 1))
        self.bob.listen()
        self.clock.advance(0)
        self.assertEqual(self.bob.given(), ["Alice: one\n"])

    def test_a_subscription_opened_during_a_turn_misses_nothing(self) -> None:
        late = Reader()
        first = Reader(lambda: None if late.pieces or len(first.pieces) > 1 else self.open(self.carol, late))
        self.open(self.bob, first)
        self.say(self.alice, "one")
        self.say(self.alice, "two")
        self.assertEqual(late.lines(), ["Alice: one", "Alice: two"])


class TwoReadersTests(SubscriptionTestCase):
    """Two connections of one member."""

    def test_a_member_has_the_cursor_of_its_farthest_reader(self) -> None:
        one, two = Reader(), Reader()
        self.open(self.bob, one)
        slow = self.open(self.bob, two)
        slow.pauseProducing()
        self.say(self.alice, "one")
        self.carol.ask(Whisper("Bob: psst"), Whisper("Alice: psst"))
        self.say(self.bob, "own")
        self.assertEqual(one.lines(), ["Alice: one", "Carol (private): psst"])
        self.assertEqual((two.pieces, self.bob.member.cursor, self.group.behind(self.bob.member)), ([], 7, 0))
        slow.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(two.lines(), one.lines())
        self.assertEqual((self.bob.member.cursor, self.group.behind(self.bob.member)), (7, 0))
        self.say(self.alice, "two")
        self.assertEqual((one.pieces[-1], two.pieces[-1]), (b"Alice: two\n", b"Alice: two\n"))

    def test_reading_older_lines_again_moves_no_cursor_back(self) -> None:
        self.bob.listen()
        self.say(self.alice, *(str(number) for number in range(10)))
        self.patch(subscriptions_module, "AT_ONCE", 20)
        again = Reader()
        subscription = self.open(self.bob, again, after=8)
        again.then = subscription.pauseProducing
        self.clock.advance(0)
        self.assertEqual((again.lines(), subscription.cursor), (["Alice: 5", "Alice: 6"], 10))
        self.assertEqual((self.bob.member.cursor, self.group.behind(self.bob.member)), (13, 0))
        for _ in range(2):
            subscription.resumeProducing()
            self.clock.advance(0)
        self.assertEqual(again.lines(), [f"Alice: {number}" for number in range(5, 10)])
        self.assertEqual((self.bob.member.cursor, self.group.behind(self.bob.member)), (13, 0))
        self.assertEqual(len(self.bob.given()), 1)


class RandomTests(SubscriptionTestCase):
    """Random texts, whispers and pauses: each reader is given the lines that it may see, once and in order."""

    def begin(self, dice: random.Random) -> None:
        self.start()
        self.dice = dice
        self.readers: list[tuple[Reader, Subscription, int]] = []
        self.patch(subscriptions_module, "AT_ONCE", dice.choice([10, 100, AT_ONCE]))

    def do_something(self) -> None:
        dice, everybody = self.dice, [self.alice, self.bob, self.carol]
        connection = dice.choice(everybody)
        match dice.randrange(8):
            case 0:
                reader, after = Reader(), dice.randrange(3, self.group.history.head + 1)
                self.readers.append((reader, self.open(connection, reader, after, dice.random() < 0.5), after))
            case 1 if self.readers:
                dice.choice(self.readers)[1].pauseProducing()
            case 2 if self.readers:
                dice.choice(self.readers)[1].resumeProducing()
            case 3:
                connection.ask(Rename(dice.choice(["Ann", "Ben", "Cid", "Dan"])))
            case 4 | 5:
                connection.ask(Whisper(f"{dice.choice(everybody).member.name}: {dice.random()}"))
            case _:
                connection.ask(*(Say(str(dice.random())) for _ in range(dice.randrange(1, 5))))
        if dice.random() < 0.5:
            self.clock.advance(0)

    def expected(self, subscription: Subscription, after: int) -> list[str]:
        history, member = self.group.history, subscription.member.id
        numbers = [
            number
            for number in range(after + 1, history.head + 1)
            if may_read(history, member, number) and not history.is_by(member, number)
        ]
        lines = [bytes(history.read(number - 1, number, 1 << 30)[0]).decode() for number in numbers]
        if subscription.render is not None:
            lines = [f"{number} {line}" for number, line in zip(numbers, lines, strict=True)]
        return lines

    def test_each_reader_sees_its_lines_once_in_order(self) -> None:
        for seed in range(30):
            self.begin(random.Random(seed))
            for _ in range(60):
                self.do_something()
            for _, subscription, _ in self.readers:
                subscription.resumeProducing()
            self.clock.advance(0)
            for reader, subscription, after in self.readers:
                self.assertEqual(reader.lines(), self.expected(subscription, after), f"seed {seed}")
                self.assertEqual(self.group.behind(subscription.member), 0, f"seed {seed}")
