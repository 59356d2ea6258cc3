"""The group: a pure fold of its events into who is a member, how far each has read, and what waits for it.

Two rules. Nothing here reads a clock, opens anything, or knows of Twisted: every node that applies the same events
comes to the same state. And an event that a race made invalid (two nodes accepted the same name at once) is refused
when it is applied, and changes nothing: the first in the log wins.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from groupchat.core.events import (
    Address,
    Banned,
    Changed,
    Demoted,
    Erased,
    Event,
    GuestSaid,
    Joined,
    Left,
    Muted,
    Noticed,
    Promoted,
    Raised,
    Released,
    Removed,
    Renamed,
    Said,
    Seen,
    Shared,
    Topic,
    Unbanned,
    Unmuted,
    Whispered,
)
from groupchat.core.history import History
from groupchat.core.ids import Ids
from groupchat.core.moderation import Decision, Moderation
from groupchat.core.networks import network_of
from groupchat.core.notices import ERASED, Kind, Line, read
from groupchat.core.numbering import Numbering
from groupchat.core.reservations import Reservation, Reservations
from groupchat.core.skeletons import Skeletons

Outcome = int | None
"""The number of an event; 0 if it took effect and has none, as a Record; None if it was refused."""

TEXTS = (Kind.SAID, Kind.PRIVATE, Kind.SHARED)
"""The kinds of lines that can be erased: what is in the others is known from the names of the members."""

MANY = 1_000_000
"""The number of minutes in which a member was heard that was there before they were counted."""

Waiting = tuple[bytes | bytearray, int, int]
"""Lines joined with LF, and what the member's `cursor` and `skipped` are once it has been given them."""

Run = tuple[int, bytes | bytearray]
"""The number of a line, and that line with those numbered next, joined with LF. A notice of a gap has the number 0."""


class Member:
    """A member, and its cursor.

    `cursor` is the number of the last line that it was given, or that was hidden to it. A member's own lines, and
    whispers among others, are hidden to it. `own` + `Group.whispered` is how many lines are hidden to it so far: `own`
    counts its own lines that are no whispers, less the whispers to it, so that a whisper changes two counters however
    many members there are. `skipped` is that sum at its cursor: the difference is hidden to it after the cursor.

    For example, Alice, Bob and Eve have read everything when Alice says a line and then whispers to Bob. That adds 1 to
    `Group.whispered`, adds 1 to Alice's `own`, and takes 1 from Bob's. So of these two lines, two are hidden to Alice,
    none to Bob, and one to Eve.

    `joined` is the number of the line with which it joined, after which it may read. If it came back to its place in
    the log (see reservations.py), `joined` is that of the first time, and `returned` is where it came back to; else 0.

    `logged` is the time of its last contact with any node, as the log has it: to the minute, from a `Seen`. `minutes`
    is in how many different minutes it was heard, and `minute` the last of them. The rest is no part of the fold:
    `contact` is when this node last heard of it, negative if never; for `spent` and `paced` see pace.py.
    """

    __slots__ = (
        "address",
        "contact",
        "cursor",
        "host",
        "id",
        "ids",
        "joined",
        "key",
        "logged",
        "minute",
        "minutes",
        "name",
        "operator",
        "own",
        "paced",
        "returned",
        "secret",
        "since",
        "skipped",
        "spent",
    )

    def __init__(self, joined: Joined, number: int, skipped: int) -> None:
        self.id = joined.member
        self.name = joined.name
        self.key = joined.key
        self.host = joined.host
        self.address: Address | None = None if joined.port is None else (joined.host, joined.port)
        self.secret = joined.secret
        self.ids: Ids | None = None  # those of its client that took effect; None before the first
        self.joined = self.cursor = number
        self.since = joined.at
        self.operator = False
        self.own = self.returned = 0
        self.skipped = skipped
        self.logged = joined.at
        self.minute, self.minutes = int(joined.at // 60), 1
        self.contact = -1.0
        self.spent = self.paced = 0.0

    def heard(self) -> int:
        """Return in how many different minutes it was heard so far."""
        return self.minutes + (self.contact // 60 > self.minute)

    @property
    def began(self) -> int:
        """The number of the line after which its seat began."""
        return self.returned or self.joined

    def restore(self, kept: Reservation) -> None:
        """Go on where the member was when it left. What happened since, its join included, is counted already."""
        self.joined, self.skipped, self.own = kept.joined, kept.skipped, kept.own + 1
        self.cursor = self.returned = kept.cursor

    def use(self, client_id: int) -> bool:
        """Record that this id of its client takes effect. Return False if it may not: it did before."""
        if self.ids is None:
            self.ids = Ids()
        return self.ids.use(client_id)


class Group:
    """The state of one group, of which the last `keep` lines are kept."""

    def __init__(self, keep: int) -> None:
        self.history = History(keep)
        self.numbering = Numbering()
        self.members: dict[int, Member] = {}  # by id, in the order in which they joined
        self.by_key: dict[str, Member] = {}
        self.skeletons = Skeletons()  # for the rules: the fold does not ask them
        self.by_address: dict[Address, Member] = {}
        self.by_secret: dict[str, Member] = {}
        self.per_host: Counter[str] = Counter()  # how many members each network has
        self.whispered = 0  # how many lines were whispers so far
        self.moderation = Moderation()
        self.reservations = Reservations()
        self.erased: deque[int] = deque()  # the lines that were erased here, and may still have their texts in the log
        self.moved: set[Member] = set()  # members whose cursors, or contacts, are to be recorded
        # A table, because a match statement makes a Said 12 % slower.
        self._fold: dict[type[Event], Callable[[Any], Outcome]] = {
            Said: self._said,
            Whispered: self._whispered,
            Joined: self._joined,
            Renamed: self._renamed,
            Left: self._left,
            Shared: self._shared,
            GuestSaid: self._by_guest,
            Seen: self._seen,
            Removed: self._removed,
            Noticed: self._by_server,
            Topic: self._titled,
            Muted: self._decided,
            Unmuted: self._decided,
            Banned: self._banned,
            Released: self._released,
            Unbanned: self._decided,
            Promoted: self._promoted,
            Demoted: self._promoted,
            Changed: self._decided,
            Erased: self._erased,
            Raised: self._raised,
        }

    def apply(self, event: Event) -> Outcome:
        """Fold one event into the state."""
        return self._fold[type(event)](event)

    def names(self, but: Member | None = None) -> Iterator[str]:
        """Return the names of all members but one, newest first."""
        return (member.name for member in reversed(self.members.values()) if member is not but)

    def _said(self, event: Said) -> Outcome:
        member = self.members.get(event.member)
        if member is None or member.name != event.name or (event.id and not member.use(event.id)):
            return None
        member.own += 1
        member.logged = event.at
        return self.history.append(member.id, event.line(), event.at)

    def _whispered(self, event: Whispered) -> Outcome:
        member, reader = self._author(event), self.members.get(event.reader)
        if member is None or reader is None or member is reader or (event.id and not member.use(event.id)):
            return None
        self.whispered += 1
        reader.own -= 1
        member.logged = event.at
        return self.history.whisper(member.id, reader.id, event.line(), event.at)

    def _joined(self, event: Joined) -> Outcome:
        address = None if event.port is None else (event.host, event.port)
        if event.member in self.members or event.key in self.by_key:
            return None
        if address in self.by_address or event.secret in self.by_secret:
            return None
        if self.reservations.is_taken(event.key, event.secret, event.at):
            return None
        member = Member(event, self.history.append(event.member, event.line(), event.at), self.whispered)
        kept = self.reservations.of(event.secret, event.at)
        if kept is not None and kept.member == event.member:
            member.restore(kept)
        self.reservations.end(event.secret)
        self.add(member)
        return self.history.head

    def add(self, member: Member) -> None:
        """Add a member, from an event or from a snapshot."""
        self._index(member)
        self.members[member.id] = member
        self.per_host[network_of(member.host)] += 1
        if member.address is not None:
            self.by_address[member.address] = member
        if member.secret is not None:
            self.by_secret[member.secret] = member

    def _renamed(self, event: Renamed) -> Outcome:
        member = self._author(event)
        if member is None or self.by_key.get(event.key, member) is not member or event.new == member.name:
            return None
        if self.reservations.is_taken(event.key, member.secret, event.at):
            return None
        if event.id and not member.use(event.id):
            return None
        self._forget(member)
        member.name, member.key = event.new, event.key
        self._index(member)
        return self._add_own_line(member, event)

    def _left(self, event: Left) -> Outcome:
        member = self._author(event)
        if member is None:
            return None
        self._drop(member)
        self.reservations.forget(event.at)
        if event.until and member.secret is not None:
            self._reserve(member, member.secret, event.until)
        return self.history.append(member.id, event.line(), event.at)

    def _reserve(self, m: Member, secret: str, until: int) -> None:
        own = m.own + 1  # the line that says that it left
        self.reservations.add(
            Reservation(secret, m.name, m.key, m.host, m.id, m.joined, m.cursor, m.skipped, own, until)
        )

    def _removed(self, event: Removed) -> Outcome:
        member = self._author(event)
        if member is None:
            return None
        self._drop(member)
        port = None if member.address is None else member.address[1]
        self.moderation.removed(event, member.secret, member.host, port)
        return self._by_server(event)

    def _drop(self, member: Member) -> None:
        del self.members[member.id]
        self._forget(member)
        self.moved.discard(member)
        if member.address is not None:
            del self.by_address[member.address]
        if member.secret is not None:
            del self.by_secret[member.secret]
        network = network_of(member.host)
        self.per_host[network] -= 1
        if not self.per_host[network]:
            del self.per_host[network]

    def _by_server(self, event: Removed | Noticed | Topic) -> Outcome:
        return self.history.append(0, event.line(), event.at)

    def _titled(self, event: Topic) -> Outcome:
        self.moderation.apply(event)
        return self._by_server(event)

    def _decided(self, event: Decision) -> Outcome:
        self.moderation.apply(event)
        return 0

    def _banned(self, event: Banned) -> Outcome:
        kind, _, value = event.subject.partition(" ")
        kept = self.reservations.named(value, event.at) if kind == "name" else None
        self.reservations.end(kept.secret if kept else value if kind == "key" else None)
        return self._decided(event)

    def _released(self, event: Released) -> Outcome:
        return None if self.reservations.end(event.secret) is None else 0

    def _promoted(self, event: Promoted | Demoted) -> Outcome:
        member = self._author(event)
        if member is None:
            return None
        member.operator = type(event) is Promoted
        return 0

    def _erased(self, event: Erased) -> Outcome:
        self.erase(event)
        return 0

    def erase(self, event: Erased) -> None:
        """Put a notice in place of the texts of some lines, and note that they are to be erased in the log as well."""
        lines = range(event.first, event.last + 1)
        numbers = self.texts(self.history.by(event.member, lines) if event.member else lines)
        if numbers:
            self.history.erase(numbers, ERASED)
            self.erased += numbers

    def texts(self, lines: Iterable[int]) -> list[int]:
        """Return those of these lines that are kept, and are a text or a file which somebody said or shared."""
        first, head = self.history.first, self.history.head
        return [number for number in lines if first <= number <= head and self._line(number).kind in TEXTS]

    def last_author(self, name: str) -> int:
        """Return the id of the member that used this name last, as the kept lines have it; 0 if there is none."""
        for number in range(self.history.head, self.history.first - 1, -1):
            author = self.history.author(number)
            if author and self._line(number).name == name:
                return author
        return 0

    def _line(self, number: int) -> Line:
        return read(bytes(self.history.read(number - 1, number, 1)[0]).decode())

    def _index(self, member: Member) -> None:
        """Make a member known by its name."""
        self.by_key[member.key] = member
        self.skeletons.add(member.name, member.key)

    def _forget(self, member: Member) -> None:
        del self.by_key[member.key]
        self.skeletons.remove(member.name, member.key)

    def _shared(self, event: Shared) -> Outcome:
        if not event.member:
            return self._by_guest(event)
        member = self._author(event)
        return None if member is None else self._add_own_line(member, event)

    def _add_own_line(self, member: Member, event: Renamed | Shared) -> int:
        member.own += 1
        member.logged = event.at
        return self.history.append(member.id, event.line(), event.at)

    def _by_guest(self, event: Shared | GuestSaid) -> Outcome:
        """Add a line that is by no member, so that every member sees it. A name in use by now is refused."""
        if event.key in self.by_key or self.reservations.is_taken(event.key, None, event.at):
            return None
        return self.history.append(0, event.line(), event.at)

    def _seen(self, event: Seen) -> Outcome:
        for member_id, cursor, skipped, minute, minutes in event.places:
            member = self.members.get(member_id)
            if member is None:
                continue
            if cursor > member.cursor:
                member.cursor, member.skipped = cursor, skipped
            member.logged = max(member.logged, minute * 60.0)
            member.minute = max(member.minute, minute)
            member.minutes = max(member.minutes, minutes or MANY)
        return None

    def _raised(self, event: Raised) -> Outcome:
        self.numbering.raise_to(self.history.head, event.to)
        return None

    def _author(self, event: Whispered | Renamed | Left | Shared | Removed | Promoted | Demoted) -> Member | None:
        """Return the author of an event, if it is still a member and still has the name in the event."""
        member = self.members.get(event.member)
        return member if member is not None and member.name == event.name else None

    def skip(self, lines: int) -> None:
        """Count lines that are lost: those that are there are counted up."""
        self.history.renumber(self.history.head + lines)
        self.numbering.shift(lines)

    def hidden(self, member: Member, skipped: int) -> int:
        """Return how many lines are hidden to a member after the place where `skipped` were."""
        return member.own + self.whispered - skipped

    def was_active(self, member: Member) -> bool:
        """Return True if a member did anything that others see, now or before it came back."""
        if member.ids is not None or member.own > 0 or member.returned:
            return True
        return len(self.history.by(member.id, range(member.joined + 1, self.history.head + 1))) > 0

    def behind(self, member: Member) -> int:
        """Return how many lines wait for a member."""
        return self.history.head - member.cursor - self.hidden(member, member.skipped)

    def all_behind(self) -> int:
        """Return how many lines wait for all members together."""
        passed = sum([member.cursor + member.own - member.skipped for member in self.members.values()])
        return (self.history.head - self.whispered) * len(self.members) - passed

    def place(self, member: Member, number: int) -> tuple[int, int]:
        """Return the `cursor` and `skipped` of a member that has been given everything up to this line.

        Lines that are no longer kept count as not hidden, since their authors are not known any more. So `skipped` may
        be negative for a place before the member joined.
        """
        cursor = min(number, self.history.head)
        return cursor, self.hidden(member, self.history.count_hidden(member.id, cursor))

    def waiting(self, member: Member, cursor: int, skipped: int, limit: int) -> Waiting:
        """Return what waits for a member after a place, in at most `limit` bytes; a longer line goes alone."""
        history = self.history
        head = history.head
        hidden = member.own + self.whispered - skipped
        if cursor + 1 < history.first or hidden > 1 or (hidden and not history.is_by(member.id, head)):
            runs, cursor, skipped = self.runs(member, cursor, skipped, limit)
            return b"\n".join([lines for _, lines in runs]), cursor, skipped
        # At most the last line is hidden, because the member has just said it: all before it is one slice.
        last = head - hidden
        lines, upto = history.read(cursor, last, limit)
        return (lines, head, skipped + hidden) if upto == last else (lines, upto, skipped)

    def runs(
        self, member: Member, cursor: int, skipped: int, limit: int, most: int = sys.maxsize
    ) -> tuple[list[Run], int, int]:
        """Return what `waiting` does, with the lines in runs, at most `most` lines.

        Lines between two runs are hidden, or no longer kept. There are at most RANGES runs (see history.py).
        """
        history = self.history
        hidden = self.hidden(member, skipped)
        if not hidden and cursor + 1 >= history.first:
            lines, upto = history.read(cursor, min(history.head, cursor + most), limit)
            return ([(cursor + 1, lines)] if lines else []), upto, skipped
        runs: list[Run] = []
        if cursor + 1 < history.first:
            kept = history.count_hidden(member.id, history.first - 1)
            lost = history.first - 1 - cursor - (hidden - kept)
            cursor, hidden = history.first - 1, kept
            if lost:
                runs.append((0, _gap(lost)))
        if history.head - cursor > hidden:  # otherwise nothing is to be found
            room = limit - sum(len(lines) + 1 for _, lines in runs)
            shown = history.hidden(member.id).shown(cursor, history.head)
            for run in history.take(shown, room, most, alone=not runs)[0]:
                hidden -= run.start - 1 - cursor
                lines, cursor = history.read(run.start - 1, run.stop - 1, limit)
                runs.append((run.start, lines))
        if history.head - cursor == hidden:
            cursor, hidden = history.head, 0
        return runs, cursor, member.own + self.whispered - hidden

    def seen_by(self, member: Member, cursor: int, limit: int, most: int) -> tuple[range, list[range], int]:
        """Return the numbers of the lines after a cursor for a reader that is shown its member's own lines, too.

        They are at most `most` lines, in at most `limit` bytes; a longer line goes alone. The result is the range of
        lines that are no longer kept, the ranges of lines to show, without whispers among others, and the cursor after
        them. If there is nothing to show, that is the end.
        """
        history = self.history
        lost = range(cursor + 1, history.first)
        cursor = max(cursor, history.first - 1)
        runs, is_all = history.take(history.withheld(member.id).shown(cursor, history.head), limit, most)
        return lost, runs, max(cursor, history.head) if is_all else runs[-1].stop - 1

    def advance(self, member: Member, cursor: int, skipped: int) -> None:
        """Move a member's cursor to where `waiting` said, once the member was given what it returned."""
        if cursor - member.cursor > skipped - member.skipped:
            self.moved.add(member)
        member.cursor, member.skipped = cursor, skipped


def _gap(lines: int) -> bytes:
    return b"* 1 line is no longer kept" if lines == 1 else b"* %d lines are no longer kept" % lines
