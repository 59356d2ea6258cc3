"""The lag of the daemon's reactor: the round trip of a poll, every millisecond, while others write.

A poll is answered in the turn of the reactor that reads it, so its round trip shows how late that turn was. A second
connection to the database sees when a snapshot was saved, and when entries were trimmed.
"""

from __future__ import annotations

import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import load, report, servers
from .closed_loop import ACTIVE
from .report import Settings, Target
from .servers import OURS, SQLITE, Server

INTERVAL = 0.001
LOOK_SECONDS = 0.005
BEFORE_SNAPSHOT, BEFORE_TRIM, AFTER = 0.15, 0.05, 0.01
"""Seconds from the start of a window to its event, and from the event to the end of the window."""
COLUMNS = ("log", "what", "when", "polls", "p50 us", "p99 us", "p99.9 us", "worst ms", "texts/s", "sent late us", "")
ALL, SNAPSHOT, TRIM, REST = "all the time", "snapshot", "trimming", "else"


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    server: str = SQLITE
    members: int = ACTIVE
    writing: bool = True
    options: tuple[str, ...] = ()


SCENARIOS = (
    Scenario("idle", writing=False),
    Scenario("64 write", OURS),
    Scenario("64 write"),
    Scenario("64 write, trimmed", options=("--keep", "10000")),
    Scenario("64 of 10,000 write", members=10_000, options=("--max-members", "13335")),
)


@dataclass(frozen=True, slots=True)
class Poll:
    sent: float
    answered: float

    def took(self) -> float:
        return self.answered - self.sent


Window = tuple[float, float]


@dataclass(slots=True)
class Outcome:
    """The results of all rounds of one scenario. Times are seconds of the monotonic clock."""

    polls: dict[str, list[Poll]] = field(default_factory=lambda: {when: [] for when in (ALL, SNAPSHOT, TRIM, REST)})
    counts: dict[str, int] = field(default_factory=lambda: {SNAPSHOT: 0, TRIM: 0})
    lags: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    missing: int = 0
    error: str = ""
    worst: tuple[float, float, str] = (0.0, 0.0, "")
    """The longest poll in seconds, seconds from the start to it, and its window."""


@dataclass(slots=True)
class Watch:
    """The times at which a new snapshot, or a trim, was first seen in the database."""

    snapshots: list[float] = field(default_factory=list)
    trims: list[float] = field(default_factory=list)


def run(settings: Settings) -> list[Target]:
    found = {scenario: Outcome() for scenario in SCENARIOS}
    for number in range(settings.rounds):
        for scenario, outcome in found.items():
            report.progress(f"lag, round {number + 1}: {scenario.name}")
            try:
                _measure(scenario, outcome, settings)
            except (servers.ServerError, load.LoadError) as error:
                outcome.error = str(error)
    report.progress("")
    title = f"Lag: how long a poll takes, one every {INTERVAL * 1000:g} ms, for {settings.load_seconds:g} s a round"
    report.table(title, COLUMNS, [row for scenario, outcome in found.items() for row in _rows(scenario, outcome)])
    return list(_targets(found))


def _measure(scenario: Scenario, outcome: Outcome, settings: Settings) -> None:
    with (
        servers.running(scenario.server, settings.directory, scenario.options) as server,
        _watching(server.directory / servers.DATABASE) as watch,
        tempfile.TemporaryFile("w+", dir=settings.directory) as samples,
    ):
        with _probing(settings.program, server, samples.fileno()):
            begun, ended = _load(scenario, server, outcome, settings)
        samples.seek(0)
        polls = list(_read(samples, outcome, begun, ended))
    if not polls:
        raise load.LoadError("the probe measured nothing")
    _sort(polls, watch, begun, ended, outcome)


@contextmanager
def _probing(program: Path, server: Server, samples: int) -> Iterator[None]:
    """Run the probe in a process of its own. It has joined, and polls, when the context is entered."""
    command = [str(program), str(server.port), "probe", "-m", "1", "-i", str(INTERVAL)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=samples, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()
    if process.returncode:
        raise load.LoadError(f"the probe: {said.strip()}")


def _load(scenario: Scenario, server: Server, outcome: Outcome, settings: Settings) -> Window:
    """Run the load. Return when the measurement began and ended."""
    if not scenario.writing:
        begun = time.monotonic()
        time.sleep(settings.load_seconds)
        return begun, time.monotonic()
    options = {"m": scenario.members, "a": ACTIVE, "s": settings.load_seconds}
    result = load.run(settings.program, server, "say", **options)
    if result.figures["illegal"]:
        raise load.LoadError(f"{report.count(result.figures['illegal'])} refused")
    outcome.rates.append(result.figures["requests_per_s"])
    return result.usages["started"].at, result.usages["done"].at


def _read(lines: Iterable[str], outcome: Outcome, begun: float, ended: float) -> Iterator[Poll]:
    for line in lines:
        kind, *times = line.split()
        if kind == "lag":
            outcome.lags.append(float(times[0]))
        elif kind == "missing":
            outcome.missing += begun <= float(times[0]) <= ended
        elif kind == "sample" and begun <= float(times[0]) <= ended:
            yield Poll(float(times[0]), float(times[1]))


# Windows


@contextmanager
def _watching(path: Path) -> Iterator[Watch]:
    """Watch the database, if there is one, in a thread."""
    watch, ended = Watch(), threading.Event()
    thread = threading.Thread(target=_look, args=(path, watch, ended), daemon=True)
    if path.exists():
        thread.start()
    try:
        yield watch
    finally:
        ended.set()
        if path.exists():
            thread.join()


def _look(path: Path, watch: Watch, ended: threading.Event) -> None:
    last = (0, 1)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        while not ended.wait(LOOK_SECONDS):
            query = "SELECT (SELECT position FROM snapshot), (SELECT position FROM beginning)"
            snapshot, beginning = connection.execute(query).fetchone()
            now = time.monotonic()
            if snapshot is not None and snapshot != last[0]:
                watch.snapshots.append(now)
            if beginning != last[1]:
                watch.trims.append(now)
            last = (snapshot, beginning)


def _sort(polls: list[Poll], watch: Watch, begun: float, ended: float, outcome: Outcome) -> None:
    snapshots = [at for at in watch.snapshots if begun <= at <= ended]
    trims = [at for at in watch.trims if begun <= at <= ended]
    windows = {
        SNAPSHOT: [(at - BEFORE_SNAPSHOT, at + AFTER) for at in snapshots],
        TRIM: [(at - BEFORE_TRIM, at + AFTER) for at in trims],
    }
    outcome.counts[SNAPSHOT] += len(snapshots)
    outcome.counts[TRIM] += len(trims)
    for poll in polls:
        within = [when for when, of in windows.items() if _overlaps(poll, of)] or [REST]
        for when in (ALL, *within):
            outcome.polls[when].append(poll)
        if poll.took() > outcome.worst[0]:
            outcome.worst = (poll.took(), poll.sent - begun, " and ".join(within))


def _overlaps(poll: Poll, windows: Sequence[Window]) -> bool:
    return any(poll.sent <= end and poll.answered >= start for start, end in windows)


# The table


def _rows(scenario: Scenario, outcome: Outcome) -> Iterator[tuple[str, ...]]:
    log = servers.LOG_ENGINES[scenario.server].partition(",")[0]
    if not outcome.polls[ALL]:
        yield (log, scenario.name, *["-"] * (len(COLUMNS) - 3), outcome.error)
    for when, polls in outcome.polls.items():
        if polls and (when != REST or len(polls) != len(outcome.polls[ALL])):
            name = f"{when}, {outcome.counts[when]}x" if when in outcome.counts else when
            rest = _overall(outcome) if when == ALL else ("", "", "")
            worst = max(poll.took() for poll in polls) * 1000
            shares = (report.count(_percentile(polls, share) * 1e6) for share in (0.5, 0.99, 0.999))
            yield (log, scenario.name, name, report.count(len(polls)), *shares, f"{worst:.1f}", *rest)


def _overall(outcome: Outcome) -> tuple[str, str, str]:
    worst, at, when = outcome.worst
    remarks = [f"worst {worst * 1000:.1f} ms at {at:.2f} s ({when})"]
    remarks += [f"{outcome.missing} unanswered"] if outcome.missing else []
    remarks += [outcome.error] if outcome.error else []
    rate = report.count(sum(outcome.rates) / len(outcome.rates)) if outcome.rates else "-"
    late = sorted(outcome.lags)[int(len(outcome.lags) * 0.99)] if outcome.lags else 0.0
    return rate, report.count(late * 1e6), "; ".join(remarks)


def _percentile(polls: Sequence[Poll], share: float) -> float:
    return sorted(poll.took() for poll in polls)[int(len(polls) * share)]


def _targets(found: dict[Scenario, Outcome]) -> Iterator[Target]:
    for scenario, outcome in found.items():
        log = "memory" if scenario.server == OURS else "sqlite"
        if outcome.polls[ALL]:
            p99 = _percentile(outcome.polls[ALL], 0.99) * 1000
            worst = max(poll.took() for poll in outcome.polls[ALL]) * 1000
            yield Target(f"lag, {log}, {scenario.name}, p99", f"{p99:.2f} ms, worst {worst:.1f} ms")
