"""Requests a second over UDP while others listen over TCP: the cost of live delivery to members that poll.

The load is `mix` in `rates`, with 64 members active. Runs with and without listeners take turns; both listen on TCP.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from . import load, report, servers, tcpload
from .closed_loop import ACTIVE, MIX
from .report import NOTHING, Settings, Target
from .servers import LIVE, OURS, TCP, UDP

LISTENERS = 500
COLUMNS = (
    "round",
    "alone/s",
    "with them/s",
    "of alone",
    "by CPU",
    "alone p99 us",
    "with them p99 us",
    "CPU",
    "lines/s to them",
    "lines/read",
    "load CPU",
    "lost",
    "errors",
    "",
)


@dataclass(frozen=True, slots=True)
class Sample:
    alone: load.Result
    beside: load.Result
    heard: dict[str, float]
    """The figures of the listeners (see tcpload.c)."""

    def ratio(self) -> float:
        return self.beside.figures["requests_per_s"] / self.alone.figures["requests_per_s"]

    def ratio_by_cpu(self) -> float:
        return _cpu_us(self.alone) / _cpu_us(self.beside)

    def errors(self) -> int:
        """Return how many listeners missed a line, heard another order than the others, or were disconnected."""
        return round(self.heard["uneven"] + self.heard["closed"] + self.heard["wrong"])


def run(settings: Settings) -> list[Target]:
    tcpload.allow_files()
    title = f"{MIX} over UDP, {ACTIVE} members active, while {LISTENERS} members listen over TCP"
    return _targets(report.rounds(title, COLUMNS, settings, _measure, _row))


def _measure(settings: Settings) -> Sample:
    options = {"m": ACTIVE, "a": ACTIVE, "s": settings.seconds}
    with servers.running(OURS, settings.directory, LIVE, (UDP, TCP)) as server:
        alone = load.run(settings.program, server, MIX, **options)
    program = tcpload.built(settings.program)
    with servers.running(OURS, settings.directory, LIVE, (UDP, TCP)) as server:
        with tcpload.listening(program, server, LISTENERS) as heard:
            beside = load.run(settings.program, server, MIX, **options)
        return Sample(alone, beside, heard)


def _cpu_us(result: load.Result) -> float:
    return result.cpu_seconds() / result.figures["requests"] * 1e6


def _row(sample: Sample) -> tuple[str, ...]:
    alone, beside, heard = sample.alone.figures, sample.beside.figures, sample.heard
    names = ("uneven", "closed", "wrong", "notices")
    remarks = [f"{report.count(heard[name])} {name}" for name in names if heard[name]]
    if beside["illegal"]:
        remarks.append(f"{report.count(beside['illegal'])} refused")
    return (
        report.count(alone["requests_per_s"]),
        report.count(beside["requests_per_s"]),
        f"{sample.ratio():.2f}",
        f"{sample.ratio_by_cpu():.2f}",
        report.count(alone["p99_us"]),
        report.count(beside["p99_us"]),
        f"{sample.beside.cpu_share():.0%}",
        report.count(heard["lines_per_s"]),
        f"{heard['lines_per_read']:.1f}",
        f"{heard['own_cpu']:.0%}",
        report.count(beside["lost"]),
        report.count(sample.errors()),
        "; ".join(remarks),
    )


def _targets(samples: list[Sample]) -> list[Target]:
    name = f"mix beside {LISTENERS} TCP listeners"
    if not samples:
        return [Target(name, NOTHING)]
    ratio = median(sample.ratio() for sample in samples)
    p99 = median(sample.beside.figures["p99_us"] for sample in samples) / 1000
    lines = median(sample.heard["lines_per_s"] for sample in samples)
    errors = sum(sample.errors() for sample in samples)
    value = f"{ratio:.2f} of alone, p99 {p99:.1f} ms, {lines:,.0f} lines/s delivered, {errors:,} errors"
    return [Target(name, value)]
