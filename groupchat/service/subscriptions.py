"""Subscriptions: live readers are given new lines at once, without asking for them.

A live reader has a cursor of its own, and no queue. It is woken once in a reactor turn in which something happened, and
is given all lines after its cursor in one piece. While it is paused, it is not woken; when it resumes, it reads on.

What all readers together are given in one turn is limited: the rest of them have their turn next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, takewhile
from operator import length_hint

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import Interface, implementer

from groupchat.core.group import Group, Member, Run

AT_ONCE = 32 * 1024
"""The most bytes that a reader is given in one turn (but a longer line goes alone)."""

LINES_AT_ONCE = 512
"""The most lines that a reader is given in one turn."""

ALL_LINES_AT_ONCE = 128
"""The most lines that a `FullSubscription` is given in one turn: its lines are larger when written."""

WORK = 2_000
CHUNK = 2048
RANGE = 8
"""The work of one turn: each line that is written counts 1; each range of lines RANGE more, because what lies between
two ranges has to be found; and each CHUNK of bytes that a reader is given 1 more. The last reader may go beyond it.
"""

READERS = 2_000
"""The number of readers that are served in one turn of the reactor."""

DROPPED = 256
"""The most readers that are dropped at once."""

Render = Callable[[Sequence[Run]], bytes]
"""A function of a front end that renders runs of lines, with their numbers for clients; nothing for no runs.

All readers share one: see `Turn`.
"""

RenderNumbers = Callable[[range, Sequence[range]], bytes]
"""A function that renders lines given by number: those that are no longer kept, and runs of those that are."""


class Turn:
    """One turn of the reactor: `work` is how much may still be done in it.

    `rendered` has the lines read from a cursor, by that and by the function that renders them: the same for every
    reader there. With them are the cursor after them, and the work of giving them. It has only lines after which
    nothing is hidden to a reader.
    """

    __slots__ = ("rendered", "work")

    def __init__(self) -> None:
        self.work = WORK
        self.rendered: dict[tuple[int, Render | RenderNumbers | None], tuple[bytes, int, int]] = {}


class IReader(Interface):
    """A live reader: a connection of a front end."""

    def give(lines: bytes) -> None:
        """Take whole lines: each with its LF, unless the subscription renders them in another way."""

    def drop() -> None:
        """End the connection: it has taken nothing for too long."""


@implementer(IPushProducer)
class Subscription:
    """The lines for one member, as one live reader is given them; the producer of its transport.

    Lines are given as they are, each with its LF, or rendered by `render`.
    """

    __slots__ = ("_subscriptions", "cursor", "member", "reader", "render", "skipped")

    def __init__(
        self,
        subscriptions: Subscriptions,
        member: Member,
        place: tuple[int, int],
        reader: IReader,
        render: Render | None,
    ) -> None:
        self.member = member
        self.cursor, self.skipped = place
        self.reader = reader
        self.render = render
        self._subscriptions = subscriptions

    def pauseProducing(self) -> None:
        self._subscriptions.pause(self)

    def resumeProducing(self) -> None:
        self._subscriptions.resume(self)

    def stopProducing(self) -> None:
        self._subscriptions.close(self)

    def read(self, group: Group, turn: Turn) -> None:
        """Give the lines after the cursor, and move it."""
        member = self.member
        if self.skipped == member.own + group.whispered:
            key = self.cursor, self.render
            found = turn.rendered.get(key)
            if found is None:
                lines, cursor, _ = self._take(group, turn)
                found = turn.rendered[key] = lines, cursor, len(lines) // CHUNK
            lines, self.cursor, work = found
            if work:
                turn.work -= work
        else:
            lines, self.cursor, self.skipped = self._take(group, turn)
            turn.work -= len(lines) // CHUNK
        if lines:
            self.reader.give(lines)
        if self.cursor > member.cursor:
            group.advance(member, self.cursor, self.skipped)

    def _take(self, group: Group, turn: Turn) -> tuple[bytes, int, int]:
        before = self.cursor - self.skipped
        runs, cursor, skipped = group.runs(self.member, self.cursor, self.skipped, AT_ONCE, LINES_AT_ONCE)
        turn.work -= min(cursor - skipped - before, LINES_AT_ONCE) + RANGE * len(runs)
        lines = self.render(group.numbering.numbered(runs)) if self.render else with_ends(runs)
        return lines, cursor, skipped


def with_ends(runs: Sequence[Run]) -> bytes:
    """Return runs of lines as they are, each with its LF."""
    return b"".join([piece for _, lines in runs for piece in (lines, b"\n")])


class FullSubscription(Subscription):
    """A subscription to all lines, the member's own included, for clients that show one conversation in several places.

    `render` is given their numbers.
    """

    __slots__ = ("_render",)

    def __init__(
        self, subscriptions: Subscriptions, member: Member, cursor: int, reader: IReader, render: RenderNumbers
    ) -> None:
        super().__init__(subscriptions, member, (cursor, 0), reader, None)
        self._render = render

    def read(self, group: Group, turn: Turn) -> None:
        if group.history.has_whispers(self.cursor):
            found = self._take_all(group, turn)
        else:
            key = self.cursor, self._render
            known = turn.rendered.get(key)
            found = turn.rendered[key] = self._take_all(group, turn) if known is None else known
        lines, self.cursor, work = found
        turn.work -= work
        if lines:
            self.reader.give(lines)
        if self.cursor > self.member.cursor:
            group.advance(self.member, *group.place(self.member, self.cursor))

    def _take_all(self, group: Group, turn: Turn) -> tuple[bytes, int, int]:
        lost, runs, cursor = group.seen_by(self.member, self.cursor, AT_ONCE // 2, ALL_LINES_AT_ONCE)
        turn.work -= sum(map(len, runs)) + RANGE * len(runs)
        lines = self._render(lost, runs)
        return lines, cursor, len(lines) // CHUNK


class Subscriptions:
    """The live readers of one group. `survive` is called while handling an exception of a reader."""

    def __init__(self, group: Group, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self._group = group
        self._clock = clock
        self._survive = survive
        self._awake: dict[Subscription, None] = {}
        self._paused: dict[Subscription, float] = {}  # by the time of the pause, the earliest first
        self._round: Iterator[Subscription] | None = None  # who was awake when it began, and had no turn yet
        self._happened = False  # something, since then
        self._waking = False
        self.delivered = 0
        """The number of lines that live readers have passed, hidden ones included."""

    def open(
        self, member: Member, place: tuple[int, int], reader: IReader, render: Render | None = None
    ) -> Subscription:
        """Open a subscription to the lines after a place: see `Group.place`."""
        subscription = Subscription(self, member, place, reader, render)
        self._awake[subscription] = None
        self.wake()
        return subscription

    def watch(self, member: Member, after: int, reader: IReader, render: RenderNumbers) -> Subscription:
        """Open a subscription to all lines after the line `after`, the member's own included."""
        subscription = FullSubscription(self, member, min(after, self._group.history.head), reader, render)
        if subscription.cursor > member.cursor:  # the lines up to there were seen, even if no more come
            self._group.advance(member, *self._group.place(member, subscription.cursor))
        self._awake[subscription] = None
        self.wake()
        return subscription

    def close(self, subscription: Subscription) -> None:
        self._awake.pop(subscription, None)
        self._paused.pop(subscription, None)

    def pause(self, subscription: Subscription) -> None:
        if subscription in self._awake:
            del self._awake[subscription]
            self._paused[subscription] = self._clock.seconds()

    def resume(self, subscription: Subscription) -> None:
        if subscription in self._paused:
            del self._paused[subscription]
            self._awake[subscription] = None
            self.wake()

    def drop_stalled(self, seconds: float) -> None:
        """Drop readers that have been paused for so long, at most DROPPED of them."""
        before = self._clock.seconds() - seconds
        stalled = takewhile(lambda item: item[1] <= before, self._paused.items())
        for subscription, _ in list(islice(stalled, DROPPED)):
            self.close(subscription)
            subscription.reader.drop()

    def wake(self) -> None:
        """Give new lines to every reader that is not paused, from the next turn on."""
        if self._awake:
            self._happened = True
            self._wake()

    def _wake(self) -> None:
        if not self._waking:
            self._waking = True
            self._clock.callLater(0, self._turn)

    def _give(self) -> bool:
        """Give readers that are awake their next lines, as many as one turn allows. Return True if there is more."""
        if self._round is None:
            self._round, self._happened = iter(tuple(self._awake)), False
        turn, group, awake = Turn(), self._group, self._awake
        head = group.history.head
        for subscription in islice(self._round, READERS):
            before = subscription.cursor
            if before < head and subscription in awake:
                try:
                    subscription.read(group, turn)
                    self.delivered += subscription.cursor - before
                except Exception:
                    self._survive("giving lines to a live reader")
                    self.close(subscription)
                    subscription.reader.drop()
                if subscription.cursor < head and subscription in awake:
                    self._happened = True
                if turn.work <= 0:
                    break
        if length_hint(self._round):
            return True
        self._round = None
        return self._happened

    def lines_behind(self) -> int:
        """Return how many lines were not given yet, over all readers."""
        head = self._group.history.head
        return sum(head - subscription.cursor for subscription in (*self._awake, *self._paused))

    def _turn(self) -> None:
        self._waking = False
        if self._give():
            self._wake()
