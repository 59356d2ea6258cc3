"""The resident memory of an idle member, and of a text that waits.

The memory of a member includes the line of its join. A text to all should be held once, not once per member.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from . import load, report, servers
from .report import Settings, Target

FEW, MANY, TEXTS = 64, 10_000, 10_000
COLUMNS = ("round", f"MiB at {FEW}", f"MiB at {MANY:,}", "bytes/member", "MiB with texts", "bytes/text", "")


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident bytes with few members, with many, and with texts that wait for all of them."""

    few: int
    many: int
    full: int

    def per_member(self) -> float:
        return (self.many - self.few) / (MANY - FEW)

    def per_text(self) -> float:
        return (self.full - self.many) / TEXTS


def run(settings: Settings) -> list[Target]:
    title = f"Memory: idle members, then {TEXTS:,} texts of 100 bytes that wait for all {MANY:,}"
    return _targets(report.rounds(title, COLUMNS, settings, _measure, _row))


def _measure(settings: Settings) -> Sample:
    with servers.running(servers.OURS, settings.directory) as server:
        result = load.run(settings.program, server, "hold", m=MANY, a=FEW, t=TEXTS)
    if result.figures["illegal"]:
        raise load.LoadError(f"{report.count(result.figures['illegal'])} refused")
    usages = result.usages
    return Sample(usages["few"].rss, usages["many"].rss, usages["done"].rss)


def _row(sample: Sample) -> tuple[str, ...]:
    few, many, full = (f"{size / 2**20:.1f}" for size in (sample.few, sample.many, sample.full))
    return (few, many, report.count(sample.per_member()), full, report.count(sample.per_text()), "")


def _targets(samples: list[Sample]) -> list[Target]:
    if not samples:
        return [Target("memory", "not measured")]
    member = report.count(median(sample.per_member() for sample in samples))
    text = report.count(median(sample.per_text() for sample in samples))
    return [
        Target("memory", f"{member} bytes an idle member, {text} bytes a text of 100 bytes that waits for {MANY:,}")
    ]
