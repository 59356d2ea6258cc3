"""The output: a heading, tables, a summary of targets, and on a terminal the progress."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from twisted import __version__ as twisted_version

from . import servers
from .disk import Disk
from .load import LoadError

S = TypeVar("S")
Row = Sequence[str]
NOTHING = "not measured"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings from the command line."""

    program: Path
    rounds: int
    seconds: float
    crowd_seconds: float
    members: Sequence[int]
    modes: Sequence[str]
    events: int
    load_seconds: float
    quick: bool
    disk: Disk

    @property
    def directory(self) -> Path:
        """The directory in which each server gets one of its own, for its database."""
        return self.disk.directory


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the summary at the end."""

    name: str
    value: str


def heading(settings: Settings) -> str:
    engines = ", ".join(f"{name}: {engine}" for name, engine in servers.LOG_ENGINES.items())
    load = os.getloadavg()[0]
    return "\n".join(
        [
            f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}; {os.cpu_count()} CPUs ({_processor()}), load {load:.1f}",
            f"Python {platform.python_version()}, Twisted {twisted_version}, Linux {platform.release()}",
            f"log engine of {engines}",
            str(settings.disk),
            f"rounds: {settings.rounds}, with {settings.seconds:g} s for each rate; a rate is the median",
        ]
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(title: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Print a table. Columns are aligned on the right, the last one (remarks) on the left."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"\n{title}")
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        print("  ".join([*cells, line[-1]]).rstrip(), flush=True)


def rounds(
    title: str, columns: Sequence[str], settings: Settings, measure: Callable[[Settings], S], row: Callable[[S], Row]
) -> list[S]:
    """Measure once a round, print a row for each round, with the reason if it failed, and return the samples."""
    samples: list[S] = []
    rows: list[Row] = []
    for number in range(1, settings.rounds + 1):
        progress(f"{title}: round {number}")
        try:
            samples.append(measure(settings))
            rows.append((str(number), *row(samples[-1])))
        except (servers.ServerError, LoadError) as error:
            rows.append((str(number), *["-"] * (len(columns) - 2), str(error)))
    progress("")
    table(title, columns, rows)
    return samples


def targets(lines: Sequence[Target]) -> None:
    width = max((len(line.name) for line in lines), default=0)
    print("\ntargets")
    for line in lines:
        print(f"  {line.name.ljust(width)}  {line.value}")


def progress(text: str) -> None:
    """Show the progress on a terminal, in one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def count(value: float) -> str:
    return f"{value:,.0f}"
