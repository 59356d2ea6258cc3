"""The events of a group, and the line of text that each one reads as.

An event is a fact, and can be read alone: it carries its author's id and the name shown at the time. What could differ
between nodes (the time, a new member's id, the key of a name) is put into it before it is appended to the log, so that
every node which folds the same log comes to the same state.

A text, or the name of a file, that is empty was erased: see `Erased`.

Times are seconds since the epoch. Member ids are random integers of 63 bits, used again only by who comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform

from groupchat.core.notices import (
    ERASED,
    JOINED,
    LEFT,
    NO_TOPIC,
    PRIVATE,
    REMOVED,
    RENAMED,
    SERVER,
    SHARED,
    TOPIC,
    size_in_words,
)

Address = tuple[str, int]
"""The host and port of a member's datagrams. A link-local IPv6 host has its zone: `fe80::1%2`."""

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True)
def _event(cls: type[_Class]) -> type[_Class]:
    """Make a dataclass that is frozen for the type checker only: `frozen=True` doubles the cost of creating one."""
    return dataclass(slots=True)(cls)


@_event
class Joined:
    """Somebody became a member.

    `port` is None for a member that has a connection instead of sending datagrams. `secret` is the hash, in hex, of the
    key with which its session can be resumed on another connection.
    """

    member: int
    name: str
    key: str
    at: float
    host: str
    port: int | None
    secret: str | None = None

    def line(self) -> str:
        return self.name + JOINED


@_event
class Said:
    """A member said one line of text to everybody. `id` is the client's own number for it, or 0."""

    member: int
    name: str
    text: str
    at: float
    id: int = 0

    def line(self) -> str:
        return f"{self.name}: {self.text}" if self.text else ERASED


@_event
class Whispered:
    """A member said one line of text to the member `reader` only, who was shown as `to` at the time."""

    member: int
    name: str
    reader: int
    to: str
    text: str
    at: float
    id: int = 0

    def line(self) -> str:
        return f"{self.name}{PRIVATE}: {self.text}" if self.text else ERASED


@_event
class Renamed:
    """A member changed its name from `name` to `new`. `key` is that of the new name."""

    member: int
    name: str
    new: str
    key: str
    at: float
    id: int = 0

    def line(self) -> str:
        return f"{self.name}{RENAMED}{self.new}"


@_event
class Left:
    """A member left, was silent for too long, or gave up its name to its restarted client, or its seat to another.

    If `until` is not 0, its name and its place are kept for its key until this time: see reservations.py.
    """

    member: int
    name: str
    at: float
    until: int = 0

    def line(self) -> str:
        return self.name + LEFT


@_event
class Shared:
    """A member or a guest shared a file of `size` bytes, which everybody can download.

    For a guest `member` is 0, and `key` is that of its name. For a member `key` is empty.
    """

    member: int
    name: str
    key: str
    file: str
    size: int
    at: float

    def line(self) -> str:
        return f"{self.name}{SHARED}{self.file} ({size_in_words(self.size)})" if self.file else ERASED


@_event
class GuestSaid:
    """A guest, who is not a member, said one line of text to everybody. `key` is that of its name."""

    member: ClassVar[int] = 0

    name: str
    key: str
    text: str
    at: float

    def line(self) -> str:
        return f"{self.name}: {self.text}" if self.text else ERASED


@_event
class Removed:
    """An operator removed a member. `by` is who did it, and `why` what it said to that, perhaps nothing."""

    member: int
    name: str
    by: str
    why: str
    at: float

    def line(self) -> str:
        return f"{SERVER}{self.name}{REMOVED}"


@_event
class Noticed:
    """An operator told everybody something in the name of the server."""

    member: ClassVar[int] = 0

    text: str
    by: str
    at: float

    def line(self) -> str:
        return SERVER + self.text


@_event
class Topic:
    """The group has another topic; none if the text is empty."""

    member: ClassVar[int] = 0

    text: str
    by: str
    at: float

    def line(self) -> str:
        return f"{SERVER}{TOPIC}{self.text}" if self.text else SERVER + NO_TOPIC


Place = tuple[int, int, int, int, int]
"""A member's id, its cursor, its `skipped` (see group.py), the minute of its last contact, and the number of different
minutes in which it was heard, which is 0 if it was recorded by a version that did not count them.
"""


@_event
class Seen:
    """A record of members' cursors. It is not a line and has no number. There may be thousands of places."""

    at: float
    places: tuple[Place, ...]


@_event
class Muted:
    """A member may only read until it is unmuted. For `subject` see moderation.py; `shown` is its name."""

    subject: str
    shown: str
    host: str
    by: str
    why: str
    at: float


@_event
class Unmuted:
    """The mute of a subject has ended."""

    subject: str
    by: str
    at: float


@_event
class Banned:
    """Nobody whom this subject concerns may be in the group until this time. `shown` is a name, or is empty."""

    subject: str
    shown: str
    until: int
    by: str
    why: str
    at: float


FOREVER = 2**53
"""The time at which a ban ends that never does."""


@_event
class Unbanned:
    """The ban of a subject has ended."""

    subject: str
    by: str
    at: float


@_event
class Released:
    """What was reserved for a key, whose hash is `secret`, is free. `name` is the name that was reserved."""

    secret: str
    name: str
    by: str
    at: float


@_event
class Promoted:
    """A member became an operator, for as long as it has its seat."""

    member: int
    name: str
    at: float


@_event
class Demoted:
    """A member is no operator any more."""

    member: int
    name: str
    at: float


@_event
class Changed:
    """An operator gave a fact of the group (see facts.py) another value, written as in an option."""

    fact: str
    value: str
    by: str
    at: float


@_event
class Erased:
    """The texts in the lines from `first` to `last` are to be gone: from memory, and from every file.

    If `member` is not 0, only those by this member are.
    """

    first: int
    last: int
    member: int
    by: str
    why: str
    at: float


@_event
class Raised:
    """The lines after this have numbers above `to`: the log was replaced by an older copy. See numbering.py."""

    at: float
    to: int


Line = Joined | Said | Whispered | Renamed | Left | Shared | GuestSaid | Removed | Noticed | Topic
"""The events that have a number, and read as a line."""

Record = Seen | Muted | Unmuted | Banned | Unbanned | Released | Promoted | Demoted | Changed | Erased | Raised
"""The events without one, which are no lines."""

Event = Line | Record
