"""Eraser: erases in the log what was erased in the group, so that no file has its text any more.

The group replaces the texts in memory when an `Erased` is folded. Here the entries of these lines are written anew, one
after another, and then the file is rewritten once. A kill in the middle changes nothing: the next start folds the same
`Erased`, and finds the lines that still have their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import Any

from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from groupchat.core.errors import LogError, NotNow, Trimmed
from groupchat.core.events import Event, GuestSaid, Said, Shared, Whispered
from groupchat.core.group import Group
from groupchat.log import ILog
from groupchat.service.snapshots import Snapshots

RETRY_SECONDS = 5.0
"""Seconds after which it is tried again, if the log cannot do it now."""


class Eraser:
    """The eraser of one group. `remove_file` removes a shared file; without it files remain.

    `survive` is called while handling an unexpected exception.
    """

    _logger = Logger()

    def __init__(
        self, group: Group, snapshots: Snapshots, log: ILog, clock: IReactorTime, survive: Callable[[str], None]
    ) -> None:
        self.remove_file: Callable[[str], Deferred[None]] = lambda name: succeed(None)
        self._group = group
        self._snapshots = snapshots
        self._log = log
        self._clock = clock
        self._survive = survive
        self._stopped = False
        self._running = False
        self._waiting: list[Deferred[None]] = []

    def run(self) -> None:
        """Erase what is to be erased in the log, in the background. Also finish what an earlier process began."""
        if not self._running and not self._stopped:
            self._running = True
            self._run()

    def done(self) -> Deferred[None]:
        """Fire when no file has a text that was erased before this call. Fail with NotNow if it stops before."""
        if self._group.erased:
            self.run()
        if not self._running:
            return self._outcome()
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def stop(self) -> None:
        """Begin nothing more. What is not done yet will be done after the next start."""
        self._stopped = True

    @inlineCallbacks
    def _run(self) -> Generator[Deferred[Any], Any, None]:
        while not self._stopped:
            try:
                while self._group.erased and not self._stopped:
                    yield self._erase()
                yield self._log.purge()
                if not self._group.erased:
                    break
            except (LogError, NotNow) as error:
                self._logger.warn(
                    "Erased texts are still in the file; the next attempt comes soon: {error}", error=str(error)
                )
                yield deferLater(self._clock, RETRY_SECONDS)
            except Exception:
                self._survive("erasing")
                yield deferLater(self._clock, RETRY_SECONDS)
        self._running = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._outcome().chainDeferred(one)

    def _outcome(self) -> Deferred[None]:
        return fail(NotNow("The texts will be erased after the next start.")) if self._group.erased else succeed(None)

    @inlineCallbacks
    def _erase(self) -> Generator[Deferred[Any], Any, None]:
        """Erase the first line that waits for it in the log, with those after it that are of the same entry."""
        erased, history = self._group.erased, self._group.history
        place = history.place(erased[0])
        together = 1
        if place is not None:
            places = takewhile(lambda other: other and other[0] == place[0], map(history.place, erased))
            indexes = [index for _, index in filter(None, places)]
            together = len(indexes)
            with suppress(Trimmed):  # the log may have forgotten the entry: one in memory keeps fewer
                yield self._replace(place[0], indexes)
        for _ in range(together):
            erased.popleft()

    @inlineCallbacks
    def _replace(self, position: int, indexes: Iterable[int]) -> Generator[Deferred[Any], Any, None]:
        """Replace an entry by one without the texts of the lines that have these indexes in it."""
        (entry,) = yield self._log.read(position - 1, 1)
        lines = self._snapshots.taken(entry)
        gone = {id(lines[index]): lines[index] for index in indexes}
        for event in gone.values():
            if isinstance(event, Shared) and event.file:
                yield self.remove_file(event.file)
        events = [_without_text(event) if id(event) in gone else event for event in entry.events]
        yield self._log.replace(position, events)


def _without_text(event: Event) -> Event:
    match event:
        case Said() | Whispered() | GuestSaid():
            return replace(event, text="")
        case Shared():
            return replace(event, file="")
    raise TypeError(f"not an event with a text: {event!r}")
