"""A few threads for what may wait for a disk, so that the reactor never does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from groupchat.core.errors import NotNow

T = TypeVar("T")


class Threads:
    """At most so many threads, none before `start`: a daemon forks, and threads do not.

    `stopping` is set once whatever takes long should end early.
    """

    def __init__(self, reactor: Any, most: int, name: str) -> None:
        self.stopping = Event()
        self._reactor = reactor
        self._most = most
        self._name = name
        self._pool: ThreadPool | None = None
        self._under_way = 0
        self._idle: Deferred[None] | None = None

    def start(self) -> None:
        self._pool = ThreadPool(0, self._most, self._name)
        # None of them can keep a process from ending.
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._pool.start()

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Fires with what this returns in a thread, or fails as it fails; with NotNow if there are no threads."""
        if self._pool is None:
            return fail(NotNow("The server is stopping: try again later."))
        self._under_way += 1
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *arguments)
        return done.addBoth(self._ended)

    def _ended(self, result: Any) -> Any:
        self._under_way -= 1
        if not self._under_way and self._idle is not None:
            self._reactor.callLater(0, self._check_idle)  # whoever waits for this may have more to do
        return result

    def _check_idle(self) -> None:
        if not self._under_way and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def stop(self) -> Deferred[None]:
        """Fires when all that is under way has ended, and so have the threads."""
        if self._pool is None:
            return succeed(None)
        self._idle = Deferred()
        self._reactor.callLater(0, self._check_idle)
        return self._idle.addCallback(lambda _: self._stop_pool())

    def _stop_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
