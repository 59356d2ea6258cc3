"""Downloads over QUIC, beside stop-and-wait and plain TCP: on loopback, with a delay, and with losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from . import load, report, servers
from .downloads import MB, PLAIN, QUIC, STOP, Download, Network, Source, download, source
from .report import NOTHING, Settings, Target

ROUND_TRIP = 0.04
KB = 1024
LOOPBACK = Network("loopback", 0, 0, {STOP: 100 * MB, PLAIN: 800 * MB, QUIC: 400 * MB})
FAR = Network("40 ms", ROUND_TRIP, 0, {STOP: 128 * KB, PLAIN: 200 * MB, QUIC: 50 * MB})
LOSSY = Network("40 ms, 1 % lost", ROUND_TRIP, 0.01, {STOP: 128 * KB, QUIC: 16 * MB})
BAD = Network("40 ms, 5 % lost", ROUND_TRIP, 0.05, {STOP: 128 * KB, QUIC: 16 * MB})
NETWORKS = (LOOPBACK, FAR, LOSSY, BAD)
"""The networks. Each lists its protocols in the order of measurement: the yardsticks come before QUIC."""
LEAST = {QUIC: 8 * MB, STOP: 32 * KB, PLAIN: 50 * MB}
COLUMNS = (
    "network",
    "protocol",
    "MB",
    "MB/s",
    "(range)",
    "of stop and wait",
    "(range)",
    "of tcp",
    "(range)",
    "start s",
    "client ms/MB",
    "server ms/MB",
    "",
)


@dataclass(slots=True)
class Cell:
    """The downloads of all rounds, their ratios to the yardsticks of the same round, and the errors."""

    downloads: list[Download] = field(default_factory=list)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def middle(self, value: Callable[[Download], float], form: str) -> str:
        return format(median(map(value, self.downloads)), form) if self.downloads else "-"

    def range(self) -> str:
        rates = [one.rate for one in self.downloads]
        return f"{rate(min(rates))}-{rate(max(rates))}" if rates else "-"

    def of(self, yardstick: str) -> str:
        ratios = self.ratios.get(yardstick)
        return ratio(median(ratios)) if ratios else "-"

    def range_of(self, yardstick: str) -> str:
        ratios = self.ratios.get(yardstick)
        return f"{ratio(min(ratios))}-{ratio(max(ratios))}" if ratios else "-"

    def remark(self) -> str:
        return f"{len(self.failures)} failed: {self.failures[-1]}" if self.failures else ""


Cells = dict[tuple[str, str], Cell]
"""By network and protocol."""


def rate(value: float) -> str:
    """Format a rate with its significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.4f}"


def ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def run(settings: Settings) -> list[Target]:
    networks = [_quickly(network) for network in NETWORKS] if settings.quick else NETWORKS
    pairs = [(network, protocol) for network in networks for protocol in network.sizes]
    cells = {(network.name, protocol): Cell() for network, protocol in pairs}
    with source(settings.directory, {size for network in networks for size in network.sizes.values()}) as files:
        for number in range(1, settings.rounds + 1):
            for network, protocol in pairs:
                report.progress(f"files, round {number}: {network.name}, {protocol}")
                _measure(network, protocol, cells, files, settings)
    report.progress("")
    rows = [_row(network, protocol, cells[network.name, protocol]) for network, protocol in pairs]
    report.table("One download at a time, without its start; the protocols take turns", COLUMNS, rows)
    return _targets(cells)


def _quickly(network: Network) -> Network:
    sizes = {protocol: max(size // 8, LEAST[protocol]) for protocol, size in network.sizes.items()}
    return Network(network.name, network.round_trip, network.loss, sizes)


def _measure(network: Network, protocol: str, cells: Cells, files: Source, settings: Settings) -> None:
    cell = cells[network.name, protocol]
    try:
        done = download(protocol, network, files, settings.directory)
    except (servers.ServerError, load.LoadError) as error:
        cell.failures.append(str(error))
        return
    for yardstick in (STOP, PLAIN):
        other = cells.get((network.name, yardstick))
        if protocol == QUIC and other is not None and other.downloads:
            cell.ratios.setdefault(yardstick, []).append(done.rate / other.downloads[-1].rate)
    cell.downloads.append(done)


def _row(network: Network, protocol: str, cell: Cell) -> tuple[str, ...]:
    return (
        network.name,
        protocol,
        f"{network.sizes[protocol] / MB:.4g}",
        rate(median(one.rate for one in cell.downloads)) if cell.downloads else "-",
        cell.range(),
        cell.of(STOP),
        cell.range_of(STOP),
        cell.of(PLAIN),
        cell.range_of(PLAIN),
        cell.middle(lambda one: one.began, ".2f"),
        cell.middle(Download.client_ms, ".3g"),
        cell.middle(Download.server_ms, ".3g"),
        cell.remark(),
    )


def _targets(cells: Cells) -> list[Target]:
    targets = []
    for (network, protocol), cell in cells.items():
        if protocol == QUIC:
            said = f"{cell.of(STOP)} ({cell.range_of(STOP)})" if STOP in cell.ratios else NOTHING
            targets.append(Target(f"files, {network}, of stop and wait", said))
    return targets
