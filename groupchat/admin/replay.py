"""A log read from a file, folded as the daemon folds it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from groupchat.core.errors import LogError
from groupchat.core.events import Line
from groupchat.core.group import Group
from groupchat.log import Entry, Snapshot, tables
from groupchat.service.snapshots import Snapshots

AT_ONCE = 200
"""The number of entries that are read at once. Each may be hundreds of events."""


class Replay:
    """The log of a file, folded as the daemon folds it: its lines one after another, and the group that they lead to.

    It takes memory for the members, and not for the lines. `read` calls a function with a connection.
    """

    def __init__(self, read: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        self.group = Group(keep=1)
        self.position = 0
        """The position of the last entry that was read."""
        self.line = 0
        """The last line that was read, as the group counts them."""
        self.snapshot: Snapshot | None = read(tables.load_snapshot)
        self._read = read
        self._snapshots = Snapshots(self.group)
        if self.snapshot is not None:
            with _applying("The snapshot"):
                self.position = self._snapshots.load(self.snapshot)
            self.line = self._snapshots.first_number(read(self._count_covered)) - 1

    def _count_covered(self, connection: sqlite3.Connection) -> int:
        """Return the number of lines, refused ones included, in the entries that the snapshot covers."""
        assert self.snapshot is not None
        events = tables.count_events(connection, self.position, self.snapshot.position)
        return sum(events[kind] for kind in tables.LINES)

    def lines(self) -> Iterator[tuple[int, Line]]:
        """Yield the lines that are kept, each with its number. Raises LogError."""
        while entries := self._read(self._fetch):
            for entry in entries:
                for line in self._fold(entry):
                    self.line += 1
                    yield self.group.numbering.of(self.line), line
        self._snapshots.caught_up()

    def finish(self) -> int:
        """Read all that is left, and return the number of lines in it. Raises LogError."""
        return sum(1 for _ in self.lines())

    def _fetch(self, connection: sqlite3.Connection) -> list[Entry]:
        with _applying(f"What comes after entry {self.position}"):
            return tables.read(connection, self.position, AT_ONCE)

    def _fold(self, entry: Entry) -> list[Line]:
        self.position = entry.position
        with _applying(f"Entry {entry.position}"):
            return self._snapshots.fold(entry)


@contextmanager
def _applying(what: str) -> Iterator[None]:
    """Turn any exception that stored data leads to into a LogError of one line."""
    try:
        yield
    except (LogError, sqlite3.Error):
        raise
    except Exception as error:
        raise LogError(f"{what} cannot be applied ({type(error).__name__}: {error}).") from error
