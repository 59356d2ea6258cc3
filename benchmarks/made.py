"""The file of a log with a history that a benchmark makes up."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, islice
from pathlib import Path

from groupchat.core.events import Event
from groupchat.log.database import Database

BATCH = 500
"""The number of entries that are stored at once."""


def make(path: Path, events: Iterable[Event]) -> None:
    """Make a file that holds these events, each in an entry of its own."""
    database, left, numbers = Database(path, "OFF"), iter(events), count()
    try:
        while batch := [(f"made-{next(numbers)}", [event]) for event in islice(left, BATCH)]:
            database.append(batch)
    finally:
        database.close()
