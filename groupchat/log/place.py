"""Place: where the file of a group is, and what happens to it there while it is open.

A file that was removed, moved or replaced by name goes on for those who have it open: SQLite writes to it, and the next
start finds another file, or none. A file that was overwritten stays the same file, and SQLite would mix its own pages
with the new ones.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from errno import EROFS
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from groupchat.core.errors import CannotOpen

_HEAD = 65_536
"""How much of the file is compared, in bytes: its header, and the roots of the tables."""

OVERWRITTEN = "was overwritten"

_INDEX = struct.Struct("=L10xHL12x8s56xL28xL4x")
_INDEX_VERSION, _WAL_HEADER, _FRAME_HEADER = 3_007_000, 32, 24


class _Index(NamedTuple):
    """What is used of the head of the -shm. See https://sqlite.org/walformat.html#walidxfmt"""

    version: int
    page_size: int
    """1 means 65,536."""
    frames: int
    """The number of pages in the -wal."""
    salts: bytes
    """They change when the -wal is begun anew."""
    copied: int
    """The number of pages of the -wal that were copied to the file, by a checkpoint."""
    copying: int
    """The number that a checkpoint under way will have copied."""


class Place:
    """The place of a file that this process has opened and locked with `handle`.

    SQLite loses its locks when any handle of the file or of the -shm is closed: close this after its connection.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path.absolute()  # whatever becomes of the directory
        target = self.path.resolve()  # of a symbolic link: SQLite keeps the other files beside the target
        self._handle = handle
        self._file = _identity(os.fstat(handle))
        self.wal = target.with_name(f"{target.name}-wal")
        self._sides = [self.wal, target.with_name(f"{target.name}-shm")]
        self._identities: list[tuple[int, int]] = []
        self._wal = self._shm = -1
        self._seen: tuple[_Index, int]

    def opened(self) -> None:
        """Note what there is, when SQLite has opened the file and all that is beside it."""
        self._identities = [_identity(path.stat()) for path in self._sides]
        self._wal, self._shm = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in self._sides)
        self._seen = self._look()

    def close(self) -> None:
        for handle in (self._wal, self._shm):
            if handle >= 0:
                os.close(handle)
        self._wal = self._shm = -1

    def lost(self) -> str:
        """Return what happened to the file, to follow its name; "" if it is in its place and as SQLite wrote it."""
        try:
            if _identity(self.path.stat()) != self._file:
                return "was replaced by another file"
        except FileNotFoundError:
            return "was removed or moved"
        except OSError as error:
            return f"cannot be reached any more ({error.strerror})"
        return ""

    def lost_side(self) -> Path | None:
        """Return the -wal or the -shm if it was removed or replaced."""
        for path, identity in zip(self._sides, self._identities, strict=True):
            try:
                found = _identity(path.stat())
            except OSError:
                return path
            if found != identity:
                return path
        return None

    def overwritten(self) -> str:
        """Return what was overwritten, in a few words; "" if all is as SQLite wrote it.

        The file changes only when a checkpoint copies pages to it, and that changes the -shm.
        """
        before, (index, head) = self._seen, self._look()
        if index.version != _INDEX_VERSION or index.copied != index.copying:  # or another process makes a checkpoint
            return ""
        if head != before[1] and index[3:] == before[0][3:]:
            return OVERWRITTEN
        if not self._has_frame(before[0], index):
            return "lost a part of its -wal"
        self._seen = index, head
        return ""

    def _has_frame(self, before: _Index, now: _Index) -> bool:
        """Return True if the page that was the last one in the -wal before is there, unless that was begun anew."""
        if not before.frames or before.salts != now.salts:
            return True
        frame = _FRAME_HEADER + (65_536 if before.page_size == 1 else before.page_size)
        header = os.pread(self._wal, _FRAME_HEADER, _WAL_HEADER + frame * (before.frames - 1))
        return header[8:16] == now.salts

    def remove_sides(self) -> None:
        """Remove the files beside this one, which hold nothing now: an old -wal would be taken for a part of it."""
        for path in self._sides:
            path.unlink(missing_ok=True)

    def forget_wal(self) -> None:
        """Empty the -wal, so that the next start does not copy pages of it into a file that was overwritten."""
        with suppress(OSError):
            if _identity(self.wal.stat()) == self._identities[0]:
                os.truncate(self.wal, 0)

    def is_read_only(self) -> bool:
        """Return True if the file system is read-only, also if the kernel made it so, after errors."""
        try:
            os.pwrite(self._handle, b"", 0)
            return bool(os.fstatvfs(self._handle).f_flag & os.ST_RDONLY)
        except OSError as error:
            return error.errno == EROFS

    def _look(self) -> tuple[_Index, int]:
        """Return the head of the -shm, and a checksum of the head of the file."""
        index = _Index(*_INDEX.unpack(os.pread(self._shm, _INDEX.size, 0)))
        return index, crc32(os.pread(self._handle, _HEAD, 0))


def rescued(path: Path) -> Path:
    """Return where the rescued content of a file is, if all goes well."""
    return path.with_name(f"{path.name}.rescued")


def check_rescued(path: Path) -> None:
    """Raise CannotOpen if a file is missing whose content was rescued: a start would begin an empty group."""
    if not os.path.exists(path) and os.path.exists(rescued(path)):  # which raise nothing for a name that is too long
        raise CannotOpen(
            f"{path} is not there, but {rescued(path)} is, which was saved from it. Move that to its place, or away."
        )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
