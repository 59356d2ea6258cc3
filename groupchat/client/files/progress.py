"""Progress of transfers: how much is done, how fast, how long it will take; as numbers and in words. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from unicodedata import east_asian_width

from groupchat.core.notices import size_in_words

WINDOW = 5.0
"""The time over which the rate is measured, in seconds."""

STEP = 0.2
"""The time between two samples, in seconds."""

MAX_NAME_COLUMNS = 30
"""The most columns of a line that a name takes."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The progress of one transfer. `doing` is one word, `rate` is in bytes a second, `left` in seconds if known."""

    name: str
    doing: str
    done: int
    total: int
    rate: float = 0.0
    left: float | None = None


class Progress:
    """`done` of `total` bytes. Bytes from before `begin` do not count for the rate."""

    def __init__(self) -> None:
        self.done = self.total = 0
        self._samples: deque[tuple[float, int]] = deque()

    def begin(self, now: float, done: int, total: int) -> None:
        self.done, self.total = done, total
        self._samples.clear()
        self._samples.append((now, done))

    def advance(self, now: float, count: int) -> None:
        self.done += count
        if not self._samples or now - self._samples[-1][0] >= STEP:
            self._samples.append((now, self.done))
        while len(self._samples) > 2 and now - self._samples[0][0] > WINDOW:
            self._samples.popleft()

    def rate(self, now: float) -> float:
        """Return the bytes a second over the last WINDOW seconds."""
        if not self._samples:
            return 0.0
        since, done = self._samples[0]
        return (self.done - done) / (now - since) if now > since else 0.0

    def left(self, now: float) -> float | None:
        """Return the seconds that are left at the current rate, or None if nothing moves."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate > 0 else None


def time_in_words(seconds: float) -> str:
    """Return a duration for people: `3 s`, `2:05 min`, `1:02 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def columns(text: str) -> int:
    """Return the width of a text on a terminal, or a little less."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def cut(text: str, width: int) -> str:
    """Return the beginning of a text that fits in `width` columns."""
    while text and columns(text) > width:
        text = text[: max(width // 2, len(text) - (columns(text) - width + 1) // 2)]
    return text


def line(bar: Bar, width: int) -> str:
    """Return one line of at most `width` columns: name, bar, size, rate, and time left."""
    name = bar.name if columns(bar.name) <= MAX_NAME_COLUMNS else f"{cut(bar.name, MAX_NAME_COLUMNS - 3)}..."
    if not bar.total:
        return cut(f"{name}  {bar.doing}", width)
    share = min(1.0, bar.done / bar.total)
    words = f"{int(100 * share):3}% of {size_in_words(bar.total)}"
    if bar.rate > 0:
        words += f"  {size_in_words(bar.rate)}/s"
    if bar.left is not None:
        words += f"  {time_in_words(bar.left)} left"
    room = width - columns(name) - len(bar.doing) - len(words) - 8
    drawn = f"[{'#' * int(share * room):-<{room}}]  " if (room := min(room, 30)) >= 5 else ""
    return cut(f"{name}  {bar.doing}  {drawn}{words}", width)


def lines(bars: list[Bar], width: int, most: int = 3) -> list[str]:
    """Return the lines of the first `most` bars, and how many more there are."""
    shown = [line(bar, width) for bar in bars[:most]]
    if len(bars) > most:
        shown[-1] = f"{shown[-1]}  and {len(bars) - most} more" if columns(shown[-1]) + 14 <= width else shown[-1]
        if not shown[-1].endswith("more"):
            shown.append(f"and {len(bars) - most} more")
    return shown
