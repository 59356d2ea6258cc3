"""Upkeep: what nobody asks for. Every second: who was silent, or held, for too long leaves, and where all are is noted.

It asks as members do, with chores: they wait behind what was asked before, and are judged when it is their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

from groupchat.core.events import Event, Seen
from groupchat.core.group import Group, Member
from groupchat.core.limits import Settings
from groupchat.core.rules import Rules
from groupchat.service.seats import Chore, Expire, Record, Seat, Seats, Vacate

CLOCK_SECONDS = 60.0
"""Whatever is done every second was done late by more than this: then the clock was set, or the machine asleep."""

AT_ONCE = 100
"""How many members are asked to leave in one second, for either reason: an entry is some hundreds of events."""


class Upkeep:
    """The upkeep of one group. `do` is given each chore, with the seat that it is for."""

    def __init__(
        self, group: Group, seats: Seats, rules: Rules, settings: Settings, do: Callable[[Seat, Chore], None]
    ) -> None:
        self.records = 0
        """How often it was noted where members are."""
        self._group = group
        self._seats = seats
        self._rules = rules
        self._hold = settings.hold
        self._do = do
        self._recorder = Seat("")
        self._recording: set[Member] = set()  # whose cursors are in the record that is under way
        self._silent: list[Member] = []
        self._ticked = 0.0
        self._minute = 0
        self._minute_began = False

    def start(self, now: float) -> None:
        """Members can be heard of from now on."""
        self._ticked = self._rules.listening = now
        self._minute = int(now // 60)

    def tick(self, now: float) -> None:
        if not 0 <= now - self._ticked <= CLOCK_SECONDS:
            self._rules.listening = now
            self._seats.held = {seat: now if isfinite(since) else since for seat, since in self._seats.held.items()}
        self._ticked = now
        minute = int(now // 60)
        if minute != self._minute:
            self._minute = minute
            self._minute_began = True
            self._silent = [member for member in self._group.members.values() if self._is_silent(member, now)]
            self._group.history.forget(self._rules.oldest(now))
            self._rules.pace.forget(now)
        self._expire_some()
        self._vacate_some(now)
        self._do(self._recorder, Record())

    def finish(self) -> None:
        """Note where members are, and when each was last heard of, for the last time."""
        self._minute_began = True
        self._do(self._recorder, Record())

    def event(self, seat: Seat, chore: Chore, now: float) -> Event | None:
        """What a chore asks to append, if it still has to be done."""
        member = seat.member
        if isinstance(chore, Record):
            return self._record(now)
        if member is None:
            return None
        over = seat.client is None if isinstance(chore, Vacate) else self._is_silent(member, now)
        return self._rules.leave(member, now) if over else None

    def not_stored(self, chore: Chore) -> None:
        """What a chore asked to append was given up."""
        if isinstance(chore, Record):
            self._group.moved |= self._recording

    def _is_silent(self, member: Member, now: float) -> bool:
        return self._rules.is_silent(member, now) and not self._seats.is_connected(member)

    def _expire_some(self) -> None:
        some, self._silent = self._silent[:AT_ONCE], self._silent[AT_ONCE:]
        for member in some:
            if member.id in self._group.members:
                self._do(self._seats.of(member), Expire())

    def _vacate_some(self, now: float) -> None:
        over = [seat for seat, since in self._seats.held.items() if now - since >= self._hold and not seat.busy]
        for seat in over[:AT_ONCE]:
            if seat.member is None:
                self._seats.clear(seat)
            else:
                self._do(seat, Vacate())

    def _record(self, now: float) -> Seen | None:
        """Where members are: those that were given lines, and, once a minute, all that were heard of in it."""
        members: Iterable[Member] = self._group.moved
        if self._minute_began:
            self._minute_began = False
            heard_of = [m for m in self._group.members.values() if m.contact // 60 > m.logged // 60]
            members = self._group.moved.union(heard_of)
        places = tuple([(m.id, m.cursor, m.skipped, int(m.contact // 60)) for m in members])
        if not places:
            return None
        self._recording, self._group.moved = self._group.moved, set()
        self.records += 1
        return Seen(now, places)
