"""When connections do what they have to do: not all at once, so that the rest of the reactor is not kept waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from groupchat.quic import MAX_WAITING, TURN, Address

if TYPE_CHECKING:
    from groupchat.quic.connection import Connection


class Turns:
    """Deals with the datagrams that came, and sends what is to be sent, for TURN seconds at a time.

    `now` counts seconds, and is never set back, as the time of day may be.
    """

    def __init__(self, clock: IReactorTime, now: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.now = now
        self.lost = 0
        self._waiting: deque[tuple[Connection, bytes, Address]] = deque()
        self._changed: dict[Connection, None] = {}
        self._soon = False

    def received(self, connection: Connection, datagram: bytes, address: Address) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((connection, datagram, address))
            self._wake()
        else:
            self.lost += 1

    def changed(self, connection: Connection) -> None:
        """It may have something to send."""
        self._changed[connection] = None
        self._wake()

    def _wake(self) -> None:
        if not self._soon:
            self._soon = True
            self.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        until = time.perf_counter() + TURN
        while self._waiting and time.perf_counter() < until:
            connection, datagram, address = self._waiting.popleft()
            connection.take(datagram, address)
            self._changed[connection] = None
        for connection in tuple(self._changed):  # each once, the longest waiting first, and one at least
            del self._changed[connection]
            connection.flush()
            if time.perf_counter() > until + TURN:
                break
        self._soon = False
        if self._waiting or self._changed:
            self._wake()
