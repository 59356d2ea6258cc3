"""What a site does once a second: it ends connections that took too long, and sends heartbeats on streams."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from groupchat.core.limits import WEB_BEAT_SECONDS


class Expires(Protocol):
    def expired(self) -> None:
        """Handle the end of the time that was set."""


class Beats(Protocol):
    def beat(self) -> None:
        """Send a heartbeat."""


class Deadlines:
    """One timer for all connections of a site. `lag` says how late the reactor last called it, in seconds."""

    def __init__(self, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self.lag = 0.0
        self._clock = clock
        self._survive = survive
        self._deadlines: dict[Expires, float] = {}
        self._beats: dict[Beats, float] = {}  # the next ones, the earliest first
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock
        self._ticked = 0.0

    def __len__(self) -> int:
        return len(self._deadlines) + len(self._beats)

    def start(self) -> None:
        self._ticked = self._clock.seconds()
        self._ticker.start(1.0, now=False)

    def stop(self) -> None:
        if self._ticker.running:
            self._ticker.stop()

    def set(self, connection: Expires, seconds: float) -> None:
        """Call `expired` in so many seconds, in place of an earlier deadline; 0 is never."""
        if seconds:
            self._deadlines[connection] = self._clock.seconds() + seconds
        else:
            self._deadlines.pop(connection, None)

    def start_beats(self, stream: Beats) -> None:
        """Call `beat` every WEB_BEAT_SECONDS, until `stop_beats`."""
        self._beats[stream] = self._clock.seconds() + WEB_BEAT_SECONDS

    def stop_beats(self, stream: Beats) -> None:
        self._beats.pop(stream, None)

    def _tick(self) -> None:
        try:
            now = self._clock.seconds()
            self.lag = max(0.0, now - self._ticked - 1.0)
            self._ticked = now
            for connection in [connection for connection, at in self._deadlines.items() if at <= now]:
                self._deadlines.pop(connection, None)
                connection.expired()
            for stream, _ in list(takewhile(lambda item: item[1] <= now, self._beats.items())):
                self.stop_beats(stream)
                self.start_beats(stream)  # at the end of the queue
                stream.beat()
        except Exception:
            self._survive("checking the deadlines of HTTP connections")
