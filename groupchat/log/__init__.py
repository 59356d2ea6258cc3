"""The log of a group, which alone decides the order of events. The other folders know it only as an `ILog`.

An entry of the log is durable and keeps its position for good; an event that is not in the log has not happened. Every
method returns a Deferred, even where the result is at hand, so that the log may be on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import Interface

from groupchat.core.events import Event


@dataclass(slots=True)  # not frozen, which would double the time of a start
class Entry:
    """One or more events that were appended together. Positions of entries are 1, 2, 3 ..."""

    position: int
    entry_id: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after the entries up to `position`, in the format `version`, which is up to its writer."""

    position: int
    version: int
    state: bytes


OnEntry = Callable[[Entry], None]
Stop = Callable[[], None]
Lost = Callable[[Failure], None]


class ILog(Interface):
    """An ordered, durable log of entries. It is opened once, before anything else, and closed once."""

    def open(lost: Lost) -> Deferred[None]:
        """Open the log. Fail with CannotOpen.

        `lost` is called if the log ends by itself later on: with Broken, unless that is a bug. Calls that are under way
        then never fire.
        """

    def append(events: Sequence[Event], entry_id: str) -> Deferred[None]:
        """Store the events as one entry, all or none. Fire when they are durable.

        Do nothing if there is an entry with this id already. Fail with Unavailable if the entry was surely not stored,
        and with Unknown if it may have been.
        """

    def tail(after: int, on_entry: OnEntry) -> Deferred[Stop]:
        """Call `on_entry` with every entry after this position: once each, in order, one's own included.

        Fire, with a function that ends the tail, after all entries that there were at the time of the call. Fail with
        Trimmed if an entry after `after` is gone. `on_entry` must not raise.
        """

    def read(after: int, limit: int) -> Deferred[list[Entry]]:
        """Return at most `limit` entries after this position, in order. Fail with Trimmed as `tail` does."""

    def head() -> Deferred[int]:
        """Return the position of the last entry, 0 before there is one."""

    def save_snapshot(position: int, version: int, state: bytes) -> Deferred[None]:
        """Store this state in place of the one before it."""

    def load_snapshot() -> Deferred[Snapshot | None]:
        """Return the last snapshot that was saved."""

    def save_highest(number: int) -> Deferred[None]:
        """Store the highest number that a line was given, apart from the entries: it outlives an older copy of them.

        A log that cannot be replaced by a copy need not store it. Fail with Unavailable if it cannot be stored now.
        """

    def load_highest() -> Deferred[int]:
        """Return the last number that was saved so, 0 if none was. Fail with Damaged if that cannot be told."""

    def trim(before: int, seen_before: int) -> Deferred[None]:
        """Delete the entries before `before` and, if that saves space, the Seen events of those before `seen_before`.

        `head` and later positions do not change.
        """

    def check() -> Deferred[str]:
        """See that the log is where the next start looks for it. It is called every second.

        Fire with what an operator should know, in one line: nearly always "". If the log is elsewhere, `append` fails
        with Misplaced from then on, and so does this, saying what to do, whenever there is news of it.
        """

    def replace(position: int, events: Sequence[Event]) -> Deferred[None]:
        """Store these events in place of those of an entry, which `read` returned: what is erased has no text in them.

        They are as many, and of the same kinds. Fail with Unavailable as `append` does.
        """

    def purge() -> Deferred[None]:
        """Fire when no file has anything any more that was replaced, also before the log was opened.

        Fail with Unavailable if that has to be tried again later. It may take some seconds, while nothing is stored.
        """

    def close() -> Deferred[None]:
        """Finish the appends under way, end every tail, and close the log. From then on `append` is Unavailable."""
