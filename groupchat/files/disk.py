"""What the shelf does on the disk: every function here may wait for it, and is for a thread.

No name leads out of the directory: each is opened relative to it, never through a link, and has to be a regular file
once it is open. Nothing that is there is ever replaced. What is the shelf's own is in its hidden folder: the parts of
files that are not complete, and the index, which says the hash of each file and who brought it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from groupchat.core.errors import CannotShare, IllegalMessage, NotNow
from groupchat.core.filenames import folded, is_listed, numbered
from groupchat.core.limits import MAX_FILES
from groupchat.files import FileOwner

FOLDER = ".groupchat"
INDEX = "index"
LOCK = "lock"
VERSION = 1

MAX_INDEX = 64 * 1024 * 1024
"""The longest index that is read, in bytes."""

FULL = {errno.ENOSPC, errno.EDQUOT}
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PART = re.compile(r"([0-9a-f]{64})\.([0-9]{1,19})\.([^/]{0,100})\.part")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was found: another one, if any of this is different."""

    name: str
    size: int
    mtime: int  # in nanoseconds
    inode: int

    @property
    def at(self) -> float:
        return self.mtime / 1e9


@dataclass(frozen=True, slots=True)
class Known:
    """What the index says of a file: the hash if it was computed, and the owner if it was uploaded."""

    entry: Entry
    sha256: str | None
    owner: FileOwner | None


@dataclass(frozen=True, slots=True)
class Part:
    """What came of a file: its name says whose it is, and of which file."""

    key: str
    owner: FileOwner
    size: int = 0
    at: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.key}.{self.owner.member}.{quote(self.owner.host, safe=':')[:100]}.part"


class Changed(Exception):
    """A file is not what it was."""


def found(name: str, status: os.stat_result) -> Entry:
    return Entry(name, status.st_size, status.st_mtime_ns, status.st_ino)


@contextmanager
def in_words() -> Iterator[None]:
    """What the remote can be told of: a disk that is full."""
    try:
        yield
    except OSError as why:
        if why.errno in FULL:
            raise NotNow("The disk of the server is full: try again later.") from why
        raise


class Disk:
    """The directory and its hidden folder, opened. It cannot be opened by two at a time."""

    def __init__(self, path: Path) -> None:
        """Raises CannotShare."""
        self._open: list[int] = []
        try:
            if not path.exists():
                path.mkdir(0o700)
            self.files = self._keep(os.open(path, _FOLDER_FLAGS))
            with suppress(FileExistsError):
                os.mkdir(FOLDER, 0o700, dir_fd=self.files)
            self.folder = self._keep(os.open(FOLDER, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=self.files))
            os.fchmod(self.folder, 0o700)
            lock = self._keep(os.open(LOCK, os.O_RDWR | os.O_CREAT | _FILE_FLAGS, 0o600, dir_fd=self.folder))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise CannotShare(f"cannot share {path}: another groupchat does") from None
        except OSError as why:
            self.close()
            raise CannotShare(f"cannot share {path}: {why.strerror or why}") from why

    def _keep(self, handle: int) -> int:
        self._open.append(handle)
        return handle

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def scan(self) -> dict[str, Entry]:
        """All that is to be listed; of too many the newest."""
        with os.scandir(self.files) as entries:
            regular = (self._look(entry) for entry in entries if is_listed(entry.name))
            newest = nlargest(MAX_FILES, (entry for entry in regular if entry), key=lambda entry: entry.mtime)
        return {entry.name: entry for entry in reversed(newest)}

    def _look(self, entry: os.DirEntry[str]) -> Entry | None:
        with suppress(OSError):  # it is gone
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                return found(entry.name, status)
        return None

    def room(self) -> int:
        """How many bytes are free."""
        status = os.fstatvfs(self.folder)
        return status.f_bavail * status.f_frsize

    # Reading

    def open(self, name: str) -> tuple[int, Entry]:
        """A file of this name, to read. Raises IllegalMessage if there is none."""
        handle = -1
        try:
            if is_listed(name) and stat.S_ISREG(os.stat(name, dir_fd=self.files, follow_symlinks=False).st_mode):
                handle = os.open(name, os.O_RDONLY | _FILE_FLAGS, dir_fd=self.files)
                status = os.fstat(handle)
                if stat.S_ISREG(status.st_mode):
                    return handle, found(name, status)
        except (OSError, ValueError):  # it is not there, or is a link, or must not be read
            pass
        if handle >= 0:
            os.close(handle)
        raise IllegalMessage(f"There is no file {name}." if is_listed(name) else "There is no such file.")

    def hash_some(self, entry: Entry, hasher: Any, offset: int, most: int, is_stopping: Any) -> int:
        """Hash up to so many bytes more. Returns how many there are by then. Raises Changed, or OSError."""
        try:
            handle, now = self.open(entry.name)
        except IllegalMessage:
            raise Changed from None
        try:
            end = min(entry.size, offset + most)
            offset = hash_range(handle, hasher, offset, end, is_stopping)
            if found(entry.name, os.fstat(handle)) != entry or now != entry:
                raise Changed
        finally:
            os.close(handle)
        return offset

    # Parts

    def parts(self) -> list[Part]:
        """All that came in part. Those that were published are not: see `finish_publishing`."""
        kept = []
        for name in os.listdir(self.folder):
            status = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
            part = _part(name, status)
            if part is not None and status.st_nlink == 1:
                kept.append(part)
        return kept

    def open_part(self, part: Part) -> int:
        """Create it, or open it to go on with it. Raises NotNow if the disk is full."""
        with in_words():
            return os.open(part.name, os.O_RDWR | os.O_CREAT | _FILE_FLAGS, 0o600, dir_fd=self.folder)

    def forget_part(self, part: Part) -> None:
        with suppress(FileNotFoundError):
            os.unlink(part.name, dir_fd=self.folder)

    def publish(self, part: Part, name: str, most: int = 10_000) -> Entry:
        """Put a part on the shelf, too, durably, under this name or another. Raises IllegalMessage."""
        with in_words():
            return self._publish(part, name, most)

    def _publish(self, part: Part, name: str, most: int) -> Entry:
        taken = {folded(os.fsdecode(other)) for other in os.listdir(self.files)}
        for number in range(1, most):
            free = name if number == 1 else numbered(name, number)
            if folded(free) not in taken and self._link(part, free):
                return self._published(free)
        raise IllegalMessage("There are too many files of that name.")

    def _published(self, name: str) -> Entry:
        try:
            sync_folder(self.files)
            return found(name, os.stat(name, dir_fd=self.files, follow_symlinks=False))
        except OSError:
            os.unlink(name, dir_fd=self.files)
            raise

    def _link(self, part: Part, name: str) -> bool:
        """Whether that name was free until now."""
        try:
            os.link(part.name, name, src_dir_fd=self.folder, dst_dir_fd=self.files, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as why:
            if why.errno == errno.ENAMETOOLONG:
                raise IllegalMessage("That name is too long for the disk of the server.") from why
            if why.errno not in NO_LINKS:
                raise
            return self._move(part, name)
        return True

    def _move(self, part: Part, name: str) -> bool:
        """On a disk that has no links: take the name first, then put the part in its place."""
        try:
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE_FLAGS, 0o600, dir_fd=self.files)
        except FileExistsError:
            return False
        with closing(os.fdopen(handle, "wb")):
            os.rename(part.name, name, src_dir_fd=self.folder, dst_dir_fd=self.files)
        return True

    def withdraw(self, entry: Entry, part: Part) -> bool:
        """Make a part of a file again, if it is still there. Returns whether it is one."""
        with suppress(FileNotFoundError):
            now = os.stat(entry.name, dir_fd=self.files, follow_symlinks=False)
            if found(entry.name, now) != entry:
                return False
            if _part_is_there(self.folder, part):
                os.unlink(entry.name, dir_fd=self.files)
            else:
                os.rename(entry.name, part.name, src_dir_fd=self.files, dst_dir_fd=self.folder)
                os.utime(part.name, dir_fd=self.folder)
            sync_folder(self.files)
            return True
        return False

    def finish_publishing(self, files: dict[str, Entry]) -> dict[str, FileOwner]:
        """Forget the parts that are on the shelf already. Returns by inode whose they are: the index may not know."""
        owners: dict[str, FileOwner] = {}
        by_inode = {entry.inode: entry for entry in files.values()}
        for name in os.listdir(self.folder):
            status = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
            part = _part(name, status)
            if part is not None and status.st_nlink > 1:
                published = by_inode.get(status.st_ino)
                if published is not None:
                    owners[published.name] = part.owner
                self.forget_part(part)
        return owners

    # The index

    def load(self) -> dict[str, Known]:
        """What is known of files. Empty if there is no index, or it is damaged: hashes can be computed again."""
        try:
            handle = os.open(INDEX, os.O_RDONLY | _FILE_FLAGS, dir_fd=self.folder)
            with open(handle, encoding="utf-8") as file:
                data = json.loads(file.read(MAX_INDEX))
            if data["version"] != VERSION:
                return {}
            return {name: _known(name, values) for name, values in data["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}

    def save(self, index: dict[str, Known]) -> None:
        """Write the index, all or nothing. Raises OSError."""
        files = {name: _values(known) for name, known in index.items()}
        data = json.dumps({"version": VERSION, "files": files}, ensure_ascii=False).encode()
        temporary = f"{INDEX}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FILE_FLAGS
        with open(os.open(temporary, flags, 0o600, dir_fd=self.folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, INDEX, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        sync_folder(self.folder)


def _values(known: Known) -> list[Any]:
    owner = known.owner or FileOwner(0, "")
    return [known.entry.size, known.entry.mtime, known.entry.inode, known.sha256, owner.member, owner.host]


def _known(name: str, values: list[Any]) -> Known:
    """Raises TypeError or ValueError for what the shelf did not write."""
    size, mtime, inode, sha256, member, host = values
    if not all(isinstance(value, int) for value in (size, mtime, inode, member)) or not isinstance(host, str):
        raise ValueError(name)
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise ValueError(name)
    return Known(Entry(name, size, mtime, inode), sha256, FileOwner(member, host) if member or host else None)


def _part(name: str, status: os.stat_result) -> Part | None:
    match = _PART.fullmatch(name)
    if match is None or not stat.S_ISREG(status.st_mode):
        return None
    part = Part(match[1], FileOwner(int(match[2]), unquote(match[3])), status.st_size, status.st_mtime)
    return part if part.name == name else None


def _part_is_there(folder: int, part: Part) -> bool:
    try:
        os.stat(part.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def hash_range(handle: int, hasher: Any, offset: int, end: int, is_stopping: Any) -> int:
    """Hash from there on, up to `end`, the end of the file, or until there is no time. Returns how far that was."""
    while offset < end and not is_stopping():
        data = os.pread(handle, min(1 << 20, end - offset), offset)
        if not data:
            raise Changed
        hasher.update(data)
        offset += len(data)
    return offset


def write_all(handle: int, data: bytes, offset: int) -> None:
    """Raises NotNow if the disk is full, or OSError."""
    with in_words():
        view = memoryview(data)
        while view:
            written = os.pwrite(handle, view, offset)
            view, offset = view[written:], offset + written


def sync(handle: int) -> None:
    """Raises NotNow if the disk is full, or OSError."""
    with in_words():
        os.fsync(handle)


def sync_folder(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as why:
        if why.errno != errno.EINVAL:  # some disks cannot
            raise


def old(part: Part, seconds: float) -> bool:
    return time.time() - part.at > seconds


def close(handle: int) -> None:
    os.close(handle)


def read(handle: int, entry: Entry, offset: int, size: int) -> bytes:
    """Raises Changed if the file is not what it was."""
    data = os.pread(handle, size, offset)
    if found(entry.name, os.fstat(handle)) != entry or len(data) != max(0, min(size, entry.size - offset)):
        raise Changed
    return data
