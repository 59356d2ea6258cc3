"""The backups that groupchat-admin made: their names, and which of them are old. The audit trail knows them."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from pathlib import Path

from groupchat.service.audit import Audit

MAGIC = b"SQLite format 3\0"
"""How every file of a group begins."""


def name_of(file: Path, to: Path) -> Path:
    """Return the name of a new backup: in a directory, after the file and the local time."""
    return to / f"{file.stem}-{datetime.now():%Y-%m-%dT%H-%M-%S}{file.suffix}" if to.is_dir() else to


def prune(audit: Audit, file: Path, newest: Path, keep: int) -> None:
    """Remove the oldest backups in the directory of the newest one, so that only so many stay. Raise OSError.

    The audit trail belongs to the daemon, which may name any file in it: so only a file of a group is removed that
    belongs to this user, in the directory that this user named.
    """
    directory = newest.resolve().parent
    named = [Path(copy) for copy in audit.backups()]
    ours = [path for path in named if path.parent == directory and _is_backup(path) and not _same(path, file)]
    for path in ours[:-keep]:
        path.unlink()


def _is_backup(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        return is_ours and file.read(len(MAGIC)) == MAGIC


def _same(path: Path, file: Path) -> bool:
    return file.exists() and path.samefile(file)
