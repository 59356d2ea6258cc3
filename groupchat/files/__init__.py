"""The shelf of shared files: what front ends see of it. `shelf.py` keeps one in a directory.

A Deferred fails with IllegalMessage if the remote asked for something impossible, and with NotNow if it may try again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from zope.interface import Attribute, Interface, implementer

from groupchat.core.errors import IllegalMessage
from groupchat.core.numbers import clamp_time

T = TypeVar("T")

STOPPING = "The server is stopping: try again later."


@dataclass(frozen=True, slots=True)
class File:
    """A file on the shelf: `size` in bytes, `at` (the time of its contents) in seconds since the epoch.

    `sha256` is 64 lower-case hex digits, or None while it is not known yet. `changed` differs after any change: it is
    the ctime in nanoseconds, which nobody can set back, while `at` is whatever somebody gave the file.
    """

    name: str
    size: int
    at: float
    sha256: str | None = None
    changed: int = 0

    @property
    def modified(self) -> float:
        """The time of the last change, in seconds since the epoch, whatever time the contents were given."""
        return max(self.at, clamp_time(self.changed / 1e9))


@dataclass(frozen=True, slots=True)
class FileOwner:
    """The sender of a file: `member` is an id, or 0 for a guest. `name` is the one that the group is shown."""

    member: int
    host: str
    name: str = ""

    @property
    def guest(self) -> str:
        """The name of a guest; empty for a member."""
        return "" if self.member else self.name


class NoSuchUpload(IllegalMessage):
    """An upload that was not announced by whoever asks, has expired, or was given up."""

    def __init__(self) -> None:
        super().__init__("There is no such upload of yours: it was given up, or has expired.")


class WrongOffset(IllegalMessage):
    """Bytes of an upload that do not begin where the last ones ended."""


class WrongChecksum(IllegalMessage):
    """Bytes of an upload that have another checksum than the one that was announced. They were thrown away."""


@dataclass(frozen=True, slots=True)
class Announced:
    """An upload that was announced: `offset` of `size` bytes are there. `expires` is in seconds since the epoch.

    `shared` is the name that the file got. Until it is on the shelf, `offset` is less than `size`: if that fails, the
    last byte has to be sent again.
    """

    size: int
    offset: int
    metadata: str
    expires: float
    shared: str


class IShelf(Interface):
    """Files that anybody in the group may fetch and add to."""

    def listing(form: Callable[[Sequence[File]], T]) -> Deferred[T]:
        """Return what `form` makes of the files that are there. The one that changed last comes last.

        `form` is called in a thread, and only once until the shelf changes: always pass the same function. If something
        else writes to a file in the directory, its old size may be listed for a second.
        """

    def open(name: str, hashed: bool = True) -> Deferred[IReading]:
        """Open a file, whose name may be in another normal form. Fires once its hash is known, or at once if `hashed`
        is false.

        Fails with IllegalMessage if there is no such file.
        """

    def receive(name: str, size: int | None, sha256: str | None, owner: FileOwner) -> Deferred[IReceiving]:
        """Begin to receive a file, or resume an earlier try of the same owner.

        A file without a hash cannot be resumed. One without a size takes room as it grows.
        """

    def announce(name: str, size: int, owner: FileOwner, metadata: str) -> Deferred[str]:
        """Announce a file that is to be sent in parts. Fires with its key, which the owner keeps secret.

        It holds no room before its bytes come. `metadata` is kept as it is.
        """

    def find(key: str, owner: FileOwner) -> Announced:
        """Return an upload that this owner announced. Raises NoSuchUpload, or NotNow."""

    def resume(key: str, offset: int, checksum: bytes | None, owner: FileOwner) -> Deferred[IReceiving]:
        """Receive the next bytes of an upload that was announced: those from `offset` on. Fails with WrongOffset, too.

        If their SHA-1 is given, they count only once `finish` has verified it.
        """

    def give_up(key: str, owner: FileOwner) -> Deferred[None]:
        """Forget an upload that was announced, and what came of it. Fails with IllegalMessage if it is shared."""


class IReading(Interface):
    """An open file. It stays the file that was opened, even if its name is given to another one."""

    file: File = Attribute("What was opened. `sha256` may be None if no hash was asked for.")

    def read(offset: int, size: int) -> Deferred[bytes]:
        """Return at most `size` bytes; fewer only at the end. Fails with NotNow if the file has changed."""

    def close() -> Deferred[None]:
        """Close the file, after a read that is under way. Call it always; a second call does nothing."""


class IReceiving(Interface):
    """A file that is being received. It is over after `finish`, `close`, or any failure."""

    offset: int = Attribute("The number of bytes in the part. At first, these are from an earlier try.")

    def write(data: bytes | bytearray) -> Deferred[None]:
        """Append data. Wait for the Deferred before the next call. Fails with IllegalMessage if there is too much."""

    def finish() -> Deferred[str]:
        """Check the file and put it on the shelf, durably. Fires with the name that it got.

        If it was announced and more is to come, make durable what came, and fire with an empty text.
        """

    def withdraw() -> Deferred[None]:
        """Take the file from the shelf again, after `finish`. If it or its hash was announced, it can be resumed."""

    def close() -> Deferred[None]:
        """Stop. If the file or its hash was announced, the part is kept for a later try. Does nothing if it is over."""


@implementer(IShelf)
class NoShelf:
    """The shelf of a group that shares no files."""

    def listing(self, form: Callable[[Sequence[File]], T]) -> Deferred[T]:
        return self._nothing()

    def open(self, name: str, hashed: bool = True) -> Deferred[IReading]:
        return self._nothing()

    def receive(self, name: str, size: int | None, sha256: str | None, owner: FileOwner) -> Deferred[IReceiving]:
        return self._nothing()

    def announce(self, name: str, size: int, owner: FileOwner, metadata: str) -> Deferred[str]:
        return self._nothing()

    def find(self, key: str, owner: FileOwner) -> Announced:
        raise NoSuchUpload

    def resume(self, key: str, offset: int, checksum: bytes | None, owner: FileOwner) -> Deferred[IReceiving]:
        return self._nothing()

    def give_up(self, key: str, owner: FileOwner) -> Deferred[None]:
        return self._nothing()

    def _nothing(self) -> Deferred[Any]:
        return fail(IllegalMessage("No files are shared here: whoever runs the server has to say --files."))
