"""Requests a second, 64 outstanding, beside two yardsticks: a bare echo loop and a server with a mailbox per member.

Nothing is stored on disk here: see `durable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import closed_loop, report
from .closed_loop import ACTIVE, MIX, Cell, Cells, Key
from .report import NOTHING, Settings, Target
from .servers import ECHO, MAILBOX, OURS

ROW = (ECHO, MAILBOX, OURS)
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


def run(settings: Settings) -> list[Target]:
    cells = closed_loop.measured("rates", _keys(settings), [ECHO], settings)
    title = f"Requests a second, {ACTIVE} members active, one request outstanding each (lost: in all rounds)"
    report.table(title, COLUMNS, [_row(key, cell) for key, cell in cells.items()])
    return _targets(cells)


def _keys(settings: Settings) -> Iterator[Key]:
    for members in settings.members:
        for mode in settings.modes:
            for server in ROW:
                yield Key(members, mode, server)


def _row(key: Key, cell: Cell) -> tuple[str, ...]:
    head = (report.count(key.members), key.mode, key.server)
    if not cell.results:
        return (*head, *["-"] * 9, cell.remark())
    return (
        *head,
        report.count(cell.median("requests_per_s")),
        cell.of(ECHO),
        cell.range_of(ECHO),
        cell.of_by_cpu(ECHO),
        report.count(cell.median("p50_us")),
        report.count(cell.median("p99_us")),
        f"{cell.cpu_us():.1f}",
        f"{cell.cpu_share():.0%}",
        report.count(cell.total("lost")),
        cell.remark(),
    )


def _targets(cells: Cells) -> list[Target]:
    def rate(members: int, server: str) -> float:
        return cells[Key(members, MIX, server)].median("requests_per_s")

    def ours(of: Callable[[Cell], str]) -> str:
        measured = {key.members: cell for key, cell in cells.items() if (key.mode, key.server) == (MIX, OURS)}
        return ", ".join(f"{of(cell)} at {members:,}" for members, cell in measured.items() if cell.results) or NOTHING

    return [
        Target("mix, ours of the echo loop", ours(lambda cell: cell.of(ECHO))),
        Target("mix, ours of the echo loop, by CPU", ours(lambda cell: cell.of_by_cpu(ECHO))),
        Target("mix, ours at 10,000 members of ours at 64", _ratio(lambda: rate(10000, OURS) / rate(64, OURS))),
        Target("mix, ours of the mailbox server at 64", _ratio(lambda: rate(64, OURS) / rate(64, MAILBOX))),
        Target("mix, ours of the mailbox server at 1,000", _ratio(lambda: rate(1000, OURS) / rate(1000, MAILBOX))),
        Target("mix, ours, p99", ours(lambda cell: f"{cell.median('p99_us') / 1000:.1f} ms")),
        Target("mix, ours, lost", ours(lambda cell: report.count(cell.total("lost")))),
    ]


def _ratio(of: Callable[[], float]) -> str:
    try:
        return f"{of():.2f}"
    except (KeyError, ValueError):  # not selected, or no result
        return NOTHING
