"""The numbers that clients are given, over raises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.events import Joined, Raised, Said
from groupchat.core.group import Group
from groupchat.core.numbering import STEP, UNRECORDED, Numbering, above

RAISES = st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 9)), max_size=5)


class NumberingTests(SynchronousTestCase):
    def numbering(self, *raises: tuple[int, int]) -> Numbering:
        numbering = Numbering()
        for line, to in raises:
            numbering.raise_to(line, to)
        return numbering

    def test_numbers_are_counts_without_a_raise(self) -> None:
        numbering = self.numbering()
        for line in (0, 1, 7, 10**18):
            self.assertEqual((numbering.of(line), numbering.after(line), numbering.line(line)), (line, line, line))
        self.assertEqual(numbering.numbered([(7, b"a\nb")]), [(7, b"a\nb")])

    def test_lines_after_a_raise_have_higher_numbers(self) -> None:
        numbering = self.numbering((308, 1_000_000))
        self.assertEqual([numbering.of(line) for line in (307, 308, 309, 310)], [307, 308, 1_000_001, 1_000_002])
        self.assertEqual([numbering.after(line) for line in (307, 308, 309)], [307, 1_000_000, 1_000_001])

    def test_a_number_that_no_line_has_is_that_of_the_line_before(self) -> None:
        numbering = self.numbering((308, 1_000_000), (310, 2_000_000))
        for number, line in [
            (0, 0),
            (308, 308),
            (309, 308),
            (999_999, 308),
            (1_000_000, 308),
            (1_000_001, 309),
            (1_000_002, 310),
            (1_000_003, 310),
            (2_000_000, 310),
            (2_000_001, 311),
        ]:
            self.assertEqual(numbering.line(number), line, number)

    def test_a_second_raise_after_the_same_line_counts(self) -> None:
        numbering = self.numbering((3, 10), (3, 20))
        self.assertEqual((numbering.raises(), numbering.of(3), numbering.of(4)), ([(3, 20)], 3, 21))

    def test_a_raise_below_the_last_number_changes_nothing(self) -> None:
        numbering = self.numbering((3, 10), (5, 12), (5, 7), (0, 0))
        self.assertEqual(numbering.raises(), [(3, 10)])

    def test_the_next_million_leaves_room_for_what_was_not_recorded(self) -> None:
        self.assertEqual([above(number) for number in (0, 313, STEP - UNRECORDED - 1)], [STEP] * 3)
        self.assertEqual([above(number) for number in (STEP - UNRECORDED, STEP, STEP + 1)], [2 * STEP] * 3)

    @given(RAISES, st.integers(0, 25), st.integers(1, 8))
    def test_numbers_grow_and_lead_back_to_their_lines(self, raises: list[tuple[int, int]], first: int, n: int) -> None:
        numbering, head, given_so_far = Numbering(), 0, [0]
        for lines, more in raises:
            for _ in range(lines):
                head += 1
                given_so_far.append(numbering.of(head))
            numbering.raise_to(head, numbering.after(head) + more)
        given_so_far += [numbering.of(line) for line in range(head + 1, 60)]
        self.assertEqual(given_so_far, [numbering.of(line) for line in range(60)])
        self.assertEqual(given_so_far, sorted(set(given_so_far)))
        some = range(first, first + n)
        self.assertEqual(list(numbering.numbers(some)), [given_so_far[line] for line in some])
        for number in range(given_so_far[40]):
            line = numbering.line(number)
            self.assertTrue(given_so_far[line] <= number < given_so_far[line + 1], number)
        texts = [b"%d" % line for line in range(first + 1, first + 1 + n)]
        parts = numbering.numbered([(0, b"* gap"), (first + 1, b"\n".join(texts))])
        self.assertEqual(parts[0], (0, b"* gap"))
        found = [pair for number, part in parts[1:] for pair in enumerate(part.split(b"\n"), number)]
        self.assertEqual(found, [(given_so_far[int(line)], line) for line in texts])


class GroupTests(SynchronousTestCase):
    def test_a_raise_is_no_line_and_nobody_is_behind_by_it(self) -> None:
        group = Group(keep=3)
        group.apply(Joined(7, "Alice", "alice", 0.0, "::1", None))
        group.apply(Joined(8, "Bob", "bob", 0.0, "::1", None))
        self.assertIsNone(group.apply(Raised(0.0, STEP)))
        group.apply(Said(7, "Alice", "new", 0.0))
        bob = group.members[8]
        self.assertEqual((group.history.head, group.behind(bob), group.all_behind()), (3, 1, 2))
        self.assertEqual(group.waiting(bob, bob.cursor, bob.skipped, 99)[0], b"Alice: new")
        for _ in range(4):
            group.apply(Said(7, "Alice", "more", 0.0))
        self.assertEqual(
            group.waiting(bob, bob.cursor, bob.skipped, 99)[0].split(b"\n")[0], b"* 2 lines are no longer kept"
        )
