"""One file that is being received: it is written, hashed, and put on the shelf once it is complete.

Each byte pays for some time in which the upload holds the room for all of the file: see uploads.py for who makes room.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256 as new_sha256
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_HOLD_SECONDS, MIN_UPLOAD_RATE
from groupchat.core.networks import network_of
from groupchat.files import FileOwner, IReceiving, WrongChecksum
from groupchat.files.disk import Disk, Entry
from groupchat.files.parts import Digest, Part, PartFile
from groupchat.files.threads import Threads, returns_deferred

CANNOT_WRITE = "The server cannot write that file."

CHECK_SECONDS = 1.0
"""How often it is checked if there is room for an upload that is slow."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The file that was announced. Without a hash, it cannot be resumed. `size` is None if it is not known."""

    name: str
    size: int | None
    sha256: str | None

    def key(self, owner: FileOwner) -> str:
        """Return an identifier that is the same for each try of one owner. Guests are told apart by host and name."""
        who = [str(owner.member)] if owner.member else ["0", owner.host, owner.name]
        sha256 = self.sha256 or secrets.token_hex()  # it cannot be resumed
        return new_sha256("\0".join([*who, str(self.size), sha256]).encode()).hexdigest()


class Receiver(Protocol):
    """Who keeps account of the uploads that are under way, and of the shelf."""

    threads: Threads
    disk: Disk

    async def check_room(self, part: Part, size: int) -> None:
        """Raise IllegalMessage if there is no room for a part that grows to this size."""

    async def publish(self, part: Part, name: str, sha256: str) -> Entry:
        """Put a complete part on the shelf."""

    async def withdraw(self, part: Part, entry: Entry, keep: bool) -> None:
        """Take a file from the shelf again, and keep it as a part if `keep` is true."""

    def ended(self, part: Part, left: int | None, digest: Digest | None = None) -> None:
        """End an upload. `left` bytes are kept in its part; None means that there is no part."""


@implementer(IReceiving)
class Receiving:
    """One file that is being received. See IReceiving. `_file` is None once it is over.

    Each byte that comes pays for some time in which the upload holds room: until `holds_until`.
    """

    def __init__(
        self, uploads: Receiver, part: Part, expected: Expected, file: PartFile, checksum: bytes | None
    ) -> None:
        self.offset = file.offset
        self._resumed = bool(file.offset)
        self._uploads = uploads
        self._threads = uploads.threads
        self._part = part
        self._expected = expected
        self._is_kept = expected.sha256 is not None or part.record is not None
        self._checksum = checksum
        if checksum is not None:
            file.expect_checksum()
        self._size = expected.size or 0
        self._file: PartFile | None = file
        self._lock = DeferredLock()
        self._published: Entry | None = None
        self._seconds = uploads.threads.seconds
        self._checked = -inf
        self.host = network_of(part.owner.host)
        self.holds_until = self._seconds()

    @property
    def is_slow(self) -> bool:
        return self._seconds() >= self.holds_until

    @property
    def room(self) -> int:
        """The room that it holds, in bytes."""
        return self.offset if self.is_slow else self._size

    def write(self, data: bytes | bytearray) -> Deferred[None]:
        return self._lock.run(self._guarded, self._write, data)

    def finish(self) -> Deferred[str]:
        return self._lock.run(self._guarded, self._finish)

    def close(self) -> Deferred[None]:
        return self._lock.run(self._close)

    @returns_deferred
    async def withdraw(self) -> None:
        entry, self._published = self._published, None
        if entry is not None:
            await self._uploads.withdraw(self._part, entry, keep=self._is_kept)

    async def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, and end the upload if it fails. Log errors that are not the fault of the remote."""
        if self._file is None:
            raise NotNow("That upload has ended: try again later.")
        try:
            return await function(self._file, *arguments)
        except IllegalMessage:
            await self._fail()
            raise
        except Exception:
            self._threads.report(Failure())
            await self._fail()
            raise IllegalMessage(CANNOT_WRITE) from None

    async def _fail(self) -> None:
        """End the upload. If it was announced, what came before is kept."""
        await (self._drop() if self._part.record is None else self._close())

    async def _write(self, file: PartFile, data: bytes | bytearray) -> None:
        size = self.offset + len(data)
        is_open = self._expected.size is None
        if is_open:
            await self._uploads.check_room(self._part, size)
            self._size = size
        elif size > self._size:
            raise IllegalMessage(f"That is more than the {self._size} bytes that were announced.")
        left = max(0.0, self.holds_until - self._seconds())
        has_room = left > 0 or is_open or await self._look_for_room()
        if has_room:
            self.holds_until = inf  # the disk may take its time
        await self._threads.run(file.write, data)
        self.offset += len(data)
        if has_room:
            self.holds_until = self._seconds() + min(MAX_HOLD_SECONDS, left + len(data) / MIN_UPLOAD_RATE)

    async def _look_for_room(self) -> bool:
        """Return True if there is room for all of a slow upload, and False if it is too early to look again.

        If there is none, the upload ends, and what came is kept: raises NotNow.
        """
        if self._seconds() - self._checked < CHECK_SECONDS:
            return False
        self._checked = self._seconds()
        try:
            await self._uploads.check_room(self._part, self._size)
        except IllegalMessage as why:
            await self._close()
            raise NotNow(str(why)) from why
        return True

    async def _finish(self, file: PartFile) -> str:
        expected = self._expected
        self.holds_until = inf
        if self._checksum is not None:
            await self._verify(file, self._checksum)
        if self._part.record is not None and self.offset < self._size:
            await self._threads.run(file.sync)
            await self._close()
            return ""
        if self.offset != self._size:
            await self._close()
            raise NotNow(f"Only {self.offset} of {self._size} bytes came: send the rest.")
        sha256 = file.hasher.hexdigest()
        if expected.sha256 not in (None, sha256):
            if self._resumed:
                raise NotNow("The part from an earlier try is damaged: send the whole file again.")
            raise IllegalMessage("Its SHA-256 is not the one that was announced.")
        await self._threads.run(file.sync)
        entry = await self._uploads.publish(self._part, expected.name, sha256)
        self._published = entry
        await self._end(None)
        return entry.name

    async def _verify(self, file: PartFile, checksum: bytes) -> None:
        """Let the bytes that came count, if they have this checksum. Raises WrongChecksum."""
        if not file.verify(checksum):
            raise WrongChecksum("The bytes that came have another SHA-1 than the one that was announced.")
        assert self._part.record is not None
        await self._threads.run(file.sync)
        self._part = replace(self._part, record=replace(self._part.record, trusted=None))
        await self._threads.run(self._uploads.disk.parts.save, self._part)

    async def _close(self) -> None:
        if self._file is not None:
            if self._part.record is not None:
                await self._threads.run(self._file.roll_back).addErrback(self._threads.report)
                self.offset = self._file.offset
            await (self._end(self.offset) if self._is_kept else self._drop())

    async def _drop(self) -> None:
        if self._file is not None:
            await self._threads.run(self._uploads.disk.parts.forget, self._part).addErrback(self._threads.report)
            await self._end(None)

    async def _end(self, left: int | None) -> None:
        file, self._file = self._file, None
        digest = None
        if file is not None:
            digest = await self._threads.run(file.close).addErrback(self._threads.report)
        self._uploads.ended(self._part, left, digest)
