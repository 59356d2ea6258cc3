"""Logs that misbehave as real ones may: with a late tail, and with failing appends."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from zope.interface import implementer

from groupchat.core.events import Event
from groupchat.log import ILog
from groupchat.log.memory import MemoryLog, Store, Waker


@implementer(ILog)
class LateLog(MemoryLog):
    """A shared store as one node sees it: entries come back only `delay` seconds after they were appended."""

    def __init__(self, store: Store, clock: Clock, delay: float) -> None:
        super().__init__(store)
        self._clock = clock
        self._delay = delay

    def _waker(self, deliver: Waker) -> Waker:
        def wake(position: int) -> None:
            self._clock.callLater(self._delay, deliver, position)

        return wake


@implementer(ILog)
class FailingLog(MemoryLog):
    """A log whose appends fail with each of `failures` in turn. With `stores`, these are stored all the same."""

    def __init__(self, failures: Sequence[Exception], stores: bool = False) -> None:
        super().__init__()
        self.failures = list(failures)
        self.stores = stores
        self.appended: list[str] = []

    def append(self, events: Sequence[Event], entry_id: str) -> Deferred[None]:
        self.appended.append(entry_id)
        if not self.failures:
            return super().append(events, entry_id)
        if self.stores:
            super().append(events, entry_id)
        return fail(self.failures.pop(0))
