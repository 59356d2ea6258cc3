"""The lines that are kept, each rendered once, one after the other in one buffer.

However many members a line waits for, it is here once; what waits for a member is usually one slice of the buffer.
Lines are numbered 1, 2, 3 ... in the order in which they were added; `first` is the oldest that is still kept.

A whisper is a line for one reader only. It is *withheld* from everybody but its author and its reader. The lines that
are *hidden* to a reader are those that are withheld from it, and its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from groupchat.core.limits import MAX_SEARCHED


class History:
    """The last lines, at most `keep` of them. `head` is the number of the newest, 0 before there is one.

    A method that is given the number of one line needs one that is kept.
    """

    # Lines that are no longer kept stay in the buffer until they are over an eighth of it, and more than this many.
    least_surplus = 1000

    __slots__ = (
        "_authors",
        "_base",
        "_bounds",
        "_entries",
        "_keep",
        "_readers",
        "_stored",
        "_text",
        "_times",
        "_whispers",
        "entry",
        "first",
        "head",
    )

    def __init__(self, keep: int) -> None:
        self.first = 1
        self.head = 0
        self.entry = 0  # the position in the log of the entry that is being applied
        self._keep = keep
        self._stored = 1  # the number of the line at the front of the buffer, which may be older than `first`
        self._text = bytearray()  # each line with its LF
        self._base = 0  # how many bytes were cut off the front of the text so far
        self._bounds = [0]  # where each line begins, and the last one ends, counted from before any cut
        self._authors: list[int] = []
        self._times: list[float] = []
        self._entries: list[int] = []  # the positions in the log
        self._whispers: list[int] = []  # the numbers of the whispers
        self._readers: list[int] = []  # the reader of each whisper

    def append(self, author: int, line: str, at: float) -> int:
        """Add a line and return its number. The author is 0 if the line is by no member."""
        self._text += (line + "\n").encode()
        self._bounds.append(self._base + len(self._text))
        self._authors.append(author)
        self._entries.append(self.entry)
        # Times never go back, even if a clock is set back: forget() relies on their order.
        self._times.append(max(at, self._times[-1]) if self._times else at)
        self.head = head = self.head + 1
        if head - self.first >= self._keep:
            self._forget_before(head - self._keep + 1)
        return head

    def whisper(self, author: int, reader: int, line: str, at: float) -> int:
        """Add a line that is for one reader only, and return its number."""
        number = self.append(author, line, at)
        self._whispers.append(number)
        self._readers.append(reader)
        return number

    def forget(self, before: float) -> None:
        """Forget the lines from before this time."""
        stale = bisect_left(self._times, before, self.first - self._stored)
        self._forget_before(max(self.first, self._stored + stale))

    def _forget_before(self, number: int) -> None:
        self.first = number
        surplus = number - self._stored
        if surplus > max(len(self._authors) // 8, self.least_surplus):
            cut = self._bounds[surplus]
            del self._text[: cut - self._base]
            del self._bounds[:surplus], self._authors[:surplus], self._times[:surplus], self._entries[:surplus]
            gone = bisect_left(self._whispers, number)
            del self._whispers[:gone], self._readers[:gone]
            self._base = cut
            self._stored = number

    def first_entry(self) -> int:
        """Return the position in the log of the oldest line's entry; of the next entry if there is no line."""
        return self._entries[self.first - self._stored] if self.first <= self.head else self.entry + 1

    def renumber(self, head: int) -> None:
        """Give the newest line this number, and number the others to match, after a restore from a snapshot."""
        shift = head - self.head
        self.head += shift
        self.first += shift
        self._stored += shift
        self._whispers = [number + shift for number in self._whispers]

    def is_by(self, author: int, number: int) -> bool:
        """Return True if a line is by this author."""
        return self._authors[number - self._stored] == author

    def is_for(self, reader: int, number: int) -> bool:
        """Return True if a line is not withheld from this reader (0 is nobody)."""
        to = self.reader(number)
        return not to or to == reader or self.is_by(reader, number)

    def author(self, number: int) -> int:
        """Return the author of a line, 0 if it is by no member."""
        return self._authors[number - self._stored]

    def at(self, number: int) -> float:
        """Return the time of a line."""
        return self._times[number - self._stored]

    def reader(self, number: int) -> int:
        """Return the reader of a whisper, 0 for any other line."""
        index = bisect_left(self._whispers, number)
        return self._readers[index] if self._whispers[index : index + 1] == [number] else 0

    def has_whispers(self, after: int) -> bool:
        """Return True if a line after `after` is a whisper."""
        return bool(self._whispers) and self._whispers[-1] > after

    def next_withheld(self, reader: int, after: int, upto: int) -> int:
        """Return the first line after `after` that is withheld from `reader`, or `upto` + 1 if none up to there is."""
        for index in range(bisect_right(self._whispers, after), len(self._whispers)):
            number = self._whispers[index]
            if number > upto:
                break
            if self._readers[index] != reader and not self.is_by(reader, number):
                return number
        return upto + 1

    def next_hidden(self, reader: int, after: int, upto: int) -> int:
        """Return the first line after `after` that is hidden to `reader`, or `upto` + 1 if none up to there is."""
        stored, whispers, readers = self._stored, self._whispers, self._readers
        try:
            own = stored + self._authors.index(reader, after + 1 - stored, upto + 1 - stored)
        except ValueError:
            own = upto + 1
        for index in range(bisect_right(whispers, after), len(whispers)):
            if whispers[index] >= own:
                break
            if readers[index] != reader:
                return whispers[index]
        return own

    def count_hidden(self, reader: int, after: int) -> int:
        """Return how many of the kept lines after `after` are hidden to this reader."""
        after = max(after, self.first - 1)
        own = self._authors[after + 1 - self._stored :].count(reader)
        begin = bisect_right(self._whispers, after)
        whispers = zip(self._whispers[begin:], self._readers[begin:], strict=True)
        return own + sum(to != reader and not self.is_by(reader, number) for number, to in whispers)

    def last(self, count: int, reader: int, limit: int) -> list[tuple[int, bytes | bytearray]]:
        """Return at most `count` of the last lines that are for this reader (0 is nobody), in at most `limit` bytes.

        Each comes with its number, oldest first. Only the last MAX_SEARCHED lines are searched.
        """
        found: list[tuple[int, bytes | bytearray]] = []
        for number in range(self.head, max(self.first, self.head - MAX_SEARCHED + 1) - 1, -1):
            if len(found) == count:
                break
            if self.is_for(reader, number):
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

    def read(self, after: int, upto: int, limit: int) -> tuple[bytes | bytearray, int]:
        """Return the lines after `after`, up to `upto` or as many as fit, joined with LF, and the number of the last.

        What fits is `limit` bytes; a first line that is longer goes alone.
        """
        if upto <= after:
            return b"", upto
        bounds, front = self._bounds, after + 1 - self._stored
        start, end = bounds[front], bounds[upto + 1 - self._stored]
        if end - start - 1 > limit:
            upto = max(after + 1, self.fit(after, upto, limit))
            end = bounds[upto + 1 - self._stored]
        base = self._base
        return self._text[start - base : end - base - 1], upto
