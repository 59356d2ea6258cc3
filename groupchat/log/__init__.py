"""The log of a group: the one thing that decides order. `ILog` is all that the rest knows of one.

Whatever is in the log is durable and has its place for good; whatever is not has not happened. Every method returns a
Deferred, also where the answer is at hand, so that an engine on another machine needs no second design.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface

from groupchat.core.events import Event


@dataclass(slots=True)  # not frozen, which would make a start as slow again as it is
class Entry:
    """One or more events that were appended together. Positions of entries are 1, 2, 3 ..."""

    position: int
    entry_id: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state to which the entries up to `position` lead, in the format `version` of whoever saved it."""

    position: int
    version: int
    state: bytes


OnEntry = Callable[[Entry], None]
Stop = Callable[[], None]
Lost = Callable[[Failure], None]


class ILog(Interface):
    """An ordered, durable log of entries. It is opened once, before anything else, and closed once."""

    def open(lost: Lost) -> Deferred[None]:
        """Get hold of what the log is kept in. Fails with CannotOpen.

        `lost` is called if the log ends by itself later on. What was under way then is never answered.
        """

    def append(events: Sequence[Event], entry_id: str) -> Deferred[None]:
        """Store the events as one entry, all or none; fires when they are durable.

        An entry with the same id that is there already is not stored again. Fails with Unavailable if the entry was
        surely not stored, and with Unknown if it may have been.
        """

    def tail(after: int, on_entry: OnEntry) -> Deferred[Stop]:
        """Call `on_entry` with every entry after this position: once each, in order, one's own included.

        Fires, with what ends it, when it has gone through all that was there when it was called. Fails with Trimmed if
        an entry after `after` is no longer there. `on_entry` must not raise.
        """

    def read(after: int, limit: int) -> Deferred[list[Entry]]:
        """At most `limit` entries after this position, in order. Fails with Trimmed as `tail` does."""

    def head() -> Deferred[int]:
        """The position of the last entry, 0 before there is one."""

    def save_snapshot(position: int, version: int, state: bytes) -> Deferred[None]:
        """Keep this state, in place of the one before it."""

    def load_snapshot() -> Deferred[Snapshot | None]:
        """The last snapshot that was saved."""

    def trim(before: int, seen_before: int) -> Deferred[None]:
        """Forget the entries before a position, and, if that saves space, the Seen events of those before another.

        `head` and later positions stay what they are.
        """

    def close() -> Deferred[None]:
        """Make sure of what was appended, end every tail, and let go of what is held: `append` is Unavailable then."""
