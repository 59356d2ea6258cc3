"""HTTP: event streams beside a plain relay, and uploads and downloads.

In the mode `paced`, messages are said at a fixed rate, each in a request of its own: this measures the cost and time of
a delivery. At full speed, as many messages are outstanding as allowed. Each stream belongs to another member.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from . import load, report, servers, tcpload
from .report import NOTHING, Settings, Target
from .servers import HTTP, OURS, SQLITE, SSE

OPEN = ("--web", "0", "--interface", "127.0.0.1", "--max-connections", "20000", "--files", "files")
LABELS = {SSE: "relay", OURS: "memory", SQLITE: "sqlite"}
FEW = 64
PACED, FULL = "paced", "full speed"
STREAMS = {1_000: 30.0, 4_000: 8.0}
"""Numbers of streams, and the messages a second that make about 30,000 deliveries."""
OUTSTANDING = 8
SIZE, SIZE_IF_QUICK = 400_000_000, 100_000_000
ERRORS = ("missing", "repeated", "wrong", "closed")
COLUMNS = (
    "streams",
    "how",
    "server",
    "KiB each",
    "deliveries/s",
    "CPU us",
    "CPU of relay",
    "p50 ms",
    "p99 ms",
    "CPU",
    "load CPU",
    "opened/s",
    "errors",
    "",
)


@dataclass(frozen=True, slots=True)
class Key:
    streams: int
    how: str
    server: str


@dataclass(slots=True)
class Cell:
    """The results of all rounds, the CPU time of a delivery relative to the relay's, and the errors."""

    streams: int
    results: list[load.Result] = field(default_factory=list)
    of_relay: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def middle(self, value: Callable[[load.Result], float], form: str) -> str:
        return format(median(map(value, self.results)), form) if self.results else "-"

    def figure(self, name: str, form: str, unit: float = 1.0) -> str:
        return self.middle(lambda result: result.figures[name] / unit, form)

    def kib_each(self, result: load.Result) -> float:
        return (result.usages["many"].rss - result.usages["few"].rss) / (self.streams - FEW) / 1024

    def errors(self) -> int:
        return round(sum(result.figures[name] for result in self.results for name in ERRORS))

    def remark(self) -> str:
        return f"{len(self.failures)} failed: {self.failures[-1]}" if self.failures else ""


def run(settings: Settings) -> list[Target]:
    tcpload.allow_files()
    program = load.compiled(settings.program.parent, "webload")
    cells = {key: Cell(key.streams) for key in _keys(settings)}
    for number in range(1, settings.rounds + 1):
        relay: load.Result | None = None  # of this round, with the same number of streams
        for key, cell in cells.items():
            report.progress(f"web, round {number}: {key.streams:,} streams, {key.how}, {LABELS[key.server]}")
            result = _measure(program, key, cell, settings)
            relay = result if key.server == SSE else relay
            if result is not None and relay is not None:
                cell.of_relay.append(_cpu_us(result) / _cpu_us(relay))
    report.progress("")
    report.table("Events over HTTP, each to all streams", COLUMNS, [_row(key, cell) for key, cell in cells.items()])
    return [*_targets(cells), *_files(settings)]


def _keys(settings: Settings) -> list[Key]:
    sizes = [1_000] if settings.quick else list(STREAMS)
    return [Key(streams, how, server) for streams in sizes for how in (PACED, FULL) for server in LABELS]


def _measure(program: Path, key: Key, cell: Cell, settings: Settings) -> load.Result | None:
    rate = STREAMS[key.streams] if key.how == PACED else 0.0
    options = {"n": key.streams, "f": FEW, "r": rate, "w": OUTSTANDING, "s": settings.seconds}
    try:
        with servers.running(key.server, settings.directory, OPEN, (HTTP,)) as server:
            result = load.run(program, server, "events", **options)
    except (servers.ServerError, load.LoadError) as error:
        cell.failures.append(str(error))
        return None
    cell.results.append(result)
    return result


def _cpu_us(result: load.Result) -> float:
    return (result.usages["done"].cpu - result.usages["started"].cpu) / result.figures["deliveries"] * 1e6


def _row(key: Key, cell: Cell) -> tuple[str, ...]:
    return (
        report.count(key.streams),
        key.how,
        LABELS[key.server],
        cell.middle(cell.kib_each, ".1f"),
        cell.figure("deliveries_per_s", ",.0f"),
        cell.middle(_cpu_us, ".1f"),
        f"{median(cell.of_relay):.2f}" if cell.of_relay else "-",
        cell.figure("p50_us", ".2f", 1000),
        cell.figure("p99_us", ".2f", 1000),
        cell.middle(load.Result.cpu_share, ".0%"),
        cell.figure("own_cpu", ".0%"),
        cell.figure("begun_per_s", ",.0f"),
        str(cell.errors()) if cell.results else "-",
        cell.remark(),
    )


def _targets(cells: dict[Key, Cell]) -> list[Target]:
    targets = []
    for key, cell in cells.items():
        if key.server != SSE and key.how == PACED:
            value = NOTHING
            if cell.results:
                value = (
                    f"{cell.middle(cell.kib_each, '.1f')} KiB each, {cell.middle(_cpu_us, '.1f')} us of CPU each, "
                    f"{cell.figure('deliveries_per_s', ',.0f')} a second, {cell.errors()} errors"
                )
            targets.append(Target(f"web, {key.streams:,} streams, {LABELS[key.server]}", value))
    return targets


# Files


def _files(settings: Settings) -> list[Target]:
    size = SIZE_IF_QUICK if settings.quick else SIZE
    directions: dict[str, Callable[[int, Path], float]] = {"up": _up, "down": _down}
    rates: dict[str, list[float]] = {direction: [] for direction in directions}
    costs: dict[str, list[float]] = {direction: [] for direction in directions}
    path = settings.directory / "web.bin"
    path.write_bytes(os.urandom(1_000_000) * (size // 1_000_000))
    try:
        for _ in range(settings.rounds):
            with servers.running(SQLITE, settings.directory, OPEN, (HTTP,)) as server:
                for direction, go in directions.items():
                    before = server.usage()
                    rates[direction].append(size / go(server.port, path) / 1e6)
                    costs[direction].append((server.usage().cpu - before.cpu) / size * 1e9)
    finally:
        path.unlink()
    rows = [
        (
            direction,
            f"{size / 1e6:,.0f}",
            f"{median(rates[direction]):,.0f}",
            f"{min(rates[direction]):,.0f}-{max(rates[direction]):,.0f}",
            f"{median(costs[direction]):.2f}",
            "",
        )
        for direction in directions
    ]
    report.table("Files over HTTP, one at a time", ("direction", "MB", "MB/s", "(range)", "server ms/MB", ""), rows)
    return [Target(f"web, files {direction}", f"{median(rates[direction]):,.0f} MB/s") for direction in directions]


def _up(port: int, path: Path) -> float:
    """Return the seconds of an upload, until the file is durable and the group was told."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 60) as sock, path.open("rb") as file:
        size = path.stat().st_size
        sock.sendall(f"PUT /files/web.bin?name=bench HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        sock.sendfile(file)
        answer = sock.recv(65536)
    if not answer.startswith(b"HTTP/1.1 201 "):
        raise load.LoadError(f"an upload was refused: {answer!r}")
    return time.monotonic() - begun


def _down(port: int, path: Path) -> float:
    begun, room = time.monotonic(), bytearray(1 << 20)
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(b"GET /files/web.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        came = 0
        while count := sock.recv_into(room):
            came += count
    if came < path.stat().st_size:
        raise load.LoadError(f"a download broke off after {came} bytes")
    return time.monotonic() - begun
