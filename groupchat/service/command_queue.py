"""CommandQueue: the commands of each seat, one after another.

Commands from one seat take effect in the order in which they came. One of them is under way, or several texts that go
in one entry; a few others wait behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from groupchat.core.commands import Command, Say, Whisper
from groupchat.core.errors import IllegalMessage, Unanswered
from groupchat.core.group import Outcome
from groupchat.core.limits import QUEUE, QUEUED
from groupchat.service.appender import Appender
from groupchat.service.command_handler import CommandHandler
from groupchat.service.seats import InternalCommand, Seat, Seats, Task, Waiter

BEGUN_AT_ONCE = 64
"""The number of queued commands that are begun in one turn of the reactor: a commit may release thousands."""

TEXTS = (Say, Whisper)
"""Commands that can share an entry: none of them changes whether the others are allowed."""


class CommandQueue:
    """Begins commands when it is their turn, and tells their clients what became of them.

    While it is `closed`, every command is dropped. `survive` is called while handling an unexpected exception, of a
    client too: it must not stop the group.
    """

    def __init__(
        self,
        handler: CommandHandler,
        seats: Seats,
        appender: Appender,
        clock: IReactorTime,
        survive: Callable[[str], None],
    ) -> None:
        self.closed = False
        self.refused: Counter[str] = Counter()
        """The number of commands that were refused, by reason."""
        self.dropped = 0
        """The number of commands that got no answer."""
        self._handler = handler
        self._seats = seats
        self._appender = appender
        self._survive = survive
        self._clock = clock
        self._queued = 0  # in all seats' queues
        self._room = BEGUN_AT_ONCE  # how many of these may be begun in this turn
        self._released: list[Seat] = []  # that go on in the next turn

    def submit(self, seat: Seat, task: Task) -> None:
        """Begin a task, or queue it behind what is under way from its seat."""
        may_begin = not seat.queue and (not seat.busy or self._fits_batch(seat, task))
        if not (may_begin and self._begin(seat, task)):
            self._queue(seat, task)

    def _fits_batch(self, seat: Seat, task: Task) -> bool:
        """Return True if a task can go in one entry with all that is under way from its seat."""
        return type(task) in TEXTS and seat.batch == self._appender.entry

    def _queue(self, seat: Seat, task: Task) -> None:
        if seat.queue is None:
            seat.queue = []
        if len(seat.queue) < QUEUE and self._queued < QUEUED:
            seat.queue.append(task)
            self._queued += 1
        else:
            self._drop(seat, task)

    def _begin(self, seat: Seat, task: Task) -> bool:
        """Begin a task, and return True; return False if it must wait: refusals come after the answers before."""
        if self.closed:
            self._drop(seat, task)
            return True
        try:
            event = self._handler.handle(seat, task)
            if event is None:
                self._answer(seat, task)
            else:
                seat.busy += 1
                seat.batch = self._appender.entry if type(task) in TEXTS else 0
                self._appender.add(event, (seat, task))
        except IllegalMessage as why:
            if seat.busy:
                return False
            self._refuse(seat, task, why)
        except Unanswered:
            self._drop(seat, task)
        except Exception:
            self._survive("beginning a command")
            self._drop(seat, task)
        return True

    def settle(self, waiter: Waiter, outcome: Outcome) -> None:
        """Answer a task whose event was applied, and go on with its seat."""
        seat, task = waiter
        if outcome is not None:
            self._answer(seat, task)
        elif not isinstance(task, InternalCommand):
            self._settle_refused(seat, task)
        self._release(seat, task)

    def give_up(self, waiter: Waiter) -> None:
        """Drop a task whose event was surely not stored, and go on with its seat."""
        seat, task = waiter
        self._handler.not_stored(task)
        self._drop(seat, task)
        self._release(seat, task)

    def _settle_refused(self, seat: Seat, command: Command) -> None:
        try:
            self._handler.check_lost(seat, command)
        except IllegalMessage as why:
            self._refuse(seat, command, why)
        else:
            self._answer(seat, command)

    def _release(self, seat: Seat, done: Task) -> None:
        """End a task, and begin what its seat has queued meanwhile."""
        seat.busy -= 1
        self._handler.ended(seat, done)
        if seat.queue:
            self._begin_queued(seat)
        if seat.member is None and not seat.queue:
            self._seats.clear(seat)

    def _begin_queued(self, seat: Seat) -> None:
        """Begin what waits on a seat, as far as this turn has room."""
        while seat.queue and (not seat.busy or self._fits_batch(seat, seat.queue[0])):
            if not self._room:
                self._released.append(seat)
                break
            if self._room == BEGUN_AT_ONCE:
                self._clock.callLater(0, self.begin_released, BEGUN_AT_ONCE)
            self._room -= 1
            task = seat.queue.pop(0)
            if not self._begin(seat, task):
                seat.queue.insert(0, task)
                break
            self._queued -= 1

    def begin_released(self, room: int) -> None:
        """Go on with the seats that had no room in the turn before, and begin so many commands in this one."""
        self._room = room
        seats, self._released = self._released, []
        for seat in seats:
            self._begin_queued(seat)
            if seat.member is None and not seat.queue:
                self._seats.clear(seat)

    def _answer(self, seat: Seat, task: Task) -> None:
        if seat.client is not None and not isinstance(task, InternalCommand):
            try:
                seat.client.answered(seat, task)
            except Exception:
                self._survive("answering")

    def _refuse(self, seat: Seat, task: Task, why: IllegalMessage) -> None:
        self.refused[why.reason] += 1
        if seat.client is not None and not isinstance(task, InternalCommand):
            try:
                seat.client.refused(seat, task, why)
            except Exception:
                self._survive("refusing")

    def _drop(self, seat: Seat, task: Task) -> None:
        if isinstance(task, InternalCommand):
            return
        self.dropped += 1
        if seat.client is not None:
            try:
                seat.client.dropped(seat, task)
            except Exception:
                self._survive("dropping a command")
