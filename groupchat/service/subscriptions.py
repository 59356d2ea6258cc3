"""Subscriptions: who is given what happens at once, instead of asking for it.

A live reader has a place in the conversation, and no queue. It is woken once in a reactor turn in which something
happened, reads on from its place, and gets it in one piece. While it takes nothing more, it is not woken; when it does
again, it reads on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import Interface, implementer

from groupchat.core.group import Group, Member, Run

AT_ONCE = 32 * 1024
"""The most that a reader is given in one turn, in bytes (but a longer line goes alone)."""

LINES_AT_ONCE = 128
"""The most lines that an onlooker is given in one turn: there is more to write of each."""

Render = Callable[[Sequence[Run]], bytes]
"""How a front end writes what it is given; nothing for no runs. All its readers pass one function: see `Rendered`."""

Picture = Callable[[range, Sequence[range]], bytes]
"""How a front end writes lines by their numbers: those that are no longer kept, and runs of those that are."""

Rendered = dict[tuple[int, Render | Picture | None], tuple[bytes, int]]
"""What was read in this turn from a place after which nothing is hidden: it is the same for every reader there.

By the place, and by how it is written.
"""


class IReader(Interface):
    """Who reads along: a connection of a live front end."""

    def give(lines: bytes) -> None:
        """Whole lines: each with its LF, unless its `render` writes them otherwise."""

    def drop() -> None:
        """It has taken nothing for too long: end it."""


@implementer(IPushProducer)
class Subscription:
    """One live reader of a member's lines, and its place; the producer of its transport.

    Lines are given as they are, each with its LF, unless `render` writes them.
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

    def read(self, group: Group, rendered: Rendered) -> None:
        """Give what there is after this place, and move it."""
        member = self.member
        if self.skipped == member.own + group.whispered:
            key = self.cursor, self.render
            found = rendered.get(key)
            if found is None:
                found = rendered[key] = self._take(group)[:2]
            lines, self.cursor = found
        else:
            lines, self.cursor, self.skipped = self._take(group)
        if lines:
            self.reader.give(lines)
        if self.cursor > member.cursor:
            group.advance(member, self.cursor, self.skipped)

    def _take(self, group: Group) -> tuple[bytes, int, int]:
        if self.render is not None:
            runs, cursor, skipped = group.runs(self.member, self.cursor, self.skipped, AT_ONCE)
            return self.render(runs), cursor, skipped
        waiting, cursor, skipped = group.waiting(self.member, self.cursor, self.skipped, AT_ONCE)
        return bytes(waiting) + b"\n" if waiting else b"", cursor, skipped


class Onlooker(Subscription):
    """One that is given its member's own lines, too: somebody may look at one conversation in several places.

    What it is given is `picture` of their numbers.
    """

    __slots__ = ("_picture",)

    def __init__(
        self, subscriptions: Subscriptions, member: Member, cursor: int, reader: IReader, picture: Picture
    ) -> None:
        super().__init__(subscriptions, member, (cursor, 0), reader, None)
        self._picture = picture

    def read(self, group: Group, rendered: Rendered) -> None:
        if group.history.has_whispers(self.cursor):
            lines, self.cursor = self._look(group)
        else:
            key = self.cursor, self._picture
            found = rendered.get(key)
            if found is None:
                found = rendered[key] = self._look(group)
            lines, self.cursor = found
        if lines:
            self.reader.give(lines)
        if self.cursor > self.member.cursor:
            group.advance(self.member, *group.place(self.member, self.cursor))

    def _look(self, group: Group) -> tuple[bytes, int]:
        lost, runs, cursor = group.seen_by(self.member, self.cursor, AT_ONCE // 2, LINES_AT_ONCE)
        return self._picture(lost, runs), cursor


class Subscriptions:
    """The live readers of one group. `survive` is told of a bug, while handling the exception."""

    def __init__(self, group: Group, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self._group = group
        self._clock = clock
        self._survive = survive
        self._awake: dict[Subscription, None] = {}
        self._paused: dict[Subscription, float] = {}  # since when, the longest first
        self._waking = False
        self.delivered = 0
        """How many lines were passed by live readers in all: given, or hidden to them."""

    def open(
        self, member: Member, place: tuple[int, int], reader: IReader, render: Render | None = None
    ) -> Subscription:
        """Begin to give somebody what comes after a place: see `Group.place`."""
        subscription = Subscription(self, member, place, reader, render)
        self._awake[subscription] = None
        self.wake()
        return subscription

    def watch(self, member: Member, after: int, reader: IReader, picture: Picture) -> Subscription:
        """Begin to give somebody what comes after the line of this number, the member's own lines included."""
        onlooker = Onlooker(self, member, min(after, self._group.history.head), reader, picture)
        if onlooker.cursor > member.cursor:  # all up to there was seen, also if nothing happens from here on
            self._group.advance(member, *self._group.place(member, onlooker.cursor))
        self._awake[onlooker] = None
        self.wake()
        return onlooker

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
        """Part from those that have been paused for so long."""
        before = self._clock.seconds() - seconds
        for subscription in [subscription for subscription, since in self._paused.items() if since <= before]:
            self.close(subscription)
            subscription.reader.drop()

    def wake(self) -> None:
        """Something has happened: everybody who is awake is given it in the next turn."""
        if self._awake and not self._waking:
            self._waking = True
            self._clock.callLater(0, self._turn)

    def _give(self) -> bool:
        """Give each that is awake what comes next. Returns whether there is more for one of them."""
        rendered: Rendered = {}
        more = False
        for subscription in tuple(self._awake):
            if subscription.cursor < self._group.history.head and subscription in self._awake:
                before = subscription.cursor
                try:
                    subscription.read(self._group, rendered)
                    self.delivered += subscription.cursor - before
                except Exception:
                    self._survive("giving lines to a live reader")
                    self.close(subscription)
                    subscription.reader.drop()
                if subscription.cursor < self._group.history.head and subscription in self._awake:
                    more = True
        return more

    def are_behind(self) -> bool:
        """Whether there is something that was not given to everybody yet."""
        head = self._group.history.head
        return any(subscription.cursor < head for subscription in (*self._awake, *self._paused))

    def _turn(self) -> None:
        self._waking = False
        if self._give():
            self.wake()
