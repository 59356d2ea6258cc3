"""The lines that a member is shown: found by bisection in sorted line numbers, however many lines lie in between.

Whispers are *withheld* from everybody but their authors and readers. The lines that are *hidden* to a member are those
that are withheld from it, and its own. So what is hidden to a member up to a line is counted in three bisections: its
own lines, and all whispers, less those that it wrote or may read.

Each line is in the list of its author (8 bytes); a whisper takes 40 bytes more, in five lists.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

TRIES = 4
"""The number of runs of whispers that are skipped one by one before the next line is found by bisection."""

_NONE = array("Q")


def numbers() -> array[int]:
    return array("Q")


class Visibility:
    """The numbers of all lines by author, and of all whispers by who may read them, in order."""

    __slots__ = ("_count", "others", "own", "readable", "readers", "whispers")

    def __init__(self) -> None:
        self.own: defaultdict[int, array[int]] = defaultdict(numbers)  # by author
        self.readable: defaultdict[int, array[int]] = defaultdict(numbers)  # the whispers that a member wrote or reads
        self.whispers = numbers()
        self.readers: list[int] = []  # of each whisper
        self.others = numbers()  # how many lines before each whisper were none, counted from wherever
        self._count = 0  # of all whispers so far

    def add_whisper(self, author: int, reader: int, number: int) -> None:
        self.whispers.append(number)
        self.readers.append(reader)
        self.others.append(number - self._count)
        self._count += 1
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
        del self.whispers[:gone], self.readers[:gone], self.others[:gone]
        for lists in (self.own, self.readable):
            for member in concerned & lists.keys():
                found = lists[member]
                del found[: bisect_left(found, number)]
                if not found:
                    del lists[member]

    def renumber(self, shift: int) -> None:
        for found in (self.whispers, self.others, *self.own.values(), *self.readable.values()):
            found[:] = array("Q", [number + shift for number in found])

    def withheld(self, member: int) -> LeftOut:
        """Return the lines that are withheld from a member (0 is nobody)."""
        return LeftOut(self, _NONE, self.readable.get(member, _NONE))

    def hidden(self, member: int) -> LeftOut:
        """Return the lines that are hidden to a member."""
        return LeftOut(self, self.own.get(member, _NONE), self.readable.get(member, _NONE))


class LeftOut:
    """The lines that one member is not shown: its `own`, and those whispers that are not `readable` to it."""

    __slots__ = ("_others", "_own", "_readable", "_whispers")

    def __init__(self, lines: Visibility, own: array[int], readable: array[int]) -> None:
        self._own = own
        self._whispers = lines.whispers
        self._others = lines.others
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

    def shown(self, after: int, upto: int) -> Iterator[range]:
        """Yield the lines after `after`, up to `upto`, that are not left out, in ranges.

        The work for a range does not depend on how many lines are left out before it.
        """
        while (begin := self._next_shown(after, upto)) <= upto:
            after = self._next_left_out(begin, upto)
            yield range(begin, after)

    def _next_shown(self, after: int, upto: int) -> int:
        """Return the first line after `after` that is not left out, or a number beyond `upto` if none up to there."""
        own, whispers, others, readable = self._own, self._whispers, self._others, self._readable
        for _ in range(TRIES):
            found = after + 1
            index = bisect_left(whispers, found)
            if index < len(whispers) and whispers[index] == found:
                # All whispers of one run have as many other lines before them.
                found += bisect_right(others, others[index], index) - index
                mine = bisect_right(readable, after)
                if mine < len(readable) and readable[mine] < found:
                    found = readable[mine]
            index = bisect_left(own, found)
            if found > upto or index == len(own) or own[index] != found:
                return found
            after = found
        return _first(self._shown_after(after), after, upto, 1)

    def _next_left_out(self, after: int, upto: int) -> int:
        """Return the first line after `after` that is left out, or `upto` + 1 if none up to there is."""
        own, whispers, readable = self._own, self._whispers, self._readable
        index = bisect_right(own, after)
        found = own[index] if index < len(own) else upto + 1
        index = bisect_right(whispers, after)
        if index < len(whispers) and whispers[index] < found:
            found = whispers[index]
            mine = bisect_right(readable, after)
            if mine < len(readable) and readable[mine] == found:
                return _first(self._count_after(after), after, upto, 1)
        return min(found, upto + 1)

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
