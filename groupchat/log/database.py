"""The SQLite file of a group: everything that blocks. Whoever opens it uses it in one thread.

WAL, so that reading (a backup, say) never holds up writing. With `synchronous=FULL` a commit is on the disk when it
returns; with NORMAL it survives the end of the process, but the last of them may not survive a loss of power.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from groupchat.core.errors import CannotOpen, Trimmed, Unavailable
from groupchat.core.events import Event, GuestSaid, Joined, Left, Renamed, Said, Seen, Shared, Whispered
from groupchat.log import Entry, Snapshot

APPLICATION_ID = 0x67726F75  # "grou"
VERSION = 3

UPGRADES = {1: "upgrade_1.sql", 2: "upgrade_2.sql"}
"""For each older version, the SQL file beside this one that makes the next one of it."""

_FOR_NOW = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY)
"""Errors after which the file surely is as it was, and may be written to later. Of an I/O error that is not sure."""

_PLACE = struct.Struct("<qqqq")
_COLUMNS = "position, slot, kind, at, member, name, text, key, host, port, places, client_id, reader, secret, size"
_INSERT = f"INSERT INTO event ({_COLUMNS}) VALUES ({', '.join('?' * 15)})"  # noqa: S608 - no input

READ_ATTEMPTS = 4
"""How often a file is read anew that was just being opened or closed by a daemon."""

Row = tuple[Any, ...]
Result = TypeVar("Result")


class Database:
    """One file, open for writing by this process alone. Raises CannotOpen, in words for an operator.

    Without `check` it is not read as a whole to see that it is sound, which takes a second for each gigabyte or so.
    """

    def __init__(self, path: Path, synchronous: str = "FULL", *, check: bool = True) -> None:
        self.path = path
        self._lock = _locked(path)
        try:
            with _explained(path):
                self._connection = sqlite3.connect(path, isolation_level=None)
                try:
                    self._prepare(synchronous, check)
                except BaseException:
                    self._connection.close()
                    raise
        except BaseException:
            os.close(self._lock)
            raise

    def _prepare(self, synchronous: str, check: bool) -> None:
        execute = self._connection.execute
        self._check_format(check)
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA synchronous={synchronous}")
        execute("PRAGMA journal_size_limit=67108864")
        self._make_durable()
        self.beginning: int = execute("SELECT position FROM beginning").fetchone()[0]
        self._seen_from = self.beginning
        self.head = max(self.beginning - 1, execute("SELECT max(position) FROM entry").fetchone()[0] or 0)

    def _make_durable(self) -> None:
        """See to it that what is read here is on the disk.

        A process that was killed may have written what it could not wait for to be so. Whoever opens the file finds it,
        and tells of it; it must not be gone after a loss of power then.
        """
        os.fsync(self._lock)
        target = self.path.resolve()  # beside which, if this is a symbolic link, SQLite keeps the rest
        for path in (target.with_name(f"{target.name}-wal"), target.parent):
            if path.exists():
                handle = os.open(path, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)

    def _check_format(self, check: bool) -> None:
        """Make the tables in a new file; see that an old one is ours, of this version and, with `check`, whole."""
        execute = self._connection.execute
        if not execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._run_script("schema.sql", VERSION)
        version = _version(self._connection, self.path)
        damage = execute("PRAGMA quick_check(1)").fetchone()[0] if check else "ok"
        if damage != "ok":
            where = " ".join(damage.split())
            raise CannotOpen(f"{self.path} is damaged ({where}). Restore a backup, or see groupchat-admin check.")
        if version < VERSION:
            self._keep_as_it_is(self.path.with_name(f"{self.path.name}.v{version}"))
        while version < VERSION:
            self._run_script(UPGRADES[version], version + 1)
            version += 1

    def _keep_as_it_is(self, to: Path) -> None:
        """Copy the file to this one, in place of what an upgrade that was cut off left there."""
        part = to.with_name(f"{to.name}.part")
        part.unlink(missing_ok=True)
        backup(self._connection, part)
        part.replace(to)

    def _run_script(self, name: str, version: int) -> None:
        script = files(__package__).joinpath(name).read_text()
        self._connection.executescript(
            f"BEGIN; {script} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version}; COMMIT;"
        )

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)  # after it: closing any handle of the file would release SQLite's own locks

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """All or nothing. Raises Unavailable if it surely is nothing and may work later; any other error is fatal."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            if error.sqlite_errorcode & 0xFF in _FOR_NOW:
                raise Unavailable(f"{self.path}: {error}") from error
            raise

    def append(self, batch: Sequence[tuple[str, Sequence[Event]]]) -> list[Entry | None]:
        """Append entries, by id, in one transaction. Returns what was stored; None for an id that was there already."""
        stored: list[Entry | None] = []
        rows: list[Row] = []
        position = self.head
        with self._transaction() as cursor:
            for entry_id, events in batch:
                cursor.execute("INSERT OR IGNORE INTO entry (position, id) VALUES (?, ?)", (position + 1, entry_id))
                if not cursor.rowcount:
                    stored.append(None)
                    continue
                position += 1
                stored.append(Entry(position, entry_id, events))
                rows += [_row(position, slot, event) for slot, event in enumerate(events)]
            cursor.executemany(_INSERT, rows)
        self.head = position
        return stored

    def read(self, after: int, limit: int) -> list[Entry]:
        """At most `limit` entries. Raises Trimmed."""
        if after + 1 < self.beginning:
            raise Trimmed(f"{self.path} begins with entry {self.beginning}, after {after + 1}.")
        return list(read(self._connection, after, limit))

    def save_snapshot(self, position: int, version: int, state: bytes) -> None:
        with self._transaction() as cursor:
            cursor.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?)", (position, version, state))

    def load_snapshot(self) -> Snapshot | None:
        return load_snapshot(self._connection)

    def trim(self, before: int, most: int) -> bool:
        """Forget at most `most` of the entries before this position. Returns whether there are more of them."""
        upto = min(before, self.beginning + most, self.head + 1)
        if upto > self.beginning:
            with self._transaction() as cursor:
                for table in ("entry", "event"):
                    cursor.execute(f"DELETE FROM {table} WHERE position < ?", (upto,))  # noqa: S608 - no input
                cursor.execute("UPDATE beginning SET position = ?", (upto,))
            self.beginning = upto
        return bool(self.beginning < min(before, self.head + 1))

    def forget_seen(self, before: int) -> None:
        """Forget the Seen events of the entries before this position."""
        if before > self._seen_from:
            with self._transaction() as cursor:
                where = "position >= ? AND position < ? AND kind = 'seen'"
                cursor.execute(f"DELETE FROM event WHERE {where}", (self._seen_from, before))  # noqa: S608 - no input
            self._seen_from = before


class Reader:
    """One file, read without changing it, or any other: whether a daemon has it open, has crashed, or was stopped.

    What is new in a file in use is in its -wal, and its -shm says where: `readonly_shm` sees to it that neither is made
    or written to. Of a file that was closed there is no -wal, and SQLite would make one even in order to read, but not
    if told that the file is `immutable`. It does not notice other users then, so that they are looked for afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = path.resolve()  # the other files are beside what a symbolic link leads to
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            size = path.stat().st_size
        except OSError as error:
            raise CannotOpen(f"{path} cannot be read: {error.strerror}.") from error
        if not size or not path.is_file():
            raise CannotOpen(f"{path} is empty, or no file: there is no group in it.")

    def read(self, function: Callable[[sqlite3.Connection], Result]) -> Result:
        """Call `function` with a connection that sees the file as it is now, and is good for this call only.

        It is called again if a daemon began to use the file meanwhile. Raises CannotOpen, and what `function` raises.
        """
        failure = CannotOpen(f"{self.path} is being opened and closed all the time.")
        for attempt in range(READ_ATTEMPTS):
            time.sleep(attempt / 10)
            in_use, _ = before = self._state()
            try:
                with closing(open_to_read(self.path, immutable=not in_use)) as connection:
                    result = function(connection)
            except sqlite3.Error as error:
                failure = _unreadable(self.path, error)
                if not isinstance(error, sqlite3.OperationalError) and (in_use or self._state() == before):
                    break
            else:
                if in_use or self._state() == before:
                    return result
        raise failure

    def _state(self) -> tuple[bool, object]:
        """Whether the file is not all that there is of the group, and what changes when it is written to."""
        wal, shm, journal = (self._real.with_name(self._real.name + end) for end in ("-wal", "-shm", "-journal"))
        in_use = journal.exists() or (wal.exists() and (shm.exists() or wal.stat().st_size > 0))
        found = self._real.stat()
        return in_use, (found.st_ino, found.st_size, found.st_mtime_ns)


def open_to_read(path: Path, immutable: bool) -> sqlite3.Connection:
    """A connection that sees the file as it is now. Raises CannotOpen if it is no group's, or not of this format."""
    way = "immutable=1" if immutable else "readonly_shm=1"
    connection = sqlite3.connect(
        f"file://{quote(os.fsencode(path.absolute()))}?mode=ro&{way}", uri=True, isolation_level=None
    )
    try:
        connection.execute("BEGIN")
        if _version(connection, path) < VERSION:
            raise CannotOpen(f"{path} is of an older groupchat: start the daemon on it once.")
    except BaseException:
        connection.close()
        raise
    return connection


def _unreadable(path: Path, error: sqlite3.Error) -> CannotOpen:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return CannotOpen(f"{path} is not a database.")
        case sqlite3.SQLITE_CORRUPT:
            return CannotOpen(f"{path} is damaged: {error}.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return CannotOpen(
                f"{path} cannot be read without the -wal, -shm or -journal that belongs beside it, or by this user "
                f"({error}). If a daemon can be started on it, stop that again and retry."
            )
    return CannotOpen(f"{path} cannot be read: {error}.")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The format of the file. Raises CannotOpen if it is not ours, or newer than this program."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise CannotOpen(f"{path} is a database of another program.")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise CannotOpen(f"{path} is of a newer groupchat (its format is {version}, that of this one {VERSION}).")
    return version


def span(connection: sqlite3.Connection) -> tuple[int, int]:
    """The positions of the first entry that is kept, or is to come, and of the last."""
    beginning = connection.execute("SELECT position FROM beginning").fetchone()[0]
    last = connection.execute("SELECT max(position) FROM entry").fetchone()[0]
    return beginning, max(beginning - 1, last or 0)


def check(connection: sqlite3.Connection, how: str) -> str:
    """What is wrong with the file, by SQLite's `integrity_check` or `quick_check`; nothing if it is sound."""
    damage = " ".join(connection.execute(f"PRAGMA {how}(1)").fetchone()[0].split())
    return "" if damage == "ok" else damage


def count_entries(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
    return count


def count_events(connection: sqlite3.Connection, after: int, upto: int) -> Counter[str]:
    """How many events of each kind are in the entries after `after`, up to `upto`."""
    rows = connection.execute("SELECT kind FROM event WHERE position > ? AND position <= ?", (after, upto))
    return Counter(kind for (kind,) in rows)


def read(connection: sqlite3.Connection, after: int, limit: int) -> Iterator[Entry]:
    """At most `limit` entries after this position."""
    ids = connection.execute(
        "SELECT position, id FROM entry WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
    ).fetchall()
    if not ids:
        return
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM event WHERE position > ? AND position <= ? ORDER BY position, slot",  # noqa: S608 - no input
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


def backup(connection: sqlite3.Connection, to: Path, progress: Callable[[int, int, int], None] | None = None) -> None:
    """Copy the database, as it is at one moment, into a new file that only its owner can read."""
    os.close(os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    target = sqlite3.connect(to)
    try:
        connection.backup(target, pages=1000, progress=progress)
    finally:
        target.close()


def _row(position: int, slot: int, event: Event) -> Row:  # noqa: PLR0911 - one for each kind
    match event:
        case Said(member, name, text, at, client):
            return position, slot, "said", at, member, name, text, *(None,) * 4, client or None, *(None,) * 3
        case Whispered(member, name, reader, to, text, at, client):
            who = client or None, reader
            return position, slot, "whispered", at, member, name, text, to, *(None,) * 3, *who, None, None
        case Joined(member, name, key, at, host, port, secret):
            return position, slot, "joined", at, member, name, None, key, host, port, *(None,) * 3, secret, None
        case Renamed(member, name, new, key, at, client):
            return position, slot, "renamed", at, member, name, new, key, *(None,) * 3, client or None, *(None,) * 3
        case Left(member, name, at):
            return position, slot, "left", at, member, name, *(None,) * 9
        case Shared(member, name, key, file, size, at):
            return position, slot, "shared", at, member or None, name, file, key or None, *(None,) * 6, size
        case GuestSaid(name, key, text, at):
            return position, slot, "told", at, None, name, text, key, *(None,) * 7
        case Seen(at, places):
            packed = b"".join([_PLACE.pack(*place) for place in places])
            return position, slot, "seen", at, *(None,) * 6, packed, *(None,) * 4


def _event(row: Row) -> Event:  # noqa: PLR0911 - one for each kind
    if row[2] == "said":  # nearly all are, and a start reads a million of them
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
    raise ValueError(f"an event of the kind {kind!r}")


def _locked(path: Path) -> int:
    """A handle of the file, made if there is none, that no other process has. Close it after all others of the file."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotOpen(f"{path} cannot be opened for writing: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise CannotOpen(f"{path} is in use by another daemon. Stop it, or choose another file with --db.") from None
    return handle


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise CannotOpen(f"{path} cannot be used: {error}.") from error
