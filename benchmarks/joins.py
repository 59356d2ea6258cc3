"""The time of one join among 10,000, from request to answer, beside one echo round trip.

The answer to a join is a list of names, so a late join is answered with as many as fit in 1,024 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from . import load, report, servers
from .report import Settings, Target

MEMBERS, BLOCK = 10_000, 1000
COLUMNS = (
    "round",
    "echo us",
    f"first {BLOCK:,} us",
    f"last {BLOCK:,} us",
    "first of echo",
    "last of echo",
    "last of first",
    "",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Mean microseconds from request to answer."""

    echo: float
    first: float
    last: float


def run(settings: Settings) -> list[Target]:
    title = f"Joins: {MEMBERS:,}, one at a time, mean time from request to answer"
    return _targets(report.rounds(title, COLUMNS, settings, _measure, _row))


def _measure(settings: Settings) -> Sample:
    with servers.running(servers.ECHO, settings.directory) as server:
        echo = load.run(settings.program, server, "echo", a=1, s=settings.seconds).figures
    with servers.running(servers.OURS, settings.directory) as server:
        joins = load.run(settings.program, server, "join", m=MEMBERS, a=BLOCK).figures
    return Sample(echo["mean_us"], joins["first_us"], joins["last_us"])


def _row(sample: Sample) -> tuple[str, ...]:
    times = (report.count(time) for time in (sample.echo, sample.first, sample.last))
    ratios = (sample.first / sample.echo, sample.last / sample.echo, sample.last / sample.first)
    return (*times, *(f"{ratio:.1f}" for ratio in ratios), "")


def _targets(samples: list[Sample]) -> list[Target]:
    if not samples:
        return [Target("joins", "not measured")]
    last = median(sample.last for sample in samples)
    ratio = median(sample.last / sample.echo for sample in samples)
    return [Target("joins", f"{last:.0f} us for the last {BLOCK:,} of {MEMBERS:,}, {ratio:.1f} echo round trips")]
