"""Where a group is in its log, and what has to be saved to begin there again.

A snapshot holds the members, and not the lines, which are in the log anyway: what begins from one reads the entries
from the oldest line that is kept, takes only the lines from those that the snapshot knows, and folds the rest.
"""

from __future__ import annotations

import json
from typing import Any

from groupchat.core.errors import CannotOpen
from groupchat.core.events import Event, Joined, Line, Seen, Whispered
from groupchat.core.group import Group, Member
from groupchat.core.ids import Ids
from groupchat.log import Entry, Snapshot

VERSION = 2


class Snapshots:
    """Folds entries into a group, and dumps and loads its state."""

    def __init__(self, group: Group) -> None:
        self.position = 0
        """Of the last entry that was folded."""
        self._group = group
        self._known = 0  # the entries up to this position are in the snapshot that was loaded
        self._head = 0  # the number of its last line
        self._refused: set[tuple[int, int]] = set()  # the events that were refused: position of the entry, see `_lines`

    def load(self, snapshot: Snapshot) -> int:
        """Take over the state of a snapshot into a new group. Returns the position after which entries are needed."""
        if snapshot.version > VERSION:
            raise CannotOpen("The snapshot in the log was saved by a newer groupchat.")
        state = json.loads(snapshot.state)
        self._known = snapshot.position
        self._head = state["head"]
        self._refused = {(position, index) for position, index in state["refused"]}
        self._group.whispered = state.get("whispered", 0)
        for fields in state["members"]:
            self._group.add(_member(fields if snapshot.version > 1 else _upgraded(fields)))
        return int(state["first"]) - 1

    def begin(self, entry: Entry) -> bool:
        """Whether the events of an entry are to be folded. If not, what is to be known of it is known now."""
        self.position = self._group.history.entry = entry.position
        if entry.position <= self._known:
            self._remember(entry)
            return False
        self.caught_up()
        return True

    def refused(self, entry: Entry, event: Event) -> None:
        """This very event, of the entry that is being folded, changed nothing."""
        index = next(index for index, other in enumerate(_lines(entry)) if other is event)
        self._refused.add((entry.position, index))

    def lines_of(self, entry: Entry) -> list[Line]:
        """The lines of an entry that the snapshot knows."""
        return [line for index, line in enumerate(_lines(entry)) if (entry.position, index) not in self._refused]

    def caught_up(self) -> None:
        """There are no more entries that the snapshot knows."""
        if self._known:
            self._group.history.renumber(self._head)
            self.position = max(self.position, self._known)
            self._known = 0

    def dump(self) -> tuple[int, bytes]:
        """The position of the oldest entry that is needed beside the state, and the state."""
        first = self._group.history.first_entry()
        self._refused = {(position, index) for position, index in self._refused if position >= first}
        state = {
            "first": first,
            "head": self._group.history.head,
            "members": [_fields(member) for member in self._group.members.values()],
            "refused": sorted(self._refused),
            "whispered": self._group.whispered,
        }
        return first, json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode()

    def _remember(self, entry: Entry) -> None:
        for line in self.lines_of(entry):
            if isinstance(line, Whispered):
                self._group.history.whisper(line.member, line.reader, line.line(), line.at)
            else:
                self._group.history.append(line.member, line.line(), line.at)


def _lines(entry: Entry) -> list[Line]:
    """All but the Seens, which the log may forget: what is counted among them would get another index."""
    return [event for event in entry.events if not isinstance(event, Seen)]


def _fields(m: Member) -> list[object]:
    ids = m.ids or Ids()
    identity = [m.id, m.name, m.key, m.host, m.address and m.address[1], m.secret]
    return [*identity, m.joined, m.since, m.cursor, m.skipped, m.own, m.logged, ids.last, ids.mask]


def _member(fields: list[Any]) -> Member:
    member_id, name, key, host, port, secret, number, since, cursor, skipped, own, logged, last, mask = fields
    member = Member(Joined(member_id, name, key, since, host, port, secret), number, skipped)
    member.cursor, member.own, member.logged = cursor, own, logged
    member.ids = Ids(last, mask) if last else None
    return member


def _upgraded(fields: list[Any]) -> list[Any]:
    """A member as version 1 saved it, when all had an address, and its joining was not known."""
    member_id, name, key, address, cursor, own, said, logged = fields
    return [member_id, name, key, *(address or ("", None)), None, 0, 0.0, cursor, said - own, said, logged, 0, 0]
