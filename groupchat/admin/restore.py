"""Restore: a copy of a backup in the place of a file. Numbers of lines go on above all that were given from that file.

The old file, and what belongs to it, gets a second name before anything is changed, and keeps it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from contextlib import ExitStack, closing, suppress
from itertools import count
from pathlib import Path
from stat import S_IMODE

from groupchat.admin.copies import BESIDE, copy, part_of, remove
from groupchat.admin.replay import Replay
from groupchat.core.errors import CannotOpen, Damaged, LogError
from groupchat.core.events import Raised
from groupchat.core.numbering import STEP, above
from groupchat.log import highest
from groupchat.log.database import Database, locked, sync
from groupchat.log.reader import Reader

ENDS = ("", *BESIDE)


def restore(backup: Path, file: Path) -> list[str]:
    """Put a copy of a backup in the place of a file. Return, in sentences, what was done. Raise LogError or OSError."""
    target = file.resolve()  # the new file takes the place of the target of a symbolic link
    with ExitStack() as stack:
        part = stack.enter_context(part_of(target))
        if target.exists():
            if backup.exists() and backup.samefile(target):
                raise CannotOpen(f"{backup} is the file itself: nothing was restored.")
            stack.callback(os.close, locked(target, "a daemon. Stop it first: nothing was restored."))
        given = _highest(file, part)
        try:
            replay, lines = _copied(backup, part)
        except LogError as error:
            raise LogError(str(error).replace(str(part), str(backup))) from error
        number = _number(replay)
        to = above(number + STEP if given is None else max(given, number))
        with closing(Database(part)) as database:
            database.append([(f"raised-{secrets.token_hex(8)}", [Raised(time.time(), to)])])
        said = _permit(part, target)
        sync(part)
        said += _keep_aside(target)
        for end in BESIDE:
            Path(f"{target}{end}").unlink(missing_ok=True)
        part.rename(target)
        sync(target.parent)
        _discard_damaged(file)
    members = len(replay.group.members)
    found = f"{lines} line{'s' * (lines != 1)} and {members} member{'s' * (members != 1)}"
    return [*said, f"Restored: {found}. The next line has the number {to + 1}."]


def _copied(path: Path, part: Path) -> tuple[Replay, int]:
    """Copy a file of any format, upgrade the copy, and fold it. Return that, and the number of lines that are kept."""
    remove(part)
    Reader(path).read(lambda connection: copy(connection, part))
    with closing(Database(part)) as database:
        database.load_snapshot()
    return _folded(part)


def _folded(path: Path) -> tuple[Replay, int]:
    replay = Replay(Reader(path).read)
    return replay, replay.finish()


def _number(replay: Replay) -> int:
    return replay.group.numbering.after(replay.group.history.head)


def _highest(file: Path, part: Path) -> int | None:
    """Return the highest number that was given from a file, as far as can be told; None if it cannot."""
    found = []
    with suppress(LogError):
        found.append(highest.load(file) or None)
    if file.exists():
        with suppress(LogError, OSError, sqlite3.Error):
            found.append(_number(_of_any_format(file, part)[0]))
    return max((number for number in found if number is not None), default=None)


def _discard_damaged(file: Path) -> None:
    """Remove a number beside the file that cannot be told: the file itself has the highest now."""
    try:
        highest.load(file)
    except Damaged:
        highest.beside(file).unlink()


def _of_any_format(file: Path, part: Path) -> tuple[Replay, int]:
    with suppress(LogError):
        return _folded(file)
    return _copied(file, part)


def _permit(part: Path, target: Path) -> list[str]:
    """Give a new file the permissions of the one that was there, and its owner: without one, that of the directory."""
    found = (target if target.exists() else target.parent).stat()
    if target.exists():
        part.chmod(S_IMODE(found.st_mode))
    if found.st_uid == os.geteuid():
        return []
    with suppress(PermissionError):
        os.chown(part, found.st_uid, found.st_gid)
        return []
    return [f"{target} belongs to you now: make sure that the user of the daemon may write to it."]


def _keep_aside(target: Path) -> list[str]:
    """Give the file that is there, with what belongs to it, a second name. Return a sentence that says which."""
    there = [end for end in ENDS if os.path.lexists(f"{target}{end}")]
    names = (f"{target}.replaced-{number}" for number in count(1))
    aside = next(name for name in names if not any(os.path.lexists(f"{name}{end}") for end in ENDS))
    try:
        for end in there:
            os.link(f"{target}{end}", f"{aside}{end}")
    except OSError as error:
        raise LogError(
            f"{target} cannot get a second name here ({error.strerror}): move it away, and retry."
        ) from error
    return [f"What was there is kept as {aside}"] if there else []
