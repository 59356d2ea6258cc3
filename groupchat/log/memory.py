"""A log in memory, which is lost when the process ends.

Several `MemoryLog`s may share one `Store`, as several nodes share one log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from twisted.internet.defer import Deferred, execute, fail, succeed
from zope.interface import implementer

from groupchat.core.errors import Trimmed, Unavailable
from groupchat.core.events import Event
from groupchat.log import Entry, ILog, Lost, OnEntry, Snapshot, Stop

RETAIN = 100
"""The number of entries that a store keeps by default: no entry is read again after every tail has had it."""

Waker = Callable[[int], None]
"""A function that is called with the position of each new entry."""


class Store:
    """The last `retain` entries of a log, and one snapshot."""

    def __init__(self, retain: int = RETAIN) -> None:
        self.head = 0
        self.snapshot: Snapshot | None = None
        self.wakers: list[Waker] = []
        self._retain = retain
        self._entries: deque[Entry] = deque()
        self._ids: set[str] = set()

    def add(self, events: Sequence[Event], entry_id: str) -> None:
        if entry_id in self._ids:
            return
        self.head += 1
        self._entries.append(Entry(self.head, entry_id, events))
        self._ids.add(entry_id)
        self.trim(self.head - self._retain + 1)
        for wake in tuple(self.wakers):
            wake(self.head)

    def trim(self, before: int) -> None:
        while self._entries and self._entries[0].position < before:
            self._ids.discard(self._entries.popleft().entry_id)

    def replace(self, position: int, events: Sequence[Event]) -> None:
        index = position - (self.head - len(self._entries)) - 1
        if index >= 0:
            self._entries[index] = Entry(position, self._entries[index].entry_id, events)

    def read(self, after: int, limit: int) -> list[Entry]:
        """Return at most `limit` entries. Raise Trimmed if an entry after `after` is gone."""
        skipped = after - (self.head - len(self._entries))
        if skipped < 0:
            raise Trimmed(f"The log begins at {self.head - len(self._entries) + 1}, after {after + 1}.")
        return list(islice(self._entries, skipped, skipped + limit))


class _Tail:
    """One reader of a store, and its position."""

    def __init__(self, store: Store, after: int, on_entry: OnEntry) -> None:
        self._store = store
        self._position = after
        self._on_entry = on_entry
        self._upto = after
        self._running = False
        self._stopped = False

    def deliver(self, upto: int) -> None:
        """Give the entries up to this position. Those that `on_entry` itself appends come after them."""
        self._upto = max(self._upto, upto)
        if self._running:
            return
        self._running = True
        try:
            while not self._stopped and self._position < self._upto:
                entries = self._store.read(self._position, 1)
                self._position = entries[0].position
                self._on_entry(entries[0])
        finally:
            self._running = False

    def stop(self) -> None:
        self._stopped = True


@implementer(ILog)
class MemoryLog:
    """A store as one node sees it."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store or Store()
        self._closed = False
        self._stops: list[Stop] = []

    def open(self, lost: Lost) -> Deferred[None]:
        return succeed(None)

    def append(self, events: Sequence[Event], entry_id: str) -> Deferred[None]:
        if self._closed:
            return fail(Unavailable("The log is closed."))
        self._store.add(events, entry_id)
        return succeed(None)

    def tail(self, after: int, on_entry: OnEntry) -> Deferred[Stop]:
        tail = _Tail(self._store, after, on_entry)
        wake = self._waker(tail.deliver)

        def stop() -> None:
            tail.stop()
            if wake in self._store.wakers:
                self._store.wakers.remove(wake)

        try:
            tail.deliver(self._store.head)
        except Trimmed:
            return fail()
        self._store.wakers.append(wake)
        self._stops.append(stop)
        return succeed(stop)

    def _waker(self, deliver: Waker) -> Waker:
        """Return the function that the store calls with each new position. A log with a late tail overrides this."""
        return deliver

    def read(self, after: int, limit: int) -> Deferred[list[Entry]]:
        return execute(self._store.read, after, limit)

    def head(self) -> Deferred[int]:
        return succeed(self._store.head)

    def save_snapshot(self, position: int, version: int, state: bytes) -> Deferred[None]:
        self._store.snapshot = Snapshot(position, version, state)
        return succeed(None)

    def load_snapshot(self) -> Deferred[Snapshot | None]:
        return succeed(self._store.snapshot)

    def save_highest(self, number: int) -> Deferred[None]:
        return succeed(None)

    def load_highest(self) -> Deferred[int]:
        return succeed(0)

    def replace(self, position: int, events: Sequence[Event]) -> Deferred[None]:
        return execute(self._store.replace, position, events)

    def purge(self) -> Deferred[None]:
        return succeed(None)

    def trim(self, before: int, seen_before: int) -> Deferred[None]:
        self._store.trim(before)
        return succeed(None)

    def check(self) -> Deferred[str]:
        return succeed("")

    def close(self) -> Deferred[None]:
        self._closed = True
        for stop in self._stops:
            stop()
        return succeed(None)
