"""The shelf: a directory whose regular files are the list of what is shared, whatever put them there.

Two rules. What is known is known here, in the reactor, and whatever waits for the disk is in disk.py, for threads.
And what changes the directory takes turns: it looks what is there, decides, and does it before the next one looks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from hashlib import sha256 as new_sha256
from pathlib import Path
from time import time
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredLock, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.filenames import check_name
from groupchat.core.limits import FILE_THREADS, MAX_READINGS, PART_SECONDS, FileLimits
from groupchat.files import File, FileOwner, IReading, IReceiving, IShelf
from groupchat.files.disk import Disk, Entry, Known, Part, close, old
from groupchat.files.hashing import Hasher
from groupchat.files.quota import Held, Quota
from groupchat.files.reading import Reading
from groupchat.files.threads import Threads
from groupchat.files.uploads import Announced, Opened, Receiving, ShelfOf, hash_part, key_of

LOOK_SECONDS = 60
"""How often the directory is looked at if nobody asks: what is new there is hashed."""

SWEEP_LOOKS = 60
"""After how many of these looks parts that are too old are deleted."""


@implementer(IShelf)
class Shelf:
    """`is_member` says whether a member of this id is in the group now. Nothing is opened before `start`."""

    _logger = Logger()

    def __init__(
        self,
        directory: Path,
        limits: FileLimits,
        reactor: Any,
        is_member: Callable[[int], bool] = lambda member: True,
    ) -> None:
        self._directory = directory
        self._threads = Threads(reactor, FILE_THREADS, "groupchat files")
        self._quota = Quota(limits, is_member)
        self._disk: Any = None  # a Disk from `start` to `stop`
        self._hasher: Any = None  # a Hasher, likewise
        self._turns = DeferredLock()
        self._files: dict[str, Entry] = {}
        self._index: dict[str, Known] = {}
        self._unsaved = False
        self._asking: list[Deferred[list[File]]] = []
        self._parts: dict[str, Part] = {}
        self._promised: dict[str, int] = {}  # by the key of a part that is being received
        self._receivings: dict[str, Receiving] = {}
        self._readings: set[Reading] = set()
        self._opening = 0
        self._looks = 0
        self._logged = float("-inf")
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor
        self._open = False

    # Starting and stopping

    @inlineCallbacks
    def start(self) -> Generator[Deferred[Any], Any, None]:
        """Open the directory; it is created if it is not there. Fails with CannotShare."""
        self._threads.start()
        try:
            self._disk = yield self._threads.run(Disk, self._directory)
            self._hasher = Hasher(self._threads, self._disk, self._hashed, self._save_soon, self._bug)
            self._index, self._files, owners, parts = yield self._threads.run(_load, self._disk)
        except Exception:
            yield self._close()
            raise
        self._parts = {part.key: part for part in parts}
        for name, owner in owners.items():
            self._learn(self._files[name], None, owner)
        self._open = True
        self._found(self._files)
        self._ticker.start(LOOK_SECONDS, now=False)
        yield self._sweep()

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Keep what came, and end; what is under way is waited for."""
        if not self._open:
            return
        self._open = False
        self._ticker.stop()
        self._threads.stopping.set()
        self._hasher.stop()
        yield DeferredList([receiving.keep() for receiving in self._receivings.values()])
        yield DeferredList([reading.close() for reading in tuple(self._readings)])
        yield self._turns.run(self._save)
        yield self._close()

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[Any], Any, None]:
        yield self._threads.stop()
        if self._disk is not None:
            self._disk.close()

    def _check_open(self) -> None:
        if not self._open:
            raise NotNow("The server is stopping: try again later.")

    def _tick(self) -> Deferred[None]:
        self._looks += 1
        looked = self.listing().addCallback(lambda files: self._save_soon())
        if self._looks % SWEEP_LOOKS == 0:
            looked.addCallback(lambda _: self._sweep())
        return looked.addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        """Log what cannot be explained, or helped: one a minute at most, so that none can flood the log."""
        if not failure.check(IllegalMessage) and abs(time() - self._logged) >= LOOK_SECONDS:
            self._logged = time()
            self._logger.failure("The shelf of files has a problem", failure=failure)

    # What is there

    @inlineCallbacks
    def listing(self) -> Generator[Deferred[Any], Any, list[File]]:
        self._check_open()
        asking: Deferred[list[File]] = Deferred()
        self._asking.append(asking)
        if len(self._asking) == 1:  # else somebody is to look soon, and not before now
            self._turns.run(self._look).addErrback(self._bug)
        files: list[File] = yield asking
        return files

    @inlineCallbacks
    def _look(self) -> Generator[Deferred[Any], Any, None]:
        asking, self._asking = self._asking, []
        try:
            yield self._scan()
        except Exception:
            self._bug(Failure())
            for one in asking:
                one.errback(NotNow("The server cannot read its files now."))
            return
        files = [File(entry.name, entry.size, entry.at, self._sha256(entry)) for entry in self._files.values()]
        for one in asking:
            one.callback(files)

    @inlineCallbacks
    def _scan(self) -> Generator[Deferred[Any], Any, None]:
        files = yield self._threads.run(self._disk.scan)
        self._found(files)

    def _found(self, files: dict[str, Entry]) -> None:
        self._files = files
        index = {name: known for name, known in self._index.items() if files.get(name) == known.entry}
        self._unsaved = self._unsaved or len(index) < len(self._index)
        self._index = index
        for entry in files.values():
            if self._sha256(entry) is None:
                self._hasher.want(entry)

    def _sha256(self, entry: Entry) -> str | None:
        known = self._index.get(entry.name)
        return known.sha256 if known is not None and known.entry == entry else None

    def _learn(self, entry: Entry, sha256: str | None, owner: FileOwner | None) -> None:
        known = self._index.get(entry.name)
        if known is not None and known.entry == entry:
            sha256, owner = sha256 or known.sha256, owner or known.owner
        self._index[entry.name] = Known(entry, sha256, owner)
        self._unsaved = True

    def _hashed(self, entry: Entry, sha256: str) -> None:
        if self._files.setdefault(entry.name, entry) == entry:
            self._learn(entry, sha256, None)

    def _save_soon(self) -> None:
        if self._unsaved and self._open:
            self._turns.run(self._save)

    @inlineCallbacks
    def _save(self) -> Generator[Deferred[Any], Any, None]:
        """If it fails, hashes are computed again later."""
        if self._unsaved:
            self._unsaved = False
            try:
                yield self._threads.run(self._disk.save, dict(self._index))
            except Exception:
                self._unsaved = True
                self._bug(Failure())

    # Fetching

    @inlineCallbacks
    def open(self, name: str, hashed: bool = True) -> Generator[Deferred[Any], Any, IReading]:
        self._check_open()
        if len(self._readings) + self._opening >= MAX_READINGS:
            raise NotNow("Too many files are being fetched: try again later.")
        self._opening += 1
        try:
            handle, entry = yield self._threads.run(self._disk.open, name)
            reading = Reading(self._threads, handle, entry, self._readings.discard)
            self._readings.add(reading)
        finally:
            self._opening -= 1
        try:
            self._check_open()
            sha256 = self._sha256(entry)
            if sha256 is None and hashed:
                sha256 = yield self._hasher.hash_of(entry)
            self._check_open()
        except Exception:
            yield reading.close()
            raise
        reading.file = replace(reading.file, sha256=sha256)
        return reading

    # Receiving

    @inlineCallbacks
    def receive(
        self, name: str, size: int, sha256: str | None, owner: FileOwner
    ) -> Generator[Deferred[Any], Any, IReceiving]:
        self._check_open()
        announced = Announced(check_name(name), size, sha256)
        self._quota.check_size(size)
        key = key_of(announced, owner)
        part: Part = yield self._turns.run(self._reserve, key, announced, owner)
        handle = None
        hasher = new_sha256()
        try:
            handle = yield self._threads.run(self._disk.open_part, part)
            offset = yield self._threads.run(hash_part, handle, hasher, size, self._threads.stopping.is_set)
            self._check_open()
        except Exception as why:
            if handle is not None:
                yield self._threads.run(close, handle)
            self._over(part, part.size)
            if isinstance(why, OSError):
                self._bug(Failure())
                raise IllegalMessage("The server cannot write that file.") from why
            raise
        of = ShelfOf(self._threads, self._disk, self._publish, self._withdraw, self._over, self._bug)
        receiving = Receiving(of, part, announced, Opened(handle, offset, hasher))
        self._receivings[part.key] = receiving
        return receiving

    @inlineCallbacks
    def _reserve(self, key: str, announced: Announced, owner: FileOwner) -> Generator[Deferred[Any], Any, Part]:
        """The part into which a file is to come, once there is surely room for all of it."""
        self._check_open()
        if key in self._promised:
            raise NotNow("That file is being sent already.")
        yield self._scan()
        free = yield self._threads.run(self._disk.room)
        part = self._parts.get(key) or Part(key, owner)
        try:
            self._check_room(part, announced, owner, free)
        except IllegalMessage:
            if not (yield self._make_room(key, owner)):
                raise
            free = yield self._threads.run(self._disk.room)
            self._check_room(part, announced, owner, free)
        self._parts[key] = part
        self._promised[key] = announced.size
        return part

    def _check_room(self, part: Part, announced: Announced, owner: FileOwner, free: int) -> None:
        account = self._quota.account
        more = Held(part.size, announced.size, account(owner.member, owner.host))
        files = []
        for entry in self._files.values():
            known = self._index.get(entry.name)
            by = known.owner if known is not None else None
            files.append(Held(entry.size, entry.size, account(by.member, by.host) if by is not None else None))
        parts = []
        for other in self._parts.values():
            if other.key != part.key:
                size = self._receivings[other.key].offset if other.key in self._receivings else other.size
                promised = max(size, self._promised.get(other.key, 0))
                parts.append(Held(size, promised, account(other.owner.member, other.owner.host)))
        self._quota.check(more, files, parts, free)

    @inlineCallbacks
    def _make_room(self, key: str, owner: FileOwner) -> Generator[Deferred[Any], Any, bool]:
        """Forget what else this owner sent in part, and does not send now. Returns whether there was any."""
        account = self._quota.account(owner.member, owner.host)
        idle = [part for part in self._parts.values() if part.key != key and part.key not in self._promised]
        own = [part for part in idle if self._quota.account(part.owner.member, part.owner.host) == account]
        yield self._forget(own)
        return bool(own)

    @inlineCallbacks
    def _forget(self, parts: list[Part]) -> Generator[Deferred[Any], Any, None]:
        for part in parts:
            yield self._threads.run(self._disk.forget_part, part)
            self._parts.pop(part.key, None)

    def _sweep(self) -> Deferred[None]:
        return self._turns.run(self._sweep_now)

    @inlineCallbacks
    def _sweep_now(self) -> Generator[Deferred[Any], Any, None]:
        parts = [part for part in self._parts.values() if part.key not in self._promised]
        yield self._forget([part for part in parts if old(part, PART_SECONDS)])

    def _over(self, part: Part, left: int | None) -> None:
        """A part is no longer being received; so much of it is left."""
        self._promised.pop(part.key, None)
        self._receivings.pop(part.key, None)
        if left is None:
            self._parts.pop(part.key, None)
        else:
            self._parts[part.key] = replace(part, size=left, at=time())

    def _publish(self, part: Part, name: str, sha256: str) -> Deferred[Entry]:
        return self._turns.run(self._publish_now, part, name, sha256)

    @inlineCallbacks
    def _publish_now(self, part: Part, name: str, sha256: str) -> Generator[Deferred[Any], Any, Entry]:
        entry: Entry = yield self._threads.run(self._disk.publish, part, name)
        self._files[entry.name] = entry
        self._learn(entry, sha256, part.owner)
        yield self._save()
        try:
            yield self._threads.run(self._disk.forget_part, part)  # only now: it says whose the file is
        except Exception:
            self._bug(Failure())
        return entry

    def _withdraw(self, part: Part, entry: Entry, keep: bool) -> Deferred[None]:
        return self._turns.run(self._withdraw_now, part, entry, keep)

    @inlineCallbacks
    def _withdraw_now(self, part: Part, entry: Entry, keep: bool) -> Generator[Deferred[Any], Any, None]:
        is_there = yield self._threads.run(self._disk.withdraw, entry, part)
        self._files.pop(entry.name, None)
        if self._index.pop(entry.name, None) is not None:
            self._unsaved = True
        if is_there and part.key not in self._parts:
            self._parts[part.key] = replace(part, size=entry.size, at=time())
            if not keep:
                yield self._forget([part])


def _load(disk: Disk) -> tuple[dict[str, Known], dict[str, Entry], dict[str, FileOwner], list[Part]]:
    files = disk.scan()
    return disk.load(), files, disk.finish_publishing(files), disk.parts()
