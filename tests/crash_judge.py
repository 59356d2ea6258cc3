"""What members of a group received, judged by what was done: the checker of the crash test. Pure.

The rule: what was answered has happened, once, in one place, for everybody; what was not answered has happened for
everybody or for nobody; and everybody is still who it was.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import NamedTuple

AGAIN_SECONDS = 1.5
"""How long before a kill a line may have been given to a member that is given it again after it.

Where members are is appended once a second; half a second more is for that record to be made and become durable.
"""

RENAMED = " changed his name to "
JOINED = " has joined"
LEFT = " has left the group"

_LINE = re.compile(rf"(?P<shown>.*?)(?P<key>: .*|{RENAMED}.*)")


@dataclass(slots=True)
class Deed:
    """A request that makes a line: `key` is that line, but for the name that its author is shown under.

    `settled` is when it had surely happened, or never would. Keys are unique.
    """

    author: str
    key: str
    sent: float
    settled: float = inf
    acknowledged: bool = False


class Reading(NamedTuple):
    """A line that a member received in a life of the daemon (0, 1 ...). Who joins or leaves is `shown` as ""."""

    key: str
    shown: str
    at: float
    life: int


def reading(line: str, at: float, life: int) -> Reading:
    found = _LINE.fullmatch(line)
    key, shown = (found["key"], found["shown"]) if found else (line, "")
    return Reading(sys.intern(key), sys.intern(shown), at, life)  # a long run has millions of them


@dataclass(slots=True)
class Reader:
    """One membership. Whatever others did between `since` and `until` must be among its readings.

    `listed` are the names that it was told at the end, newest first: of everybody, as it was the first to join.
    """

    author: str
    since: float
    until: float = -inf
    readings: list[Reading] = field(default_factory=list)
    listed: list[str] | None = None


@dataclass(slots=True)
class Record:
    """All of a run. `deeds` are by key, in the order in which they were sent; life n ended with `kills[n]`."""

    deeds: dict[str, Deed] = field(default_factory=dict)
    readers: list[Reader] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


Seen = dict[str, Reading]
"""The first reading of each line, by key, in order."""


@dataclass(slots=True)
class Verdict:
    """`errors` by kind, the first few of each described. `stored` was not acknowledged."""

    errors: Counter[str] = field(default_factory=Counter)
    described: list[str] = field(default_factory=list)
    acknowledged: int = 0
    stored: int = 0
    again: int = 0
    oldest_again: float = 0.0  # how long before a kill it was given first

    def error(self, kind: str, description: str) -> None:
        self.errors[kind] += 1
        if self.errors[kind] <= 10:
            self.described.append(f"{kind}: {description}")


def judge(record: Record) -> Verdict:
    """Compare what members received with what was done, and with each other."""
    verdict = Verdict()
    for refusal in record.refusals:
        verdict.error("refused", refusal)
    seen = [(reader, _seen(reader, record, verdict)) for reader in record.readers]
    everywhere = {key for _, readings in seen for key in readings}
    deeds = list(record.deeds.values())
    for reader, readings in seen:
        _check_authors(reader, readings, record, verdict)
        _check_complete(reader, readings, everywhere, deeds, verdict)
    _check_order(seen, verdict)
    verdict.acknowledged = sum(deed.acknowledged for deed in deeds)
    verdict.stored = sum(not deed.acknowledged and deed.key in everywhere for deed in deeds)
    return verdict


def _seen(reader: Reader, record: Record, verdict: Verdict) -> Seen:
    """A line may come again only if it was given shortly before a kill."""
    seen: Seen = {}
    last: Seen = {}
    for reading in reader.readings:
        deed = record.deeds.get(reading.key)
        before = last.get(reading.key)
        last[reading.key] = reading
        if deed is None or deed.author == reader.author:
            verdict.error("foreign", f"{reader.author} received {reading}")
        elif before is None:
            seen[reading.key] = reading
        elif before.life < reading.life and (age := record.kills[before.life] - before.at) <= AGAIN_SECONDS:
            verdict.again += 1
            verdict.oldest_again = max(verdict.oldest_again, age)
        else:
            verdict.error("doubled", f"{reader.author} received {before} and {reading}")
    return seen


def _check_authors(reader: Reader, seen: Seen, record: Record, verdict: Verdict) -> None:
    """What one author did comes in that order, under the name that the author had at the time."""
    sent: dict[str, float] = {}
    names: dict[str, str] = {}
    for key, reading in seen.items():
        deed = record.deeds[key]
        author = deed.author
        if deed.sent < sent.get(author, -inf):
            verdict.error("out of order", f"{reader.author} received {reading} after what {author} did later")
        sent[author] = deed.sent
        if reading.shown and (reading.shown != names.setdefault(author, reading.shown) or not _is_by(author, reading)):
            verdict.error("misnamed", f"{reader.author} received {reading}, by {author}, who is {names[author]}")
        if key.startswith(RENAMED):
            names[author] = key.removeprefix(RENAMED)
        elif key.endswith(JOINED):
            names[author] = key.removesuffix(JOINED)
        elif key.endswith(LEFT):
            names.pop(author, None)
    if reader.listed not in (None, list(reversed(names.values()))):
        verdict.error("misnamed", f"{reader.author} was told of {reader.listed}, and should have been of {names}")


def _is_by(author: str, reading: Reading) -> bool:
    return reading.shown.split(".")[0] == author


def _check_complete(reader: Reader, seen: Seen, everywhere: set[str], deeds: Sequence[Deed], verdict: Verdict) -> None:
    """What was acknowledged was received, and so was what anybody else received."""
    for deed in deeds[bisect_left(deeds, reader.since, key=lambda deed: deed.sent) :]:
        if deed.sent > reader.until:
            return
        if deed.settled <= reader.until and deed.author != reader.author and deed.key not in seen:
            if deed.acknowledged:
                verdict.error("lost", f"{reader.author} never received {deed}")
            elif deed.key in everywhere:
                verdict.error("half seen", f"{reader.author} never received {deed}, which others did")


def _check_order(seen: Sequence[tuple[Reader, Seen]], verdict: Verdict) -> None:
    """What two readers both received, they received in the same order."""
    longest_first = sorted(seen, key=lambda one: -len(one[1]))
    for index, (reader, readings) in enumerate(longest_first):
        places = {key: place for place, key in enumerate(readings)}
        for other, other_readings in longest_first[index + 1 :]:
            for before, after in pairwise(key for key in other_readings if key in places):
                if places[before] > places[after]:
                    names = f"{other.author} received {before!r} before {after!r}, {reader.author}"
                    verdict.error("out of order", f"{names} the other way round")
