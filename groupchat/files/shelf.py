"""The shelf: a directory whose regular files are shared, whoever put them there.

Two rules. The state of the shelf is kept in the reactor, and calls that block are in disk.py and index.py, for threads.
Changes of the directory take turns: each scans it, decides, and acts before the next one scans.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import NotNow
from groupchat.core.filenames import check_name
from groupchat.core.limits import FILE_THREADS, MAX_READINGS, FileLimits
from groupchat.files import File, FileOwner, IReading, IReceiving, IShelf
from groupchat.files.catalog import Catalog
from groupchat.files.disk import Disk
from groupchat.files.quota import Quota
from groupchat.files.reading import Reading
from groupchat.files.threads import Threads
from groupchat.files.uploads import Expected, Uploads

SCAN_SECONDS = 60
"""How often the directory is scanned if nobody asks: new files are hashed."""

SWEEP_SCANS = 60
"""After how many of these scans old parts are forgotten."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a shelf has while it is open."""

    catalog: Catalog
    uploads: Uploads


@implementer(IShelf)
class Shelf:
    """The shelf in a directory, which is opened by `start`.

    `is_member` tells if there is a member of this id. `time_of_day` returns seconds since the epoch.
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

    @inlineCallbacks
    def start(self) -> Generator[Deferred[Any], Any, None]:
        """Open the directory; create it if it is not there. Fails with CannotShare."""
        self._threads.start()
        disk: Disk | None = None
        try:
            disk = yield self._threads.run(Disk, self._directory)
            catalog = Catalog(self._threads, disk)
            parts = yield catalog.load()
        except Exception:
            yield self._close(disk)
            raise
        uploads = Uploads(catalog, self._quota, parts, self._time_of_day)
        self._open = _Contents(catalog, uploads)
        self._ticker.start(SCAN_SECONDS, now=False)
        yield uploads.sweep()

    @inlineCallbacks
    def stop(self) -> Generator[Deferred[Any], Any, None]:
        """Keep the parts that came, and close. Waits for what is under way."""
        if self._open is None or self._threads.is_stopping():
            return
        self._ticker.stop()
        self._threads.stopping.set()
        yield self._open.uploads.stop()
        yield DeferredList([reading.close() for reading in tuple(self._readings)])
        yield self._open.catalog.stop()
        yield self._close(self._open.catalog.disk)

    @inlineCallbacks
    def _close(self, disk: Disk | None) -> Generator[Deferred[Any], Any, None]:
        yield self._threads.stop()
        if disk is not None:
            disk.close()

    def _contents(self) -> _Contents:
        """Return what is there while the shelf is open. Raises NotNow at other times."""
        self._threads.check_running()
        if self._open is None:
            raise NotNow("The server is starting: try again later.")
        return self._open

    @inlineCallbacks
    def _tick(self) -> Generator[Deferred[Any], Any, None]:
        self._scans += 1
        try:
            contents = self._contents()
            yield contents.catalog.listing()
            contents.catalog.save_soon()
            if self._scans % SWEEP_SCANS == 0:
                yield contents.uploads.sweep()
        except Exception:
            self._threads.report(Failure())

    @inlineCallbacks
    def listing(self) -> Generator[Deferred[Any], Any, list[File]]:
        files: list[File] = yield self._contents().catalog.listing()
        return files

    @inlineCallbacks
    def open(self, name: str, hashed: bool = True) -> Generator[Deferred[Any], Any, IReading]:
        contents = self._contents()
        if len(self._readings) + self._opening >= MAX_READINGS:
            raise NotNow("Too many files are being fetched: try again later.")
        self._opening += 1
        try:
            opened = yield self._threads.run(contents.catalog.disk.open, name)
            reading = Reading(self._threads, opened, self._readings.discard)
            self._readings.add(reading)
        finally:
            self._opening -= 1
        try:
            self._threads.check_running()
            sha256 = contents.catalog.sha256(opened.entry)
            if sha256 is None and hashed:
                sha256 = yield contents.catalog.hash_of(opened.entry)
            self._threads.check_running()
        except Exception:
            yield reading.close()
            raise
        reading.file = replace(reading.file, sha256=sha256)
        return reading

    @inlineCallbacks
    def receive(
        self, name: str, size: int, sha256: str | None, owner: FileOwner
    ) -> Generator[Deferred[Any], Any, IReceiving]:
        expected = Expected(check_name(name), size, sha256)
        receiving: IReceiving = yield self._contents().uploads.receive(expected, owner)
        return receiving
