"""The work that all connections together may do in one reactor turn, so that nothing else is kept waiting.

It is counted in lines that are read, not in time: the same input has the same course. What costs more than a line
counts as several. What finds nothing left waits for the next turn, first come, first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

WORK = 256
"""The work of one turn, in lines: each takes some 10 to 20 microseconds."""

LISTING = 64
"""The work of a long answer: /users, /history or /files."""

NAMES = 8
"""The work of a line in which names are looked for: a first line, a new name, /msg."""

REQUEST = 16
"""The work of a request over HTTP, without its answer."""

CLOSING = 2
"""The work of closing a connection."""

PER_KIB = 4
"""The work of each KiB of that answer."""


class TurnBudget:
    """The budget of one reactor. `turn` is the number of the turn, which grows as long as something is done."""

    def __init__(self, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self.turn = 0
        self.room = WORK
        self._clock = clock
        self._survive = survive
        self._waiting: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def spend(self, work: int) -> None:
        self.room -= work
        self._schedule()

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call this in the next turn, or in a later one that has room."""
        self._waiting.append(go_on)
        self._schedule()

    def spread(self, work: int, calls: Iterable[Callable[[], None]]) -> None:
        """Make these calls, each so much work: in this turn, or in a later one that has room."""
        pending = deque(calls)

        def go_on() -> None:
            while pending and self.room > 0:
                self.spend(work)
                try:
                    pending.popleft()()
                except Exception:
                    self._survive("doing what is due")
            if pending:
                self.wait(go_on)

        go_on()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        self.turn += 1
        self.room = WORK
        for _ in range(len(self._waiting)):
            if self.room <= 0:
                break
            try:
                self._waiting.popleft()()
            except Exception:
                self._survive("going on in the next turn")
        if self._waiting:
            self._schedule()
