"""A few threads for calls that block on a disk, so that the reactor never does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from groupchat.core.errors import IllegalMessage, NotNow

T = TypeVar("T")

REPORT_SECONDS = 60
"""How often a problem is logged at most, so that nobody can flood the log."""

_STOPPING = "The server is stopping: try again later."


class Threads:
    """At most `most` threads. There is none before `start`, since a daemon forks, and threads do not survive that.

    Set `stopping` to ask calls that take long to end early.
    """

    _logger = Logger()

    def __init__(self, reactor: Any, most: int, name: str) -> None:
        self.reactor = reactor
        self._most = most
        self._name = name
        self._pool: ThreadPool | None = None
        self.stopping = Event()
        self.is_stopping = self.stopping.is_set
        self._under_way = 0
        self._idle: Deferred[None] | None = None
        self._reported = float("-inf")

    def start(self) -> None:
        self._pool = ThreadPool(0, self._most, self._name)
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # the process may exit
        self._pool.start()

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call a function in a thread. Fails with NotNow if there are no threads."""
        if self._pool is None:
            return fail(NotNow(_STOPPING))
        self._under_way += 1
        done: Deferred[T] = deferToThreadPool(self.reactor, self._pool, function, *arguments)
        return done.addBoth(self._ended)

    def _ended(self, result: Any) -> Any:
        self._under_way -= 1
        if self._idle is not None:
            self.reactor.callLater(0, self._check_idle)  # the callbacks of this Deferred may have more to do
        return result

    def report(self, failure: Failure) -> None:
        """Log a failure that is no fault of the remote."""
        now = self.reactor.seconds()
        if not failure.check(IllegalMessage) and now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._logger.failure("The shelf of files has a problem", failure=failure)

    def check_running(self) -> None:
        """Raises NotNow once the threads are stopping."""
        if self.is_stopping():
            raise NotNow(_STOPPING)

    def stop(self) -> Deferred[None]:
        """Fires when all that is under way has ended, and so have the threads."""
        if self._pool is None:
            return succeed(None)
        self._idle = Deferred()
        self.reactor.callLater(0, self._check_idle)
        return self._idle.addCallback(lambda _: self._stop_pool())

    def _check_idle(self) -> None:
        if not self._under_way and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _stop_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
