"""A log in one SQLite file, with one writer thread.

The thread commits in one transaction all appends that came during the commit before, so that batches form by
themselves. It reports to the reactor once a batch. An unexpected exception ends the thread, and with it the daemon, so
that no append is acknowledged which was not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from groupchat.core.errors import Broken, LogError, Unavailable
from groupchat.core.events import Event
from groupchat.log import Entry, ILog, Lost, OnEntry, Snapshot, highest
from groupchat.log.database import Database
from groupchat.log.rescue import Watch

MOST_EVENTS = 512
"""A transaction with this many events takes no further entry."""

READ_AT_ONCE = 1_000
"""The number of entries that are read at once while a tail catches up."""

TRIM_AT_ONCE = 500
"""The number of entries that are deleted in one transaction, so that appends need not wait for long."""


class _State(Enum):
    NEW = "not open yet"
    OPEN = "open"
    ENDED = "closed, or ended by a failure"


@dataclass(slots=True)
class _Append:
    events: Sequence[Event]
    entry_id: str
    done: Deferred[None] = field(default_factory=Deferred)


@dataclass(slots=True)
class _Call:
    """Any other job for the thread."""

    function: Callable[[Database], Any]
    done: Deferred[Any] = field(default_factory=Deferred)


_Job = _Append | _Call


class _Tail:
    """A reader. It is `live` once it has caught up; then it is given entries as they are committed."""

    def __init__(self, after: int, on_entry: OnEntry) -> None:
        self.position = after
        self.on_entry = on_entry
        self.live = False
        self.stopped = False

    def give(self, entry: Entry) -> None:
        if not self.stopped and entry.position > self.position:
            self.position = entry.position
            self.on_entry(entry)

    def stop(self) -> None:
        self.stopped = True


@implementer(ILog)
class SqliteLog:
    """The log in the file `path`. `synchronous` is FULL or NORMAL; `check` as in Database."""

    def __init__(
        self, path: Path, reactor: IReactorFromThreads, synchronous: str = "FULL", *, check: bool = True
    ) -> None:
        self._path = path
        self._reactor = reactor
        self._synchronous = synchronous
        self._check = check
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._state = _State.NEW
        self._ended: Deferred[None] = Deferred()
        self._lost: Lost = lambda failure: None
        self._tails: list[_Tail] = []
        self._watch: Watch

    # In the reactor

    def open(self, lost: Lost) -> Deferred[None]:
        self._lost = lost
        opened: Deferred[None] = Deferred()
        Thread(target=self._run, args=(opened,), name="groupchat log", daemon=True).start()
        return opened

    def append(self, events: Sequence[Event], entry_id: str) -> Deferred[None]:
        return self._put(_Append(events, entry_id))

    @inlineCallbacks
    def tail(self, after: int, on_entry: OnEntry) -> Any:
        tail = _Tail(after, on_entry)
        self._tails.append(tail)
        reading = self.read(after, READ_AT_ONCE)
        while entries := (yield reading):
            reading = self.read(entries[-1].position, READ_AT_ONCE)  # the thread reads on while these are given
            for entry in entries:
                tail.give(entry)
            if tail.stopped:
                reading.addErrback(lambda failure: None)  # it is not needed
                break
        tail.live = True
        return tail.stop

    def read(self, after: int, limit: int) -> Deferred[list[Entry]]:
        return self._call(lambda database: database.read(after, limit))

    def head(self) -> Deferred[int]:
        return self._call(lambda database: database.head)

    def save_snapshot(self, position: int, version: int, state: bytes) -> Deferred[None]:
        return self._call(lambda database: database.save_snapshot(position, version, state))

    def load_snapshot(self) -> Deferred[Snapshot | None]:
        return self._call(Database.load_snapshot)

    def save_highest(self, number: int) -> Deferred[None]:
        return self._call(lambda database: database.save_highest(number))

    def load_highest(self) -> Deferred[int]:
        return self._call(lambda database: highest.load(database.path))

    def replace(self, position: int, events: Sequence[Event]) -> Deferred[None]:
        return self._call(lambda database: database.replace(position, events))

    def purge(self) -> Deferred[None]:
        return self._call(Database.purge)

    @inlineCallbacks
    def trim(self, before: int, seen_before: int) -> Any:
        yield self._call(lambda database: database.forget_seen(seen_before))
        while (yield self._call(lambda database: database.trim(before, TRIM_AT_ONCE))):
            pass  # the thread does other jobs between two of these

    def check(self) -> Deferred[str]:
        return self._call(lambda database: self._watch.check())

    def close(self) -> Deferred[None]:
        if self._state is not _State.OPEN:
            return succeed(None)
        self._state = _State.ENDED
        for tail in self._tails:
            tail.stop()
        self._jobs.put(None)
        return self._ended

    def _call(self, function: Callable[[Database], Any]) -> Deferred[Any]:
        return self._put(_Call(function))

    def _put(self, job: _Job) -> Deferred[Any]:
        if self._state is _State.ENDED:
            return fail(Unavailable("the log is closed"))
        self._jobs.put(job)
        return job.done

    def _committed(self, batch: Sequence[_Append], entries: Sequence[Entry | None]) -> None:
        """Give each stored entry to every tail, and then acknowledge it."""
        for append, entry in zip(batch, entries, strict=True):
            if entry is not None:
                for tail in self._tails:
                    if tail.live:
                        tail.give(entry)
            append.done.callback(None)

    def _not_committed(self, batch: Sequence[_Append], failure: Failure) -> None:
        for append in batch:
            append.done.errback(failure)

    def _thread_ended(self, failure: Failure | None) -> None:
        if failure is None:
            self._ended.callback(None)
        else:
            self._state = _State.ENDED
            self._lost(failure)

    # In the thread

    def _run(self, opened: Deferred[None]) -> None:
        try:
            database = Database(self._path, self._synchronous, check=self._check)
        except BaseException:
            self._tell(opened.errback, Failure())
            return
        self._watch = Watch(database)
        self._state = _State.OPEN
        self._tell(opened.callback, None)
        failure = None
        try:
            self._work(database)
            database.close()
        except BaseException:
            failure = Failure()
        self._tell(self._thread_ended, failure)

    def _work(self, database: Database) -> None:
        """Do every job in order, until there is None."""
        job = self._jobs.get()
        while job is not None:
            if isinstance(job, _Append):
                job = self._commit_from(database, job)
            else:
                self._do(database, job)
                job = self._jobs.get()

    def _commit_from(self, database: Database, first: _Append) -> _Job | None:
        """Commit an append and those that wait behind it. Return the job after them."""
        batch, events = [first], len(first.events)
        while events < MOST_EVENTS and not self._jobs.empty():
            job = self._jobs.get()
            if not isinstance(job, _Append):
                self._commit(database, batch)
                return job
            batch.append(job)
            events += len(job.events)
        self._commit(database, batch)
        return self._jobs.get()

    def _commit(self, database: Database, batch: Sequence[_Append]) -> None:
        try:
            entries = database.append([(append.entry_id, append.events) for append in batch])
        except Unavailable:
            self._tell(self._not_committed, batch, Failure())
        else:
            self._tell(self._committed, batch, entries)

    def _do(self, database: Database, job: _Call) -> None:
        try:
            result = job.function(database)
        except Broken:
            raise
        except LogError:
            self._tell(job.done.errback, Failure())
        else:
            self._tell(job.done.callback, result)

    def _tell(self, function: Callable[..., object], *arguments: object) -> None:
        self._reactor.callFromThread(function, *arguments)
