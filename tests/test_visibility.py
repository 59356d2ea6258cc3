"""The lines that a member is shown, compared with the obvious way to find them; and the work of it."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

import groupchat.core.history as history_module
from groupchat.core.events import Joined, Said, Whispered
from groupchat.core.group import Group
from groupchat.core.history import RANGES, History
from groupchat.core.visibility import LeftOut
from tests.readers import may_read
from tests.work import work

ALICE, BOB, EVE = 1, 2, 3
LINES = 100_000


def group_with(is_public: Callable[[int], bool], lines: int = LINES, text: str = "x") -> Group:
    """Return a group in which Alice says the public lines, and whispers the others to Bob."""
    group = Group(LINES)
    for member, name in ((ALICE, "Alice"), (BOB, "Bob"), (EVE, "Eve")):
        group.apply(Joined(member, name, name.lower(), 0.0, "h", None, name))
    for number in range(lines):
        if is_public(number):
            group.apply(Said(ALICE, "Alice", text, 0.0))
        else:
            group.apply(Whispered(ALICE, "Alice", BOB, "Bob", text, 0.0))
    return group


def numbers(left_out: LeftOut, after: int, upto: int) -> list[int]:
    return [number for run in left_out.shown(after, upto) for number in run]


class FindingTests(SynchronousTestCase):
    def history(self, dice: random.Random) -> History:
        """Return a history in which there are long runs of all kinds of lines."""
        history = History(dice.choice([10, 400, 3000]))
        while history.head < dice.choice([50, 1000]):
            author, reader = dice.sample([ALICE, BOB, EVE], 2)
            for _ in range(dice.choice([1, 1, 2, 5, 63, 64, 65, 300])):
                if dice.random() < 0.1:
                    author, reader = reader, author
                if reader == EVE:
                    history.append(author, "said", 0.0)
                else:
                    history.whisper(author, reader, "whispered", 0.0)
        return history

    def test_all_ways_find_what_the_obvious_way_finds(self) -> None:
        for seed in range(60):
            dice = random.Random(seed)
            self.patch(History, "least_surplus", dice.choice([0, 1000]))
            history = self.history(dice)
            kept = range(history.first, history.head + 1)
            for member in (ALICE, BOB, EVE, 0, 99):
                after = dice.randrange(history.first - 1, history.head + 1)
                upto = dice.randrange(after, history.head + 1)
                readable = [number for number in kept if may_read(history, member, number)]
                shown = [number for number in readable if not history.is_by(member, number)]
                for left_out, wanted in (history.withheld(member), readable), (history.hidden(member), shown):
                    some = [number for number in wanted if after < number <= upto]
                    self.assertEqual(numbers(left_out, after, upto), some, seed)
                    self.assertEqual(left_out.count(after, upto), upto - after - len(some), seed)
                    for most in (1, 3, 5000):
                        self.assertEqual(left_out.last(most, after, upto), some[-most:], seed)
                self.assertEqual(history.count_hidden(member, 0), len(kept) - len(shown), seed)
                self.assertEqual(history.withheld(member).last(5, history.head, after), [])

    def test_new_numbers_after_a_restore_change_nothing_else(self) -> None:
        history = self.history(random.Random(1))
        before = [numbers(history.withheld(member), 0, history.head) for member in (0, ALICE, BOB)]
        history.renumber(history.head + 1000)
        after = [numbers(history.withheld(member), 1000, history.head) for member in (0, ALICE, BOB)]
        self.assertEqual([[number - 1000 for number in found] for found in after], before)

    def test_lines_are_read_across_blocks_of_text(self) -> None:
        self.patch(history_module, "BLOCK", 100)
        history = History(1000)
        lines = [f"{number}" + "x" * (number % 90) for number in range(1, 801)]
        for line in lines:
            history.append(ALICE, line, 0.0)
        self.assertGreater(len(history._blocks), 200)
        for after, upto in [(0, 800), (0, 1), (17, 18), (17, 100), (790, 800), (799, 800)]:
            found, last = history.read(after, upto, 1 << 30)
            self.assertEqual((bytes(found).decode().split("\n"), last), (lines[after:upto], upto))

    def test_no_block_of_text_grows_with_the_history(self) -> None:
        history = History(1000)
        for _ in range(5000):
            history.append(ALICE, "x" * 4000, 0.0)
            self.assertLess(len(history._text), history_module.BLOCK + 4002)
        self.assertLess(sum(map(len, history._blocks)), 2100 * 4001)

    def test_a_line_takes_less_than_80_bytes_beside_its_text(self) -> None:
        for is_whisper, most in (False, 80), (True, 125):
            tracemalloc.start()
            history = History(LINES)
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(LINES):
                if is_whisper:
                    history.whisper(ALICE, BOB, "", 0.0)
                else:
                    history.append(ALICE, "", 0.0)
            each = (tracemalloc.get_traced_memory()[0] - before) / LINES
            tracemalloc.stop()
            self.assertLess(each, most)


class WorkTests(SynchronousTestCase):
    """The work of each question does not grow with the number of lines that are not shown."""

    def works(self, group: Group) -> dict[str, int]:
        """Return the work of each question that Eve, who has seen nothing, can ask."""
        eve, history = group.members[EVE], group.history
        place = group.place(eve, 3)
        return {
            "poll": work(lambda: group.waiting(eve, *place, 65_507)),
            "resume": work(lambda: group.place(eve, 3)),
            "runs": work(lambda: group.runs(eve, *place, 32_768, 512)),
            "stream": work(lambda: group.seen_by(eve, 3, 16_384, 128)),
            "history after": work(lambda: group.seen_by(eve, 3, 65_536, 200)),
            "history at the end": work(lambda: group.seen_by(eve, history.head, 65_536, 1)),
            "history before": work(lambda: history.withheld(EVE).last(200, 3, history.head)),
            "last lines": work(lambda: history.last(200, EVE, 65_536)),
            "greeting": work(lambda: history.last(10, 0, 65_536)),
        }

    def test_whispers_among_others_cost_nothing(self) -> None:
        group = group_with(lambda number: False)
        for name, found in self.works(group).items():
            self.assertLess(found, 1_000, name)
        self.assertLess(work(lambda: group.waiting(group.members[EVE], *group.place(group.members[EVE], 3), 1)), 100)

    def test_own_lines_among_whispers_cost_nothing(self) -> None:
        group = group_with(lambda number: False, lines=3)
        for _ in range(20_000):
            group.apply(Said(EVE, "Eve", "x", 0.0))
            group.apply(Whispered(ALICE, "Alice", BOB, "Bob", "x", 0.0))
        group.apply(Said(ALICE, "Alice", "the end", 0.0))
        eve = group.members[EVE]
        place = group.place(eve, 3)
        self.assertLess(work(lambda: group.waiting(eve, *place, 65_507)), 1_000)
        self.assertEqual(group.waiting(eve, *place, 65_507)[0], b"Alice: the end")

    def test_lines_among_whispers_cost_what_is_given(self) -> None:
        for period in (2, 70, 130, 1000):
            group = group_with(lambda number, period=period: not number % period)  # type: ignore[misc]
            for name, found in self.works(group).items():
                self.assertLess(found, 100_000, (name, period))

    def test_a_poll_goes_on_where_its_work_was_over(self) -> None:
        group = group_with(lambda number: number % 2 == 0, lines=1000)
        eve, given, polls = group.members[EVE], list[bytes](), 0
        group.advance(eve, *group.place(eve, 3))
        while group.behind(eve):
            lines, cursor, skipped = group.waiting(eve, eve.cursor, eve.skipped, 65_507)
            group.advance(eve, cursor, skipped)
            given += bytes(lines).split(b"\n")
            polls += 1
        self.assertEqual(given, [b"Alice: x"] * 500)
        self.assertEqual(polls, -(-500 // RANGES))
