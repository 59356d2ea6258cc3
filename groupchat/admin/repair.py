"""Repair: what is sound in a damaged file, folded and written to a new file.

A lost entry leaves an empty one in its place, and the lines after it keep their numbers. What the fold refuses after a
loss may be refused only because of it, such as a text by somebody whose join is lost. So it is kept as a line, unless
it is a join.
The new file has a snapshot of all of it, so that a start takes the state as it is here.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path

from groupchat.core.errors import LogError
from groupchat.core.events import Event, Joined, Line, Seen
from groupchat.core.group import Group
from groupchat.log import Entry
from groupchat.log.database import Database
from groupchat.log.salvage import Found, salvage
from groupchat.log.tables import load_snapshot
from groupchat.service.snapshots import VERSION, Snapshots

AT_ONCE = 500
"""The number of entries that are written in one transaction."""


def repair(connection: sqlite3.Connection, to: Path) -> list[str]:
    """Write what is sound to a new file. Return, in sentences, what is lost and what was written."""
    said: list[str] = []
    after, group, snapshots = _load(connection)
    fold = Fold(group, snapshots)
    with closing(Database(to, "OFF")) as database:
        batch: list[tuple[str, list[Event]]] = []
        for found in salvage(connection, after):
            if not snapshots.position:
                database.begin_at(found.position)
                if after is None and found.position > 1:
                    fold.lossy = True
                    said.append("The snapshot is lost: members who joined before the first entry have to join again.")
            fold.take(found)
            batch.append(_entry(found))
            if len(batch) == AT_ONCE:
                database.append(batch)
                batch = []
        database.append(batch)
        snapshots.caught_up()
        if fold.lossy:
            for member in group.members.values():
                member.cursor, member.skipped = group.place(member, member.cursor)
        database.save_snapshot(database.head, VERSION, snapshots.dump().state())
    history = group.history
    said += fold.losses() or ([] if said else ["Nothing is lost."])
    return [*said, f"Written: {history.head - history.first + 1} lines and {len(group.members)} members."]


def _load(connection: sqlite3.Connection) -> tuple[int | None, Group, Snapshots]:
    """Return a group with what the snapshot holds, and the position that it begins after: None without one."""
    group = Group(sys.maxsize)
    snapshots = Snapshots(group)
    with suppress(LogError, sqlite3.Error):
        snapshot = load_snapshot(connection)
        if snapshot is not None:
            return snapshots.load(snapshot), group, snapshots
    group = Group(sys.maxsize)
    return None, group, Snapshots(group)


def _entry(found: Found) -> tuple[str, list[Event]]:
    """Return what to append for an entry. An id is checked together with lines: without any, it may not be unique."""
    events = list(found.entry.events) if found.entry else []
    if found.entry and any(not isinstance(event, Seen) for event in events):
        return found.entry.entry_id, events
    return f"repaired-{found.position}", events


class Fold:
    """The fold of the sound entries. `lossy` is True from the first loss on."""

    def __init__(self, group: Group, snapshots: Snapshots) -> None:
        self.lossy = False
        self._group = group
        self._snapshots = snapshots
        self._lost: list[Found] = []

    def take(self, found: Found) -> None:
        if found.entry is None or not found.seen:
            self._lost.append(found)
            self.lossy = True
        if found.entry is None:
            self._snapshots.lose(found.position, found.lines)
            return
        for event in self._snapshots.begin(found.entry):
            self._apply(found.entry, event)

    def _apply(self, entry: Entry, event: Event) -> None:
        if isinstance(event, Seen):
            lost = max((place[1] for place in event.places), default=0) - self._group.history.head
            if lost > 0:  # more lines than could be told
                self._group.skip(lost)
            self._group.apply(event)
        elif self._group.apply(event) is None and isinstance(event, Line):
            if self.lossy and not isinstance(event, Joined):
                self._snapshots.keep(event)
            else:
                self._snapshots.refused(entry, event)

    def losses(self) -> list[str]:
        """Return what is lost, one sentence for each run of entries."""
        told = []
        for (_, lost), group in groupby(
            enumerate(self._lost), lambda one: (one[1].position - one[0], not one[1].entry)
        ):
            run = [found for _, found in group]
            first, last = run[0].position, run[-1].position
            which, verb = (f"Entry {first}", "is") if first == last else (f"Entries {first} to {last}", "are")
            if lost:
                lines = sum(found.lines for found in run)
                told.append(f"{which} {verb} lost: {lines} line{'s' * (lines != 1)}.")
            else:
                told.append(f"{which}: the positions of members are lost. They may be given lines again.")
        return told
