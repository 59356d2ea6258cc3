"""What a site does once a second: end what took too long, and send heartbeats on streams."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from groupchat.core.limits import WEB_BEAT_SECONDS

Call = Callable[[], None]


class Deadlines:
    """One timer for all connections of a site. `lag` says how late the reactor last called it, in seconds."""

    def __init__(self, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self.lag = 0.0
        self._clock = clock
        self._survive = survive
        self._deadlines: dict[Call, float] = {}
        self._beats: dict[Call, float] = {}  # when each is due next, the earliest first
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

    def set(self, expired: Call, seconds: float) -> None:
        """Call this in so many seconds, in place of its earlier deadline; 0 is never."""
        if seconds:
            self._deadlines[expired] = self._clock.seconds() + seconds
        else:
            self._deadlines.pop(expired, None)

    def start_beats(self, beat: Call) -> None:
        """Call this every WEB_BEAT_SECONDS, until `stop_beats`."""
        self._beats[beat] = self._clock.seconds() + WEB_BEAT_SECONDS

    def stop_beats(self, beat: Call) -> None:
        self._beats.pop(beat, None)

    def _tick(self) -> None:
        try:
            now = self._clock.seconds()
            self.lag = max(0.0, now - self._ticked - 1.0)
            self._ticked = now
            for expired in [expired for expired, at in self._deadlines.items() if at <= now]:
                self._deadlines.pop(expired, None)
                expired()
            for beat, _ in list(takewhile(lambda item: item[1] <= now, self._beats.items())):
                self.stop_beats(beat)
                self.start_beats(beat)  # at the end of the queue
                beat()
        except Exception:
            self._survive("checking the deadlines of HTTP connections")
