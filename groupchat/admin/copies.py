"""Copies of a file: each is checked, and on the disk, before it gets its name."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from glob import escape
from pathlib import Path

from groupchat.core.errors import CannotOpen, LogError
from groupchat.log import database, tables
from groupchat.log.reader import open_to_read

LARGE = 5_000
"""The number of pages (of 4 KiB) that make a copy large enough to show its progress."""

BESIDE = ("-wal", "-shm", "-journal")
"""The ends of the names of files that SQLite takes for a part of a file."""


@contextmanager
def new_file(to: Path) -> Iterator[Path]:
    """Give the name of a file to write. It becomes `to` once it was checked and is on the disk."""
    _check_free(to)
    with part_of(to) as part:
        yield part
        _check_copy(part)
        database.sync(part)
        _check_free(to)
        part.rename(to)
        database.sync(to.parent)


@contextmanager
def part_of(to: Path) -> Iterator[Path]:
    """Give the name of a file to write beside another. It is removed afterwards, also after a signal."""
    part = to.with_name(f"{to.name}.{secrets.token_hex(4)}.part")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        yield part
    finally:
        remove(part)


def remove(part: Path) -> None:
    """Remove a part, and what SQLite or an upgrade left beside it."""
    for path in part.parent.glob(f"{escape(part.name)}*"):
        path.unlink(missing_ok=True)


def _check_free(to: Path) -> None:
    """Raise CannotOpen if the new file, or one that SQLite would take for a part of it, exists."""
    for suffix in ("", "-wal", "-journal"):
        if os.path.lexists(f"{to}{suffix}"):
            raise CannotOpen(f"{to}{suffix} is there already: nothing was copied.")


def copy(connection: sqlite3.Connection, part: Path) -> None:
    """Copy the file as this connection sees it. That does not change, or else the copy would start again and again."""
    part.unlink(missing_ok=True)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    # Always pass a function: Python handles signals only while one runs.
    try:
        database.backup(connection, part, _show_progress if on_terminal else lambda *_: None)
    except sqlite3.Error as error:
        raise LogError(f"no copy was made: {error}.") from error


def _show_progress(_status: int, remaining: int, pages: int) -> None:
    if pages >= LARGE:
        shown = f"{100 * (pages - remaining) // pages:3} %" if remaining else " " * 5
        print(f"\r{shown}\r", end="", file=sys.stderr, flush=True)


def _check_copy(part: Path) -> None:
    try:
        with closing(open_to_read(part, immutable=True)) as connection:
            damage = tables.check(connection, "quick_check(1)")
    except sqlite3.Error as error:
        damage = str(error)
    if damage:
        raise LogError(f"no copy was made: it would be damaged ({damage}).")
