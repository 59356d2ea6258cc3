"""Requests a second in a closed loop: some members keep one request outstanding each, the others are idle.

The servers take turns within each round, so that other work on the machine affects all of them. A ratio always compares
two runs of the same round. Each run has a fresh server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from . import load, report, servers
from .report import Settings
from .servers import ECHO

ACTIVE = 64
SAY, POLL, MIX = MODES = ("say", "poll", "mix")
LISTEN, BACKLOG = WAITING_MODES = ("listen", "backlog")
"""Modes in which lines wait for the members that poll: see README.md."""
SPOKEN_PER_SECOND = 1000
BACKLOG_TEXTS = 30_000
DAEMON_OPTIONS = {BACKLOG: ("--max-reply", "1024")}
LOAD_OPTIONS = {LISTEN: {"r": SPOKEN_PER_SECOND}, BACKLOG: {"t": BACKLOG_TEXTS}}


@dataclass(frozen=True, slots=True)
class Key:
    members: int
    mode: str
    server: str
    outstanding: int = ACTIVE


@dataclass(slots=True)
class Cell:
    """The results of all rounds, their ratios to the yardsticks of the same round, and the errors."""

    results: list[load.Result] = field(default_factory=list)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    """Ratios of the rates, by yardstick."""
    cpu_ratios: dict[str, list[float]] = field(default_factory=dict)
    """Ratios of the requests per second of the server's CPU: the same, unless other work slows a server down."""
    failures: list[str] = field(default_factory=list)

    def median(self, figure: str) -> float:
        return median(result.figures[figure] for result in self.results)

    def total(self, figure: str) -> float:
        return sum(result.figures[figure] for result in self.results)

    def cpu_us(self) -> float:
        """Return the CPU time of the server for one request."""
        return median(map(_cpu_us, self.results))

    def cpu_share(self) -> float:
        """Return the server's share of one CPU. If it is well below 1, other work slowed the server down."""
        return median(result.cpu_share() for result in self.results)

    def of(self, yardstick: str) -> str:
        return _middle(self.ratios.get(yardstick, []))

    def of_by_cpu(self, yardstick: str) -> str:
        return _middle(self.cpu_ratios.get(yardstick, []))

    def range_of(self, yardstick: str) -> str:
        ratios = self.ratios.get(yardstick, [])
        return f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else "-"

    def remark(self) -> str:
        illegal = [f"{report.count(self.total('illegal'))} refused"] if self.total("illegal") else []
        failed = [f"{len(self.failures)} failed: {self.failures[-1]}"] if self.failures else []
        return "; ".join(illegal + failed)


def _cpu_us(result: load.Result) -> float:
    return result.cpu_seconds() / result.figures["requests"] * 1e6


def _middle(ratios: list[float]) -> str:
    return f"{median(ratios):.2f}" if ratios else "-"


Cells = Mapping[Key, Cell]


def measured(name: str, keys: Iterable[Key], yardsticks: Sequence[str], settings: Settings) -> Cells:
    """Measure all keys in order, once a round. A yardstick comes before the servers that it is compared with."""
    cells = {key: Cell() for key in keys}
    for number in range(settings.rounds):
        for key in cells:
            report.progress(f"{name}, round {number + 1}: {key.members:,} members, {key.mode}, {key.server}")
            _measure(key, cells, yardsticks, settings)
    report.progress("")
    return cells


def _measure(key: Key, cells: Cells, yardsticks: Sequence[str], settings: Settings) -> None:
    cell = cells[key]
    mode = "echo" if key.server == ECHO else key.mode
    options = {"m": key.members, "a": key.outstanding, "s": settings.seconds} | LOAD_OPTIONS.get(key.mode, {})
    try:
        with servers.running(key.server, settings.directory, DAEMON_OPTIONS.get(key.mode, ())) as server:
            result = load.run(settings.program, server, mode, **options)
    except (servers.ServerError, load.LoadError) as error:
        cell.failures.append(str(error))
        return
    cell.results.append(result)
    for yardstick in yardsticks:
        other = cells.get(replace(key, server=yardstick))
        if other is not None and other.results:
            _compare(cell, yardstick, result, other.results[-1])
        if yardstick == key.server:
            break  # the next yardsticks have not run in this round


def _compare(cell: Cell, yardstick: str, result: load.Result, other: load.Result) -> None:
    ratio = result.figures["requests_per_s"] / other.figures["requests_per_s"]
    cell.ratios.setdefault(yardstick, []).append(ratio)
    cell.cpu_ratios.setdefault(yardstick, []).append(_cpu_us(other) / _cpu_us(result))
