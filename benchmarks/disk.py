"""The disk of the databases: its file system, and how long it takes to write a few kilobytes durably."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from groupchat.core.events import Said
from groupchat.log.database import Database

BLOCK = b"x" * 4096
TIMES, SECONDS = 500, 1.0
IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Disk:
    """The directory of the databases, its file system, and times in microseconds (medians)."""

    directory: Path
    filesystem: str
    growing: float
    """4 KiB at the end of a file that grows, and fdatasync."""
    growing_p99: float
    within: float
    """The same within a file, as SQLite does once its WAL has reached its full size."""
    commit: float
    """One text appended to a database with durability full."""

    def __str__(self) -> str:
        return (
            f"databases in {self.directory} ({self.filesystem}): 4 KiB and fdatasync p50 {self.growing:,.0f} us "
            f"(p99 {self.growing_p99:,.0f}), within a file {self.within:,.0f} us; "
            f"a commit of one text p50 {self.commit:,.0f} us"
        )


@contextmanager
def place(chosen: Path | None) -> Iterator[Path]:
    """Make a new directory for the databases in `chosen`, or where temporary files are on a real disk."""
    usual = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    real = (path for path in usual if path.is_dir() and _filesystem(path)[0] not in IN_MEMORY)
    with tempfile.TemporaryDirectory(prefix="groupchat-bench-", dir=chosen or next(real, None)) as directory:
        yield Path(directory)


def measured(directory: Path) -> Disk:
    kind, device = _filesystem(directory)
    remark = ", which is NO DISK: durable means nothing here" if kind in IN_MEMORY else ""
    file = os.open(directory / "fsync", os.O_RDWR | os.O_CREAT)
    try:
        growing = _times(lambda: _write(file))
        os.lseek(file, 0, os.SEEK_SET)
        within = _times(lambda: _write(file), len(growing))
    finally:
        os.close(file)
        (directory / "fsync").unlink()
    return Disk(
        directory,
        f"{kind} on {device}{remark}",
        median(growing),
        quantiles(growing, n=100)[-1],
        median(within),
        median(_commits(directory / "commits.sqlite")),
    )


def _write(file: int) -> None:
    os.write(file, BLOCK)
    os.fdatasync(file)


def _commits(path: Path) -> list[float]:
    database = Database(path, "FULL")
    try:
        text = Said(1, "member00001", "hello from number 1", time.time())
        return _times(lambda: database.append([(f"x-{database.head}", [text])]))
    finally:
        database.close()
        path.unlink()


def _times(once: Callable[[], object], times: int = TIMES) -> list[float]:
    """Return the microseconds of `times` calls, or of as many as fit into a second."""
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < 2 or (len(found) < times and time.perf_counter() - begun < SECONDS):
        before = time.perf_counter()
        once()
        found.append((time.perf_counter() - before) * 1e6)
    return found


def _filesystem(path: Path) -> tuple[str, str]:
    """Return the type and the device of the file system of a path (see proc(5), mountinfo)."""
    resolved = path.resolve()
    best, found = -1, ("unknown", "?")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        point = Path(left.split()[4])
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            kind, device, *_ = right.split()
            best, found = len(point.parts), (kind, device)
    return found
