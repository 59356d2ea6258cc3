"""Watch: notices that the file of a group is no longer in its place, and rescues what is in it.

The connection still has all of it open, so it can be copied until the daemon ends.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

from groupchat.core.errors import LogError, Misplaced, Unavailable
from groupchat.log.database import Database, backup, sync
from groupchat.log.place import OVERWRITTEN, rescued
from groupchat.log.reader import open_to_read
from groupchat.log.tables import check, load_snapshot, read, span

AT_ONCE = 1_000
"""The number of entries that are checked at once."""


RETRY = 10
"""The number of checks from an attempt to make the copy to the next one."""


class Watch:
    """Watches over the place of an open file. Every method blocks, and belongs to the thread of the file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rescued = False
        self._until_retry = 0

    def check(self) -> str:
        """Return what an operator should know: nearly always "". Raise Misplaced if there is news of a lost file."""
        database = self._database
        happened, news = self._find_out()
        if not happened:
            if database.misplaced:
                database.misplaced, self._rescued, self._until_retry = "", False, 0
                news = f"{database.path} is in its place again: messages are stored again"
            return news
        first = happened != database.misplaced
        database.misplaced = happened
        self._until_retry -= 1
        if self._rescued or (not first and self._until_retry > 0):
            return ""
        self._until_retry = RETRY
        try:
            advice = rescue(database.connection, database.place.path, database.head)
            self._rescued = True
            if happened == OVERWRITTEN:
                database.place.forget_wal()
        except LogError as error:
            if not first:
                return ""
            advice = (
                f"Do not stop the daemon now: what it held cannot be copied ({error}). Make room: it tries again every "
                f"{RETRY} seconds."
            )
        raise Misplaced(f"{database.place.path} {happened}. Nothing is stored any more. {advice}")

    def _find_out(self) -> tuple[str, str]:
        """Return what happened to the file, or, if it is as it should be, what happened beside it."""
        place = self._database.place
        happened = place.lost() or place.overwritten()
        side = None if happened else place.lost_side()
        if side is None:
            return happened, ""
        try:
            self._database.reopen()
        except Unavailable:
            return f"lost its {side.name}", ""
        return "", f"{side} was removed or replaced. What it held is in {place.path} now, and nothing is lost."


def rescue(connection: sqlite3.Connection, path: Path, head: int) -> str:
    """Copy what a connection has open to a new file beside `path`. Return where that is and what to do, in sentences.

    If the directory is gone or has no room, it is the nearest one above, or the one for temporary files. Raise LogError
    if the copy cannot be made.
    """
    reasons = []
    for directory in _directories(path):
        to = next(name for name in _names(directory, path) if not name.exists())
        try:
            damage = _copy(connection, to, head)
        except (sqlite3.Error, OSError) as error:
            reasons.append(f"{to}: {error}")
            continue
        held = f"What it held is in {to}"
        if damage:
            return f"{held}, but is damaged ({damage}). Save what is sound: groupchat-admin repair {to} NEW"
        if directory not in path.parents:
            held = f"{held}: copy it to a safe place, since a service may lose that directory when it stops"
        return (
            f"{held}. Stop the daemon. To go on where the group was, move that file to the place of {path}, without a "
            "-wal and a -shm beside it. Then start the daemon."
        )
    raise LogError("; ".join(reasons))


def _directories(path: Path) -> Iterator[Path]:
    yield next(directory for directory in path.parents if directory.is_dir())
    yield Path(tempfile.gettempdir())


def _names(directory: Path, path: Path) -> Iterator[Path]:
    """Yield names for the copy: whatever has one of them already may be needed."""
    first = rescued(directory / path.name)
    yield first
    for number in count(2):
        yield first.with_name(f"{first.name}.{number}")


def _copy(connection: sqlite3.Connection, to: Path, head: int) -> str:
    """Make the copy and sync it to disk. Return what is wrong with it, "" if it is sound."""
    part = to.with_name(f"{to.name}.part")
    part.unlink(missing_ok=True)
    try:
        backup(connection, part)
        damage = _damage(part, head)
        sync(part)
        part.rename(to)
        sync(to.parent)
    finally:
        part.unlink(missing_ok=True)
    return damage


def _damage(part: Path, head: int) -> str:
    """Return what is wrong with a copy: what was overwritten meanwhile may be in it."""
    try:
        with closing(open_to_read(part, immutable=True)) as connection:
            if damage := check(connection, "quick_check(1)"):
                return damage
            beginning, last = span(connection)
            if last != head:
                return f"it ends with entry {last} instead of {head}"
            load_snapshot(connection)
            position = beginning - 1
            while entries := read(connection, position, AT_ONCE):
                position = entries[-1].position
    except (sqlite3.Error, LogError, UnicodeDecodeError) as error:
        return str(error)
    return ""
