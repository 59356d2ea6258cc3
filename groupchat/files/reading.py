"""One file of the shelf that is being read."""

from __future__ import annotations

from collections.abc import Callable, Generator

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from zope.interface import implementer

from groupchat.core.errors import NotNow
from groupchat.files import File, IReading
from groupchat.files.disk import Changed, OpenFile
from groupchat.files.threads import Threads


@implementer(IReading)
class Reading:
    """An open file. `closed` is called when it is closed."""

    def __init__(self, threads: Threads, opened: OpenFile, closed: Callable[[Reading], None]) -> None:
        self.file = File(opened.entry.name, opened.entry.size, opened.entry.at)
        self._threads = threads
        self._opened: OpenFile | None = opened
        self._closed = closed
        self._lock = DeferredLock()

    @inlineCallbacks
    def read(self, offset: int, size: int) -> Generator[Deferred[bytes], bytes, bytes]:
        try:
            return (yield self._lock.run(self._read, offset, size))
        except (OSError, Changed) as why:
            raise NotNow("That file has changed meanwhile.") from why

    def _read(self, offset: int, size: int) -> Deferred[bytes]:
        if self._opened is None:
            raise NotNow("That file is closed.")
        return self._threads.run(self._opened.read, offset, size)

    def close(self) -> Deferred[None]:
        return self._lock.run(self._close)

    @inlineCallbacks
    def _close(self) -> Generator[Deferred[None], None, None]:
        opened, self._opened = self._opened, None
        if opened is not None:
            yield self._threads.run(opened.close)
            self._closed(self)
