"""The download of one file, from the shelf to a connection. It reads one chunk ahead of what is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from groupchat.core.errors import NotNow
from groupchat.core.limits import FILE_CHUNK
from groupchat.files import IReading

MIN_CHUNK = FILE_CHUNK // 16
"""The smallest chunk, in bytes. A slow reader can take it before it counts as stalled."""

SLOW_SECONDS = 1.0
"""A reader that needs longer for a chunk gets smaller ones."""


@implementer(IPushProducer)
class Download:
    """The bytes of a file, sent to `consumer`, which is an IConsumer.

    `wait(seconds)` is called when the consumer is full: it may be dropped if it takes nothing for `stall` seconds.
    `wait(0)` is called when it takes data again.
    """

    def __init__(self, consumer: Any, clock: IReactorTime, stall: float, wait: Callable[[float], object]) -> None:
        self._consumer = consumer
        self._clock = clock
        self._stall = stall
        self._wait = wait
        self._chunk = FILE_CHUNK
        self._stopped = False
        self._full: Deferred[None] | None = None  # fires when the consumer takes more
        self._full_since = 0.0

    async def run(self, reading: IReading, part: range) -> bool:
        """Send these bytes. Returns False if not all were sent, because of `stop` or a change of the file."""
        at = part.start
        self._consumer.registerProducer(self, True)
        try:
            while at < part.stop and not self._stopped:
                data = await reading.read(at, min(self._chunk, part.stop - at))
                if self._full is not None:
                    await self._full
                if not self._stopped:
                    self._consumer.write(data)
                    at += len(data)
        except NotNow:
            return False
        finally:
            self._consumer.unregisterProducer()
        return not self._stopped

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        self._wake()

    stopProducing = stop

    def pauseProducing(self) -> None:
        if self._full is None and not self._stopped:
            self._full = Deferred()
            self._full_since = self._clock.seconds()
            self._wait(self._stall)

    def resumeProducing(self) -> None:
        if self._full is not None:
            is_slow = self._clock.seconds() - self._full_since > SLOW_SECONDS
            self._chunk = max(MIN_CHUNK, self._chunk // 2) if is_slow else min(FILE_CHUNK, self._chunk * 2)
            self._wait(0)
            self._wake()

    def _wake(self) -> None:
        full, self._full = self._full, None
        if full is not None:
            full.callback(None)
