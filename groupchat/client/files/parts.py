"""Files on the disk of whoever chats: one that comes, as a part beside its place, and one that is sent.

All of it blocks: it is called in a thread, in pieces that take no longer than a moment.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from groupchat.client.files.names import find_part, part_name

PIECE = 256 * 1024
"""How many bytes are read, written or hashed in one piece."""

NO_SUCH_THING = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EMLINK}
"""What a file system says that has no links, or no locks: FAT, shares on a network, FUSE."""

T = TypeVar("T")


class FileError(Exception):
    """It cannot be done with this file; `str()` of it says why."""


class CorruptError(Exception):
    """What came is not what was to come."""


class Disk:
    """One thread, which does one thing after the other."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, 1, "files")
        self._is_started = False

    def do(self, work: Callable[..., T], *arguments: object) -> Deferred[T]:
        if not self._is_started:
            self._is_started = True
            self._pool.start()
            self._reactor.addSystemEventTrigger("during", "shutdown", self._pool.stop)
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, work, *arguments)
        return done


class Part:
    """A file that comes. `offset` is how much of it is there, and hashed; `beginning` is how its whole hash begins."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.offset = 0
        self.beginning = "-"
        self.path: Path | None = None
        self._file = -1
        self._hash = sha256()
        self._sha256 = ""

    def open(self) -> int:
        """Find what is there of an earlier try. Returns how many bytes that is. Raises FileError."""
        try:
            found = find_part(self.target.parent, self.target.name)
            if found is None:
                return 0
            path, self.beginning = found
            self._open(path)
            return os.fstat(self._file).st_size
        except OSError as error:
            raise FileError(_words(self.target, error)) from error

    def _open(self, path: Path) -> None:
        """Raises OSError, and FileError if it is no file, or somebody else is fetching it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise FileError(f"{path} is no file")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(f"{path} is being fetched already") from None
        except OSError as error:  # a file system without locks
            if error.errno not in NO_SUCH_THING:
                raise
        self.path = path

    def check_piece(self) -> int:
        """Hash the next piece of what is there. Returns how much that was; nothing at the end. Raises FileError."""
        try:
            piece = os.pread(self._file, PIECE, self.offset)
        except OSError as error:
            raise FileError(_words(self.path or self.target, error)) from error
        self._hash.update(piece)
        self.offset += len(piece)
        return len(piece)

    def begin(self, whole: str, offset: int) -> None:
        """What comes has this hash, and begins at this offset: the one that is there, or 0. Raises FileError."""
        path = self.target.parent / part_name(self.target.name, whole)
        try:
            if path != self.path:  # a part of what is another file by now is left where it is
                self.close()
                self._open(path)
            if not offset:
                self.offset, self._hash = 0, sha256()
            os.ftruncate(self._file, offset)
        except OSError as error:
            raise FileError(_words(self.target, error)) from error
        self._sha256, self.beginning = whole, whole

    def write(self, data: bytes) -> None:
        """Raises FileError."""
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._file, rest, self.offset)
                self._hash.update(rest[:written])
                self.offset += written
                rest = rest[written:]
        except OSError as error:
            raise FileError(_words(self.path or self.target, error)) from error

    def finish(self) -> None:
        """Give the whole file its name. Raises CorruptError if it is another one, and FileError."""
        assert self.path is not None
        try:
            if self._hash.hexdigest() != self._sha256:
                os.unlink(self.path)
                raise CorruptError("what came is not the file that the server promised: it was thrown away")
            os.fsync(self._file)
            self._give_name()
        except FileExistsError:
            raise FileError(f"{self.target} exists by now: what came is in {self.path}") from None
        except OSError as error:
            raise FileError(_words(self.target, error)) from error

    def _give_name(self) -> None:
        assert self.path is not None
        try:
            os.link(self.path, self.target)  # fails if there is one already
        except OSError as error:
            if error.errno not in NO_SUCH_THING:
                raise
            self._rename()
        else:
            os.unlink(self.path)

    def _rename(self) -> None:
        assert self.path is not None
        os.close(os.open(self.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(self.path, self.target)

    def close(self) -> None:
        """What there is stays, for the next try; but not if it is nothing."""
        if self._file < 0:
            return
        with suppress(OSError):
            if self.path is not None and os.fstat(self._file).st_size == 0:
                self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1
        self.path = None


class Output:
    """Like a Part, but for a descriptor that somebody reads from at once. There is no earlier try."""

    path = None
    beginning = "-"

    def __init__(self, descriptor: int) -> None:
        self.offset = 0
        self._descriptor = descriptor
        self._hash = sha256()
        self._sha256 = ""

    def open(self) -> int:
        return 0

    def check_piece(self) -> int:
        return 0

    def begin(self, whole: str, offset: int) -> None:
        """Raises FileError if it is another file than that of which something was written."""
        if offset != self.offset:
            raise FileError("the file has changed meanwhile, and some of it was written already")
        self._sha256 = self.beginning = whole

    def write(self, data: bytes) -> None:
        """Raises FileError."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._written(rest) :]
        except OSError as error:
            raise FileError(f"standard output: {error.strerror}") from error
        self._hash.update(data)
        self.offset += len(data)

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # whoever shares it has made it so
            select.select([], [self._descriptor], [])
            return 0

    def finish(self) -> None:
        """Raises CorruptError."""
        if self._hash.hexdigest() != self._sha256:
            raise CorruptError("what came is not the file that the server promised: do not use it")

    def close(self) -> None:
        """It is not ours."""


class Source:
    """A file that is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = sha256()
        self._hashed = 0
        self._file = -1
        self._at = 0

    def open(self) -> int:
        """Returns its size. Raises FileError."""
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            state = os.fstat(self._file)
        except OSError as error:
            raise FileError(_words(self.path, error)) from error
        if not stat.S_ISREG(state.st_mode):
            what = "a directory" if stat.S_ISDIR(state.st_mode) else "no file"
            raise FileError(f"{self.path} is {what}: only files can be sent")
        self.size, self._at = state.st_size, state.st_mtime_ns
        return self.size

    @property
    def has_changed(self) -> bool:
        """Since it was opened."""
        state = os.fstat(self._file)
        return (state.st_size, state.st_mtime_ns) != (self.size, self._at)

    @property
    def sha256(self) -> str:
        """The hash, once all is read."""
        return self._hash.hexdigest()

    def hash_piece(self) -> int:
        """Hash the next piece. Returns how much that was; nothing at the end. Raises FileError."""
        piece = self.read(self._hashed)
        self._hash.update(piece)
        self._hashed += len(piece)
        return len(piece)

    def read(self, offset: int) -> bytes:
        """A piece from there on; nothing at the end. Raises FileError."""
        try:
            piece = os.pread(self._file, min(PIECE, self.size - offset), offset)
        except OSError as error:
            raise FileError(_words(self.path, error)) from error
        if not piece and offset < self.size:
            raise FileError(f"{self.path} became shorter while it was read")
        return piece

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _words(path: Path, error: OSError) -> str:
    return f"{path}: {error.strerror or error}"
