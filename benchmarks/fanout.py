"""Fan-out over TCP: the texts of one member are delivered live to all others, beside a plain relay.

The servers take turns within each round, each run has a fresh one, and a ratio is to the relay of the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from . import load, report, servers, tcpload
from .report import NOTHING, Settings, Target
from .servers import LIVE, OURS, RELAY, SQLITE, TCP

ROW = (RELAY, OURS, SQLITE)
LABELS = {RELAY: "relay", OURS: "memory", SQLITE: "sqlite"}
RECEIVERS = (10, 100, 500, 2000)
OUTSTANDING = 8
ALONE = 500
"""Receivers in the runs with one message outstanding."""
ERRORS = ("missing", "repeated", "wrong", "closed")
COLUMNS = (
    "receivers",
    "outstanding",
    "server",
    "deliveries/s",
    "of relay",
    "(range)",
    "by CPU",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "CPU us",
    "CPU",
    "load CPU",
    "lines/read",
    "errors",
    "",
)


@dataclass(frozen=True, slots=True)
class Key:
    receivers: int
    outstanding: int
    server: str


@dataclass(slots=True)
class Cell:
    """The results of all rounds, their ratios to the relay of the same round, and the errors."""

    results: list[load.Result] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)
    """Ratios of the deliveries per second of the server's CPU."""
    failures: list[str] = field(default_factory=list)

    def compare(self, result: load.Result, relay: load.Result) -> None:
        self.ratios.append(result.figures["deliveries_per_s"] / relay.figures["deliveries_per_s"])
        self.cpu_ratios.append(_cpu_us(relay) / _cpu_us(result))

    def median(self, figure: str) -> float:
        return median(result.figures[figure] for result in self.results)

    def total(self, figure: str) -> float:
        return sum(result.figures[figure] for result in self.results)

    def of_relay(self) -> str:
        return f"{median(self.ratios):.2f}" if self.ratios else "-"

    def of_relay_by_cpu(self) -> str:
        return f"{median(self.cpu_ratios):.2f}" if self.cpu_ratios else "-"

    def range(self) -> str:
        return f"{min(self.ratios):.2f}-{max(self.ratios):.2f}" if self.ratios else "-"

    def errors(self) -> int:
        return round(sum(map(self.total, ERRORS)))

    def remark(self) -> str:
        errors = [f"{report.count(self.total(name))} {name}" for name in (*ERRORS, "notices") if self.total(name)]
        failed = [f"{len(self.failures)} failed: {self.failures[-1]}"] if self.failures else []
        return "; ".join(errors + failed)


Cells = dict[Key, Cell]


def run(settings: Settings) -> list[Target]:
    tcpload.allow_files()
    cells = {key: Cell() for key in _keys(settings)}
    for number in range(settings.rounds):
        relay: load.Result | None = None  # of this round, with the same number of receivers
        for key, cell in cells.items():
            report.progress(f"fan-out, round {number + 1}: {key.receivers:,} receivers, {LABELS[key.server]}")
            result = _measure(key, cell, settings)
            relay = result if key.server == RELAY else relay
            if result is not None and relay is not None:
                cell.compare(result, relay)
    report.progress("")
    title = "Fan-out: one member speaks, the others receive it live over TCP (errors: in all rounds)"
    report.table(title, COLUMNS, [_row(key, cell) for key, cell in cells.items()])
    return _targets(cells)


def _keys(settings: Settings) -> Iterator[Key]:
    """Yield each relay before the servers that it is compared with."""
    sizes = (10, ALONE) if settings.quick else RECEIVERS
    for receivers, outstanding in (*((size, OUTSTANDING) for size in sizes), (ALONE, 1)):
        for server in ROW:
            yield Key(receivers, outstanding, server)


def _measure(key: Key, cell: Cell, settings: Settings) -> load.Result | None:
    options = {"n": key.receivers, "w": key.outstanding, "s": settings.seconds}
    try:
        with servers.running(key.server, settings.directory, LIVE, (TCP,)) as server:
            result = load.run(tcpload.built(settings.program), server, "fanout", **options)
    except (servers.ServerError, load.LoadError) as error:
        cell.failures.append(str(error))
        return None
    cell.results.append(result)
    return result


def _cpu_us(result: load.Result) -> float:
    return result.cpu_seconds() / result.figures["deliveries"] * 1e6


def _row(key: Key, cell: Cell) -> tuple[str, ...]:
    head = (report.count(key.receivers), report.count(key.outstanding), LABELS[key.server])
    if not cell.results:
        return (*head, *["-"] * (len(COLUMNS) - 4), cell.remark())
    return (
        *head,
        report.count(cell.median("deliveries_per_s")),
        cell.of_relay(),
        cell.range(),
        cell.of_relay_by_cpu(),
        report.count(cell.median("messages_per_s")),
        f"{cell.median('p50_us') / 1000:.2f}",
        f"{cell.median('p99_us') / 1000:.2f}",
        f"{median(map(_cpu_us, cell.results)):.2f}",
        f"{median(result.cpu_share() for result in cell.results):.0%}",
        f"{cell.median('own_cpu'):.0%}",
        f"{cell.median('lines_per_read'):.1f}",
        report.count(cell.errors()),
        cell.remark(),
    )


def _targets(cells: Cells) -> list[Target]:
    def at(server: str, outstanding: int, of: Callable[[Cell], str]) -> str:
        measured = {
            key.receivers: cell
            for key, cell in cells.items()
            if (key.server, key.outstanding) == (server, outstanding) and cell.results
        }
        return ", ".join(f"{of(cell)} at {receivers:,}" for receivers, cell in measured.items()) or NOTHING

    def p99(cell: Cell) -> str:
        return f"{cell.median('p99_us') / 1000:.1f} ms"

    wrong = [(cell.errors(), key) for key, cell in cells.items() if cell.errors()]
    return [
        *(
            Target(f"fan-out, {LABELS[server]}, of the relay{remark}", at(server, outstanding, Cell.of_relay))
            for server in (OURS, SQLITE)
            for outstanding, remark in ((OUTSTANDING, ""), (1, ", 1 outstanding"))
        ),
        *(Target(f"fan-out, {LABELS[server]}, p99", at(server, OUTSTANDING, p99)) for server in ROW),
        Target(
            "fan-out, errors",
            ", ".join(f"{errors:,} at {key.receivers:,} ({LABELS[key.server]})" for errors, key in wrong) or "none",
        ),
    ]
