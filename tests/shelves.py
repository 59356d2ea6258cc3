"""Shelves for tests: one in a real directory, and one in memory that can be slow or fail."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import FileLimits
from groupchat.files import (
    Announced,
    File,
    FileOwner,
    IReading,
    IReceiving,
    IShelf,
    NoSuchUpload,
    WrongChecksum,
    WrongOffset,
    catalog,
)
from groupchat.files.shelf import Shelf

ALICE = FileOwner(1, "10.0.0.1", "Alice")
BOB = FileOwner(2, "10.0.0.2", "Bob")
GUEST = FileOwner(0, "10.0.0.3", "Gus")

SMALL = FileLimits(max_file=4_000_000, max_total=10_000_000, max_member=6_000_000, keep_free=0)


def hash_of(data: bytes | bytearray) -> str:
    return sha256(data).hexdigest()


class ShelfTestCase(TestCase):
    """A test with a shelf in a directory of its own. `members` has the ids of the members."""

    timeout = 60

    @inlineCallbacks
    def setUp(self) -> Generator[Deferred[Any], Any, None]:  # type: ignore[override]
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.directory, ignore_errors=True)
        self.folder = self.directory / ".groupchat"
        self.members = {1, 2}
        self.patch(catalog, "FRESH_SECONDS", 0)
        yield self.open(SMALL)

    @inlineCallbacks
    def open(self, limits: FileLimits) -> Generator[Deferred[Any], Any, None]:
        self.shelf = Shelf(self.directory, limits, reactor, lambda member: member in self.members)
        self.addCleanup(self.shelf.stop)
        yield self.shelf.start()

    @inlineCallbacks
    def restart(self, limits: FileLimits = SMALL) -> Generator[Deferred[Any], Any, None]:
        yield self.shelf.stop()
        yield self.open(limits)

    def stop_clock(self) -> Clock:
        """Return a clock that the shelf goes by from now on."""
        clock = Clock()
        self.shelf._threads.seconds = clock.seconds
        return clock

    def put(self, name: str, data: bytes) -> None:
        """Put a file into the directory by hand."""
        (self.directory / name).write_bytes(data)

    @inlineCallbacks
    def names(self) -> Generator[Deferred[Any], Any, list[str]]:
        files = yield self.shelf.listing(list)
        return sorted(file.name for file in files)

    @inlineCallbacks
    def upload(
        self, name: str, data: bytes, owner: FileOwner = ALICE, chunk: int = 100_000
    ) -> Generator[Deferred[Any], Any, str]:
        receiving: IReceiving = yield self.shelf.receive(name, len(data), hash_of(data), owner)
        while receiving.offset < len(data):
            yield receiving.write(data[receiving.offset : receiving.offset + chunk])
        shown: str = yield receiving.finish()
        return shown

    @inlineCallbacks
    def begin(
        self, name: str, data: bytes, offset: int, owner: FileOwner = ALICE
    ) -> Generator[Deferred[Any], Any, IReceiving]:
        """Begin an upload, and bring it to so many bytes."""
        receiving: IReceiving = yield self.shelf.receive(name, len(data), hash_of(data), owner)
        if offset > receiving.offset:
            yield receiving.write(data[receiving.offset : offset])
        return receiving

    @inlineCallbacks
    def fetch(self, name: str) -> Generator[Deferred[Any], Any, bytes]:
        reading: IReading = yield self.shelf.open(name)
        data = bytearray()
        while chunk := (yield reading.read(len(data), 1_000_000)):
            data += chunk
        yield reading.close()
        self.assertEqual((reading.file.size, reading.file.sha256), (len(data), hash_of(data)))
        return bytes(data)

    @inlineCallbacks
    def refused(self, asked: Deferred[Any], words: str) -> Generator[Deferred[Any], Any, IllegalMessage]:
        why: IllegalMessage = yield self.assertFailure(asked, IllegalMessage)
        self.assertIn(words, str(why))
        return why

    @inlineCallbacks
    def until(self, condition: Callable[[], Any]) -> Generator[Deferred[Any], Any, None]:
        """Wait until this returns something true, or a Deferred that fires with it."""
        for _ in range(2000):
            if (yield maybeDeferred(condition)):
                return
            yield deferLater(reactor, 0.01)
        self.fail("The condition was never true.")

    def owner_of(self, name: str) -> FileOwner:
        owner = self.shelf._contents().catalog.files[name].owner
        assert owner is not None
        return owner

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("*.part"))

    def open_files(self) -> int:
        """Return how many files of this directory this process has open."""
        count = 0
        for handle in Path("/proc/self/fd").iterdir():
            try:
                count += os.readlink(handle).startswith(str(self.directory))
            except OSError:
                continue
        return count


@implementer(IShelf)
class MemoryShelf:
    """A shelf in memory. While it is `slow`, work waits until `go_on` is called."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.parts: dict[tuple[str, FileOwner], bytes] = {}
        self.owners: dict[str, FileOwner] = {}
        self.slow = False
        self.hashes = True
        self.refuses: IllegalMessage | None = None
        self.open_now = 0
        self.most_unwritten = 0
        self.waiting: list[Callable[[], None]] = []
        self.events: list[str] = []
        self.announced: dict[str, MemoryAnnounced] = {}

    def later(self, function: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def act() -> None:
            try:
                result = function()
            except IllegalMessage as why:
                done.errback(why)
            else:
                done.callback(result)

        self.waiting.append(act)
        if not self.slow:
            self.go_on()
        return done

    def go_on(self) -> None:
        waiting, self.waiting = self.waiting, []
        for act in waiting:
            act()

    def listing(self, form: Callable[[Sequence[File]], Any]) -> Deferred[Any]:
        files = [File(name, len(data), 12.7, hash_of(data)) for name, data in self.files.items()]
        return self.later(lambda: form(files))

    def open(self, name: str, hashed: bool = True) -> Deferred[IReading]:
        if name not in self.files:
            return fail(IllegalMessage(f"There is no file {name}."))
        return self.later(lambda: MemoryReading(self, name))

    def receive(self, name: str, size: int | None, sha256: str | None, owner: FileOwner) -> Deferred[IReceiving]:
        if self.refuses is not None:
            return fail(self.refuses)
        return self.later(lambda: MemoryReceiving(self, name, size, sha256 or "", owner))

    def announce(self, name: str, size: int, owner: FileOwner, metadata: str) -> Deferred[str]:
        if self.refuses is not None:
            return fail(self.refuses)
        key = hash_of(f"{len(self.announced)}".encode())
        self.announced[key] = MemoryAnnounced(name, size, owner, metadata)
        return self.later(lambda: key)

    def find(self, key: str, owner: FileOwner) -> Announced:
        found = self.announced.get(key)
        if found is None or (found.owner.member, found.owner.guest) != (owner.member, owner.guest):
            raise NoSuchUpload
        offset = found.size if found.shared else max(0, min(len(found.data), found.size - 1))
        return Announced(found.size, offset, found.metadata, 1e9, found.shared)

    def resume(self, key: str, offset: int, checksum: bytes | None, owner: FileOwner) -> Deferred[IReceiving]:
        found = self.find(key, owner)
        if found.shared or found.offset != offset:
            return fail(WrongOffset(f"It is at {found.offset}."))
        del self.announced[key].data[offset:]
        return self.later(lambda: MemoryResumed(self, self.announced[key], checksum))

    def give_up(self, key: str, owner: FileOwner) -> Deferred[None]:
        if self.find(key, owner).shared:
            return fail(IllegalMessage("It is shared."))
        del self.announced[key]
        return succeed(None)


@implementer(IReading)
class MemoryReading:
    def __init__(self, shelf: MemoryShelf, name: str) -> None:
        self._shelf = shelf
        self._data = shelf.files[name]
        self.file = File(name, len(self._data), 12.7, hash_of(self._data) if shelf.hashes else None)
        self.changed = False
        shelf.open_now += 1

    def read(self, offset: int, size: int) -> Deferred[bytes]:
        if self._shelf.refuses is not None:
            return fail(self._shelf.refuses)
        return self._shelf.later(lambda: self._data[offset : offset + size])

    def close(self) -> Deferred[None]:
        self._shelf.open_now -= 1
        return succeed(None)


@dataclass
class MemoryAnnounced:
    name: str
    size: int
    owner: FileOwner
    metadata: str
    shared: str = ""
    data: bytearray = field(default_factory=bytearray)


@implementer(IReceiving)
class MemoryReceiving:
    def __init__(self, shelf: MemoryShelf, name: str, size: int | None, sha256: str, owner: FileOwner) -> None:
        self._shelf = shelf
        self._name = name
        self._size = size
        self._sha256 = sha256
        self._owner = owner
        self._data = shelf.parts.pop((sha256, owner), b"")
        self._over = False
        shelf.open_now += 1

    @property
    def offset(self) -> int:
        return len(self._data)

    def write(self, data: bytes | bytearray) -> Deferred[None]:
        self._shelf.most_unwritten = max(self._shelf.most_unwritten, len(data))

        def act() -> None:
            if self._shelf.refuses is not None:
                self._end("drop")
                raise self._shelf.refuses
            if self._size is not None and len(self._data) + len(data) > self._size:
                self._end("drop")
                raise IllegalMessage("That is more.")
            self._data += data

        return self._shelf.later(act)

    def finish(self) -> Deferred[str]:
        def act() -> str:
            if self._size is not None and len(self._data) < self._size:
                self.close()
                raise NotNow(f"Only {len(self._data)} bytes came.")
            if self._sha256 not in ("", hash_of(self._data)):
                self._end("drop")
                raise IllegalMessage("Its SHA-256 is another.")
            self._end("finish")
            name = self._name if self._name not in self._shelf.files else f"another {self._name}"
            self._name = name
            self._shelf.files[name] = self._data
            self._shelf.owners[name] = self._owner
            return name

        return self._shelf.later(act)

    def withdraw(self) -> Deferred[None]:
        self._shelf.events.append("withdraw")
        self._shelf.parts[self._sha256, self._owner] = self._shelf.files.pop(self._name)
        return succeed(None)

    def close(self) -> Deferred[None]:
        if not self._over:
            self._end("keep" if self._sha256 else "drop")
            if self._sha256:
                self._shelf.parts[self._sha256, self._owner] = self._data
        return succeed(None)

    def _end(self, how: str) -> None:
        self._over = True
        self._shelf.open_now -= 1
        self._shelf.events.append(how)


@implementer(IReceiving)
class MemoryResumed(MemoryReceiving):
    """A part of an upload that was announced."""

    def __init__(self, shelf: MemoryShelf, announced: MemoryAnnounced, checksum: bytes | None) -> None:
        super().__init__(shelf, announced.name, announced.size, "", announced.owner)
        self._announced = announced
        self._checksum = checksum
        self._data = bytes(announced.data)

    def finish(self) -> Deferred[str]:
        if self._checksum not in (None, sha1(self._data[len(self._announced.data) :]).digest()):
            self._end("drop")
            return fail(WrongChecksum("It is another."))
        self._checksum = None
        if len(self._data) < self._announced.size:
            self._keep()
            return self._shelf.later(str)
        return super().finish().addCallback(self._shared)

    def _shared(self, name: str) -> str:
        self._announced.shared = name
        return name

    def withdraw(self) -> Deferred[None]:
        self._announced.shared = ""
        self._announced.data[:] = self._data
        return super().withdraw()

    def close(self) -> Deferred[None]:
        if not self._over:
            self._keep()
        return succeed(None)

    def _keep(self) -> None:
        if self._checksum is None:
            self._announced.data[:] = self._data
        self._end("keep")
