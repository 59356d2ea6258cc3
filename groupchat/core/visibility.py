"""Which lines a member is shown: found by bisection in sorted line numbers, however many lines lie in between.

Whispers are *withheld* from everybody but their authors and readers. The lines that are *hidden* to a member are those
that are withheld from it, and its own. So what is hidden to a member up to a line is counted in three bisections: its
own lines, and all whispers, less those that it wrote or may read.

Each line is in the list of its author (8 bytes); a whisper is in three more lists, and has a reader (32 bytes).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

NEAR = 64
"""The number of lines that are looked at one by one before the rest of a run is skipped by bisection."""

_NONE = array("Q")


def numbers() -> array[int]:
    return array("Q")


class Visibility:
    """The numbers of all lines by author, and of all whispers by who may read them, in order."""

    __slots__ = ("own", "readable", "readers", "whispers")

    def __init__(self) -> None:
        self.own: defaultdict[int, array[int]] = defaultdict(numbers)  # by author
        self.readable: defaultdict[int, array[int]] = defaultdict(numbers)  # the whispers that a member wrote or reads
        self.whispers = numbers()
        self.readers: list[int] = []  # of each whisper

    def add_whisper(self, author: int, reader: int, number: int) -> None:
        self.whispers.append(number)
        self.readers.append(reader)
        self.readable[author].append(number)
        self.readable[reader].append(number)

    def reader(self, number: int) -> int:
        """Return the reader of a whisper, 0 for any other line."""
        index = bisect_left(self.whispers, number)
        return self.readers[index] if self.whispers[index : index + 1] == array("Q", [number]) else 0

    def forget(self, number: int, authors: Sequence[int]) -> None:
        """Forget the lines before a number, which are by these authors."""
        gone = bisect_left(self.whispers, number)
        concerned = {*authors, *self.readers[:gone]}
        del self.whispers[:gone], self.readers[:gone]
        for lists in (self.own, self.readable):
            for member in concerned & lists.keys():
                found = lists[member]
                del found[: bisect_left(found, number)]
                if not found:
                    del lists[member]

    def renumber(self, shift: int) -> None:
        for found in (self.whispers, *self.own.values(), *self.readable.values()):
            found[:] = array("Q", [number + shift for number in found])

    def withheld(self, member: int) -> LeftOut:
        """Return the lines that are withheld from a member (0 is nobody)."""
        return LeftOut(_NONE, self.whispers, self.readable.get(member, _NONE))

    def hidden(self, member: int) -> LeftOut:
        """Return the lines that are hidden to a member."""
        return LeftOut(self.own.get(member, _NONE), self.whispers, self.readable.get(member, _NONE))


class LeftOut:
    """The lines that one member is not shown: its `own`, and those `whispers` that are not `readable` to it."""

    __slots__ = ("_own", "_readable", "_whispers")

    def __init__(self, own: array[int], whispers: array[int], readable: array[int]) -> None:
        self._own = own
        self._whispers = whispers
        self._readable = readable

    def count(self, after: int, upto: int) -> int:
        """Return how many lines after `after`, up to `upto`, are left out."""
        return self._count_after(after)(upto)

    def _count_after(self, after: int) -> Callable[[int], int]:
        """Return the count of lines that are left out after `after` up to a number, as a function of that number."""
        own, whispers, readable = self._own, self._whispers, self._readable
        owns, all_, mine = len(own), len(whispers), len(readable)
        i, j, k = bisect_right(own, after), bisect_right(whispers, after), bisect_right(readable, after)
        before = i + j - k

        def count(upto: int) -> int:
            far = upto - after  # no list has more numbers than that up to there
            return (
                bisect_right(own, upto, i, i + far if i + far < owns else owns)
                + bisect_right(whispers, upto, j, j + far if j + far < all_ else all_)
                - bisect_right(readable, upto, k, k + far if k + far < mine else mine)
                - before
            )

        return count

    def _shown_after(self, after: int) -> Callable[[int], int]:
        """Return the count of the other lines, likewise."""
        left_out = self._count_after(after)
        return lambda upto: upto - after - left_out(upto)

    def _within(self, after: int, upto: int) -> list[int]:
        """Return the lines that are left out, in order: for a few lines."""
        own, whispers, readable = [
            found[(begin := bisect_right(found, after)) : bisect_right(found, upto, begin)]
            for found in (self._own, self._whispers, self._readable)
        ]
        return sorted({*own, *(whispers if len(whispers) == len(readable) == 0 else {*whispers}.difference(readable))})

    def shown(self, after: int, upto: int) -> Iterator[range]:
        """Yield the lines after `after`, up to `upto`, that are not left out, in ranges.

        The work for a range does not depend on how many lines are left out before it.
        """
        while after < upto:
            near = min(after + NEAR, upto)
            left_out = self._within(after, near)
            if len(left_out) == near - after:
                after = _first(self._shown_after(near), near, upto, 1) - 1
                continue
            if not left_out:
                near = _first(self._count_after(near), near, upto, 1) - 1
            begin = after + 1
            for number in (*left_out, near + 1):
                if number > begin:
                    yield range(begin, number)
                begin = number + 1
            after = near

    def last(self, most: int, after: int, upto: int) -> list[int]:
        """Return the last lines after `after`, up to `upto`, that are not left out: at most so many, oldest first."""
        if upto <= after:
            return []
        shown = self._shown_after(after)
        surplus = shown(upto) - most
        if surplus > 0:
            after = _first(shown, after, upto, surplus)
        return [number for run in self.shown(after, upto) for number in run]


def _first(count: Callable[[int], int], after: int, upto: int, goal: int) -> int:
    """Return the first number after `after` whose count reaches the goal, or `upto` + 1 if none up to there does.

    The count never falls. The steps double, so that what is near is found soon.
    """
    step = 1
    while after + step < upto and count(after + step) < goal:
        after += step
        step *= 2
    near = range(after + 1, min(after + step, upto) + 1)
    return after + 1 + bisect_left(near, goal, key=count)
