"""The directory of the shelf. All of these functions may block: call them in a thread.

No name leads out of the directory: files are opened relative to it, never through a link, and only regular files are
read. An existing file is never replaced. The hidden folder has what belongs to the shelf itself: the index, and the
parts of files that are not complete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from heapq import nlargest
from pathlib import Path
from typing import Any

from groupchat.core.errors import CannotShare, IllegalMessage
from groupchat.core.filenames import folded, is_listed, numbered
from groupchat.core.limits import MAX_FILES
from groupchat.core.numbers import clamp_time
from groupchat.files import File, FileOwner
from groupchat.files.parts import FILE_FLAGS, READ_SIZE, Part, PartFolder, full_is_not_now, sync_folder

FOLDER = ".groupchat"
LOCK = "lock"

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

TICK_SECONDS = 0.05
"""How long the times of a file or a directory may stay the same while it changes: kernels keep them to milliseconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was found. If any of this differs, it is another file, or has changed."""

    name: str
    size: int
    mtime: int  # in nanoseconds
    inode: int
    ctime: int  # in nanoseconds; a new link, owner or mode sets it, too

    @property
    def at(self) -> float:
        return clamp_time(self.mtime / 1e9)

    def file(self, sha256: str | None) -> File:
        return File(self.name, self.size, self.at, sha256, self.ctime)

    def only_touched(self, later: Entry) -> bool:
        """Return True if this file, found later, differs in nothing but the ctime."""
        return replace(later, ctime=self.ctime) == self


class Changed(Exception):
    """A file that is not the one that was expected."""


class OpenFile:
    """A file that is open to be read. `entry` says what was opened."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle = handle
        status = os.fstat(handle)
        self.entry = _entry(name, status)
        self._links = status.st_nlink

    def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes. Raises Changed if the file has changed since it was opened."""
        data = os.pread(self._handle, size, offset)
        status = os.fstat(self._handle)
        if status.st_nlink != self._links:  # a name was added or removed, which sets the ctime
            self._links, self.entry = status.st_nlink, replace(self.entry, ctime=status.st_ctime_ns)
        if _entry(self.entry.name, status) != self.entry or len(data) != max(0, min(size, self.entry.size - offset)):
            raise Changed
        return data

    def close(self) -> None:
        os.close(self._handle)


class Disk:
    """The directory and its hidden folder, opened and locked: only one process can have them open."""

    def __init__(self, path: Path) -> None:
        """Open the directory; create it if it is missing. Raises CannotShare."""
        self._open: list[int] = []
        try:
            if not path.exists():
                path.mkdir(0o700)
            self.directory = self._keep(os.open(path, _FOLDER_FLAGS))
            with suppress(FileExistsError):
                os.mkdir(FOLDER, 0o700, dir_fd=self.directory)
            self.folder = self._keep(os.open(FOLDER, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=self.directory))
            self.parts = PartFolder(self.folder)
            os.fchmod(self.folder, 0o700)
            lock = self._keep(os.open(LOCK, os.O_RDWR | os.O_CREAT | FILE_FLAGS, 0o600, dir_fd=self.folder))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            self.close()
            reason = "another groupchat does" if isinstance(why, BlockingIOError) else why.strerror or why
            raise CannotShare(f"cannot share {path}: {reason}") from why

    def _keep(self, handle: int) -> int:
        self._open.append(handle)
        return handle

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    # Reading

    def scan(self) -> dict[str, Entry]:
        """Return the files to be listed, oldest first. If there are too many, only the newest are."""
        with os.scandir(self.directory) as entries:
            regular = (_regular(entry) for entry in entries if is_listed(entry.name))
            newest = nlargest(MAX_FILES, (entry for entry in regular if entry), key=lambda entry: entry.mtime)
        return {entry.name: entry for entry in reversed(newest)}

    def changed_at(self) -> int:
        """Return when a name was last added to the directory or removed from it, in nanoseconds."""
        return os.fstat(self.directory).st_mtime_ns

    def room(self) -> int:
        """Return the number of free bytes."""
        status = os.fstatvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def open(self, name: str) -> OpenFile:
        """Open a file to read it. Raises IllegalMessage if there is none of this name."""
        if not is_listed(name):
            raise IllegalMessage("There is no such file.")
        with suppress(OSError, ValueError):  # the file is missing, is a link, or must not be read
            if stat.S_ISREG(os.stat(name, dir_fd=self.directory, follow_symlinks=False).st_mode):
                handle = os.open(name, os.O_RDONLY | FILE_FLAGS, dir_fd=self.directory)
                if stat.S_ISREG(os.fstat(handle).st_mode):
                    return OpenFile(handle, name)
                os.close(handle)
        raise IllegalMessage(f"There is no file {name}.")

    def hash_some(self, entry: Entry, hasher: Any, offset: int, size: int, is_stopping: Callable[[], bool]) -> int:
        """Hash at most `size` bytes more. Returns the offset that was reached. Raises Changed, or OSError."""
        try:
            file = self.open(entry.name)
        except IllegalMessage:
            raise Changed from None
        with closing(file):
            if file.entry != entry:
                raise Changed
            end = min(entry.size, offset + size)
            while offset < end and not is_stopping():
                data = file.read(offset, min(READ_SIZE, end - offset))
                hasher.update(data)
                offset += len(data)
        return offset

    # Parts

    def load_parts(self, files: dict[str, Entry]) -> tuple[list[Part], list[Part], dict[str, FileOwner]]:
        """Return the parts, what was shared, and the owners of `files` that were published just before a crash.

        Those files still have a second link, among the parts; it is removed. The index may not know their owners.
        """
        owners: dict[str, FileOwner] = {}
        by_inode = {entry.inode: entry for entry in files.values()}
        parts, published, shared = self.parts.load()
        for part, inode in published:
            if (entry := by_inode.get(inode)) is None:
                self.parts.forget(part)
                continue
            owners[entry.name] = part.owner
            settled = part.shared_as(entry.name)
            self.parts.settle(settled)
            if settled.record is not None:
                shared.append(settled)
        return parts, shared, owners

    def settle(self, entry: Entry, part: Part) -> Entry:
        """Remove the part that `entry` was published from. Return the entry as it is afterwards."""
        self.parts.settle(part)
        with suppress(FileNotFoundError):
            found = self._look(entry.name)
            return found if entry.only_touched(found) else entry
        return entry

    def _look(self, name: str) -> Entry:
        return _entry(name, os.stat(name, dir_fd=self.directory, follow_symlinks=False))

    def publish(self, part: Part, name: str, most: int = 10_000) -> Entry:
        """Link a part into the directory, durably, under this name or a numbered one. Raises IllegalMessage."""
        with full_is_not_now():
            taken = {folded(os.fsdecode(other)) for other in os.listdir(self.directory)}
            for number in range(1, most):
                free = name if number == 1 else numbered(name, number)
                if folded(free) not in taken and self._link(part, free):
                    return self._published(free)
        raise IllegalMessage("There are too many files of that name.")

    def _published(self, name: str) -> Entry:
        try:
            sync_folder(self.directory)
            return self._look(name)
        except OSError:
            os.unlink(name, dir_fd=self.directory)
            raise

    def _link(self, part: Part, name: str) -> bool:
        """Return False if that name is taken."""
        try:
            os.link(part.name, name, src_dir_fd=self.folder, dst_dir_fd=self.directory, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as why:
            if why.errno == errno.ENAMETOOLONG:
                raise IllegalMessage("That name is too long for the disk of the server.") from why
            if why.errno not in _NO_LINKS:
                raise
            return self._move(part, name)
        return True

    def _move(self, part: Part, name: str) -> bool:
        """Do the same on a disk that has no links: create the name, then rename the part to it."""
        try:
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE_FLAGS, 0o600, dir_fd=self.directory)
        except FileExistsError:
            return False
        os.close(handle)
        os.rename(part.name, name, src_dir_fd=self.folder, dst_dir_fd=self.directory)
        return True

    def remove(self, name: str) -> None:
        """Remove a file of this name for good. What is no regular file is left as it is."""
        with suppress(FileNotFoundError):
            if stat.S_ISREG(os.stat(name, dir_fd=self.directory, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=self.directory)
                sync_folder(self.directory)

    def withdraw(self, entry: Entry, part: Part) -> bool:
        """Turn a file into a part again. Returns False if the file is no longer there, or is another one."""
        with suppress(FileNotFoundError):
            if not entry.only_touched(self._look(entry.name)):
                return False
            try:
                os.stat(part.name, dir_fd=self.folder, follow_symlinks=False)
                os.unlink(entry.name, dir_fd=self.directory)  # the part came again meanwhile
            except FileNotFoundError:
                os.rename(entry.name, part.name, src_dir_fd=self.directory, dst_dir_fd=self.folder)
                os.utime(part.name, dir_fd=self.folder)
            sync_folder(self.directory)
            with suppress(OSError):  # as long as there is a part, it is not shared
                self.parts.save(part)
            return True
        return False


def unlisted(directory: Path) -> tuple[int, list[tuple[str, str]]]:
    """Return how many files of a directory are listed, and each name that is not, with the reason. Raises OSError.

    The directory is not locked: a daemon may be sharing it.
    """
    listed, others = [], []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name == FOLDER:
                continue
            if why := _why_unlisted(entry):
                others.append((entry.name, why))
            elif file := _regular(entry):
                listed.append(file)
    listed.sort(key=lambda file: file.mtime, reverse=True)
    others += [(file.name, f"only the newest {MAX_FILES} files are shared") for file in listed[MAX_FILES:]]
    return min(len(listed), MAX_FILES), sorted(others)


def _why_unlisted(entry: os.DirEntry[str]) -> str:
    """Return why this is no file that is listed, or an empty text."""
    if entry.is_symlink():
        return "a link"
    if entry.is_dir():
        return "a directory"
    if not entry.is_file():
        return "no regular file"
    if entry.name.startswith("."):
        return "a name that begins with a dot is hidden"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return "" if is_listed(entry.name) else "its name has characters that are not seen"


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def _regular(entry: os.DirEntry[str]) -> Entry | None:
    with suppress(OSError):  # the file is gone
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return _entry(entry.name, status)
    return None
