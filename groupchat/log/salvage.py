"""Find what is sound in a damaged file. Each entry is read by itself, so that damage costs only what it touches."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from groupchat.core.errors import Damaged
from groupchat.log import Entry
from groupchat.log.tables import COLUMNS, entry_checksum, read, span, to_event

SMALLEST = 16
"""An entry takes more bytes than this in a file. So the size of a file bounds the number of its entries."""


@dataclass(frozen=True, slots=True)
class Found:
    """The entry at a position, as far as it is sound."""

    position: int
    entry: Entry | None
    """None if the entry is lost."""
    lines: int = 0
    """If the entry is lost: the number of its lines, as far as can be told."""
    seen: bool = True
    """False if its records of cursors are lost."""


def salvage(connection: sqlite3.Connection, after: int | None) -> Iterator[Found]:
    """Yield what is found after a position, or in all of the file: up to the last entry that is sound or known of."""
    known = after is not None
    if after is None:
        with suppress(Damaged, sqlite3.Error):
            after, known = span(connection)[0] - 1, True
    after = after if after is not None else max(1, _extreme(connection, "min", "entry") or 1) - 1
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    room = after + pages * size // SMALLEST
    ends = [_extreme(connection, "max", table) for table in ("entry", "event")]
    last = max((end for end in ends if end is not None and end <= room), default=after)
    lost: list[Found] = []  # not yet known to be within the log
    for position in range(after + 1, (room if None in ends else last) + 1):
        found = _find(connection, position)
        if found.entry is None and (not known or position > last):
            lost.append(found)
            continue
        if known:
            yield from lost
        known, lost = True, []
        yield found


def _extreme(connection: sqlite3.Connection, which: str, table: str) -> int | None:
    """Return the least or the greatest position in a table, 0 if it is empty; None if it cannot be read."""
    with suppress(sqlite3.Error, TypeError, ValueError):
        return int(connection.execute(f"SELECT {which}(position) FROM {table}").fetchone()[0] or 0)  # noqa: S608 - no input
    return None


def _find(connection: sqlite3.Connection, position: int) -> Found:
    with suppress(Damaged, sqlite3.Error):
        if entries := read(connection, position - 1, 1):
            return Found(position, entries[0])
    rows = f"SELECT {COLUMNS} FROM event WHERE position = ? AND kind <> 'seen' ORDER BY slot"  # noqa: S608 - no input
    with suppress(Exception):  # whatever damage leads to
        entry_id, checksum = connection.execute(
            "SELECT id, checksum FROM entry WHERE position = ?", (position,)
        ).fetchone()
        found = connection.execute(rows, (position,)).fetchall()
        if entry_checksum(entry_id, found) == checksum:
            return Found(position, Entry(position, entry_id, [to_event(row) for row in found]), seen=False)
    lines = 1
    with suppress(sqlite3.Error):
        where = "position = ? AND kind NOT IN ('seen', 'raised')"
        lines = connection.execute(f"SELECT count(*) FROM event WHERE {where}", (position,)).fetchone()[0]  # noqa: S608 - no input
    return Found(position, None, lines)
