"""The SQLite file of a group, open for writing. Every method blocks. Only the thread that opened a database may use it.

The file is in WAL mode, so that reading (for a backup, say) never holds up writing. With `synchronous=FULL` a commit is
on the disk when it returns. With NORMAL it survives the end of the process, but the last commits may not survive a loss
of power.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.resources import files
from pathlib import Path

from groupchat.core.errors import CannotOpen, Damaged, Trimmed, Unavailable
from groupchat.core.events import Event
from groupchat.log import Entry, Snapshot
from groupchat.log.tables import (
    APPLICATION_ID,
    COLUMNS,
    SAID_COLUMNS,
    VERSION,
    Row,
    check,
    check_version,
    entry_checksum,
    load_snapshot,
    position_checksum,
    read,
    row_checksum,
    snapshot_checksum,
    span,
    to_row,
    unsound,
    with_checksum,
)

UPGRADES = {1: "upgrade_1.sql", 2: "upgrade_2.sql", 3: "upgrade_3.sql", 4: "upgrade_4.sql"}
"""The SQL file beside this one that upgrades each older version to the next one."""

_TEMPORARY = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY)
"""Errors after which the file surely is as it was, and may be written to later. An I/O error is not one of them."""

_INSERT_SAID, _INSERT = (
    f"INSERT INTO event ({columns}) VALUES ({', '.join('?' * (columns.count(',') + 1))})"  # noqa: S608 - no input
    for columns in (SAID_COLUMNS, COLUMNS)
)


class Database:
    """One file, open for writing by this process alone. Raises CannotOpen, in words for an operator.

    With `check`, all of the file is read to see that it is sound. That takes about a second for each gigabyte.
    """

    def __init__(self, path: Path, synchronous: str = "FULL", *, check: bool = True) -> None:
        self.path = path
        try:
            with ExitStack() as stack:
                self._lock = locked(path)
                stack.callback(os.close, self._lock)
                self._connection = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
                self._prepare(synchronous, check)
                self._handles = stack.pop_all()
        except (Damaged, UnicodeDecodeError) as error:
            raise unsound(path, error) from error
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT:
                raise unsound(path, error) from error
            raise CannotOpen(f"{path} cannot be used: {error}.") from error

    def _prepare(self, synchronous: str, check: bool) -> None:
        execute = self._connection.execute
        self._check_format(check)
        execute("PRAGMA journal_mode=WAL")
        execute(f"PRAGMA synchronous={synchronous}")
        execute("PRAGMA journal_size_limit=67108864")
        self._make_durable()
        self.beginning, self.head = span(self._connection)
        self._seen_from = self.beginning
        self._index_is_sound = False  # until it was checked

    def _make_durable(self) -> None:
        """Make sure that all that can be read from the file is on the disk.

        A killed process may have written entries without waiting for the disk. They will be shown to members, and must
        not be gone after a loss of power.
        """
        os.fsync(self._lock)
        target = self.path.resolve()  # of a symbolic link: SQLite keeps the other files beside the target
        for path in (target.with_name(f"{target.name}-wal"), target.parent):
            if path.exists():
                sync(path)

    def _check_format(self, with_check: bool) -> None:
        """Create the tables in a new file. See that an old one is ours and sound, and upgrade it if need be."""
        if not self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            self._run_script("schema.sql", VERSION)
        version = check_version(self._connection, self.path)
        if with_check and (damage := check(self._connection, "quick_check(1)")):
            raise unsound(self.path, damage)
        if version < VERSION:
            self._keep_copy(self.path.with_name(f"{self.path.name}.v{version}"))
        while version < VERSION:
            self._run_script(UPGRADES[version], version + 1)
            version += 1

    def _keep_copy(self, to: Path) -> None:
        """Copy the file, and replace the copy of an upgrade that did not end."""
        part = to.with_name(f"{to.name}.part")
        part.unlink(missing_ok=True)
        backup(self._connection, part)
        part.replace(to)

    def _run_script(self, name: str, version: int) -> None:
        for function in (position_checksum, snapshot_checksum, with_checksum):
            self._connection.create_function(function.__name__, -1, function)
        self._connection.create_function("row_checksum", -1, lambda entry_id, *row: row_checksum(entry_id, row))
        script = files(__package__).joinpath(name).read_text()
        self._connection.executescript(
            f"BEGIN; {script} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version}; COMMIT;"
        )

    def close(self) -> None:
        self._handles.close()  # the lock last: closing any handle of the file releases SQLite's own locks

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """Commit all or nothing. Raise Unavailable if it is nothing and may work later; any other error is fatal."""
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            if error.sqlite_errorcode & 0xFF in _TEMPORARY:
                raise Unavailable(f"{self.path}: {error}") from error
            raise

    def append(self, batch: Sequence[tuple[str, Sequence[Event]]]) -> list[Entry | None]:
        """Append entries by id, in one transaction. Return those stored; None for an id that was there already."""
        stored: list[Entry | None] = []
        rows: list[Row] = []
        position = self.head
        with self._transaction() as cursor:
            for entry_id, events in batch:
                found = [to_row(position + 1, slot, event) for slot, event in enumerate(events)]
                checksum = entry_checksum(entry_id, found)
                cursor.execute("INSERT OR IGNORE INTO entry VALUES (?, ?, ?)", (position + 1, entry_id, checksum))
                if not cursor.rowcount:
                    stored.append(None)
                    continue
                position += 1
                stored.append(Entry(position, entry_id, events))
                rows += found
            cursor.executemany(_INSERT_SAID, [row for row in rows if row[2] == "said"])
            cursor.executemany(_INSERT, [row for row in rows if row[2] != "said"])
        self.head = position
        return stored

    def begin_at(self, position: int) -> None:
        """Give the first entry of a new file this position."""
        with self._transaction() as cursor:
            cursor.execute("UPDATE beginning SET position = ?, checksum = ?", (position, position_checksum(position)))
        self.beginning, self.head = position, position - 1

    def read(self, after: int, limit: int) -> list[Entry]:
        """Return at most `limit` entries. Raise Trimmed, or CannotOpen if one is damaged."""
        if after + 1 < self.beginning:
            raise Trimmed(f"{self.path} begins with entry {self.beginning}, after {after + 1}.")
        with self._advising():
            return read(self._connection, after, limit)

    def save_snapshot(self, position: int, version: int, state: bytes) -> None:
        with self._transaction() as cursor:
            row = position, version, state, snapshot_checksum(position, version, state)
            cursor.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?)", row)

    def load_snapshot(self) -> Snapshot | None:
        """Return the last snapshot. Raise CannotOpen if it is damaged or missing, or if entries that it covers are."""
        with self._advising():
            snapshot = load_snapshot(self._connection)
            if snapshot is None and self.beginning > 1:
                raise Damaged(f"it begins with entry {self.beginning}, and its snapshot is missing")
            if snapshot is not None and snapshot.position > self.head:
                raise Damaged(f"it ends with entry {self.head}, before that of its snapshot")
        return snapshot

    @contextmanager
    def _advising(self) -> Iterator[None]:
        """Say what to do about damage."""
        try:
            yield
        except Damaged as error:
            raise unsound(self.path, error) from error

    def trim(self, before: int, most: int) -> bool:
        """Delete at most `most` of the entries before this position. Return True if there are more of them."""
        upto = min(before, self.beginning + most, self.head + 1)
        if upto > self.beginning:
            self._mend_index()
            with self._transaction() as cursor:
                for table in ("entry", "event"):
                    cursor.execute(f"DELETE FROM {table} WHERE position < ?", (upto,))  # noqa: S608 - no input
                cursor.execute("UPDATE beginning SET position = ?, checksum = ?", (upto, position_checksum(upto)))
            self.beginning = upto
        return bool(self.beginning < min(before, self.head + 1))

    def _mend_index(self) -> None:
        """Make sure that entries can be deleted: the check at the start does not compare the index with its table."""
        if not self._index_is_sound and check(self._connection, "integrity_check(entry)"):
            self._connection.execute("REINDEX entry")
        self._index_is_sound = True

    def forget_seen(self, before: int) -> None:
        """Delete the Seen events of the entries before this position."""
        if before > self._seen_from:
            with self._transaction() as cursor:
                where = "position >= ? AND position < ? AND kind = 'seen'"
                cursor.execute(f"DELETE FROM event WHERE {where}", (self._seen_from, before))  # noqa: S608 - no input
            self._seen_from = before


def backup(connection: sqlite3.Connection, to: Path, progress: Callable[[int, int, int], None] | None = None) -> None:
    """Copy the database, as it is at one moment, to a new file that only its owner can read."""
    os.close(os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(to)) as target:
        connection.backup(target, pages=1000, progress=progress)


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def locked(path: Path, user: str = "another daemon. Stop it, or choose another file with --db.") -> int:
    """Open and lock a file, and return its handle. Close it after all other handles of the file.

    Raises CannotOpen: "in use by", and the words about its `user`, if it is locked.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotOpen(f"{path} cannot be opened for writing: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise CannotOpen(f"{path} is in use by {user}") from None
    return handle
