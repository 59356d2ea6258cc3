"""One file of the shelf that is being read: however long that takes, it is the one that was opened."""

from __future__ import annotations

from collections.abc import Callable, Generator

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from zope.interface import implementer

from groupchat.core.errors import NotNow
from groupchat.files import File, IReading
from groupchat.files.disk import Changed, Entry, close, read
from groupchat.files.threads import Threads


@implementer(IReading)
class Reading:
    """A file that is open. `closed` is called once it is not."""

    def __init__(self, threads: Threads, handle: int, entry: Entry, closed: Callable[[Reading], None]) -> None:
        self.file = File(entry.name, entry.size, entry.at)
        self._threads = threads
        self._handle = handle
        self._entry = entry
        self._closed = closed
        self._turns = DeferredLock()
        self._is_open = True

    @inlineCallbacks
    def read(self, offset: int, size: int) -> Generator[Deferred[bytes], bytes, bytes]:
        try:
            return (yield self._turns.run(self._read, offset, size))
        except (OSError, Changed) as why:
            raise NotNow("That file has changed meanwhile.") from why

    def _read(self, offset: int, size: int) -> Deferred[bytes]:
        if not self._is_open:
            raise NotNow("That file is closed.")
        return self._threads.run(read, self._handle, self._entry, offset, size)

    def close(self) -> Deferred[None]:
        return self._turns.run(self._close)

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[None], None, None]:
        if self._is_open:
            self._is_open = False
            yield self._threads.run(close, self._handle)
            self._closed(self)
