"""Files on the user's disk: a file that comes, as a partial file beside its target, and a file that is sent.

All of it blocks: it is called in a thread, in short pieces.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from groupchat.client.files.names import find_part, part_name

PIECE = 256 * 1024
"""The number of bytes that are read, written or hashed at a time."""

MOMENT = 0.05
"""The seconds for which a pipe without data is waited for, before it is the turn of other transfers."""

UNSUPPORTED = {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EMLINK}
"""Errors of file systems without hard links or locks: FAT, network shares, FUSE."""

T = TypeVar("T")


class FileError(Exception):
    """This file cannot be read or written; `str()` says why."""


class CorruptError(Exception):
    """The bytes that came are not those of the promised file."""


class DiskThread:
    """A Worker (see transfers.py): one thread, which does one call at a time."""

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
    """A file that comes. `offset` bytes are here and hashed; `beginning` is the beginning of the hash of the whole."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.offset = 0
        self.beginning = "-"
        self.path: Path | None = None
        self._file = -1
        self._hash = sha256()
        self._sha256 = ""

    def open(self) -> int:
        """Open the partial file of an earlier try. Return its size, or 0. Raises FileError."""
        with _file_errors(self.target):
            found = find_part(self.target.parent, self.target.name)
            if found is None:
                return 0
            path, self.beginning = found
            self._open(path)
            return os.fstat(self._file).st_size

    def _open(self, path: Path) -> None:
        """Raises OSError, and FileError if it is not a regular file, or another process is fetching it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise FileError(f"{path} is no file")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileError(f"{path} is being fetched already") from None
        except OSError as error:  # no locks here
            if error.errno not in UNSUPPORTED:
                raise
        self.path = path

    def check_piece(self) -> int:
        """Hash the next piece of the partial file. Return its size, 0 at the end. Raises FileError."""
        with _file_errors(self.path or self.target):
            piece = os.pread(self._file, PIECE, self.offset)
        self._hash.update(piece)
        self.offset += len(piece)
        return len(piece)

    def begin(self, whole: str, offset: int) -> None:
        """Prepare for a file of this hash whose bytes come from `offset` on: the one here, or 0. Raises FileError."""
        path = self.target.parent / part_name(self.target.name, whole)
        with _file_errors(self.target):
            if path != self.path:  # the partial file is of another file, and stays
                self.close()
                self._open(path)
            if not offset:
                self.offset, self._hash = 0, sha256()
            os.ftruncate(self._file, offset)
        self._sha256, self.beginning = whole, whole

    def write(self, data: bytes) -> None:
        """Append bytes. Raises FileError."""
        rest = memoryview(data)
        with _file_errors(self.path or self.target):
            while rest:
                written = os.pwrite(self._file, rest, self.offset)
                self._hash.update(rest[:written])
                self.offset += written
                rest = rest[written:]

    def finish(self) -> None:
        """Give the whole file its name. Raises CorruptError if the hash is wrong, and FileError."""
        assert self.path is not None
        with _file_errors(self.target):
            if self._hash.hexdigest() != self._sha256:
                os.unlink(self.path)
                raise CorruptError("what came is not the file that the server promised: it was thrown away")
            os.fsync(self._file)
            try:
                self._give_name()
            except FileExistsError:
                raise FileError(f"{self.target} exists by now: what came is in {self.path}") from None

    def _give_name(self) -> None:
        assert self.path is not None
        try:
            os.link(self.path, self.target)  # fails if the target exists
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            self._rename()
        else:
            os.unlink(self.path)

    def _rename(self) -> None:
        assert self.path is not None
        os.close(os.open(self.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(self.path, self.target)

    def close(self) -> None:
        """Close the partial file. It is kept for the next try, unless it is empty."""
        if self._file < 0:
            return
        with suppress(OSError):
            if self.path is not None and os.fstat(self._file).st_size == 0:
                self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1
        self.path = None


class Output:
    """Like a Part, but writes to a descriptor. There is no earlier try."""

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
        """Raises FileError if another file begins after something was written."""
        if offset != self.offset:
            raise FileError("the file has changed meanwhile, and some of it was written already")
        self._sha256 = self.beginning = whole

    def write(self, data: bytes) -> None:
        """Append bytes. Raises FileError."""
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
        except BlockingIOError:  # another process that shares it made it non-blocking
            select.select([], [self._descriptor], [])
            return 0

    def finish(self) -> None:
        """Raises CorruptError if the hash is wrong."""
        if self._hash.hexdigest() != self._sha256:
            raise CorruptError("what came is not the file that the server promised: do not use it")

    def close(self) -> None:
        """Do nothing: the descriptor belongs to the process."""


class Source:
    """A file or a pipe that is sent: all that is read until its end, whatever its size is said to be.

    It is read twice, since its hash is sent first. What may differ the second time, such as a pipe or a file of /proc,
    is copied while it is read the first time, to a file that has no name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """The number of bytes that were hashed."""
        self._hash = sha256()
        self._file = -1
        self._copy: IO[bytes] | None = None
        self._is_pipe = False
        self._has_ended = False
        self._state: tuple[int, ...] = ()

    def open(self) -> int:
        """Return its size, as far as it is known. Raises FileError."""
        with _file_errors(self.path):
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            state = os.fstat(self._file)
        self._is_pipe = stat.S_ISFIFO(state.st_mode)
        if not (self._is_pipe or stat.S_ISREG(state.st_mode)):
            what = "a directory" if stat.S_ISDIR(state.st_mode) else "a device"
            raise FileError(f"{self.path} is {what}: only files and pipes can be sent")
        if not state.st_size:
            with _file_errors(Path(gettempdir())):
                self._copy = TemporaryFile()  # noqa: SIM115 - it lasts until `close`
        self._state = _changing(state)
        return state.st_size

    @property
    def has_changed(self) -> bool:
        """True if the file has changed since it was opened."""
        return _changing(os.fstat(self._file)) != self._state

    @property
    def sha256(self) -> str:
        """The hash, once all is read."""
        return self._hash.hexdigest()

    def hash_piece(self) -> int | None:
        """Hash the next piece. Return its size, 0 at the end, or None if a pipe has nothing yet. Raises FileError."""
        with _file_errors(self.path):
            piece = self._next()
        if piece is None:
            return None
        self._hash.update(piece)
        self.size += len(piece)
        if self._copy is not None:
            with _file_errors(Path(gettempdir())):
                self._copy.write(piece)
                if not piece:
                    self._read_copy(self._copy)
        return len(piece)

    def _next(self) -> bytes | None:
        return self._next_of_pipe() if self._is_pipe else b"" if self._has_ended else self._next_of_file()

    def _next_of_file(self) -> bytes:
        there = os.fstat(self._file).st_size
        piece = os.read(self._file, PIECE)
        # Until nothing is left would not end while somebody appends; and a file of /proc says that it has 0 bytes.
        self._has_ended = len(piece) < PIECE and 0 < there <= self.size + len(piece)
        return piece

    def _next_of_pipe(self) -> bytes | None:
        piece: bytes | None = None
        with suppress(BlockingIOError):
            piece = os.read(self._file, PIECE)
        if piece:
            return piece
        if piece is not None and (self.size or not os.path.exists(os.path.realpath(self.path))):
            return piece
        # It has a name, and may be waiting for its writer: see pipe(7) and poll(2).
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        has_ended = any(events & select.POLLHUP for _, events in poll.poll(1000 * MOMENT))
        return piece if has_ended else None

    def _read_copy(self, copy: IO[bytes]) -> None:
        """Read from the copy from now on."""
        copy.flush()
        os.dup2(copy.fileno(), self._file, inheritable=False)
        self._state = _changing(os.fstat(self._file))

    def read(self, offset: int) -> bytes:
        """Return a piece of what was hashed, from `offset` on, empty at the end. Raises FileError."""
        with _file_errors(self.path):
            piece = os.pread(self._file, min(PIECE, self.size - offset), offset)
        if not piece and offset < self.size:
            raise FileError(f"{self.path} became shorter while it was read")
        return piece

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._copy is not None:
            self._copy.close()


def _changing(state: os.stat_result) -> tuple[int, ...]:
    """Return what changes with the file."""
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Raise a FileError about this path in place of an OSError, or of a ValueError for a NUL in it."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
