"""The daemon as a process: services that start in order, how it ends, and where people find it."""

from __future__ import annotations

import atexit
import gc
import os
import resource
import select
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from groupchat.core.errors import GroupchatError


def allow_open_files(wanted: int) -> int:
    """Let this process open so many files, if the system permits it. Return how many it may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(soft, most)


FULL_COLLECTIONS = 10_000
"""The third threshold of the garbage collector: see `limit_collections`."""


def limit_collections() -> None:
    """Keep the pauses of the garbage collector short. Call it once everything has started.

    What is there then is never looked through again, and full collections, which look through everything that came
    later, become a thousand times rarer: one for about 200,000 QUIC connections. So whatever lives for long must not be
    part of a circle when it ends, as `Core.release` makes sure for QUIC: tests/test_garbage.py.

    Measured with 200 QUIC connections that stay and 300 that come and go, both ends in one process: before, 4 full
    collections of up to 420 ms, and 44,000 objects of ended connections that waited for one; now none, and 500.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTIONS)


SOCKETS = 48
"""The most sockets that are served in one turn of the reactor: a TLS handshake with an RSA key takes 0.3 ms."""


class FairPoller:
    """An epoll object for Twisted's reactor that reports few sockets at once, so that a turn of the reactor is short.

    The kernel reports the others in the next turns, the longest waiting first. Each of `ports` serves many clients, so
    these are served in every turn.
    """

    def __init__(self, epoll: Any, ports: Sequence[IReadDescriptor]) -> None:
        self.register, self.modify, self.unregister = epoll.register, epoll.modify, epoll.unregister
        self._poll = epoll.poll
        self._ports = ports

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = self._poll(timeout, min(most, SOCKETS))
        if len(found) < SOCKETS:
            return found
        ports = [port.fileno() for port in self._ports]
        return [(port, select.EPOLLIN) for port in ports] + [event for event in found if event[0] not in ports]


def limit_sockets(reactor: Any, ports: Sequence[IReadDescriptor]) -> None:
    """Let a turn of the reactor serve few sockets, but always these ports. Only Twisted's reactor for Linux can."""
    with suppress(ImportError):
        from twisted.internet.epollreactor import EPollReactor

        if isinstance(reactor, EPollReactor):
            reactor._poller = FairPoller(reactor._poller, ports)


class InOrder(service.MultiService):
    """Services that start one after another, each when the one before is ready, and stop in the opposite order.

    `started` is called when all run, `failed` if one cannot start. `observer` takes what twistd's application logs.
    """

    _logger = Logger()

    def __init__(
        self,
        services: Sequence[service.Service],
        failed: Callable[[], None],
        started: Callable[[], None] = lambda: None,
        observer: ILogObserver | None = None,
    ) -> None:
        super().__init__()
        self._observer = observer
        self._failed = failed
        self._started = started
        for child in services:
            child.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)

    @inlineCallbacks
    def startService(self) -> Generator[Deferred[Any], Any, None]:
        service.Service.startService(self)
        for child in self:
            try:
                yield maybeDeferred(child.startService)
            except Exception as why:
                if self.running:
                    self._log_reason(why)
                    self._failed()
                return
            if not self.running:
                return  # stopped meanwhile
        self._started()

    def _log_reason(self, why: Exception) -> None:
        if isinstance(why, GroupchatError):
            self._logger.critical("Cannot start: {why}", why=str(why))
        else:
            self._logger.failure("Cannot start")

    @inlineCallbacks
    def stopService(self) -> Generator[Deferred[Any], Any, None]:
        service.Service.stopService(self)
        for child in reversed(list(self)):
            try:
                yield maybeDeferred(child.stopService)
            except Exception:
                self._logger.failure("While stopping")


@implementer(ILogObserver)
class LastProblem(service.Service):
    """Keeps the last warning or error that was logged, while it runs."""

    _SEVERE = frozenset((LogLevel.warn, LogLevel.error, LogLevel.critical))

    def __init__(self) -> None:
        self.text = ""
        self.at = 0.0

    def startService(self) -> None:
        super().startService()
        globalLogPublisher.addObserver(self)

    def stopService(self) -> None:
        super().stopService()
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") in self._SEVERE:
            self.text, self.at = formatEvent(event), event["log_time"]


def fail() -> None:
    """End the daemon with status 1. Stopping the reactor alone would end it with status 0."""
    from twisted.internet import reactor

    atexit.register(_exit_with_failure)
    reactor.callWhenRunning(reactor.stop)


def _exit_with_failure() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the terminal is closed
            stream.flush()
    os._exit(1)
