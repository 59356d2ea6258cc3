"""One file that comes to the shelf: it is hashed as it is written, and nobody sees it before it is whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass
from hashlib import sha256 as new_hash
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.files import FileOwner, IReceiving
from groupchat.files.disk import Disk, Entry, Part, close, hash_range, sync, write_all
from groupchat.files.threads import Threads


@dataclass(frozen=True, slots=True)
class Announced:
    """What was said of a file before it came. Without a hash, nobody can go on with it."""

    name: str
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A part that was opened, of which so much is there, and is hashed."""

    handle: int
    offset: int
    hasher: Any


@dataclass(frozen=True, slots=True)
class ShelfOf:
    """What a receiving needs of its shelf.

    `publish` fires with the entry of the file, `over` is called once with how many bytes of the part are left (None if
    there is no part), and `bug` with what cannot be explained.
    """

    threads: Threads
    disk: Disk
    publish: Callable[[Part, str, str], Deferred[Entry]]
    withdraw: Callable[[Part, Entry, bool], Deferred[None]]
    over: Callable[[Part, int | None], None]
    bug: Callable[[Failure], None]


@implementer(IReceiving)
class Receiving:
    """See IReceiving."""

    def __init__(self, shelf: ShelfOf, part: Part, announced: Announced, opened: Opened) -> None:
        self.offset = opened.offset
        self._resumed = bool(opened.offset)
        self._threads = shelf.threads
        self._disk = shelf.disk
        self._shelf = shelf
        self._part = part
        self._announced = announced
        self._handle: int | None = opened.handle
        self._hasher = opened.hasher
        self._turns = DeferredLock()  # what is asked while something is under way waits for it
        self._entry: Entry | None = None

    def write(self, data: bytes) -> Deferred[None]:
        return self._turns.run(self._guarded, self._write, data)

    def finish(self) -> Deferred[str]:
        return self._turns.run(self._guarded, self._finish)

    def keep(self) -> Deferred[None]:
        return self._turns.run(self._keep if self._announced.sha256 else self._drop)

    def drop(self) -> Deferred[None]:
        return self._turns.run(self._drop)

    def withdraw(self) -> Deferred[None]:
        entry, self._entry = self._entry, None
        keep = self._announced.sha256 is not None
        return self._shelf.withdraw(self._part, entry, keep) if entry is not None else succeed(None)

    @inlineCallbacks
    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> Generator[Deferred[Any], Any, Any]:
        """What fails is over. What the remote cannot be blamed for is logged."""
        if self._handle is None:
            raise NotNow("That upload has ended: try again later.")
        try:
            return (yield function(*arguments))
        except IllegalMessage:
            yield self._drop()
            raise
        except Exception:
            self._shelf.bug(Failure())
            yield self._drop()
            raise IllegalMessage("The server cannot write that file.") from None

    @inlineCallbacks
    def _write(self, data: bytes) -> Generator[Deferred[Any], Any, None]:
        if self.offset + len(data) > self._announced.size:
            raise IllegalMessage(f"That is more than the {self._announced.size} bytes that were announced.")
        yield self._threads.run(self._write_in_thread, self._handle, data, self.offset)
        self.offset += len(data)

    def _write_in_thread(self, handle: int, data: bytes, offset: int) -> None:
        write_all(handle, data, offset)
        self._hasher.update(data)

    @inlineCallbacks
    def _finish(self) -> Generator[Deferred[Any], Any, str]:
        announced = self._announced
        if self.offset != announced.size:
            offset = self.offset
            yield self._keep() if announced.sha256 else self._drop()
            raise NotNow(f"Only {offset} of {announced.size} bytes came: send the rest.")
        sha256 = self._hasher.hexdigest()
        if announced.sha256 not in (None, sha256):
            if self._resumed:
                raise NotNow("What was there of an earlier try is damaged: send all of it again.")
            raise IllegalMessage("Its SHA-256 is not the one that was announced.")
        yield self._threads.run(sync, self._handle)
        entry: Entry = yield self._shelf.publish(self._part, announced.name, sha256)
        self._entry = entry
        yield self._end(None)
        return entry.name

    @inlineCallbacks
    def _keep(self) -> Generator[Deferred[Any], Any, None]:
        if self._handle is not None:
            yield self._end(self.offset)

    @inlineCallbacks
    def _drop(self) -> Generator[Deferred[Any], Any, None]:
        if self._handle is not None:
            try:
                yield self._threads.run(self._disk.forget_part, self._part)
            except Exception:
                self._shelf.bug(Failure())
            yield self._end(None)

    @inlineCallbacks
    def _end(self, left: int | None) -> Generator[Deferred[Any], Any, None]:
        handle, self._handle = self._handle, None
        try:
            yield self._threads.run(close, handle)
        except Exception:
            self._shelf.bug(Failure())
        self._shelf.over(self._part, left)


def key_of(announced: Announced, owner: FileOwner) -> str:
    """The same for another try of the same by the same owner: a guest is known by host and name."""
    who = [str(owner.member)] if owner.member else ["0", owner.host, owner.name]
    sha256 = announced.sha256 or secrets.token_hex()  # never the same again
    return new_hash("\0".join([*who, str(announced.size), sha256]).encode()).hexdigest()


def hash_part(handle: int, hasher: Any, size: int, is_stopping: Callable[[], bool]) -> int:
    """Hash what is there of an earlier try. Returns how much that is."""
    there = os.fstat(handle).st_size
    if there > size:
        os.ftruncate(handle, 0)
        there = 0
    if hash_range(handle, hasher, 0, there, is_stopping) < there:
        raise NotNow("The server is stopping: try again later.")
    return there
