"""The parts of incomplete uploads on the disk, and the records of those that were announced. All of it may block.

A part is a file `KEY.MEMBER.HOST.part`. An upload that was announced has a record, too: `KEY.upload`, in JSON. It stays
for a while after the file is on the shelf, so that a sender that missed the last answer learns of it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha1, sha256
from typing import Any
from urllib.parse import quote, unquote

from groupchat.core.errors import NotNow
from groupchat.core.limits import MAX_SIZE
from groupchat.core.numbers import clamp_time
from groupchat.files import STOPPING, FileOwner

FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
READ_SIZE = 1 << 20

MAX_RECORD = 32 * 1024
"""The longest record that is read, in bytes."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_PART = re.compile(r"([0-9a-f]{64})\.([0-9]{1,19})\.([^/]{0,100})\.part")
_RECORD = re.compile(r"([0-9a-f]{64})\.upload(\.new)?")


@contextmanager
def full_is_not_now() -> Iterator[None]:
    """Raise NotNow if the disk is full."""
    try:
        yield
    except OSError as why:
        if why.errno in _FULL:
            raise NotNow("The disk of the server is full: try again later.") from why
        raise


def sync_folder(handle: int) -> None:
    """Make the names in a folder durable. Some file systems cannot."""
    try:
        os.fsync(handle)
    except OSError as why:
        if why.errno != errno.EINVAL:
            raise


def replace_file(folder: int, name: str, data: bytes) -> None:
    """Write a file, all or nothing, durably. Raises OSError."""
    temporary = f"{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | FILE_FLAGS
    try:
        with open(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    sync_folder(folder)


@dataclass(frozen=True, slots=True)
class Record:
    """What was announced of an upload. `metadata` is in the form of the sender; `guest` is the name of a guest.

    `shared` is the name that the file got; empty while it is incomplete. If `trusted` is not None, only so many bytes
    of the part count after a restart: the checksum of those behind them was not verified.
    """

    name: str
    size: int
    member: int
    host: str
    guest: str
    metadata: str = ""
    shared: str = ""
    trusted: int | None = None

    @property
    def owner(self) -> FileOwner:
        return FileOwner(self.member, self.host, self.guest)

    def is_of(self, owner: FileOwner) -> bool:
        """Return True if the upload was begun by this owner. Guests are told apart by host and name."""
        if self.member or owner.member:
            return self.member == owner.member
        return (self.host, self.guest) == (owner.host, owner.name)


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash of the first `offset` bytes of a part, which has the `stamp` as long as nothing else writes to it."""

    offset: int
    stamp: tuple[int, ...]
    hasher: Any


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes of an incomplete upload. `key` identifies the owner and the file; `name` tells the owner, too."""

    key: str
    owner: FileOwner
    size: int = 0
    at: float = 0.0
    record: Record | None = None
    digest: Digest | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.key}.{self.owner.member}.{quote(self.owner.host, safe=':')[:100]}.part"

    def shared_as(self, name: str) -> Part:
        """Return the part with a record, if it has one, that the file is shared under this name; empty if it is not."""
        return self if self.record is None else replace(self, record=replace(self.record, shared=name, trusted=None))


class PartFile:
    """A part that is open to be written. `hasher` has hashed all `offset` bytes that are in it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.offset = 0
        self.hasher = sha256()
        self._checkpoint: tuple[int, Any] | None = None
        self._checksum = sha1(usedforsecurity=False)

    def resume(self, part: Part, size: int, is_stopping: Callable[[], bool]) -> None:
        """Hash the bytes of an earlier try; throw them away if they are more than `size`. Raises NotNow.

        Of a part with a record, only as many count as its sender was told.
        """
        there = os.fstat(self._handle).st_size
        if part.record is not None and there > part.size:
            os.ftruncate(self._handle, part.size)
        elif there > size:
            os.ftruncate(self._handle, 0)
        elif part.digest is not None and part.digest.stamp == self._stamp():
            self.offset, self.hasher = part.digest.offset, part.digest.hasher
            return
        while data := os.pread(self._handle, READ_SIZE, self.offset):
            if is_stopping():
                raise NotNow(STOPPING)
            self.hasher.update(data)
            self.offset += len(data)

    def write(self, data: bytes | bytearray) -> None:
        """Append data. Raises NotNow if the disk is full, or OSError."""
        view, offset = memoryview(data), self.offset
        with full_is_not_now():
            while view:
                written = os.pwrite(self._handle, view, offset)
                view, offset = view[written:], offset + written
        self.hasher.update(data)
        if self._checkpoint is not None:
            self._checksum.update(data)
        self.offset = offset

    def expect_checksum(self) -> None:
        """Compute the SHA-1 of what is written from now on."""
        self._checkpoint = self.offset, self.hasher.copy()

    def verify(self, checksum: bytes) -> bool:
        """Return True if what was written has this SHA-1, and from now on belongs to the part."""
        if self._checksum.digest() != checksum:
            return False
        self._checkpoint = None
        return True

    def roll_back(self) -> None:
        """Throw away what was written since `expect_checksum`, unless it is verified."""
        if self._checkpoint is not None:
            (self.offset, self.hasher), self._checkpoint = self._checkpoint, None
            os.ftruncate(self._handle, self.offset)

    def sync(self) -> None:
        """Make the part durable. Raises NotNow if the disk is full, or OSError."""
        with full_is_not_now():
            os.fsync(self._handle)

    def _stamp(self) -> tuple[int, ...]:
        status = os.fstat(self._handle)
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def close(self) -> Digest:
        """Close the file. Return its hash, so that a part which is resumed soon is not hashed again."""
        digest = Digest(self.offset, self._stamp(), self.hasher)
        os.close(self._handle)
        return digest


class PartFolder:
    """The folder of the parts and their records."""

    def __init__(self, folder: int) -> None:
        self._folder = folder

    def load(self) -> tuple[list[Part], list[tuple[Part, int]], list[Part]]:
        """Return the parts; those that were published just before a crash, and their inodes; and what was shared.

        What was published still has a second link here. What was shared has a record, and no part any more.
        """
        parts, published = [], []
        records = {}
        names = os.listdir(self._folder)
        for match in filter(None, map(_RECORD.fullmatch, names)):
            if match[2]:
                self._unlink(match[0])
            else:
                records[match[1]] = self._load_record(match[0])
        for name in filter(_PART.fullmatch, names):
            status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            part = _part(name, status, records)
            if part is None:
                continue
            records.pop(part.key, None)
            if status.st_nlink == 1:
                parts.append(part)
            else:
                published.append((part, status.st_ino))
        shared = []
        for key, (at, record) in records.items():
            if record is not None and record.shared:
                shared.append(Part(key, record.owner, record.size, at, record))
            else:
                self._unlink(f"{key}.upload")
        return parts, published, shared

    def _load_record(self, name: str) -> tuple[float, Record | None]:
        """Return when a record was written, and the record; None if it is damaged."""
        try:
            with open(os.open(name, os.O_RDONLY | FILE_FLAGS, dir_fd=self._folder), encoding="utf-8") as file:
                return clamp_time(os.fstat(file.fileno()).st_mtime), _record(json.loads(file.read(MAX_RECORD)))
        except (OSError, ValueError, TypeError, RecursionError):
            return 0.0, None

    def create(self, part: Part) -> None:
        """Create an empty part with its record. Raises NotNow if the disk is full."""
        with full_is_not_now():
            os.close(os.open(part.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | FILE_FLAGS, 0o600, dir_fd=self._folder))
            try:
                self.save(part)
            except OSError:
                self.forget(part)
                raise

    def save(self, part: Part) -> None:
        """Write the record of a part, if it has one. Raises OSError."""
        if part.record is not None:
            replace_file(self._folder, f"{part.key}.upload", json.dumps(asdict(part.record)).encode())

    def open(self, part: Part, size: int, changed: bool, is_stopping: Callable[[], bool]) -> PartFile:
        """Create the part of a file of this size, or open it to resume. Raises NotNow if the disk is full.

        The record is written if it has `changed`.
        """
        with full_is_not_now():
            if changed:
                self.save(part)
            file = PartFile(os.open(part.name, os.O_RDWR | os.O_CREAT | FILE_FLAGS, 0o600, dir_fd=self._folder))
        try:
            file.resume(part, size, is_stopping)
        except BaseException:
            file.close()
            raise
        return file

    def forget(self, part: Part) -> None:
        """Remove a part and its record."""
        self._unlink(part.name)
        self._unlink(f"{part.key}.upload")

    def settle(self, part: Part) -> None:
        """Remove a part that was published; its record stays, and says so."""
        self.save(part)
        self._unlink(part.name)

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)


def _record(values: Any) -> Record:
    """Raise TypeError or ValueError for what `save` did not write."""
    record = Record(**values)
    texts = (record.name, record.host, record.guest, record.metadata, record.shared)
    numbers = (record.size, record.member, record.trusted or 0)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    if not all(type(number) is int and 0 <= number <= MAX_SIZE for number in numbers):
        raise ValueError
    return record


def _part(name: str, status: os.stat_result, records: dict[str, tuple[float, Record | None]]) -> Part | None:
    match = _PART.fullmatch(name)
    if match is None or not stat.S_ISREG(status.st_mode):
        return None
    owner, size = FileOwner(int(match[2]), unquote(match[3])), status.st_size
    record = records.get(match[1], (0.0, None))[1]
    if record is not None and (record.member, record.host) == (owner.member, owner.host):
        owner, record = record.owner, replace(record, shared="")
        size = size if record.trusted is None else min(size, record.trusted)
    else:
        record = None
    part = Part(match[1], owner, size, status.st_mtime, record)
    return part if part.name == name else None
