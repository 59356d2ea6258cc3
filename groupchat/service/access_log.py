"""What an operator reads in the log of members: who came and went, by which way, from which address, and why.

A line begins with an address and a way, or with words of ours, never with what somebody outside chose. So whoever looks
for the first words of a line, as fail2ban does, is not misled by a name. Lines of each kind are limited: a flood of one
kind costs a bounded number of them, hides no other kind, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf, isfinite
from typing import Any

from twisted.logger import Logger

from groupchat.core.commands import Leave
from groupchat.core.events import FOREVER, Banned, Event, Joined, Left, Muted, Promoted, Removed, Renamed
from groupchat.core.group import Member
from groupchat.core.limits import Settings
from groupchat.core.pace import Bucket
from groupchat.service.seats import Expire, Seat, Seats, Waiter

AT_ONCE, RATE = 50, 5
"""The lines of one kind that are logged at once, and each second after that."""

PASSWORDS_AT_ONCE, PASSWORD_RATE = 200, 20
"""The same for wrong passwords: one address has 40 at once, and then one a second."""

SUMMARY_SECONDS = 10.0
"""The shortest time between two lines about what was left out."""

AWAY_SECONDS = 5.0
"""The shortest break between two connections of a member that is logged: scripts use one for each request."""

LOGGED = {Joined, Left, Removed, Renamed, Banned, Muted, Promoted}
"""The events that are logged, each as it takes effect."""

_BANNED = {"net": "", "udp": "", "name": "the name ", "key": "the key of "}


class AccessLog:
    """The lines about the members of one group. `settings` returns those in force."""

    _logger = Logger()

    def __init__(self, seats: Seats, settings: Callable[[], Settings], seconds: Callable[[], float]) -> None:
        self._seats = seats
        self._settings = settings
        self._seconds = seconds
        self._buckets: dict[str, Bucket] = {"password": Bucket(PASSWORDS_AT_ONCE, PASSWORD_RATE)}
        self._left_out: Counter[str] = Counter()  # by kind
        self._summed_up = float("-inf")  # when that was last logged
        self._away: set[int] = set()  # the members of whom a break was logged

    def event(self, event: Event, leaver: Member | None, waiter: Waiter | None) -> None:
        """Log an event that took effect. `leaver` is who left, and still has its seat; `waiter` is who asked for it."""
        members = self._seats.group.members
        match event:
            case Joined():
                seat = waiter[0] if waiter else None
                _note_way(seat)
                self._about(members[event.member], seat, "joined", "joined")
            case Left() if leaver is not None:
                self._gone(leaver, "left", "left{because}", self._why_left(waiter))
            case Removed() if leaver is not None:
                self._gone(leaver, "removed", "was removed by {by}{because}", event.why, by=event.by)
            case Renamed():
                member = members[event.member]
                seat = self._seats.known(member)
                self._about(member, seat, "renamed", "is called {new} now", name=event.name, new=event.new)
            case Promoted():
                member = members[event.member]
                self._about(member, self._seats.known(member), "operator", "became an operator")
            case Banned(subject, shown, until, by, why):
                kind, _, of = subject.partition(" ")
                moment = "" if until == FOREVER else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
                self._decided("Banned", by, why, _BANNED[kind] + (shown or of) + moment)
            case Muted(_, shown, host, by, why):
                self._decided("Muted", by, why, f"{shown} of {host}")

    def _why_left(self, waiter: Waiter | None) -> str:
        """Return why a member left; nothing if it asked to."""
        match waiter:
            case None:
                return "its seat, or its name, went to the next who joined"
            case _, Leave():
                return ""
            case _, Expire():
                return f"silent for {self._settings().idle} days"
            case seat, _:
                was_held = isfinite(self._seats.held.get(seat, -inf))
                return f"did not come back within {self._settings().hold} s" if was_held else "its connection ended"

    def resumed(self, seat: Seat, member: Member, host: str, *, displaced: bool) -> None:
        """Log that a member has another connection, if its break was logged, or if it had one still."""
        _note_way(seat)
        if member.id in self._away or displaced:
            self._away.discard(member.id)
            words = "goes on on another connection" if displaced else "came back"
            self._about(member, seat, "back", words, host=host)

    def wrong_password(self, host: str, way: str, whose: str) -> None:
        """Log a password that was wrong. Programs such as fail2ban read this line: see contrib/fail2ban/."""
        self._line("password", "{host} ({way}): wrong password{whose}", host=host, way=way, whose=whose)

    def tick(self, now: float) -> None:
        """Log, every second, the breaks that are long enough, and what was left out."""
        hold = self._settings().hold
        for seat, since in self._seats.held.items():
            member = seat.member
            if member is not None and AWAY_SECONDS <= now - since < hold and member.id not in self._away:
                self._away.add(member.id)
                self._about(member, seat, "away", "has no connection, and its seat is held for {hold} s", hold=hold)
        if self._left_out and not 0 <= now - self._summed_up < SUMMARY_SECONDS:
            self._summed_up = now
            self.sum_up()

    def sum_up(self) -> None:
        """Log what was left out."""
        if self._left_out:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self._left_out.items()))
            count = self._left_out.total()
            words = "{count} lines about members were left out here, as there were too many: {kinds}"
            self._logger.info(words, count=count, kinds=kinds)
            self._left_out.clear()

    def _about(self, member: Member, seat: Seat | None, kind: str, words: str, **fields: Any) -> None:
        way = seat.way if seat is not None else "away" if member.address is None else "udp"
        port = None if member.address is None else member.address[1]
        facts = {"host": member.host, "port": port, "way": way, "name": member.name, **fields}
        self._line(kind, "{host} ({way}): {name} " + words, **facts)

    def _gone(self, member: Member, kind: str, words: str, why: str, **fields: Any) -> None:
        self._away.discard(member.id)
        self._about(member, self._seats.known(member), kind, words, **_because(why), **fields)

    def _decided(self, did: str, by: str, why: str, whom: str) -> None:
        self._line("operator", did + " by {by}: {whom}{because}", by=by, whom=whom, **_because(why))

    def _line(self, kind: str, words: str, **fields: Any) -> None:
        bucket = self._buckets.get(kind)
        if bucket is None:
            bucket = self._buckets[kind] = Bucket(AT_ONCE, RATE)
        if bucket.take(self._seconds()):
            self._logger.info(words, kind=kind, **fields)
        else:
            self._left_out[kind] += 1


def _note_way(seat: Seat | None) -> None:
    if seat is not None:
        seat.way = getattr(seat.client, "way", seat.way)


def _because(why: str) -> dict[str, str]:
    return {"why": why, "because": f": {why}" if why else ""}
