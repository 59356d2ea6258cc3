"""Requests a second, 64 outstanding, beside two yardsticks: a bare echo loop and a server with a mailbox per member.

The servers take turns, so that what else the machine does befalls all of them, and a ratio is always one of neighbours:
of an answer from us and from the echo loop that ran just before. Each run has a fresh server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from . import load, report, servers
from .report import Settings, Target
from .servers import ECHO, MAILBOX, OURS

ACTIVE = 64
NOTHING = "not measured"
ROW = (ECHO, MAILBOX, OURS)
SAY, POLL, MIX = MODES = ("say", "poll", "mix")
COLUMNS = (
    "members",
    "mode",
    "server",
    "requests/s",
    "of echo",
    "(range)",
    "by CPU",
    "p50 us",
    "p99 us",
    "CPU us",
    "CPU",
    "lost",
    "",
)


@dataclass(frozen=True, slots=True)
class Key:
    members: int
    mode: str
    server: str


@dataclass(slots=True)
class Cell:
    """What the rounds gave: results, their ratios to that round's echo loop, and why there are not more of them."""

    results: list[load.Result] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    """Of the rates."""
    cpu_ratios: list[float] = field(default_factory=list)
    """Of the requests for one second of the server's CPU: the same, unless something else holds a server up."""
    troubles: list[str] = field(default_factory=list)

    def median(self, figure: str) -> float:
        return median(result.figures[figure] for result in self.results)

    def total(self, figure: str) -> float:
        return sum(result.figures[figure] for result in self.results)

    def cpu_us(self) -> float:
        """Of the server, for one request."""
        return median(map(_cpu_us, self.results))

    def cpu_share(self) -> float:
        """Of one CPU. Below nearly all of it, something else held the server up, and the rate says less."""
        return median(result.cpu_share() for result in self.results)


def _cpu_us(result: load.Result) -> float:
    return result.cpu_seconds() / result.figures["requests"] * 1e6


Cells = Mapping[Key, Cell]


def run(settings: Settings) -> list[Target]:
    cells = {key: Cell() for key in _keys(settings)}
    for number in range(settings.rounds):
        for key in cells:
            report.progress(f"rates, round {number + 1}: {key.members:,} members, {key.mode}, {key.server}")
            _measure(key, cells, settings)
    report.progress("")
    title = f"Requests a second, {ACTIVE} members active, one request outstanding each (lost: in all rounds)"
    report.table(title, COLUMNS, [_row(key, cell) for key, cell in cells.items()])
    return _targets(cells)


def _keys(settings: Settings) -> Iterator[Key]:
    for members in settings.members:
        for mode in settings.modes:
            for server in ROW:
                yield Key(members, mode, server)


def _measure(key: Key, cells: Cells, settings: Settings) -> None:
    cell = cells[key]
    mode = "echo" if key.server == ECHO else key.mode
    try:
        with servers.running(key.server) as server:
            result = load.run(settings.program, server, mode, m=key.members, a=ACTIVE, s=settings.seconds)
    except (servers.ServerError, load.LoadError) as error:
        cell.troubles.append(str(error))
        return
    cell.results.append(result)
    echoes = cells[Key(key.members, key.mode, ECHO)].results
    if echoes:
        cell.ratios.append(result.figures["requests_per_s"] / echoes[-1].figures["requests_per_s"])
        cell.cpu_ratios.append(_cpu_us(echoes[-1]) / _cpu_us(result))


def _row(key: Key, cell: Cell) -> tuple[str, ...]:
    head = (report.count(key.members), key.mode, key.server)
    if not cell.results:
        return (*head, *["-"] * 9, _remark(cell))
    return (
        *head,
        report.count(cell.median("requests_per_s")),
        _middle(cell.ratios),
        f"{min(cell.ratios):.2f}-{max(cell.ratios):.2f}" if cell.ratios else "-",
        _middle(cell.cpu_ratios),
        report.count(cell.median("p50_us")),
        report.count(cell.median("p99_us")),
        f"{cell.cpu_us():.1f}",
        f"{cell.cpu_share():.0%}",
        report.count(cell.total("lost")),
        _remark(cell),
    )


def _middle(ratios: list[float]) -> str:
    return f"{median(ratios):.2f}" if ratios else "-"


def _remark(cell: Cell) -> str:
    illegal = [f"{report.count(cell.total('illegal'))} refused"] if cell.total("illegal") else []
    failed = [f"{len(cell.troubles)} failed: {cell.troubles[-1]}"] if cell.troubles else []
    return "; ".join(illegal + failed)


def _targets(cells: Cells) -> list[Target]:
    def rate(members: int, server: str) -> float:
        return cells[Key(members, MIX, server)].median("requests_per_s")

    def ours(of: Callable[[Cell], str]) -> str:
        measured = {key.members: cell for key, cell in cells.items() if (key.mode, key.server) == (MIX, OURS)}
        return ", ".join(f"{of(cell)} at {members:,}" for members, cell in measured.items() if cell.results) or NOTHING

    return [
        Target("mix, ours of the echo loop", ours(lambda cell: _middle(cell.ratios))),
        Target("mix, ours of the echo loop, by CPU", ours(lambda cell: _middle(cell.cpu_ratios))),
        Target("mix, ours at 10,000 members of ours at 64", _ratio(lambda: rate(10000, OURS) / rate(64, OURS))),
        Target("mix, ours of the mailbox server at 64", _ratio(lambda: rate(64, OURS) / rate(64, MAILBOX))),
        Target("mix, ours of the mailbox server at 1,000", _ratio(lambda: rate(1000, OURS) / rate(1000, MAILBOX))),
        Target("mix, ours, p99", ours(lambda cell: f"{cell.median('p99_us') / 1000:.1f} ms")),
        Target("mix, ours, lost", ours(lambda cell: report.count(cell.total("lost")))),
    ]


def _ratio(of: Callable[[], float]) -> str:
    try:
        return f"{of():.2f}"
    except (KeyError, ValueError):  # not asked for, or not one result
        return NOTHING
