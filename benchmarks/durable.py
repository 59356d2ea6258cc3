"""The cost of keeping the group in a file: rates and times, beside the memory log and a bare echo loop.

A text is answered once it is committed to the disk. A poll waits for no disk, but shares the process with the thread
that commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import closed_loop, report
from .closed_loop import ACTIVE, MIX, MODES, POLL, SAY, WAITING_MODES, Cell, Cells, Key
from .report import NOTHING, Settings, Target
from .servers import ECHO, OURS, SQLITE

ROW = (ECHO, OURS, SQLITE)
YARDSTICKS = (ECHO, OURS)
LABELS = {ECHO: "echo", OURS: "memory", SQLITE: "sqlite"}
LARGEST = 1000
RATES = (
    "members",
    "mode",
    "server",
    "requests/s",
    "of echo",
    "(range)",
    "of memory",
    "(range)",
    "memory by CPU",
    "bytes",
    "CPU us",
    "CPU",
    "lost",
    "",
)
TIMES = (
    "outstanding",
    "server",
    "p50 us",
    "p99 us",
    "text p50",
    "text p99",
    "poll p50",
    "poll p99",
    "worst ms",
    "",
)


def run(settings: Settings) -> list[Target]:
    alone = [Key(ACTIVE, MIX, server, 1) for server in ROW]
    keys = [*alone, *_keys(settings)]
    cells = closed_loop.measured("durable", keys, YARDSTICKS, settings)
    bound = 2 * ACTIVE / (settings.disk.commit * 1e-6)
    print(f"\n{settings.disk}")
    print(f"mix cannot exceed 2 x {ACTIVE} requests a commit: {bound:,.0f} requests/s if a commit takes that long")
    title = f"Durable: requests a second, {ACTIVE} members active, one request outstanding each (lost: in all rounds)"
    crowds = {key: cell for key, cell in cells.items() if key not in alone}
    report.table(title, RATES, [_rate_row(key, cell) for key, cell in crowds.items()])
    timed = [*alone, *(key for key in crowds if key.mode == MIX and key.members == min(_sizes(settings)))]
    title = f"Durable: from request to answer, mix, {timed[-1].members:,} members"
    report.table(title, TIMES, [_time_row(key, cells[key]) for key in timed if key.server != ECHO])
    return [Target("durable mix, the most that commits allow", f"{bound:,.0f} requests/s"), *_targets(cells)]


def _sizes(settings: Settings) -> list[int]:
    sizes = [members for members in settings.members if members <= LARGEST] or [ACTIVE]
    return sizes[:1] if settings.quick else sizes


def _keys(settings: Settings) -> Iterator[Key]:
    polled = WAITING_MODES if POLL in settings.modes else ()
    for members in _sizes(settings):
        for mode in (*(mode for mode in MODES if mode in settings.modes), *polled):
            for server in ROW:
                yield Key(members, mode, server)


def _rate_row(key: Key, cell: Cell) -> tuple[str, ...]:
    head = (report.count(key.members), key.mode, LABELS[key.server])
    if not cell.results:
        return (*head, *["-"] * (len(RATES) - 4), cell.remark())
    return (
        *head,
        report.count(cell.median("requests_per_s")),
        cell.of(ECHO),
        cell.range_of(ECHO),
        cell.of(OURS),
        cell.range_of(OURS),
        cell.of_by_cpu(OURS),
        report.count(cell.median("reply_bytes")),
        f"{cell.cpu_us():.1f}",
        f"{cell.cpu_share():.0%}",
        report.count(cell.total("lost")),
        cell.remark(),
    )


def _time_row(key: Key, cell: Cell) -> tuple[str, ...]:
    head = (report.count(key.outstanding), LABELS[key.server])
    if not cell.results:
        return (*head, *["-"] * (len(TIMES) - 3), cell.remark())
    figures = ("p50_us", "p99_us", "text_p50_us", "text_p99_us", "poll_p50_us", "poll_p99_us")
    worst = f"{max(result.figures['worst_us'] for result in cell.results) / 1000:.1f}"
    return (*head, *(report.count(cell.median(figure)) for figure in figures), worst, cell.remark())


def _targets(cells: Cells) -> list[Target]:
    def on_sqlite(mode: str, of: Callable[[Cell], str], outstanding: int = ACTIVE) -> str:
        measured = {
            key.members: cell
            for key, cell in cells.items()
            if (key.mode, key.server, key.outstanding) == (mode, SQLITE, outstanding)
        }
        return ", ".join(f"{of(cell)} at {members:,}" for members, cell in measured.items() if cell.results) or NOTHING

    def times(cell: Cell) -> str:
        return f"{cell.median('p50_us') / 1000:.2f} and {cell.median('p99_us') / 1000:.2f} ms"

    return [
        Target("durable mix of the echo loop", on_sqlite(MIX, lambda cell: cell.of(ECHO))),
        *(
            Target(f"durable {mode} of the memory log", on_sqlite(mode, lambda cell: cell.of(OURS)))
            for mode in (SAY, MIX, POLL, *WAITING_MODES)
        ),
        *(
            Target(f"durable {mode} of the memory log, by CPU", on_sqlite(mode, lambda cell: cell.of_by_cpu(OURS)))
            for mode in (SAY, MIX, POLL, *WAITING_MODES)
        ),
        Target("durable mix, p50 and p99, 1 outstanding", on_sqlite(MIX, times, 1)),
        Target(f"durable mix, p50 and p99, {ACTIVE} outstanding", on_sqlite(MIX, times)),
    ]
