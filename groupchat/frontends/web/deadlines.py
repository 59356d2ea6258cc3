"""One timer for everything on a site that has to happen at a certain time, to the second."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from groupchat.frontends.turn_budget import CLOSING, TurnBudget

Call = Callable[[], None]


class Deadlines:
    """Calls that are due later. A reactor timer for each connection would cost more.

    `lag` says how late the reactor last called it, in seconds.
    """

    def __init__(self, clock: IReactorTime, budget: TurnBudget, survive: Callable[[str], None]) -> None:
        self.lag = 0.0
        self._clock = clock
        self._budget = budget
        self._survive = survive
        self._deadlines: dict[Call, float] = {}
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock
        self._ticked = 0.0

    def __len__(self) -> int:
        return len(self._deadlines)

    def start(self) -> None:
        self._ticked = self._clock.seconds()
        self._ticker.start(1.0, now=False)

    def stop(self) -> None:
        if self._ticker.running:
            self._ticker.stop()

    def set(self, call: Call, seconds: float) -> None:
        """Call this in so many seconds, in place of its earlier deadline; 0 is never."""
        if seconds:
            self._deadlines[call] = self._clock.seconds() + seconds
        else:
            self._deadlines.pop(call, None)

    def _call(self, call: Call) -> None:
        if self._deadlines.get(call, math.inf) <= self._clock.seconds():  # it may have been set again meanwhile
            del self._deadlines[call]
            call()

    def _tick(self) -> None:
        try:
            now = self._clock.seconds()
            self.lag = max(0.0, now - self._ticked - 1.0)
            self._ticked = now
            due = [call for call, at in self._deadlines.items() if at <= now]
            self._budget.spread(CLOSING, [partial(self._call, call) for call in due])
        except Exception:
            self._survive("checking the deadlines of HTTP connections")
