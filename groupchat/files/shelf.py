"""The shelf: a directory whose regular files are shared, whoever put them there.

Two rules. The reactor's thread owns the state of the shelf; calls that block are in disk.py and index.py, and run in
other threads. Changes of the directory take turns: each scans it, decides, and acts before the next one scans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any, TypeVar
from unicodedata import normalize

from twisted.internet.defer import DeferredList, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.filenames import check_name, is_listed
from groupchat.core.limits import FILE_THREADS, MAX_READINGS, FileLimits
from groupchat.files import Announced, File, FileOwner, IReading, IReceiving, IShelf
from groupchat.files.catalog import Catalog
from groupchat.files.disk import Changed, Disk, OpenFile
from groupchat.files.parts import Record
from groupchat.files.quota import Ledger, Quota
from groupchat.files.receiving import Expected
from groupchat.files.threads import Threads, returns_deferred
from groupchat.files.uploads import Uploads

T = TypeVar("T")

SCAN_SECONDS = 60
"""How often the directory is scanned if nobody asks: new files are hashed."""

SWEEP_SCANS = 60
"""After how many of these scans old parts are forgotten."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """The contents of a shelf while it is open."""

    catalog: Catalog
    uploads: Uploads


@implementer(IShelf)
class Shelf:
    """The shelf in a directory, which is opened by `start`.

    `is_member` returns True for the id of a member. `time_of_day` returns seconds since the epoch.
    """

    def __init__(
        self,
        directory: Path,
        limits: FileLimits,
        reactor: Any,
        is_member: Callable[[int], bool] = lambda member: True,
        time_of_day: Callable[[], float] = time,
    ) -> None:
        self._directory = directory
        self._quota = Quota(limits, is_member)
        self._time_of_day = time_of_day
        self._threads = Threads(reactor, FILE_THREADS, "groupchat files")
        self._open: _Contents | None = None
        self._readings: set[Reading] = set()
        self._opening = 0
        self._scans = 0
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = reactor

    def configure(self, limits: FileLimits) -> None:
        """Use other limits from now on. Files that there are already stay."""
        self._quota.limits = limits

    @returns_deferred
    async def start(self) -> None:
        """Open the directory; create it if it is not there. Fails with CannotShare."""
        self._threads.start()
        disk: Disk | None = None
        try:
            disk = await self._threads.run(Disk, self._directory)
            catalog = Catalog(self._threads, disk, Ledger(self._quota.is_member), self._time_of_day)
            parts, shared = await catalog.load()
        except Exception:
            await self._close(disk)
            raise
        uploads = Uploads(catalog, self._quota, parts, shared, self._time_of_day)
        self._open = _Contents(catalog, uploads)
        self._ticker.start(SCAN_SECONDS, now=False)
        await uploads.sweep()

    @returns_deferred
    async def stop(self) -> None:
        """Close the shelf, and keep the parts. Waits for work that is under way."""
        if self._open is None or self._threads.is_stopping():
            return
        self._ticker.stop()
        self._threads.stopping.set()
        await self._open.uploads.stop()
        await DeferredList([reading.close() for reading in tuple(self._readings)])
        await self._open.catalog.stop()
        await self._close(self._open.catalog.disk)

    async def _close(self, disk: Disk | None) -> None:
        await self._threads.stop()
        if disk is not None:
            disk.close()

    def _contents(self) -> _Contents:
        """Return the contents. Raises NotNow unless the shelf is open."""
        self._threads.check_running()
        if self._open is None:
            raise NotNow("The server is starting: try again later.")
        return self._open

    async def _tick(self) -> None:
        self._scans += 1
        try:
            contents = self._contents()
            await contents.catalog.refresh()
            contents.catalog.save_soon()
            if self._scans % SWEEP_SCANS == 0:
                await contents.uploads.sweep()
        except Exception:
            self._threads.report(Failure())

    @returns_deferred
    async def listing(self, form: Callable[[Sequence[File]], T]) -> T:
        return await self._contents().catalog.listing(form)

    @returns_deferred
    async def open(self, name: str, hashed: bool = True) -> IReading:
        contents = self._contents()
        if len(self._readings) + self._opening >= MAX_READINGS:
            raise NotNow("Too many files are being fetched: try again later.")
        self._opening += 1
        try:
            opened = await self._find(contents.catalog, name)
            reading = Reading(self._threads, opened, self._readings.discard)
            self._readings.add(reading)
        finally:
            self._opening -= 1
        try:
            self._threads.check_running()
            sha256 = contents.catalog.known(opened.entry).sha256
            if sha256 is None and hashed:
                sha256 = await contents.catalog.hasher.hash_of(opened.entry)
            self._threads.check_running()
        except Exception:
            await reading.close()
            raise
        reading.file = replace(reading.file, sha256=sha256)
        return reading

    async def _find(self, catalog: Catalog, name: str) -> OpenFile:
        """Open the file of this name, or else one whose name is the same in NFC: keyboards and disks differ in it."""
        try:
            return await self._threads.run(catalog.disk.open, name)
        except IllegalMessage:
            if name.isascii() or not is_listed(name):
                raise
            names = await catalog.listing(_by_normal_form)
            other = names.get(normalize("NFC", name), name)
            if other == name:
                raise
            return await self._threads.run(catalog.disk.open, other)

    @returns_deferred
    async def remove(self, name: str) -> None:
        """Remove a file of this name, if there is one."""
        catalog = self._contents().catalog
        async with catalog.lock:
            if is_listed(name):
                await self._threads.run(catalog.disk.remove, name)
            if (indexed := catalog.files.get(name)) is not None:
                catalog.remove(indexed.entry)
                await catalog.save()

    @returns_deferred
    async def receive(self, name: str, size: int | None, sha256: str | None, owner: FileOwner) -> IReceiving:
        expected = Expected(check_name(name), size, sha256)
        return await self._contents().uploads.receive(expected, owner)

    @returns_deferred
    async def announce(self, name: str, size: int, owner: FileOwner, metadata: str) -> str:
        record = Record(check_name(name), size, owner.member, owner.host, owner.guest, metadata)
        return await self._contents().uploads.announce(record)

    def find(self, key: str, owner: FileOwner) -> Announced:
        return self._contents().uploads.find(key, owner)

    @returns_deferred
    async def resume(self, key: str, offset: int, checksum: bytes | None, owner: FileOwner) -> IReceiving:
        return await self._contents().uploads.resume(key, offset, checksum, owner)

    @returns_deferred
    async def give_up(self, key: str, owner: FileOwner) -> None:
        await self._contents().uploads.give_up(key, owner)


def _by_normal_form(files: Sequence[File]) -> dict[str, str]:
    return {normalize("NFC", file.name): file.name for file in files if not file.name.isascii()}


@implementer(IReading)
class Reading:
    """An open file. `closed` is called when it is closed."""

    def __init__(self, threads: Threads, opened: OpenFile, closed: Callable[[Reading], None]) -> None:
        self.file = opened.entry.file(None)
        self._threads = threads
        self._opened: OpenFile | None = opened
        self._closed = closed
        self._lock = DeferredLock()

    @returns_deferred
    async def read(self, offset: int, size: int) -> bytes:
        async with self._lock:
            if self._opened is None:
                raise NotNow("That file is closed.")
            try:
                return await self._threads.run(self._opened.read, offset, size)
            except (OSError, Changed) as why:
                raise NotNow("That file has changed meanwhile.") from why

    @returns_deferred
    async def close(self) -> None:
        async with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                await self._threads.run(opened.close)
                self._closed(self)
