"""Snapshots: the state of a group at a position of its log, so that a start need not fold the whole log.

A snapshot holds the members and not the lines, which are in the log anyway. A start from a snapshot reads the entries
from the oldest kept line on. From the entries that the snapshot covers it takes only the lines; it folds the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Sequence
from functools import reduce
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from groupchat.core.errors import CannotOpen, LogError
from groupchat.core.events import Erased, Event, Joined, Line, Record, Seen, Whispered
from groupchat.core.group import MANY, Group, Member
from groupchat.core.ids import MAX_ID, WINDOW, Ids
from groupchat.core.numbers import LATEST
from groupchat.log import Entry, ILog, Snapshot

VERSION = 5

SLICE = 500
"""The number of members that are written in one turn of the reactor."""

_DAMAGED = "The snapshot cannot be applied: the file is damaged. Restore a backup."


class Snapshots:
    """The place of a group in its log. Dumps the state of the group, and loads it."""

    def __init__(self, group: Group) -> None:
        self.position = 0
        """The position of the last entry that was folded."""
        self._group = group
        self._covered = 0  # the last position that the loaded snapshot covers; 0 once that entry was passed
        self._head = 0  # the number of the last line that the loaded snapshot covers
        self._erased: list[Erased] = []  # in the covered entries, whose lines have other numbers until all were passed
        self._refused: set[tuple[int, int]] = set()  # refused events: position of the entry, index in `_lines`
        self._dump: Dump | None = None  # the last one

    def load(self, snapshot: Snapshot) -> int:
        """Load a snapshot into a new group. Return the position after which entries are needed. Raise CannotOpen."""
        if snapshot.version > VERSION:
            raise CannotOpen("The snapshot in the log was saved by a newer groupchat.")
        try:
            state = json.loads(snapshot.state)
            self._covered = snapshot.position
            self._head = _whole(state["head"])
            self._refused = {(_whole(position), _whole(index)) for position, index in state["refused"]}
            self._group.whispered = _whole(state.get("whispered", 0))
            for line, to in state.get("raised", ()):
                self._group.numbering.raise_to(_whole(line, most=self._head), _whole(to))
            self._group.moderation.load(state.get("moderation", {}))
            self._group.reservations.load(state.get("reservations", ()))
            upgrades = _UPGRADES[snapshot.version - 1 :]
            for fields in state["members"]:
                self._add(_member(reduce(lambda older, upgrade: upgrade(older), upgrades, fields)))
            return _whole(state["first"], least=1, most=snapshot.position + 1) - 1
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CannotOpen(_DAMAGED) from error

    def _add(self, m: Member) -> None:
        """Add a member to the group. Raise ValueError or TypeError if there cannot be such a member."""
        "".join([m.name, m.key, m.host, m.secret or ""]).encode()  # fails for what is no text, or half a character
        for number in (m.id, m.joined, m.returned, m.cursor, m.skipped, m.own):
            _whole(number, least=-MAX_ID)
        for number in (m.minute, m.minutes, m.address[1] if m.address else 0):
            _whole(number, most=2**31 - 1)
        if not (0 <= m.since <= LATEST and 0 <= m.logged <= LATEST):
            raise ValueError("not a time")
        if type(m.operator) is not bool:
            raise ValueError("neither an operator nor none")
        if m.id in self._group.members or m.key in self._group.by_key:
            raise ValueError("two members with one id or name")
        self._group.add(m)

    def first_number(self, lines: int) -> int:
        """Return the number of the first line that is needed, given how many lines the covered entries have.

        Refused ones are among those `lines`.
        """
        return self._head + 1 - (lines - len(self._refused))

    def begin(self, entry: Entry) -> Sequence[Event]:
        """Return the events of an entry that are to be applied: none if the snapshot covers it."""
        if self._dump is not None:
            self._dump.copy(entry.events)
        self.position = self._group.history.entry = entry.position
        if entry.position > self._covered:
            self.caught_up()
            return entry.events
        for line in self.taken(entry):
            self.keep(line)
        self._erased += [event for event in entry.events if type(event) is Erased]
        return ()

    def keep(self, line: Line) -> None:
        """Add a line to the history without applying it."""
        if isinstance(line, Whispered):
            self._group.history.whisper(line.member, line.reader, line.line(), line.at)
        else:
            self._group.history.append(line.member, line.line(), line.at)

    def lose(self, position: int, lines: int) -> None:
        """Pass an entry that is lost, with so many lines. The lines after it keep their numbers."""
        self.begin(Entry(position, "", ()))
        self._refused = {refused for refused in self._refused if refused[0] != position}
        if not self._covered:
            self._group.skip(lines)

    def refused(self, entry: Entry, event: Event) -> None:
        """Note that this very event of the current entry changed nothing."""
        index = next(index for index, other in enumerate(_lines(entry)) if other is event)
        self._refused.add((entry.position, index))

    def fold(self, entry: Entry) -> list[Line]:
        """Apply an entry, and return its lines without the refused ones."""
        for event in self.begin(entry):
            if self._group.apply(event) is None and isinstance(event, Line):
                self.refused(entry, event)
        return self.taken(entry)

    def caught_up(self) -> None:
        """Note that the entries which the snapshot covers have all been passed. Raise CannotOpen."""
        if self._covered:
            if self._head < self._group.history.head:
                raise CannotOpen(_DAMAGED)  # they have more lines than there were
            self._group.history.renumber(self._head)
            self.position = self._group.history.entry = max(self.position, self._covered)
            self._covered = 0
            for erased in self._erased:
                self._group.erase(erased)

    def dump(self) -> Dump:
        """Begin to dump the state as it is now."""
        first = self._group.history.first_entry()
        self._refused = {(position, index) for position, index in self._refused if position >= first}
        self._dump = Dump(self._group, self.position, first, self._refused)
        return self._dump

    def taken(self, entry: Entry) -> list[Line]:
        """Return the lines of an entry without the refused ones."""
        return [line for index, line in enumerate(_lines(entry)) if (entry.position, index) not in self._refused]


def _whole(number: object, least: int = 0, most: int = MAX_ID) -> int:
    """Return a number from the file. Raise ValueError if it is not whole, or out of its range."""
    if type(number) is not int or not least <= number <= most:
        raise ValueError(f"not a number from {least} to {most}: {number!r}")
    return number


def _lines(entry: Entry) -> list[Line]:
    """Return all events but the records. The log may forget those, which must not change the index of the others."""
    return [event for event in entry.events if not isinstance(event, Record)]


def _fields(m: Member, cursor: int, skipped: int) -> list[object]:
    ids = m.ids or Ids()
    identity = [m.id, m.name, m.key, m.host, m.address and m.address[1], m.secret]
    places = [m.joined, m.since, cursor, skipped, m.own, m.logged]
    return [*identity, *places, ids.last, ids.mask, m.minute, m.minutes, m.operator, m.returned]


def _member(fields: list[Any]) -> Member:
    member_id, name, key, host, port, secret, number, since, cursor, skipped, *others = fields
    member = Member(Joined(member_id, name, key, since, host, port, secret), number, skipped)
    member.cursor = cursor
    member.own, member.logged, last, mask, member.minute, member.minutes, member.operator, member.returned = others
    member.ids = Ids(_whole(last), _whole(mask, most=2**WINDOW - 1)) if last else None
    return member


def _from_version_1(fields: list[Any]) -> list[Any]:
    """Return the fields as version 2 has them: before, all members had an address and no number of their join."""
    member_id, name, key, address, cursor, own, said, logged = fields
    return [member_id, name, key, *(address or ("", None)), None, 0, 0.0, cursor, said - own, said, logged, 0, 0]


def _from_version_2(fields: list[Any]) -> list[Any]:
    """Return the fields as version 3 has them: before, it was not counted in how many minutes a member was heard."""
    logged = fields[11]
    return [*fields, int(logged // 60), MANY]


def _from_version_3(fields: list[Any]) -> list[Any]:
    """Return the fields as version 4 has them: before, there were no operators."""
    return [*fields, False]


def _from_version_4(fields: list[Any]) -> list[Any]:
    """Return the fields as version 5 has them: before, nobody came back to its place."""
    return [*fields, 0]


_UPGRADES = (_from_version_1, _from_version_2, _from_version_3, _from_version_4)


class Dump:
    """The state of a group at one position, which is written in slices while the group goes on.

    A member is copied before it changes, so the state is of that position. `first` is the position of the oldest entry
    that is needed beside it.
    """

    def __init__(self, group: Group, position: int, first: int, refused: Collection[tuple[int, int]]) -> None:
        self.position = position
        self.first = first
        decided = {"moderation": group.moderation.dump(), "reservations": group.reservations.dump()}
        self._head = {"first": first, "head": group.history.head, **decided}
        self._tail = {"raised": group.numbering.raises(), "refused": sorted(refused), "whispered": group.whispered}
        # A cursor moves at any time, and not only when an entry is applied.
        self._unwritten = {m.id: (m, m.cursor, m.skipped) for m in group.members.values()}
        self._copies: dict[int, list[object]] = {}
        self._written: list[bytes] = []

    def copy(self, events: Sequence[Event]) -> None:
        """Copy the members that these events may change, which are not applied yet."""
        if self._unwritten:
            for event in events:
                places = event.places if isinstance(event, Seen) else ()
                for member in (*_concerned(event), *[place[0] for place in places]):
                    if member in self._unwritten and member not in self._copies:
                        self._copies[member] = _fields(*self._unwritten[member])

    def write(self, most: int) -> bool:
        """Write at most `most` members. Return True if there are more."""
        fields = []
        for member in tuple(islice(self._unwritten, most)):
            place = self._unwritten.pop(member)
            fields.append(self._copies.pop(member) if member in self._copies else _fields(*place))
        if fields:
            self._written.append(_json(fields)[1:-1])
        return bool(self._unwritten)

    def state(self) -> bytes:
        """Write what is left, and return all of it, once."""
        self.write(len(self._unwritten))
        members = b",".join(self._written)
        self._written.clear()
        return b'%b,"members":[%b],%b' % (_json(self._head)[:-1], members, _json(self._tail)[1:])


def _concerned(event: Event) -> tuple[int, int]:
    return getattr(event, "member", 0), getattr(event, "reader", 0)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class SnapshotSaver:
    """Saves snapshots into a log, one at a time. `survive` is called while handling an unexpected exception."""

    _logger = Logger()

    def __init__(self, snapshots: Snapshots, log: ILog, clock: IReactorTime, survive: Callable[[str], None]) -> None:
        self.unsaved = 0
        """The number of events since the last snapshot."""
        self._snapshots = snapshots
        self._log = log
        self._clock = clock
        self._survive = survive
        self._lock = DeferredLock()

    def save(self) -> None:
        """Save a snapshot. Do nothing while one is being saved."""
        if not self._lock.locked:
            self.save_last()

    def save_last(self) -> Deferred[None]:
        """Save a snapshot after the one that is being saved. Fire when that is done."""
        return self._lock.run(self._save)

    @inlineCallbacks
    def _save(self) -> Generator[Deferred[Any], Any, None]:
        """Save a snapshot, and let the log forget what is no longer needed."""
        self.unsaved = 0
        try:
            dump = self._snapshots.dump()
            while dump.write(SLICE):
                yield deferLater(self._clock, 0)
            yield self._log.save_snapshot(dump.position, VERSION, dump.state())
            yield self._log.trim(dump.first, dump.position + 1)
        except LogError as error:
            self._logger.error("A snapshot could not be saved; the next attempt comes later: {error}", error=str(error))
        except Exception:
            self._survive("saving a snapshot")
