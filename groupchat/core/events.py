"""The events of a group, and the line of text that each one reads as.

An event is a fact, and can be read alone: it carries its author's id and the name shown at the time. What could differ
between nodes (the time, a new member's id, the key of a name) is put into it before it is appended to the log, so that
every node which folds the same log comes to the same state.

Times are seconds since the epoch. Member ids are random integers of 63 bits, never used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform

from groupchat.core.notices import JOINED, LEFT, PRIVATE, RENAMED, SHARED, size_in_words

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
        return f"{self.name}: {self.text}"


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
        return f"{self.name}{PRIVATE}: {self.text}"


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
    """A member left, was silent for too long, or gave up its name to its restarted client, or its seat to another."""

    member: int
    name: str
    at: float

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
        return f"{self.name}{SHARED}{self.file} ({size_in_words(self.size)})"


@_event
class GuestSaid:
    """A guest, who is not a member, said one line of text to everybody. `key` is that of its name."""

    member: ClassVar[int] = 0

    name: str
    key: str
    text: str
    at: float

    def line(self) -> str:
        return f"{self.name}: {self.text}"


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
class Raised:
    """The lines after this have numbers above `to`: the log was replaced by an older copy. See numbering.py."""

    at: float
    to: int


Line = Joined | Said | Whispered | Renamed | Left | Shared | GuestSaid
"""The events that have a number and read as a line."""

Record = Seen | Raised
"""The events that are no lines, and have no number."""

Event = Line | Record
