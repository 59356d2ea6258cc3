"""Connections of a session: one after the other, with growing pauses after failures."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from groupchat.client.line_connection import LineConnection, LineHandler

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 15.0
"""Seconds before the next attempt: after the first failure, and at most.

The pauses are computed here: importing Twisted's `backoffPolicy` would add 57 ms to every start.
"""


class Reconnector:
    """Keeps one connection to a server. `failed` is called with the reason when an attempt fails."""

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        handler: LineHandler,
        failed: Callable[[Failure], None],
    ) -> None:
        self.connection: LineConnection | None = None
        self.failures = 0
        """The number of times `retry` was called in a row. The owner sets it to 0 when a session is open."""
        self._factory = Factory.forProtocol(lambda: LineConnection(handler))
        self._factory.noisy = False
        self._endpoint = endpoint
        self._clock = clock
        self._failed = failed
        self._connecting: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._paused = False

    @property
    def is_idle(self) -> bool:
        """True if there is neither a connection nor an attempt at one."""
        return self.connection is None and self._connecting is None

    def connect(self) -> None:
        self.stop_timer()
        self._connecting = self._endpoint.connect(self._factory)
        self._connecting.addErrback(self._not_connected)

    def replace(self) -> None:
        """Open another connection. The present one is ignored from now on: its server is to end it."""
        self.connection = None
        self.failures = 1  # so that another attempt is made if this one fails: the server was there just now
        self.connect()

    def retry(self) -> None:
        """Connect again after a pause. Its length is random, so that not all clients come back at once."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 1.5**self.failures)
        self.failures += 1
        self.call_later(pause * random.uniform(0.5, 1.0), self.connect)  # noqa: S311 - not a secret

    def connected(self, connection: LineConnection) -> None:
        """Note the new connection. The owner passes on what its connections report."""
        self.connection = connection
        self._connecting = None
        if self._paused:
            connection.pause()

    def disconnected(self) -> None:
        self.connection = None

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        self._failed(failure)

    def send(self, *lines: str) -> None:
        assert self.connection is not None
        for line in lines:
            self.connection.send(line)

    def pause(self) -> None:
        self._paused = True
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        self._paused = False
        if self.connection is not None:
            self.connection.resume()

    def stop(self) -> None:
        self.stop_timer()
        if self._connecting is not None:
            self._connecting.cancel()
        if self.connection is not None:
            self.connection.close()

    def call_later(self, seconds: float, then: Callable[[], None]) -> None:
        """Set the one timer there is; it replaces the previous one."""
        self.stop_timer()
        self._timer = self._clock.callLater(seconds, then)

    def stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
