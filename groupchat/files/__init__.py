"""The shelf of shared files, as everybody but the shelf itself sees it: see shelf.py for the one on a disk.

All that may fail for a reason that the remote has to hear of fails with IllegalMessage, or with NotNow if it would be
fine at another time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import Attribute, Interface, implementer

from groupchat.core.errors import IllegalMessage


@dataclass(frozen=True, slots=True)
class File:
    """A file on the shelf: `size` in bytes, `at` in seconds since the epoch.

    `sha256` is 64 lower-case hex digits, or None while it is not known yet.
    """

    name: str
    size: int
    at: float
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class FileOwner:
    """Who brings a file: `member` is an id, 0 for a guest. `name` is the one that is shown."""

    member: int
    host: str
    name: str = ""


class IShelf(Interface):
    """Files that anybody in the group may fetch, and add to."""

    def listing() -> Deferred[list[File]]:
        """All of them, as they are now; what was changed last comes last."""

    def open(name: str, hashed: bool = True) -> Deferred[IReading]:
        """Fires when the hash of the file is known, or at once if it need not be. Fails with IllegalMessage if there is
        no such file.
        """

    def receive(name: str, size: int, sha256: str | None, owner: FileOwner) -> Deferred[IReceiving]:
        """Begin to receive a file, or go on with it. Fails with IllegalMessage, or with NotNow.

        Without a hash it has to come in one go: what came of it is kept for nobody.
        """


class IReading(Interface):
    """A file that is being read: it remains the one that was opened, whatever becomes of its name."""

    file: File = Attribute("What it is; with its hash, unless that need not be known.")

    def read(offset: int, size: int) -> Deferred[bytes]:
        """At most so many bytes, fewer only at the end. Fails with NotNow if the file has changed meanwhile."""

    def close() -> Deferred[None]:
        """Always to be called, once or more. A read that is under way ends first."""


class IReceiving(Interface):
    """A file that is being received. After `finish`, `keep` or `drop`, or anything that failed, it is over."""

    offset: int = Attribute("How many bytes are there: of an earlier try, at first.")

    def write(data: bytes) -> Deferred[None]:
        """Fires when it is written: only then may more be. Fails with IllegalMessage if that is more than there is."""

    def finish() -> Deferred[str]:
        """Check it and put it on the shelf, durably. Fires with the name that it got."""

    def withdraw() -> Deferred[None]:
        """After `finish`: take it from the shelf again. It is kept for a later try, if its hash was said."""

    def keep() -> Deferred[None]:
        """Stop, and keep what is there for a later try. Does nothing if it is over."""

    def drop() -> Deferred[None]:
        """Stop, and forget what is there. Does nothing if it is over."""


@implementer(IShelf)
class NoShelf:
    """Where no files are shared."""

    def listing(self) -> Deferred[list[File]]:
        return self._nothing()

    def open(self, name: str, hashed: bool = True) -> Deferred[IReading]:
        return self._nothing()

    def receive(self, name: str, size: int, sha256: str | None, owner: FileOwner) -> Deferred[IReceiving]:
        return self._nothing()

    def _nothing(self) -> Deferred[Any]:
        return fail(IllegalMessage("No files are shared here: whoever runs the server has to say --files."))
