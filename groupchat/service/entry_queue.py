"""The entries that the log gives back, and how many of them are applied in one turn of the reactor.

A slow commit may give back thousands of events at once, each of which is answered. The rest waits for the next turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from groupchat.core.events import Event, Said, Whispered
from groupchat.log import Entry

WORK = 256
"""The work of one turn: a text counts 1. The last entry may go beyond it."""

OTHER = 4
"""The work of an event that is no text: somebody joins or leaves, say."""

TEXTS = (Said, Whispered)


def work_of(event: Event) -> int:
    return 1 if type(event) in TEXTS else OTHER


class EntryQueue:
    """Hands entries to `apply`, in order. Until `is_limited`, each is applied at once, however many there are."""

    def __init__(self, clock: IReactorTime, apply: Callable[[Entry], None]) -> None:
        self.is_limited = False
        self._clock = clock
        self._apply = apply
        self._room = WORK
        self._waiting: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Apply an entry in this turn, or in a later one if this turn has no room."""
        if not self.is_limited:
            self._apply(entry)
        elif self._room <= 0 or self._waiting:
            self._waiting.append(entry)
        else:
            self._spend(entry)
            self._apply(entry)

    def _spend(self, entry: Entry) -> None:
        if self._room == WORK:
            self._clock.callLater(0, self._begin_turn)
        self._room -= sum(map(work_of, entry.events))

    def _begin_turn(self) -> None:
        self._room = WORK
        while self._waiting and self._room > 0:
            entry = self._waiting.popleft()
            self._spend(entry)
            self._apply(entry)
