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
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

from groupchat.core.errors import Broken, CannotOpen, Damaged, LogError, Misplaced, Trimmed, Unavailable
from groupchat.core.events import Event
from groupchat.log import Entry, Snapshot, highest
from groupchat.log.older import add_functions
from groupchat.log.place import Place, check_rescued
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
    shows_damage,
    snapshot_checksum,
    span,
    to_row,
    unsound,
)
from groupchat.log.wal import lost_commits

UPGRADES = {1: "upgrade_1.sql", 2: "upgrade_2.sql", 3: "upgrade_3.sql", 4: "upgrade_4.sql"}
"""The SQL file beside this one that upgrades each older version to the next one."""

_TEMPORARY = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY)
"""Errors after which the file surely is as it was, and may be written to later. An I/O error is not one of them."""

_CONFLICTS = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_ROWID)
"""Errors for a row that is there already. Positions only grow, so it is not where it belongs."""

_left_open: list[sqlite3.Connection] = []
"""Connections that must not be closed before the process ends."""

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
        self.misplaced = ""
        """What happened to the file, if it is no longer in its place. Then nothing is written."""
        self._synchronous = synchronous
        check_rescued(path)
        self._lock = locked(path)
        try:
            self.place = Place(path, self._lock)
            if synchronous == "FULL":
                self._check_wal()
            self._connect(check)
        except BaseException as error:
            os.close(self._lock)
            corrupt = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT
            if corrupt or isinstance(error, Damaged | UnicodeDecodeError):
                raise unsound(path, error) from error
            if isinstance(error, sqlite3.Error | OSError):
                raise CannotOpen(f"{path} cannot be used: {error}.") from error
            raise

    def _check_wal(self) -> None:
        """Raise Damaged if a part of the -wal is damaged. It is read before SQLite removes what it does not take."""
        if lost := lost_commits(self.place.wal):
            raise Damaged(f"its -wal is, so that the last {lost} commits cannot be read")

    def _connect(self, check: bool) -> None:
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            self._prepare(self._synchronous, check)
            self.place.opened()
        except BaseException:
            self._connection.close()
            self.place.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection."""
        return self._connection

    def reopen(self) -> None:
        """Replace the files beside this one, after all that is in them was copied to this one.

        Raise Unavailable if that cannot be done now.
        """
        with self._explaining():
            if self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise Unavailable(f"{self.path}: another program is reading it")
        self._disconnect()
        try:
            self.place.remove_sides()
            self._connect(check=False)
        except (sqlite3.Error, OSError, LogError) as error:
            raise Broken(f"{self.path} cannot be used: {error}. Nothing is lost. Start the daemon again.") from error

    def _disconnect(self) -> None:
        self._connection.close()
        self.place.close()

    def _prepare(self, synchronous: str, check: bool) -> None:
        execute = self._connection.execute
        self._check_format(check)
        execute("PRAGMA journal_mode=WAL").fetchall()
        execute(f"PRAGMA synchronous={synchronous}")
        execute("PRAGMA journal_size_limit=67108864")
        self._make_durable()
        self.beginning, self.head = span(self._connection)
        # What a loss of power cut off must not be taken for a part of the next commits.
        execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._seen_from = self.beginning
        self._index_is_sound = False  # until it was checked

    def _make_durable(self) -> None:
        """Make sure that all that can be read from the file is on the disk.

        A killed process may have written entries without waiting for the disk. They will be shown to members, and must
        not be gone after a loss of power.
        """
        os.fsync(self._lock)
        for path in (self.place.wal, self.place.wal.parent):
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
        add_functions(self._connection)
        script = files(__package__).joinpath(name).read_text()
        self._connection.executescript(
            f"BEGIN; {script} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version}; COMMIT;"
        )

    def close(self) -> None:
        if self.misplaced and self.place.overwritten():  # or else the -wal would be copied into what was put there
            _left_open.append(self._connection)
            return
        self._disconnect()
        os.close(self._lock)  # last: closing any handle of the file releases SQLite's own locks

    def _check_place(self) -> None:
        if self.misplaced:
            raise Misplaced(f"{self.path} {self.misplaced}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        """Commit all or nothing. Raise Unavailable if it is nothing and may work later; any other error is fatal."""
        self._check_place()
        cursor = self._connection.cursor()
        with self._temporary():
            cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            cursor.execute("COMMIT")

    @contextmanager
    def _temporary(self) -> Iterator[None]:
        """Raise Unavailable for an error after which the file surely is as it was, and may be written to later."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise self._explained(error) from error

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Say what to do about damage, and about other errors."""
        try:
            yield
        except Damaged as error:
            raise unsound(self.path, error) from error
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error | UnicodeDecodeError) -> Exception:
        """Return Unavailable if it may work later, Broken if not, and the error itself if it is a bug."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _TEMPORARY:
            return Unavailable(f"{self.path}: {error}")
        if code & 0xFF == sqlite3.SQLITE_IOERR:
            if code == sqlite3.SQLITE_IOERR_WRITE and self.place.is_read_only():  # nothing of it was written
                return Unavailable(f"{self.path}: the file system is read-only now")
            return Broken(
                f"{self.path} cannot be used: {error}. Check the disk, and start the daemon again, which goes on from "
                "what is there."
            )
        if code in _CONFLICTS or shows_damage(error):
            return Broken(str(unsound(self.path, error)))
        return error

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
        with self._explaining():
            return read(self._connection, after, limit)

    def replace(self, position: int, events: Sequence[Event]) -> None:
        """Put these events in place of those of an entry, and note that the file is to be purged."""
        self._connection.execute("PRAGMA secure_delete=ON")
        with self._transaction() as cursor:
            (entry_id,) = cursor.execute("SELECT id FROM entry WHERE position = ?", (position,)).fetchone()
            found = cursor.execute("SELECT slot FROM event WHERE position = ? ORDER BY slot", (position,)).fetchall()
            rows = [to_row(position, slot, event) for (slot,), event in zip(found, events, strict=True)]
            cursor.execute("DELETE FROM event WHERE position = ?", (position,))
            cursor.executemany(_INSERT_SAID, [row for row in rows if row[2] == "said"])
            cursor.executemany(_INSERT, [row for row in rows if row[2] != "said"])
            checksum = entry_checksum(entry_id, rows)
            cursor.execute("UPDATE entry SET checksum = ? WHERE position = ?", (checksum, position))
            cursor.execute("INSERT OR IGNORE INTO purge VALUES (1)")

    def purge(self) -> None:
        """Make sure that nothing that was replaced is left: in free space, in the file's WAL, or in copies of upgrades.

        Without VACUUM some of it would stay in the slack of pages, whatever `secure_delete` says.
        """
        if self._connection.execute("SELECT one FROM purge").fetchone() is None:
            return
        for copy in upgrade_copies(self.path):
            copy.unlink()
        with self._temporary():
            self._connection.execute("VACUUM")
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable(f"{self.path} is being read by another program")
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM purge")

    def save_snapshot(self, position: int, version: int, state: bytes) -> None:
        with self._transaction() as cursor:
            row = position, version, state, snapshot_checksum(position, version, state)
            cursor.execute("INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?)", row)

    def save_highest(self, number: int) -> None:
        """Record the highest number beside the file, unless that is no longer in its place. Raise Misplaced."""
        self._check_place()
        highest.save(self.path, number)

    def load_snapshot(self) -> Snapshot | None:
        """Return the last snapshot. Raise CannotOpen if it is damaged or missing, or if entries that it covers are."""
        with self._explaining():
            snapshot = load_snapshot(self._connection)
            if snapshot is None and self.beginning > 1:
                raise Damaged(f"it begins with entry {self.beginning}, and its snapshot is missing")
            if snapshot is not None and snapshot.position > self.head:
                raise Damaged(f"it ends with entry {self.head}, before that of its snapshot")
        return snapshot

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
        if not self._index_is_sound:
            with self._explaining():
                damaged = check(self._connection, "integrity_check(entry)")
            if damaged:
                with self._transaction() as cursor:
                    cursor.execute("REINDEX entry")
        self._index_is_sound = True

    def forget_seen(self, before: int) -> None:
        """Delete the Seen events of the entries before this position."""
        if before > self._seen_from:
            with self._transaction() as cursor:
                where = "position >= ? AND position < ? AND kind = 'seen'"
                cursor.execute(f"DELETE FROM event WHERE {where}", (self._seen_from, before))  # noqa: S608 - no input
            self._seen_from = before


def upgrade_copies(path: Path) -> list[Path]:
    """Return the copies of a file that were kept when it was upgraded."""
    return [copy for version in UPGRADES if (copy := path.with_name(f"{path.name}.v{version}")).exists()]


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
