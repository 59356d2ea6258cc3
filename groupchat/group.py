"""The group: a pure fold of its events. Who is a member, how far each has read, and what waits for it.

Two rules. Nothing here reads a clock, opens anything, or knows of Twisted: every node that applies the same events
comes to the same state. And an event that a race made invalid (two nodes accepted the same name at once) folds to a
refusal, which changes nothing: of all who could have been right, the first in the log is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from groupchat.events import Address, Event, Joined, Left, Renamed, Said, Seen
from groupchat.history import History

Outcome = int | None
"""The number of the event, or None if it was refused (or was a Seen, which has no number)."""

Waiting = tuple[bytes | bytearray, int, int]
"""Lines joined with LF; the cursor of who has been given them; and its `own` from there on."""


class Member:
    """A member, and its cursor.

    `cursor` is the number of the last event that it has been given, or needs not be. `said` is how many events are its
    own, which it is never given, and `own` how many of these come after its cursor. `logged` is its last contact that
    the log knows of, on whatever node; a `Seen` tells it to the minute. `contact`, which is no part of the fold, is
    when it was last heard of here; negative if never.
    """

    __slots__ = ("address", "contact", "cursor", "id", "key", "logged", "name", "own", "said")

    def __init__(self, joined: Joined, number: int) -> None:
        self.id = joined.member
        self.name = joined.name
        self.key = joined.key
        self.address = joined.address
        self.cursor = number
        self.own = 0
        self.said = 0
        self.logged = joined.at
        self.contact = -1.0


class Group:
    """The state of one group, of which the last `keep` lines are kept."""

    def __init__(self, keep: int) -> None:
        self.history = History(keep)
        self.members: dict[int, Member] = {}  # by id, in the order in which they joined
        self.by_key: dict[str, Member] = {}
        self.by_address: dict[Address, Member] = {}
        self.per_host: Counter[str] = Counter()  # how many members have an address on each host
        self.moved: set[Member] = set()  # who has passed lines that it was given; for whoever records that to empty
        self._fold: dict[type[Event], Callable[[Any], Outcome]] = {
            Said: self._said,
            Joined: self._joined,
            Renamed: self._renamed,
            Left: self._left,
            Seen: self._seen,
        }

    def apply(self, event: Event) -> Outcome:
        """Fold one event into the state."""
        return self._fold[type(event)](event)

    def names(self, but: Member) -> Iterator[str]:
        """The names of the others, newest first."""
        return (member.name for member in reversed(self.members.values()) if member is not but)

    def _said(self, event: Said) -> Outcome:
        member = self.members.get(event.member)
        if member is None or member.name != event.name:
            return None
        member.own += 1
        member.said += 1
        member.logged = event.at
        return self.history.append(member.id, event.line(), event.at)

    def _joined(self, event: Joined) -> Outcome:
        address = event.address
        if event.member in self.members or event.key in self.by_key or address in self.by_address:
            return None
        number = self.history.append(event.member, event.line(), event.at)
        self.restore(Member(event, number))
        return number

    def restore(self, member: Member) -> None:
        """Somebody is a member from here on."""
        self.members[member.id] = self.by_key[member.key] = member
        if member.address is not None:
            self.by_address[member.address] = member
            self.per_host[member.address[0]] += 1

    def _renamed(self, event: Renamed) -> Outcome:
        member = self._author(event)
        if member is None or self.by_key.get(event.key, member) is not member or event.new == member.name:
            return None
        del self.by_key[member.key]
        member.name, member.key = event.new, event.key
        self.by_key[member.key] = member
        member.own += 1
        member.said += 1
        member.logged = event.at
        return self.history.append(member.id, event.line(), event.at)

    def _left(self, event: Left) -> Outcome:
        member = self._author(event)
        if member is None:
            return None
        del self.members[member.id], self.by_key[member.key]
        self.moved.discard(member)
        if member.address is not None:
            del self.by_address[member.address]
            self._count_out(member.address[0])
        return self.history.append(member.id, event.line(), event.at)

    def _count_out(self, host: str) -> None:
        self.per_host[host] -= 1
        if not self.per_host[host]:
            del self.per_host[host]

    def _seen(self, event: Seen) -> Outcome:
        for member_id, cursor, passed, minute in event.places:
            member = self.members.get(member_id)
            if member is None:
                continue
            if cursor > member.cursor:
                member.cursor = cursor
                member.own = member.said - passed
            member.logged = max(member.logged, minute * 60.0)
        return None

    def _author(self, event: Renamed | Left) -> Member | None:
        """Who the event is by, if it is still a member, and still of the name that the event says."""
        member = self.members.get(event.member)
        return member if member is not None and member.name == event.name else None

    def waiting(self, member: Member, limit: int) -> Waiting:
        """What waits for a member, in at most `limit` bytes (but a longer line goes alone). See `advance`."""
        history, cursor, own = self.history, member.cursor, member.own
        last = history.head
        if own:
            # Whoever has just said something has that one line, the last, of its own: all before it is one slice.
            if own > 1 or cursor + 1 < history.first or not history.is_by(member.id, last):
                return self._waiting_between(member, limit)
            last -= 1
        elif cursor + 1 < history.first:
            return self._waiting_between(member, limit)
        lines, upto = history.read(cursor, last, limit)
        return (lines, history.head, 0) if upto == last else (lines, upto, own)

    def _waiting_between(self, member: Member, limit: int) -> Waiting:
        """What waits, where lines of its own stand between the others', or a part is no longer kept."""
        history, cursor, own = self.history, member.cursor, member.own
        parts: list[bytes | bytearray] = []
        if cursor + 1 < history.first:
            kept = history.count_by(member.id, history.first - 1)
            lost = history.first - 1 - cursor - (own - kept)
            cursor, own = history.first - 1, kept
            if lost:
                parts.append(_gap(lost))
        room = limit - sum(len(part) + 1 for part in parts)
        while cursor < history.head:
            if history.is_by(member.id, cursor + 1):
                cursor, own = cursor + 1, own - 1
                continue
            fitting = history.fit(cursor, history.head, room)
            if fitting == cursor and parts:
                break
            upto = history.next_by(member.id, cursor + 1, max(fitting, cursor + 1)) - 1
            lines, cursor = history.read(cursor, upto, room)
            parts.append(lines)
            room -= len(lines) + 1
        return b"\n".join(parts), cursor, own

    def advance(self, member: Member, cursor: int, own: int) -> None:
        """Move a member's cursor to where `waiting` said, once what it returned was given."""
        if cursor - member.cursor > member.own - own:
            self.moved.add(member)
        member.cursor, member.own = cursor, own


def _gap(lines: int) -> bytes:
    return b"* 1 line is no longer kept" if lines == 1 else b"* %d lines are no longer kept" % lines
