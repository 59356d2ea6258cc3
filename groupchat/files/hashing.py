"""Hashes of files, computed one at a time: first those that somebody waits for, then the small ones.

A large file is hashed in slices, so that small ones need not wait for it. A file that changes meanwhile gets no hash
until somebody asks again. One that has just changed is hashed a moment later, when its times would tell of a change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappop, heappush
from itertools import count
from time import sleep
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.files import STOPPING
from groupchat.files.disk import TICK_SECONDS, Changed, Disk, Entry
from groupchat.files.threads import Threads

SLICE = 64 * 1024 * 1024
"""How many bytes are hashed before it may be the turn of another file."""


@dataclass(eq=False, slots=True)
class _Job:
    """A file to be hashed. `offset` bytes of it are; each of `waiting` fires with the hash."""

    entry: Entry
    hasher: Any = field(default_factory=sha256)
    offset: int = 0
    waiting: list[Deferred[str]] = field(default_factory=list)


class Hasher:
    """The queue of files to be hashed.

    `on_hash` is called with each file and its hash, and `on_idle` when the queue is empty.
    """

    def __init__(
        self,
        threads: Threads,
        disk: Disk,
        on_hash: Callable[[Entry, str], None],
        on_idle: Callable[[], None],
        time_of_day: Callable[[], float],
    ) -> None:
        self._threads = threads
        self._disk = disk
        self._on_hash = on_hash
        self._on_idle = on_idle
        self._time_of_day = time_of_day
        self._jobs: dict[Entry, _Job] = {}
        self._queue: list[tuple[bool, int, int, _Job]] = []
        self._numbers = count()
        self._working = False

    def want(self, entry: Entry) -> None:
        """Hash this file when there is time."""
        if entry not in self._jobs:
            self._put(_Job(entry))

    def hash_of(self, entry: Entry) -> Deferred[str]:
        """Return the hash of this file. Fails with NotNow if the file has changed."""
        waits: Deferred[str] = Deferred()
        job = self._jobs.get(entry) or _Job(entry)
        job.waiting.append(waits)
        self._put(job)
        return waits

    def stop(self) -> None:
        """Fail all that wait. Call it once the threads are stopping."""
        for job in tuple(self._jobs.values()):
            self._end(job, NotNow(STOPPING))

    def _put(self, job: _Job) -> None:
        self._jobs[job.entry] = job
        heappush(self._queue, (not job.waiting, job.entry.size - job.offset, next(self._numbers), job))
        if not self._working:
            self._working = True
            Deferred.fromCoroutine(self._work())

    async def _work(self) -> None:
        while self._queue and not self._threads.is_stopping():
            job = heappop(self._queue)[-1]
            if self._jobs.get(job.entry) is job:
                await self._hash(job)
        self._working = False
        self._on_idle()

    async def _hash(self, job: _Job) -> None:
        """Hash one slice of a file."""
        run, stopping = self._threads.run, self._threads.is_stopping
        try:
            if 0 <= self._time_of_day() - job.entry.ctime / 1e9 < TICK_SECONDS:
                await run(sleep, TICK_SECONDS)
            job.offset = await run(self._disk.hash_some, job.entry, job.hasher, job.offset, SLICE, stopping)
        except Changed:
            self._end(job, NotNow("That file is being changed: try again later."))
        except Exception:
            self._threads.report(Failure())
            self._end(job, IllegalMessage("The server cannot read that file."))
        else:
            if job.offset < job.entry.size:
                self._put(job)
                return
            digest = job.hasher.hexdigest()
            self._on_hash(job.entry, digest)
            self._end(job, digest)

    def _end(self, job: _Job, result: str | IllegalMessage) -> None:
        self._jobs.pop(job.entry, None)
        waiting, job.waiting = job.waiting, []
        for waits in waiting:
            waits.errback(result) if isinstance(result, IllegalMessage) else waits.callback(result)
