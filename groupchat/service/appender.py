"""The entries that are on their way to the log.

All events of one reactor turn go as one entry. The waiters for its events are registered before the append, since the
tail may give the entry back at once. If it is uncertain whether an entry was stored, it is appended again with the same
id until the tail gives it back. An entry that was surely not stored is given up.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from groupchat.core.errors import Misplaced, Unavailable, Unknown
from groupchat.core.events import Event, Seen
from groupchat.log import ILog
from groupchat.service.entry_queue import work_of
from groupchat.service.seats import Waiter

RETRY_SECONDS = (0.1, 5.0)
"""The first and the longest pause before an entry is appended again."""

DRAIN_SECONDS = 5.0
"""The longest time that draining takes."""

PROBE_SECONDS = 5.0
"""The shortest time between two probes of a log that fails."""

COMPLAIN_SECONDS = 10.0
"""The shortest time between two log lines which say that the log fails."""

RECOVERED_SECONDS = 10.0
"""How long no append may fail until it is logged that the log works again: a full disk has room for short entries."""

MOST_WORK = 256
"""An entry whose events are so much work does not wait for the end of the turn: it is applied in one turn."""

Waiters = list[Waiter | None]
"""The waiter for each event of an entry."""


class Appender:
    """Appends to one log.

    `give_up` is called with each waiter of an entry that was surely not stored, and `broken` when the log failed in a
    way that says nothing about the entry.
    """

    _logger = Logger()

    def __init__(
        self, log: ILog, clock: IReactorTime, give_up: Callable[[Waiter], None], broken: Callable[[Failure], None]
    ) -> None:
        self._log = log
        self._clock = clock
        self._give_up = give_up
        self._broken = broken
        self._node = secrets.token_hex(8)
        self.entry = 1
        """The number, counted by this node, of the entry that takes what is added now."""
        self.failing = False
        """True from a failed append to the next that succeeds."""
        self.commits = 0
        """The number of entries that were stored."""
        self.commit_seconds = 0.0
        """The time that storing them took."""
        self._events: list[Event] = []  # of this reactor turn
        self._waiters: Waiters = []
        self._work = 0  # of these events
        self._under_way: dict[str, Waiters] = {}  # by entry id
        self._drained: list[Deferred[bool]] = []
        self._probing = False
        self._probed = float("-inf")  # when the log was last probed
        self._complaining = False  # True if the last log line about that says that the log fails
        self._well_since = float("-inf")  # when an append succeeded after one that failed
        self._complained = float("-inf")  # when it was last logged that the log fails

    def misplaced(self, failure: Failure) -> None:
        """Take note, and log, that the log is no longer in its place: nothing can be stored."""
        failure.trap(Misplaced)
        self.failing, self._complaining = True, False
        self._logger.critical("{why}", why=failure.getErrorMessage())

    def add(self, event: Event, waiter: Waiter | None = None) -> None:
        """Append an event at the end of this reactor turn; without a waiter, in one entry with the next event."""
        if not self._events:
            self._clock.callLater(0, self._flush)
        self._events.append(event)
        self._waiters.append(waiter)
        self._work += work_of(event)
        if self._work >= MOST_WORK and waiter is not None:
            self._flush()

    def _flush(self) -> None:
        events, waiters = self._events, self._waiters
        if not events:
            return
        self._events, self._waiters, self._work = [], [], 0
        self._begin(events, waiters)

    def _begin(self, events: list[Event], waiters: Waiters) -> Deferred[None]:
        """Append an entry. Fire when the first attempt is over."""
        entry_id = f"{self._node}-{self.entry}"
        self.entry += 1
        self._under_way[entry_id] = waiters
        return self._append(events, entry_id, RETRY_SECONDS[0])

    def probe(self) -> Deferred[None]:
        """Append an entry that changes nothing if the log is failing: only an append tells that it stores again.

        Fire when that is over; at once if there is nothing to do, or the last probe was less than PROBE_SECONDS ago.
        """
        now = self._clock.seconds()
        if not self.failing or self._probing or 0 <= now - self._probed < PROBE_SECONDS:
            return succeed(None)
        self._probed, self._probing = now, True
        return self._begin([Seen(now, ())], []).addBoth(self._probe_ended)

    def _probe_ended(self, _result: object) -> None:
        self._probing = False

    def arrived(self, entry_id: str) -> Waiters | None:
        """Return the waiters of an entry that the log gives back; None if this node did not append it."""
        return self._under_way.pop(entry_id, None)

    def drain(self) -> Deferred[bool]:
        """Fire with True when nothing is under way, or with False after DRAIN_SECONDS."""
        drained: Deferred[bool] = Deferred()
        drained.addTimeout(DRAIN_SECONDS, self._clock, onTimeoutCancel=self._timed_out)
        self._drained.append(drained)
        self.check_drained()
        return drained

    def check_drained(self) -> None:
        """Fire what waits for draining, if nothing is under way. Call it when all waiters of an entry are settled."""
        if self._drained and not self._under_way and not self._events:
            drained, self._drained = self._drained, []
            for one in drained:
                if not one.called:
                    one.callback(True)

    def _timed_out(self, _result: object, seconds: float) -> bool:
        self._logger.error("Some messages could not be stored within {seconds} seconds", seconds=seconds)
        return False

    def _append(self, events: list[Event], entry_id: str, pause: float, doubtful: bool = False) -> Deferred[None]:
        """Append an entry. Fire when the attempt is over. `doubtful` is True if an earlier one may have stored it."""
        if entry_id not in self._under_way:
            return succeed(None)
        began = self._clock.seconds()
        appended: Deferred[None] = maybeDeferred(self._log.append, events, entry_id)
        appended.addCallbacks(
            self._appended, self._failed, callbackArgs=(began,), errbackArgs=(events, entry_id, pause, doubtful)
        )
        return appended.addErrback(self._broken)

    def _appended(self, _result: None, began: float) -> None:
        self.commits += 1
        self.commit_seconds += max(0.0, self._clock.seconds() - began)
        if self.failing:
            self.failing = False
            self._well_since = self._clock.seconds()
        if self._complaining and not 0 <= self._clock.seconds() - self._well_since < RECOVERED_SECONDS:
            self._complaining = False
            self._logger.info("Messages are stored again")

    def _failed(self, failure: Failure, events: list[Event], entry_id: str, pause: float, doubtful: bool) -> None:
        reason = failure.trap(Unavailable, Unknown)
        self._complain(failure)
        if reason is Unknown or doubtful:
            self._clock.callLater(pause, self._append, events, entry_id, min(2 * pause, RETRY_SECONDS[1]), True)
        elif entry_id in self._under_way:
            for waiter in self._under_way.pop(entry_id):
                if waiter is not None:
                    self._give_up(waiter)
            self.check_drained()

    def _complain(self, failure: Failure) -> None:
        self.failing = True
        now = self._clock.seconds()
        if isinstance(failure.value, Misplaced):
            return  # that was told when it was noticed
        if not 0 <= now - self._complained < COMPLAIN_SECONDS:
            self._complaining = True
            self._complained = now
            self._logger.error(
                "Messages cannot be stored, and are left unanswered until they can: {reason}",
                reason=failure.getErrorMessage(),
            )
