"""The tables of a group's SQLite file, read over any connection, and how an event is stored as a row.

schema.sql has the columns and says what each is for.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groupchat.core.errors import CannotOpen
from groupchat.core.events import Event, GuestSaid, Joined, Left, Renamed, Said, Seen, Shared, Whispered
from groupchat.log import Entry, Snapshot

APPLICATION_ID = 0x67726F75  # "grou"
VERSION = 3

KINDS: dict[type[Event], str] = {
    Said: "said",
    Whispered: "whispered",
    Joined: "joined",
    Renamed: "renamed",
    Left: "left",
    Shared: "shared",
    GuestSaid: "told",
    Seen: "seen",
}
"""The `kind` of each event, as it stands in the file."""

_FIELDS = ("member", "name", "text", "key", "host", "port", "places", "client_id", "reader", "secret", "size")
COLUMNS = ", ".join(("position", "slot", "kind", "at", *_FIELDS))

_PLACE = struct.Struct("<qqqii")

Row = tuple[Any, ...]


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file. Raise CannotOpen if the file is not ours, or newer than this program."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise CannotOpen(f"{path} is a database of another program.")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise CannotOpen(f"{path} is of a newer groupchat (its format is {version}, that of this one {VERSION}).")
    return version


def check(connection: sqlite3.Connection, how: str) -> str:
    """Return what is wrong with the file, by SQLite's `integrity_check` or `quick_check`; "" if it is sound."""
    damage = " ".join(connection.execute(f"PRAGMA {how}(1)").fetchone()[0].split())
    return "" if damage == "ok" else damage


def span(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the position of the first entry that is kept, or will come, and that of the last."""
    beginning = connection.execute("SELECT position FROM beginning").fetchone()[0]
    last = connection.execute("SELECT max(position) FROM entry").fetchone()[0]
    return beginning, max(beginning - 1, last or 0)


def count_entries(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    return count


def count_events(connection: sqlite3.Connection, after: int, upto: int) -> Counter[str]:
    """Count the events of each kind in the entries after `after`, up to `upto`."""
    rows = connection.execute("SELECT kind FROM event WHERE position > ? AND position <= ?", (after, upto))
    return Counter(kind for (kind,) in rows)


def read(connection: sqlite3.Connection, after: int, limit: int) -> Iterator[Entry]:
    """Yield at most `limit` entries after this position."""
    ids = connection.execute(
        "SELECT position, id FROM entry WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
    ).fetchall()
    if not ids:
        return
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM event WHERE position > ? AND position <= ? ORDER BY position, slot",  # noqa: S608 - no input
        (after, ids[-1][0]),
    )
    events: dict[int, list[Event]] = {position: [] for position, _ in ids}
    for row in rows:
        events[row[0]].append(_event(row))
    for position, entry_id in ids:
        yield Entry(position, entry_id, events[position])


def load_snapshot(connection: sqlite3.Connection) -> Snapshot | None:
    row = connection.execute("SELECT position, version, state FROM snapshot").fetchone()
    return Snapshot(*row) if row else None


def to_row(position: int, slot: int, event: Event) -> Row:
    """Return the row of an event, in the order of COLUMNS."""
    if type(event) is Said:  # nearly all are
        given = event.member, event.name, event.text, *(None,) * 4, event.id or None, *(None,) * 3
        return position, slot, "said", event.at, *given
    return position, slot, KINDS[type(event)], event.at, *map(_fields(event).get, _FIELDS)


def _fields(event: Event) -> dict[str, object]:  # noqa: PLR0911 - one for each kind
    """Return the columns that depend on the kind of an event, without those that are NULL."""
    match event:
        case Whispered(member, name, reader, to, text, _, client_id):
            found = {"member": member, "name": name, "reader": reader, "key": to, "text": text}
            return {**found, "client_id": client_id or None}
        case Joined(member, name, key, _, host, port, secret):
            return {"member": member, "name": name, "key": key, "host": host, "port": port, "secret": secret}
        case Renamed(member, name, new, key, _, client_id):
            return {"member": member, "name": name, "text": new, "key": key, "client_id": client_id or None}
        case Left(member, name):
            return {"member": member, "name": name}
        case Shared(member, name, key, file, size):
            return {"member": member or None, "name": name, "key": key or None, "text": file, "size": size}
        case GuestSaid(name, key, text):
            return {"name": name, "key": key, "text": text}
        case Seen(_, places):
            return {"places": b"".join([_PLACE.pack(*place) for place in places])}
    raise TypeError(f"not an event with fields of its own: {event!r}")


def _event(row: Row) -> Event:  # noqa: PLR0911 - one for each kind
    if row[2] == "said":  # nearly all are
        return Said(row[4], row[5], row[6], row[3], row[11] or 0)
    _position, _slot, kind, at, member, name, text, key, host, port, places, client_id, reader, secret, size = row
    match kind:
        case "whispered":
            return Whispered(member, name, reader, key, text, at, client_id or 0)
        case "joined":
            return Joined(member, name, key, at, host or "", port, secret)
        case "renamed":
            return Renamed(member, name, text, key, at, client_id or 0)
        case "left":
            return Left(member, name, at)
        case "shared":
            return Shared(member or 0, name, key or "", text, size, at)
        case "told":
            return GuestSaid(name, key, text, at)
        case "seen":
            return Seen(at, tuple(_PLACE.iter_unpack(places)))
    raise ValueError(f"unknown kind of event {kind!r}")
