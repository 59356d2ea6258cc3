"""What can happen in a group, and how each event reads as a line of text.

An event is a fact, and can be read alone: it carries its author's id and the name shown at the time. Whatever is not
certain (the time, a new member's id, the key of a name) was put into it before it was appended to the log, so that
every node which folds the same log comes to the same state.

Times are seconds since the epoch. Member ids are random integers of 63 bits, never used again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar, dataclass_transform

from groupchat.core.notices import JOINED, LEFT, PRIVATE, RENAMED, SHARED, size_in_words

Address = tuple[str, int]
"""Host and port that a member's datagrams come from. A link-local IPv6 host has its zone: `fe80::1%2`."""

_Class = TypeVar("_Class")


@dataclass_transform(frozen_default=True)
def _event(cls: type[_Class]) -> type[_Class]:
    """A dataclass that is frozen for the type checker alone: `frozen=True` would double what making one costs."""
    return dataclass(slots=True)(cls)


@_event
class Joined:
    """Somebody became a member.

    `port` is None for a member whose datagrams come from nowhere: it has a connection. `secret` is the hash, in hex, of
    the key with which its session can be resumed on another one.
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
    """A member said one line of text to all the others. `id` is the client's own, 0 if it gave none."""

    member: int
    name: str
    text: str
    at: float
    id: int = 0

    def line(self) -> str:
        return f"{self.name}: {self.text}"


@_event
class Whispered:
    """A member said one line of text to the member `reader`, shown as `to` at the time, and to nobody else."""

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
    """A member that was shown as `name` is shown as `new` from here on; `key` is that of the new name."""

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
    """A member is one no longer: it left, was silent for too long, or gave its name up to its own restarted client."""

    member: int
    name: str
    at: float

    def line(self) -> str:
        return self.name + LEFT


@_event
class Shared:
    """A file was put on the shelf, where everybody can fetch it: by a member, or by a guest.

    `member` is 0 for a guest, and `key` that of its name; of a member `key` is empty. `size` is in bytes.
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
    """A guest, who is no member, said one line of text to all. `key` is that of its name."""

    member: ClassVar[int] = 0

    name: str
    key: str
    text: str
    at: float

    def line(self) -> str:
        return f"{self.name}: {self.text}"


Place = tuple[int, int, int, int]
"""A member's id, its cursor, its `skipped` (see `Member`), and the minute of its last contact."""


@_event
class Seen:
    """Where members are by now. It is no line, and has no number. Places are plain tuples: there may be thousands."""

    at: float
    places: tuple[Place, ...]


Line = Joined | Said | Whispered | Renamed | Left | Shared | GuestSaid
"""The events that are numbered and read as a line."""

Event = Line | Seen
