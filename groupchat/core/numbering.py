"""The numbers that clients are given. They only grow, also if the log is replaced by a copy that was made earlier.

The group counts its lines 1, 2, 3 ... without a gap, and that is what cursors are. A line's number is its count until a
`Raised` event moves the numbers of all later lines above any that was ever given. So what a client remembers of lines
that are gone is never ahead of the log, and no line has a number that another one had.

    line       307    308     309          310              a Raised(1000000) came after line 308
    number     307    308     1000001      1000002
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

STEP = 1_000_000
"""Numbers are raised to a multiple of this."""

UNRECORDED = 100_000
"""More lines than are said before the highest number is recorded, which takes about a second."""

LARGEST = 2**53 - 1
"""The largest number that JavaScript has exactly."""

Run = tuple[int, bytes | bytearray]


def above(number: int) -> int:
    """Return what to raise the numbers to if those up to `number`, and perhaps some more, were given."""
    return (number + UNRECORDED) // STEP * STEP + STEP


class Numbering:
    """The numbers of the lines of one group."""

    __slots__ = ("_lines", "_to")

    def __init__(self) -> None:
        self._lines: list[int] = []  # the last line before each raise
        self._to: list[int] = []  # the number after which those of the lines after it begin

    def raise_to(self, line: int, to: int) -> None:
        """Let the lines after `line`, the last one, have numbers after `to`. Do nothing if they have already."""
        if to <= self.after(line):
            return
        if self._lines[-1:] == [line]:
            self._to[-1] = to
        else:
            self._lines.append(line)
            self._to.append(to)

    def raises(self) -> list[tuple[int, int]]:
        """Return the arguments of each `raise_to`."""
        return list(zip(self._lines, self._to, strict=True))

    def shift(self, lines: int) -> None:
        """Follow a change of the count of all lines."""
        self._lines = [line + lines for line in self._lines]
        self._to = [to + lines for to in self._to]

    def of(self, line: int) -> int:
        """Return the number of a line."""
        index = bisect_left(self._lines, line)
        return line + self._to[index - 1] - self._lines[index - 1] if index else line

    def numbers(self, lines: range) -> Iterable[int]:
        """Return the number of each of these lines."""
        if not self._lines:
            return lines
        if lines.start > self._lines[-1]:
            shift = self._to[-1] - self._lines[-1]
            return range(lines.start + shift, lines.stop + shift)
        return map(self.of, lines)

    def after(self, line: int) -> int:
        """Return the number that a client remembers which was given all lines up to this one."""
        return self.of(line + 1) - 1

    def line(self, number: int) -> int:
        """Return the last line that a client which remembers this number was given."""
        index = bisect_right(self._to, number)
        found = number - self._to[index - 1] + self._lines[index - 1] if index else number
        return min(found, self._lines[index] if index < len(self._lines) else sys.maxsize)

    def numbered(self, runs: Sequence[Run]) -> Sequence[Run]:
        """Return runs of lines (see group.py) with the numbers of their first lines. Each run has no gap in these."""
        return [part for run in runs for part in self._parts(*run)] if self._lines else runs

    def _parts(self, first: int, lines: bytes | bytearray) -> Iterable[Run]:
        if not first or first > self._lines[-1]:
            return [(first and self.of(first), lines)]
        split = lines.split(b"\n")
        inside = [line for line in self._lines if first <= line < first + len(split) - 1]
        starts = [0, *(line + 1 - first for line in inside), len(split)]
        return [(self.of(first + start), b"\n".join(split[start:end])) for start, end in pairwise(starts)]
