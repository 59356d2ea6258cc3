"""The order in which connections do their work: in short turns, so that the rest of the reactor is not kept waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from groupchat.quic import MAX_WAITING, TURN_SECONDS, Address


class IScheduled(Protocol):
    """A connection as the scheduler sees it. Neither method may raise."""

    def take(self, datagram: bytes, address: Address) -> None:
        """Handle a datagram."""

    def flush(self) -> None:
        """Send what there is to send."""


class Scheduler:
    """Hands datagrams to connections and lets them send, for TURN_SECONDS at a time.

    `now` returns seconds of a clock that never goes back, unlike the time of day. `dropped` counts datagrams.
    """

    def __init__(self, clock: IReactorTime, now: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.now = now
        self.dropped = 0
        self._waiting: deque[tuple[IScheduled, bytes, Address]] = deque()
        self._changed: dict[IScheduled, None] = {}  # an ordered set
        self._is_scheduled = False

    def received(self, connection: IScheduled, datagram: bytes, address: Address) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((connection, datagram, address))
            self._schedule()
        else:
            self.dropped += 1

    def changed(self, connection: IScheduled) -> None:
        """Flush a connection soon: it may have something to send."""
        self._changed[connection] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        until = time.perf_counter() + TURN_SECONDS
        while self._waiting and time.perf_counter() < until:
            connection, datagram, address = self._waiting.popleft()
            connection.take(datagram, address)
            self._changed[connection] = None
        for connection in tuple(self._changed):  # the longest waiting first, and at least one
            del self._changed[connection]
            connection.flush()
            if time.perf_counter() > until + TURN_SECONDS:
                break
        self._is_scheduled = False
        if self._waiting or self._changed:
            self._schedule()
