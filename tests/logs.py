"""Logs that misbehave in the ways that real ones may: whose tail comes late, and whose appends fail."""

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
    """One node's hold of a shared store: what is appended to it comes back only `delay` seconds later."""

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
    """Fails with each of `failures` in turn, then no more. With `stores`, it stores what it does not acknowledge."""

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
