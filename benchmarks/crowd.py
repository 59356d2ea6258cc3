"""A busy hour: 10,000 members who each poll every two seconds while 100 texts a second are said.

Requests are sent by the clock, so that a slow answer does not delay the next request.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from statistics import median

from . import load, report, servers
from .report import Settings, Target

MEMBERS = 10_000
POLL_SECONDS = 2
TEXTS_PER_SECOND = 100
COLUMNS = (
    "round",
    "CPU",
    "p50 us",
    "p99 us",
    "worst ms",
    "polls",
    "texts",
    "answered",
    "Seen written",
    "MiB",
    "sent late us",
    "",
)


@dataclass(frozen=True, slots=True)
class Sample:
    result: load.Result
    cursor_records: str
    """The number of `Seen` events that the daemon wrote, as it says; `?` if it does not say."""
    life: float
    """Seconds from the start of the daemon to its end, with the joins."""

    def unanswered(self) -> float:
        figures = self.result.figures
        return figures["polls"] + figures["texts"] - figures["answered"]


def run(settings: Settings) -> list[Target]:
    title = (
        f"The crowd: {MEMBERS:,} members poll every {POLL_SECONDS} s, {TEXTS_PER_SECOND} texts a second in all, "
        f"for {settings.crowd_seconds:g} s"
    )
    return _targets(report.rounds(title, COLUMNS, settings, _measure, _row))


def _measure(settings: Settings) -> Sample:
    options = {"m": MEMBERS, "s": settings.crowd_seconds, "i": POLL_SECONDS, "r": TEXTS_PER_SECOND}
    begun = time.monotonic()
    with servers.running(servers.OURS, settings.directory) as server:
        result = load.run(settings.program, server, "crowd", **options)
    found = re.search(r"(\d+) cursor records", server.output)
    return Sample(result, found[1] if found else "?", time.monotonic() - begun)


def _row(sample: Sample) -> tuple[str, ...]:
    figures = sample.result.figures
    return (
        f"{sample.result.cpu_share():.0%}",
        report.count(figures["p50_us"]),
        report.count(figures["p99_us"]),
        f"{figures['worst_us'] / 1000:.1f}",
        *(report.count(figures[name]) for name in ("polls", "texts", "answered")),
        f"{sample.cursor_records} in {sample.life:.0f} s",
        f"{sample.result.usages['done'].rss / 2**20:.0f}",
        report.count(figures["lag_p99_us"]),
        f"{report.count(figures['illegal'])} refused" if figures["illegal"] else "",
    )


def _targets(samples: list[Sample]) -> list[Target]:
    if not samples:
        return [Target("crowd", "not measured")]
    cpu = median(sample.result.cpu_share() for sample in samples)
    p99 = median(sample.result.figures["p99_us"] for sample in samples) / 1000
    unanswered = sum(sample.unanswered() for sample in samples)
    return [Target("crowd", f"{cpu:.0%} of one CPU, p99 {p99:.1f} ms, {report.count(unanswered)} unanswered")]
