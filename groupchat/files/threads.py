"""A few threads for calls that block on a disk, so that the reactor never does."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.files import STOPPING

P = ParamSpec("P")
T = TypeVar("T")

REPORT_SECONDS = 60
"""How often a problem is logged at most, so that nobody can flood the log."""


def returns_deferred(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    """Make a coroutine function return a Deferred, as an interface promises."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return call


class Threads:
    """At most `most` threads. There is none before `start`, since a daemon forks, and threads do not survive that.

    Set `stopping` to make long calls end early.
    """

    _logger = Logger()

    def __init__(self, reactor: Any, most: int, name: str) -> None:
        self._reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds
        self._most = most
        self._name = name
        self._pool: ThreadPool | None = None
        self.stopping = Event()
        self.is_stopping = self.stopping.is_set
        self._under_way: set[Deferred[Any]] = set()
        self._reported = float("-inf")

    def start(self) -> None:
        self._pool = ThreadPool(0, self._most, self._name)
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]  # the process may exit
        self._pool.start()

    def run(self, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Call a function in a thread. Fails with NotNow if there are no threads."""
        if self._pool is None:
            return fail(NotNow(STOPPING))
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *arguments)
        self._under_way.add(done)
        return done.addBoth(self._ended, done)

    def _ended(self, result: Any, done: Deferred[Any]) -> Any:
        self._under_way.discard(done)
        return result

    def report(self, failure: Failure) -> None:
        """Log a failure that is not the fault of the remote."""
        now = self._reactor.seconds()
        if not failure.check(IllegalMessage) and now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self._logger.failure("The shelf of files has a problem", failure=failure)

    def check_running(self) -> None:
        """Raise NotNow once the threads are stopping."""
        if self.is_stopping():
            raise NotNow(STOPPING)

    async def stop(self) -> None:
        """Wait for all calls that are under way, and for those that follow from them; then end the threads."""
        while self._under_way:
            await DeferredList(self._under_way)
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
