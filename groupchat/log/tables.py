"""The tables of a group's SQLite file, read over any connection, and how an event is stored as a row.

schema.sql has the columns and says what each is for.
"""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args
from zlib import crc32

from groupchat.core.errors import CannotOpen, Damaged
from groupchat.core.events import (
    Banned,
    Changed,
    Demoted,
    Erased,
    Event,
    GuestSaid,
    Joined,
    Left,
    Line,
    Muted,
    Noticed,
    Promoted,
    Raised,
    Released,
    Removed,
    Renamed,
    Said,
    Seen,
    Shared,
    Topic,
    Unbanned,
    Unmuted,
    Whispered,
)
from groupchat.log import Entry, Snapshot

APPLICATION_ID = 0x67726F75  # "grou"
VERSION = 5

_COLUMNS: dict[str, tuple[Callable[..., Event], tuple[str, ...]]] = {
    "said": (Said, ("member", "name", "text", "at", "client_id")),
    "whispered": (Whispered, ("member", "name", "reader", "key", "text", "at", "client_id")),
    "joined": (Joined, ("member", "name", "key", "at", "host", "port", "secret")),
    "renamed": (Renamed, ("member", "name", "text", "key", "at", "client_id")),
    "left": (Left, ("member", "name", "at", "size")),
    "shared": (Shared, ("member", "name", "key", "text", "size", "at")),
    "told": (GuestSaid, ("name", "key", "text", "at")),
    "seen": (Seen, ("at", "places")),
    "raised": (Raised, ("at", "size")),
    "removed": (Removed, ("member", "name", "key", "text", "at")),
    "noticed": (Noticed, ("text", "key", "at")),
    "topic": (Topic, ("text", "key", "at")),
    "muted": (Muted, ("secret", "name", "host", "key", "text", "at")),
    "unmuted": (Unmuted, ("secret", "key", "at")),
    "banned": (Banned, ("secret", "name", "size", "key", "text", "at")),
    "unbanned": (Unbanned, ("secret", "key", "at")),
    "released": (Released, ("secret", "name", "key", "at")),
    "promoted": (Promoted, ("member", "name", "at")),
    "demoted": (Demoted, ("member", "name", "at")),
    "changed": (Changed, ("name", "text", "key", "at")),
    "erased": (Erased, ("client_id", "size", "member", "key", "text", "at")),
}
"""The kinds of rows: each event, and the columns of its fields in their order."""

KINDS: dict[Callable[..., Event], str] = {event: kind for kind, (event, _) in _COLUMNS.items()}
"""The `kind` of each event, as it stands in the file."""

LINES = [KINDS[event] for event in get_args(Line)]
"""The kinds of the events that are lines."""

_NONE: dict[str, object] = {
    "at": 0.0,
    "port": None,
    "secret": None,
    "client_id": 0,
    "member": 0,
    "size": 0,
    "reader": 0,
}
"""What a NULL in a column means, if it is not an empty text. These are stored as NULL."""

_FIELDS = ("member", "name", "text", "client_id", "key", "host", "port", "places", "reader", "secret", "size")
SAID_COLUMNS = "position, slot, kind, at, member, name, text, client_id"
"""The columns of a Said. Nearly all events are that, so it is read and written without the others, which are NULL."""
COLUMNS = ", ".join(("position", "slot", "kind", "at", *_FIELDS))

_PLACE = struct.Struct("<qqqii")
_HEAD = struct.Struct("<qqd")  # position, slot, at
_SAID_HEAD = struct.Struct("<qqdqq")  # the same, member, client_id
_CHECKSUM = struct.Struct("<L")

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""Errors of SQLite that tell of damage: the last one of names in the schema. With any other, reading may work later."""

Row = tuple[Any, ...]


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file. Raise CannotOpen if the file is not ours, or newer than this program."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise CannotOpen(f"{path} is a database of another program.")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version < 1:
        raise CannotOpen(f"{path} is damaged: its format is {version}. Restore a backup.")
    if version > VERSION:
        raise CannotOpen(f"{path} is of a newer groupchat (its format is {version}, that of this one {VERSION}).")
    return version


def check(connection: sqlite3.Connection, how: str) -> str:
    """Return what is wrong with the file as a database, by a pragma such as `quick_check`; "" if it is sound."""
    damage = " ".join(connection.execute(f"PRAGMA {how}").fetchone()[0].split())
    return "" if damage == "ok" else damage


def unsound(path: Path, damage: object) -> CannotOpen:
    """Return the error that says what is damaged in a file, and what to do."""
    if isinstance(damage, UnicodeDecodeError):  # SQLite's message quotes damaged text
        damage = "a part of it that should be text is not"
    reason = "".join([character if character.isprintable() else " " for character in str(damage)])
    return CannotOpen(
        f"{path} is damaged: {reason}. Restore a backup, or save what is sound: groupchat-admin repair {path} NEW"
    )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn whatever damaged data leads to into a Damaged that names what was read."""
    try:
        yield
    except Exception as error:
        if not shows_damage(error):
            raise
        raise Damaged(f"{what} is damaged") from error


def shows_damage(error: Exception) -> bool:
    """Return True unless it is an error of SQLite that does not tell of damage."""
    return (
        not isinstance(error, sqlite3.Error) or getattr(error, "sqlite_errorcode", _DAMAGE[0]) & 0xFF in _DAMAGE
    )  # without a code: a text is not UTF-8


def _expect(checksum: int, stored: object) -> None:
    if checksum != stored:
        raise ValueError("a wrong checksum")


# A checksum is a CRC-32, of the bytes that the functions below say, or the sum of several.


def position_checksum(position: int) -> int:
    return crc32(str(position).encode())


def snapshot_checksum(position: int, version: int, state: bytes) -> int:
    return crc32(state, crc32(f"{position} {version}".encode()))


def entry_checksum(entry_id: str, rows: Iterable[Row]) -> int:
    """Return the checksum of an entry, without Seen events: they are deleted sooner, and have their own."""
    checksum = 0
    for row in rows:
        if row[2] != "seen":
            checksum += row_checksum(entry_id, row)
    return checksum


def row_checksum(entry_id: str, row: Row) -> int:
    """Return the checksum of a row and the id of its entry: numbers as 8 bytes each, then texts joined with NUL."""
    if row[2] == "said":
        head = _SAID_HEAD.pack(row[0], row[1], row[3], row[4], row[7] or 0)
        return crc32(head + f"{entry_id}\0{row[5]}\0{row[6]}".encode())
    position, slot, kind, at, *others = row
    return crc32(_HEAD.pack(position, slot, at) + "\0".join(map(str, (entry_id, kind, *others))).encode())


def with_checksum(position: int, slot: int, at: float, places: bytes) -> bytes:
    """Return the places of a Seen with its own checksum behind them."""
    return places + _CHECKSUM.pack(crc32(_HEAD.pack(position, slot, at) + places))


def span(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the position of the first entry that is kept, or will come, and that of the last. Raise Damaged."""
    with _reading("the record of the first entry"):
        beginning, checksum = connection.execute("SELECT position, checksum FROM beginning").fetchone()
        _expect(position_checksum(beginning), checksum)
    with _reading("the table of entries"):
        last = connection.execute("SELECT max(position) FROM entry").fetchone()[0]
        head: int = max(beginning - 1, last or 0)
        if (connection.execute("SELECT max(position) FROM event").fetchone()[0] or 0) > head:
            raise ValueError("events of an entry that is not there")
    return beginning, head


def count_entries(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    return count


def count_events(connection: sqlite3.Connection, after: int, upto: int) -> Counter[str]:
    """Count the events of each kind in the entries after `after`, up to `upto`."""
    rows = connection.execute("SELECT kind FROM event WHERE position > ? AND position <= ?", (after, upto))
    return Counter(kind for (kind,) in rows)


def read(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    """Return at most `limit` entries after this position. Raise Damaged, naming the first that is not as it was."""
    try:
        return _read(connection, after, limit)
    except Exception as error:
        if not shows_damage(error):
            raise
        for position in range(after + 1, after + limit + 1):
            with _reading(f"entry {position}"):
                _read(connection, position - 1, 1)
        raise Damaged(f"something after entry {after} is damaged") from error


def _read(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    """Return at most `limit` entries. Raise any exception if one is missing or damaged."""
    entries = connection.execute(
        "SELECT position, id, checksum FROM entry WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
    ).fetchall()
    if not entries:
        return []
    last = entries[-1][0]
    of_these = "FROM event WHERE position > ? AND position <= ?"
    rows = connection.execute(f"SELECT {SAID_COLUMNS} {of_these} ORDER BY position, slot", (after, last))
    others: dict[tuple[int, int], Row] = {}
    if last - after != len(entries):
        raise ValueError("an entry is missing")
    found: list[Entry] = []
    following = iter(entries)
    position, entry_id, checksum, events = after, "", 0, list[Event]()
    for row in rows:
        while row[0] != position:
            if checksum:
                raise ValueError("a wrong checksum")
            position, entry_id, checksum = next(following)
            events = []
            found.append(Entry(position, entry_id, events))
        _, slot, kind, at, member, name, text, client_id = row
        if kind == "said":  # inlined: this is a third of the time of a start
            events.append(Said(member, name, text, at, client_id or 0))
            head = _SAID_HEAD.pack(position, slot, at, member, client_id or 0)
            checksum -= crc32(head + f"{entry_id}\0{name}\0{text}".encode())
        else:
            if not others:
                found_here = connection.execute(f"SELECT {COLUMNS} {of_these} AND kind <> 'said'", (after, last))
                others = {(other[0], other[1]): other for other in found_here}
            events.append(to_event(others[position, slot]))
            checksum -= entry_checksum(entry_id, [others[position, slot]])
    _expect(0, checksum)
    for position, entry_id, checksum in following:  # without events
        _expect(0, checksum)
        found.append(Entry(position, entry_id, []))
    return found


def load_snapshot(connection: sqlite3.Connection) -> Snapshot | None:
    """Return the snapshot. Raise Damaged."""
    with _reading("the snapshot"):
        row = connection.execute("SELECT position, version, state, checksum FROM snapshot").fetchone()
        if row is None:
            return None
        *fields, checksum = row
        _expect(snapshot_checksum(*fields), checksum)
        return Snapshot(*fields)


def to_row(position: int, slot: int, event: Event) -> Row:
    """Return the row of an event, in the order of COLUMNS; of a Said in that of SAID_COLUMNS."""
    if type(event) is Said:
        return position, slot, "said", event.at, event.member, event.name, event.text, event.id or None
    kind = KINDS[type(event)]
    values = [getattr(event, field.name) for field in fields(event)]
    found = {column: value or None for column, value in zip(_COLUMNS[kind][1], values, strict=True)}
    if type(event) is Seen:
        packed = b"".join([_PLACE.pack(*place) for place in event.places])
        found["places"] = with_checksum(position, slot, event.at, packed)
    return position, slot, kind, event.at, *map(found.get, _FIELDS)


def to_event(row: Row) -> Event:
    """Return the event of a row. Raise any exception if the row cannot be right."""
    position, slot, kind, at, *others = row
    event, columns = _COLUMNS[kind]
    if kind == "said":
        member, name, text, client_id = others[:4]
        return Said(member, name, text, at, client_id or 0)
    found = dict(zip(_FIELDS, others, strict=True), at=at)
    if kind == "seen":
        bare = found["places"][: -_CHECKSUM.size]
        if with_checksum(position, slot, at, bare) != found["places"]:
            raise ValueError("a wrong checksum")
        return Seen(at, tuple(_PLACE.iter_unpack(bare)))
    return event(*[found[column] or _NONE.get(column, "") for column in columns])
