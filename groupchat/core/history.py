"""The lines that are kept, each rendered once, one after the other in blocks of bytes.

However many members a line waits for, it is here once; what waits for a member is usually one slice of the last block.
Lines are numbered 1, 2, 3 ... in the order in which they were added; `first` is the oldest that is still kept. Clients
are given other numbers for them once a backup was restored: see numbering.py.
A whisper is a line for one reader only. Who is shown which lines: see visibility.py.

Beside its text a line takes about 75 bytes, and a whisper 115.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

from groupchat.core.visibility import LeftOut, Visibility

BLOCK = 256 * 1024
"""The size of a block of text, in bytes, about: a larger one would have to be moved in memory as it grows."""

RANGES = 64
"""The most ranges of lines that are taken at once: each costs some look-ups, however short it is."""

AT_ONCE = 10_000
"""The most lines that are taken out of memory at once."""


class History:
    """The last lines, at most `keep` of them. `head` is the number of the newest, 0 before there is one.

    A method that is given the number of one line needs one that is kept.
    """

    # Lines that are no longer kept stay in memory until they are over an eighth of it, and more than this many.
    least_surplus = 1000

    __slots__ = (
        "_authors",
        "_base",
        "_blocks",
        "_bounds",
        "_ends",
        "_entries",
        "_keep",
        "_own",
        "_stored",
        "_text",
        "_time",
        "_times",
        "_visibility",
        "entry",
        "first",
        "head",
        "ranges",
    )

    def __init__(self, keep: int) -> None:
        self.first = 1
        self.head = 0
        self.ranges = 0  # that were taken so far, by all readers
        self.entry = 0  # the position in the log of the entry that is being applied
        self._keep = keep
        self._stored = 1  # the number of the oldest line in memory, which may be older than `first`
        self._text = bytearray()  # the newest lines, each with its LF
        self._base = 0  # how many bytes came before that text
        self._blocks: list[bytes] = []  # the text before that
        self._ends = array("Q")  # of each block, counted as `_base` is
        self._bounds = [0]  # where each line begins, and the last one ends, likewise
        self._authors: list[int] = []
        self._times = array("d")
        self._time = float("-inf")  # of the newest line
        self._entries = array("q")  # the positions in the log
        self._visibility = Visibility()
        self._own = self._visibility.own

    def append(self, author: int, line: str, at: float) -> int:
        """Add a line and return its number. The author is 0 if the line is by no member."""
        text = self._text
        text += (line + "\n").encode()
        self._bounds.append(self._base + len(text))
        self._authors.append(author)
        self._entries.append(self.entry)
        # Times never go back, even if a clock is set back: forget() relies on their order.
        if at > self._time:  # noqa: PLR1730  max() takes as long as a third of this method
            self._time = at
        self._times.append(self._time)
        self.head = head = self.head + 1
        self._own[author].append(head)
        if len(text) > BLOCK:
            self._begin_block()
        if head - self.first >= self._keep:
            self._forget_before(head - self._keep + 1)
        return head

    def whisper(self, author: int, reader: int, line: str, at: float) -> int:
        """Add a line that is for one reader only, and return its number."""
        number = self.append(author, line, at)
        self._visibility.add_whisper(author, reader, number)
        return number

    def keep(self, most: int) -> None:
        """Keep so many lines from now on."""
        self._keep = most
        if self.head - self.first >= most:
            self._forget_before(self.head - most + 1)

    def _begin_block(self) -> None:
        self._blocks.append(bytes(self._text))
        self._base += len(self._text)
        self._ends.append(self._base)
        self._text = bytearray()

    def forget(self, before: float) -> None:
        """Forget the lines from before this time."""
        stale = bisect_left(self._times, before, self.first - self._stored)
        self._forget_before(max(self.first, self._stored + stale))

    def _forget_before(self, number: int) -> None:
        self.first = number
        surplus = number - self._stored
        if surplus > max(len(self._authors) // 8, self.least_surplus):
            surplus = min(surplus, AT_ONCE)
            self._stored += surplus
            self._visibility.forget(self._stored, self._authors[:surplus])
            del self._bounds[:surplus], self._authors[:surplus], self._times[:surplus], self._entries[:surplus]
            gone = bisect_right(self._ends, self._bounds[0])
            del self._blocks[:gone], self._ends[:gone]

    def first_entry(self) -> int:
        """Return the position in the log of the oldest line's entry; of the next entry if there is no line."""
        return self._entries[self.first - self._stored] if self.first <= self.head else self.entry + 1

    def renumber(self, head: int) -> None:
        """Give the newest line this number, and number the others to match, after a restore from a snapshot."""
        shift = head - self.head
        self.head += shift
        self.first += shift
        self._stored += shift
        self._visibility.renumber(shift)

    def erase(self, numbers: Sequence[int], line: str) -> None:
        """Put this line in place of some others, of which the numbers, authors and readers remain.

        The numbers are in order. All lines after the first of them move, in one pass.
        """
        new = line.encode() + b"\n"
        old, longer = self._bounds, 0
        indexes = [number - self._stored for number in numbers]
        bounds = old[: indexes[0] + 1]
        for index, following in pairwise([*indexes, len(old) - 1]):
            longer += len(new) - (old[index + 1] - old[index])
            bounds += [bound + longer for bound in old[index + 1 : following + 1]]
        self._put(new, [(old[index], old[index + 1]) for index in indexes])
        self._bounds = bounds

    def _put(self, new: bytes, places: Sequence[tuple[int, int]]) -> None:
        """Put these bytes in place of those between each two of these bounds."""
        ends, moved = array("Q"), 0
        rest = deque(places)
        for index, end in enumerate([*self._ends, self._base + len(self._text)]):
            text = self._blocks[index] if index < len(self._blocks) else self._text
            at = begin = end - len(text)
            pieces: list[bytes | bytearray] = []
            while rest and rest[0][0] < end:
                start, stop = rest.popleft()
                pieces += [text[at - begin : start - begin], new]
                at = stop
            if pieces:
                changed = b"".join([*pieces, text[at - begin :]])
                moved += len(changed) - len(text)
                if index < len(self._blocks):
                    self._blocks[index] = changed
                else:
                    self._text[:] = changed
            ends.append(end + moved)
        self._ends = ends[:-1]
        self._base = ends[-1] - len(self._text)

    def place(self, number: int) -> tuple[int, int] | None:
        """Return where a line is in the log: the position of its entry, and its index, from the end, in its lines.

        Return None if the line is not kept. Lines before it in the entry may no longer be.
        """
        if not self.first <= number <= self.head:
            return None
        index = number - self._stored
        position = self._entries[index]
        return position, index - bisect_right(self._entries, position)

    def by(self, author: int, lines: range) -> Sequence[int]:
        """Return those of these lines that are by an author."""
        own = self._visibility.own.get(author, array("Q"))
        return own[bisect_left(own, lines.start) : bisect_left(own, lines.stop)]

    def is_by(self, author: int, number: int) -> bool:
        """Return True if a line is by this author."""
        return self._authors[number - self._stored] == author

    def author(self, number: int) -> int:
        """Return the author of a line, 0 if it is by no member."""
        return self._authors[number - self._stored]

    def at(self, number: int) -> float:
        """Return the time of a line."""
        return self._times[number - self._stored]

    def first_at(self, at: float) -> int:
        """Return the first kept line that is not older than this time; one more than the last if there is none."""
        return self._stored + bisect_left(self._times, at, self.first - self._stored)

    def reader(self, number: int) -> int:
        """Return the reader of a whisper, 0 for any other line."""
        return self._visibility.reader(number)

    def has_whispers(self, after: int) -> bool:
        """Return True if a line after `after` is a whisper."""
        whispers = self._visibility.whispers
        return bool(whispers) and whispers[-1] > after

    def withheld(self, reader: int) -> LeftOut:
        """Return the lines that are withheld from this reader (0 is nobody)."""
        return self._visibility.withheld(reader)

    def hidden(self, reader: int) -> LeftOut:
        """Return the lines that are hidden to this reader."""
        return self._visibility.hidden(reader)

    def count_hidden(self, reader: int, after: int) -> int:
        """Return how many of the kept lines after `after` are hidden to this reader."""
        return self.hidden(reader).count(max(after, self.first - 1), self.head)

    def last(self, count: int, reader: int, limit: int) -> list[tuple[int, bytes | bytearray]]:
        """Return at most `count` of the last lines that are for this reader (0 is nobody), in at most `limit` bytes.

        Each comes with its number, oldest first.
        """
        found: list[tuple[int, bytes | bytearray]] = []
        for number in reversed(self.withheld(reader).last(count, self.first - 1, self.head)):
            line, _ = self.read(number - 1, number, limit)
            limit -= len(line) + 1
            if limit < 0:
                break
            found.append((number, line))
        return found[::-1]

    def fit(self, after: int, upto: int, limit: int) -> int:
        """Return the last line that fits if the lines after `after` are joined in `limit` bytes; `after` if none."""
        bounds, front = self._bounds, after + 1 - self._stored
        end = bisect_right(bounds, bounds[front] + limit + 1, front, upto + 2 - self._stored) - 1
        return max(after, self._stored + end - 1)

    def take(self, shown: Iterable[range], limit: int, most: int, *, alone: bool = True) -> tuple[list[range], bool]:
        """Return what fits of these ranges of lines, and True if that is all of them.

        What fits is `limit` bytes with an LF between the lines, and `most` lines, in at most RANGES ranges. A first
        line that is longer is taken `alone`, if it may be.
        """
        taken: list[range] = []
        for run in shown:
            after = run.start - 1
            upto = self.fit(after, min(run.stop - 1, after + most), limit)
            if upto == after and alone and most and not taken:
                upto += 1
            if upto > after:
                taken.append(range(run.start, upto + 1))
                limit -= self._bounds[upto + 1 - self._stored] - self._bounds[run.start - self._stored]
                most -= upto - after
            if upto < run.stop - 1 or len(taken) == RANGES:
                is_all = False
                break
        else:
            is_all = True
        self.ranges += len(taken)
        return taken, is_all

    def read(self, after: int, upto: int, limit: int) -> tuple[bytes | bytearray, int]:
        """Return the lines after `after`, up to `upto` or as many as fit, joined with LF, and the number of the last.

        What fits is `limit` bytes; a first line that is longer goes alone.
        """
        if upto <= after:
            return b"", upto
        bounds, before = self._bounds, self._stored - 1
        start, end = bounds[after - before], bounds[upto - before]
        if end - start > limit + 1:
            upto = max(after + 1, self.fit(after, upto, limit))
            end = bounds[upto - before]
        front = start - self._base
        if front >= 0:
            return self._text[front : front + end - start - 1], upto
        return self._read_blocks(start, end)[:-1], upto

    def _read_blocks(self, start: int, end: int) -> bytes:
        index, pieces = bisect_right(self._ends, start), list[bytes | bytearray]()
        while start < end:
            block = self._blocks[index] if index < len(self._blocks) else self._text
            base = self._ends[index] - len(block) if index < len(self._blocks) else self._base
            pieces.append(block[start - base : end - base])
            start, index = base + len(block), index + 1
        return b"".join(pieces)
