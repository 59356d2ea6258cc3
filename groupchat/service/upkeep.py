"""Upkeep: what the service does by itself every second.

Members that were silent, or held, for too long leave, and the members' cursors are recorded. That is done by internal
commands, which wait behind what was asked before and are judged when it is their turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from math import isfinite

from groupchat.core.events import Event, Removed, Seen
from groupchat.core.group import Member
from groupchat.core.rules import Rules
from groupchat.service.seats import Expel, Expire, InternalCommand, RecordCursors, Seat, Seats, Vacate

CLOCK_SECONDS = 60.0
"""If a tick is later than this, the clock was set or the machine was asleep."""

AT_ONCE = 100
"""The most members that are made to leave in one second, for any one reason: an entry is some hundreds of events."""

SEARCHED_AT_ONCE = 1_000
"""The members that are compared with the bans in one second."""

CHECKED = 1_000
"""The most members that are looked at in one second, to see who was heard and who is silent."""

RECORDED = 1_000
"""The most members in one record."""


class Upkeep:
    """The upkeep of one group."""

    def __init__(self, seats: Seats, rules: Rules) -> None:
        self.records = 0
        """The number of times that cursors were recorded."""
        self._group = seats.group
        self._seats = seats
        self._rules = rules
        self._recorder = Seat("")
        self._most_recorded = RECORDED
        self._recording: set[Member] = set()  # whose cursors are in the record that is under way
        self._unchecked: deque[Member] = deque()  # those who are looked at in the next seconds
        self._suspects: list[Member] = []  # of whom it is not known yet if a ban concerns them
        self._ticked = 0.0
        self._minute = 0

    def start(self, now: float) -> None:
        """Note that members can be heard from now on."""
        self._ticked = self._rules.listening = now
        self._minute = int(now // 60)
        self.search_for_banned()

    def search_for_banned(self) -> None:
        """Look at all members, within the next seconds, for those that are banned: there is a new ban."""
        self._suspects = list(self._group.members.values())

    def tick(self, now: float) -> Iterator[tuple[Seat, InternalCommand]]:
        """Yield the internal commands that are due, each with its seat."""
        if not 0 <= now - self._ticked <= CLOCK_SECONDS:
            self._rules.listening = now
            self._seats.held = {seat: now if isfinite(since) else since for seat, since in self._seats.held.items()}
        self._ticked = now
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._unchecked = self._unchecked or deque(self._group.members.values())
            self._group.history.forget(self._rules.oldest(now))
            self._rules.pace.forget(now)
            self._group.moderation.forget(now)
        yield from self._expel_some(now)
        yield from self._check_some(now)
        yield from self._vacate_some(now)
        for _ in range(0, len(self._group.moved), RECORDED):
            yield self._recorder, RecordCursors()

    def last_record(self) -> tuple[Seat, InternalCommand]:
        """Return the command that records all cursors and last contacts before a stop."""
        self._most_recorded = len(self._group.members)
        self._group.moved.update(filter(_is_unrecorded, self._group.members.values()))
        return self._recorder, RecordCursors()

    def event(self, seat: Seat, command: InternalCommand, now: float) -> Event | None:
        """Return the event that an internal command asks to append; None if it is no longer needed."""
        member = seat.member
        if isinstance(command, RecordCursors):
            return self._record(now)
        if member is None:
            return None
        if isinstance(command, Expel):
            ban = self._rules.ban(member, now)
            return ban and Removed(member.id, member.name, ban.by, ban.why, now)
        over = seat.client is None if isinstance(command, Vacate) else self._is_silent(member, now)
        return self._rules.vacate(member, now) if over else None

    def not_recorded(self) -> None:
        """Note that the record under way was not stored: its members belong in the next one."""
        self._group.moved |= self._recording

    def _is_silent(self, member: Member, now: float) -> bool:
        return self._rules.is_silent(member, now) and not self._seats.is_connected(member)

    def _expel_some(self, now: float) -> Iterator[tuple[Seat, InternalCommand]]:
        some, self._suspects = self._suspects[:SEARCHED_AT_ONCE], self._suspects[SEARCHED_AT_ONCE:]
        banned = [member for member in some if member.id in self._group.members and self._rules.ban(member, now)]
        self._suspects += banned[AT_ONCE:]
        for member in banned[:AT_ONCE]:
            yield self._seats.of(member), Expel()

    def _check_some(self, now: float) -> Iterator[tuple[Seat, InternalCommand]]:
        """Look at some members, once a minute: record those who were heard, and let those leave who are silent."""
        room = AT_ONCE
        for _ in range(min(CHECKED, len(self._unchecked))):
            member = self._unchecked.popleft()
            if member.id not in self._group.members:
                continue
            if _is_unrecorded(member):
                self._group.moved.add(member)
            if self._is_silent(member, now):
                yield self._seats.of(member), Expire()
                room -= 1
                if not room:
                    break

    def _vacate_some(self, now: float) -> Iterator[tuple[Seat, InternalCommand]]:
        hold = self._rules.settings.hold
        over = [seat for seat, since in self._seats.held.items() if now - since >= hold and not seat.busy]
        for seat in over[:AT_ONCE]:
            if seat.member is None:
                self._seats.clear(seat)
            else:
                yield seat, Vacate()

    def _record(self, now: float) -> Seen | None:
        """Record the cursors that moved, and the contacts of members who were heard, of some members."""
        some = set(islice(self._group.moved, self._most_recorded))
        if not some:
            return None
        self._group.moved -= some
        self._recording = some
        self.records += 1
        return Seen(now, tuple([(m.id, m.cursor, m.skipped, int(m.contact // 60), m.heard()) for m in some]))


def _is_unrecorded(member: Member) -> bool:
    """Return True if a member was heard in another minute than those that are recorded."""
    return member.contact // 60 > member.minute
