"""Reader: a group's SQLite file, read without changing it, beside a running daemon or without one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from groupchat.core.errors import CannotOpen, Damaged
from groupchat.log.older import present
from groupchat.log.tables import check_version, unsound

READ_ATTEMPTS = 4
"""The number of attempts to read a file that a daemon may just be opening or closing."""

Result = TypeVar("Result")


class Reader:
    """One file. It and the files beside it are not changed, whether a daemon runs on it, was killed, or was stopped.

    What is new in a file in use is in its -wal, and its -shm says where: `readonly_shm` makes sure that neither is
    created or written to. A file that was closed has no -wal, and SQLite would create one even to read, unless it is
    told that the file is `immutable`. Then it does not notice other users, so this class looks for them afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = path.resolve()  # the other files are beside the target of a symbolic link
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
            except (Damaged, UnicodeDecodeError) as error:  # unless it was written to meanwhile
                failure = unsound(self.path, error)
                if in_use or self._state() == before:
                    break
            except sqlite3.Error as error:
                failure = _unreadable(self.path, error)
                if not isinstance(error, sqlite3.OperationalError) and (in_use or self._state() == before):
                    break
            else:
                if in_use or self._state() == before:
                    return result
        raise failure

    def _state(self) -> tuple[bool, object]:
        """Return True if a part of the group is in other files than this one, and what changes with each write."""
        wal, shm, journal = (self._real.with_name(self._real.name + end) for end in ("-wal", "-shm", "-journal"))
        in_use = journal.exists() or (wal.exists() and (shm.exists() or wal.stat().st_size > 0))
        found = self._real.stat()
        return in_use, (found.st_ino, found.st_size, found.st_mtime_ns)


def open_to_read(path: Path, immutable: bool) -> sqlite3.Connection:
    """Return a connection that sees the file as it is now. Raise CannotOpen if it is of another program, or newer."""
    mode = "immutable=1" if immutable else "readonly_shm=1"
    connection = sqlite3.connect(
        f"file://{quote(os.fsencode(path.absolute()))}?mode=ro&{mode}", uri=True, isolation_level=None
    )
    try:
        connection.execute("BEGIN")
        present(connection, check_version(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def _unreadable(path: Path, error: sqlite3.Error) -> CannotOpen:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return CannotOpen(f"{path} is not a database.")
        case sqlite3.SQLITE_CORRUPT:
            return unsound(path, error)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY:
            return CannotOpen(
                f"{path} cannot be read without the -wal, -shm or -journal that belongs beside it, or by this user "
                f"({error}). If a daemon can be started on it, stop that again and retry."
            )
    return CannotOpen(f"{path} cannot be read: {error}.")
