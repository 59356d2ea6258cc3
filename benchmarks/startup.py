"""The start with a long history: from the start of the process until it answers a datagram.

The files are written directly: joins, and texts, each in an entry of its own as among people, with a record of cursors
now and then. They are in the page cache, as any file that was just written; `cold` ones are dropped from it.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from groupchat.core.errors import CannotOpen
from groupchat.core.events import Event, Joined, Said, Seen
from groupchat.log.database import Database

from . import report, servers
from .made import make
from .report import Settings, Target

MEMBERS = 1000
RECORD_EVERY = 1000
PATIENCE = 300.0
TEXT = "What is said in a group is a sentence of some words, most often."
COLUMNS = (
    "file",
    "kept",
    "MiB file",
    "open s",
    "begins after s",
    "then answers s",
    "in all s",
    "CPU s",
    "MiB resident",
    "stops s",
    "",
)


@dataclass(frozen=True, slots=True)
class Start:
    """The times of one start, in seconds, and the size of the file, in bytes."""

    checked: float
    """To open and close the file in a process of its own, which checks its pages."""
    begun: float
    """From the start of the process until it has bound its port and begins to read the file."""
    answered: float
    """From the start of the process until it answers."""
    usage: servers.Usage
    """The resources used at that moment."""
    file: int
    stopped: float | None
    """The time that it took to stop, unless it was killed."""


@dataclass(slots=True)
class Row:
    name: str
    file: Path
    keep: tuple[str, ...]
    """Options of the daemon."""
    times: int = 1
    cold: bool = False
    stopped: bool = False
    """True if the daemon is stopped. Otherwise it is killed, so that the file stays as it is."""
    starts: list[Start] = field(default_factory=list)
    trouble: str = ""

    def median(self, of: Callable[[Start], float]) -> float:
        return median(map(of, self.starts))


def run(settings: Settings) -> list[Target]:
    events = settings.events
    file = settings.directory / "startup.sqlite"
    old = settings.directory / "startup-old.sqlite"
    report.progress(f"start-up: making a file of {events:,} events")
    try:
        make(file, _history(events))
        shutil.copyfile(file, old)
        rows = _rows(file, old, settings)
        for row in rows:
            _measure(row)
    finally:
        _remove(file)
        _remove(old)
    report.progress("")
    title = f"Start-up: {events:,} texts by {MEMBERS:,} members in all, one in each entry"
    report.table(title, COLUMNS, map(_row, rows))
    return [Target(f"start-up, {row.name}", _target(row)) for row in rows if row.starts]


def _rows(file: Path, old: Path, settings: Settings) -> list[Row]:
    """Return the rows in order: a daemon that is stopped leaves a snapshot and a trimmed file to the next row."""
    times = settings.rounds
    everything = ("--keep", str(settings.events), "--keep-days", "0")
    less = ("--keep", str(settings.events // 10))
    return [
        Row("no snapshot", file, everything, times),
        Row("no snapshot, cold", file, everything, times, cold=True),
        Row("no snapshot, stopped", file, everything, stopped=True),
        Row("snapshot", file, everything, times),
        Row("old, not trimmed, stopped", old, less, stopped=True),
        Row("old, trimmed, snapshot", old, less, times),
    ]


def _measure(row: Row) -> None:
    for number in range(row.times):
        report.progress(f"start-up: {row.name}, round {number + 1}")
        try:
            row.starts.append(_start(row))
        except (servers.ServerError, CannotOpen, OSError) as error:
            row.trouble = str(error)


def _start(row: Row) -> Start:
    """Start a daemon, and stop or kill it once it has answered."""
    checked = _seconds_to_open(row.file)
    if row.cold:
        _forget_pages(row.file)
    server = servers.Server([*servers.DAEMON, "--db", str(row.file), *row.keep], row.file.parent)
    try:
        server.wait_until_it_listens(PATIENCE)
        _ask(server.port)
        answered = time.monotonic() - server.begun
        found = Start(checked, server.bound - server.begun, answered, server.usage(), row.file.stat().st_size, None)
        if not row.stopped:
            server.process.kill()
            return found
        begun = time.monotonic()
        server.stop(PATIENCE)
        return replace(found, stopped=time.monotonic() - begun)
    finally:
        server.stop()


def _ask(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(servers.START_SECONDS)
        asking.sendto(b"5", ("127.0.0.1", port))
        asking.recv(65535)  # a refusal, since this address has not joined


def _seconds_to_open(file: Path) -> float:
    begun = time.monotonic()
    Database(file).close()
    return time.monotonic() - begun


def _forget_pages(file: Path) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _remove(file: Path) -> None:
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()


def _row(row: Row) -> tuple[str, ...]:
    if not row.starts:
        return (row.name, report.count(int(row.keep[1])), *["-"] * (len(COLUMNS) - 3), row.trouble)
    stops = [start.stopped for start in row.starts if start.stopped is not None]
    return (
        row.name,
        report.count(int(row.keep[1])),
        f"{row.median(lambda start: start.file) / 2**20:.1f}",
        f"{row.median(lambda start: start.checked):.2f}",
        f"{row.median(lambda start: start.begun):.2f}",
        f"{_replay(row):.2f}",
        f"{row.median(lambda start: start.answered):.2f}",
        f"{_cpu(row):.2f}",
        f"{row.median(lambda start: start.usage.rss) / 2**20:.0f}",
        f"{median(stops):.1f}" if stops else "killed",
        row.trouble,
    )


def _replay(row: Row) -> float:
    return median(start.answered - start.begun for start in row.starts)


def _target(row: Row) -> str:
    answered = row.median(lambda start: start.answered)
    return f"{answered:.1f} s, of which {_replay(row):.1f} s since it began; {_cpu(row):.1f} s of CPU"


def _cpu(row: Row) -> float:
    return row.median(lambda start: start.usage.cpu)


# The file


def _history(texts: int) -> Iterator[Event]:
    """Yield events of the last hour: older ones would be forgotten because of `--keep-days`."""
    begun = time.time() - 3600
    for number in range(MEMBERS):
        yield Joined(number + 1, _name(number), _name(number), begun, "127.0.0.1", 1024 + number)
    for said in range(texts):
        number, at = said * 7919 % MEMBERS, begun + 3600 * said / texts
        yield Said(number + 1, _name(number), TEXT, at)
        if said % RECORD_EVERY == RECORD_EVERY - 1:
            line, own = MEMBERS + said + 1, (said + 1) // MEMBERS
            yield Seen(at, tuple((member + 1, line, own, int(at // 60), 1) for member in range(0, MEMBERS, 10)))


def _name(number: int) -> str:
    return f"member{number:05}"
