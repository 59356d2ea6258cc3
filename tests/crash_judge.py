"""The checker of the crash test: it compares what members received with what was done. It is pure.

The rule: a request that was answered took effect once, in the same order for everybody. One that was not answered took
effect for everybody or for nobody. And all members keep their names.
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
"""The longest time before a kill at which a line may have been given that is given again after the kill.

Cursors are recorded once a second; the record may take half a second more to become durable.
"""

RENAMED = " changed his name to "
JOINED = " has joined"
LEFT = " has left the group"

_LINE = re.compile(rf"(?P<shown>.*?)(?P<key>: .*|{RENAMED}.*)")


@dataclass(slots=True)
class Request:
    """A request that makes a line. `key` is that line without the name of its author, and unique.

    From the time `settled` on, it is certain that the request took effect, or never will.
    """

    author: str
    key: str
    sent: float
    settled: float = inf
    acknowledged: bool = False


class Reading(NamedTuple):
    """A line that a member received. `life` counts the daemons: 0, 1 ... For a join or leave, `shown` is ""."""

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
    """One membership. All that others did between `since` and `until` must be among its readings.

    `listed` has the names that it was given at the end, newest first.
    """

    author: str
    since: float
    until: float = -inf
    readings: list[Reading] = field(default_factory=list)
    listed: list[str] | None = None


@dataclass(slots=True)
class Record:
    """The record of a run. `requests` are by key, in the order in which they were sent; life n ended at `kills[n]`."""

    requests: dict[str, Request] = field(default_factory=dict)
    readers: list[Reader] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


Seen = dict[str, Reading]
"""The first reading of each line, by key, in order."""


@dataclass(slots=True)
class Verdict:
    """The result. It counts `errors` by kind, and describes the first ten of each kind.

    `stored` counts requests that took effect without being acknowledged, and `again` the lines that came again.
    """

    errors: Counter[str] = field(default_factory=Counter)
    described: list[str] = field(default_factory=list)
    acknowledged: int = 0
    stored: int = 0
    again: int = 0
    oldest_again: float = 0.0  # the longest time from a line to the kill after which it came again

    def error(self, kind: str, description: str) -> None:
        self.errors[kind] += 1
        if self.errors[kind] <= 10:
            self.described.append(f"{kind}: {description}")


def judge(record: Record) -> Verdict:
    """Compare what members received with what was done, and with what others received."""
    verdict = Verdict()
    for refusal in record.refusals:
        verdict.error("refused", refusal)
    seen = [(reader, _seen(reader, record, verdict)) for reader in record.readers]
    everywhere = {key for _, readings in seen for key in readings}
    requests = list(record.requests.values())
    for reader, readings in seen:
        _check_authors(reader, readings, record, verdict)
        _check_complete(reader, readings, everywhere, requests, verdict)
    _check_order(seen, verdict)
    verdict.acknowledged = sum(request.acknowledged for request in requests)
    verdict.stored = sum(not request.acknowledged and request.key in everywhere for request in requests)
    return verdict


def _seen(reader: Reader, record: Record, verdict: Verdict) -> Seen:
    """Check that lines come again only if they were given shortly before a kill. Return the first reading of each."""
    seen: Seen = {}
    last: Seen = {}
    for reading in reader.readings:
        request = record.requests.get(reading.key)
        before = last.get(reading.key)
        last[reading.key] = reading
        if request is None or request.author == reader.author:
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
    """Check that the lines of each author come in order, under the name that the author had at the time."""
    sent: dict[str, float] = {}
    names: dict[str, str] = {}
    for key, reading in seen.items():
        request = record.requests[key]
        author = request.author
        if request.sent < sent.get(author, -inf):
            verdict.error("out of order", f"{reader.author} received {reading} after a later line of {author}")
        sent[author] = request.sent
        if reading.shown and (reading.shown != names.setdefault(author, reading.shown) or not _is_by(author, reading)):
            verdict.error("misnamed", f"{reader.author} received {reading}, by {author}, who is {names[author]}")
        if key.startswith(RENAMED):
            names[author] = key.removeprefix(RENAMED)
        elif key.endswith(JOINED):
            names[author] = key.removesuffix(JOINED)
        elif key.endswith(LEFT):
            names.pop(author, None)
    if reader.listed not in (None, list(reversed(names.values()))):
        verdict.error("misnamed", f"{reader.author} was given the names {reader.listed} instead of {names}")


def _is_by(author: str, reading: Reading) -> bool:
    return reading.shown.split(".")[0] == author


def _check_complete(
    reader: Reader, seen: Seen, everywhere: set[str], requests: Sequence[Request], verdict: Verdict
) -> None:
    """Check that a reader received everything that was acknowledged, and everything that others received."""
    for request in requests[bisect_left(requests, reader.since, key=lambda request: request.sent) :]:
        if request.sent > reader.until:
            return
        if request.settled <= reader.until and request.author != reader.author and request.key not in seen:
            if request.acknowledged:
                verdict.error("lost", f"{reader.author} never received {request}")
            elif request.key in everywhere:
                verdict.error("half seen", f"{reader.author} never received {request}, but others did")


def _check_order(seen: Sequence[tuple[Reader, Seen]], verdict: Verdict) -> None:
    """Check that two readers received the same lines in the same order."""
    longest_first = sorted(seen, key=lambda one: -len(one[1]))
    for index, (reader, readings) in enumerate(longest_first):
        places = {key: place for place, key in enumerate(readings)}
        for other, other_readings in longest_first[index + 1 :]:
            for before, after in pairwise(key for key in other_readings if key in places):
                if places[before] > places[after]:
                    names = f"{other.author} received {before!r} before {after!r}, {reader.author}"
                    verdict.error("out of order", f"{names} the other way round")
