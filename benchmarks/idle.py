"""The resident memory of an idle TCP connection, and the CPU while nobody says anything.

Measured for connections that never gave a name, and for members. The memory of a member includes the line of its join.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import load, report, servers, tcpload
from .report import Settings, Target
from .servers import LIVE, OURS, RELAY, TCP

FEW, MANY, MANY_IF_QUICK = 64, 10_000, 1000
SECONDS, SECONDS_IF_QUICK = 30.0, 5.0
LABELS = {RELAY: "relay", OURS: "ours"}
KINDS = {"silent": "no name yet", "joined": "members"}
"""Modes of the load generator (see tcpload.c), and their labels."""
COLUMNS = ("server", "what", "MiB at 64", "connections", "MiB", "KiB each", "begun/s", "idle s", "CPU", "closed", "")


@dataclass(frozen=True, slots=True)
class Sample:
    server: str
    kind: str
    connections: int
    result: load.Result

    def kib_each(self) -> float:
        usages = self.result.usages
        return (usages["many"].rss - usages["few"].rss) / (self.connections - FEW) / 1024

    def idle_seconds(self) -> float:
        return self.result.usages["done"].at - self.result.usages["many"].at

    def cpu_share(self) -> float:
        """Return the share of one CPU while the connections are idle."""
        return (self.result.usages["done"].cpu - self.result.usages["many"].cpu) / self.idle_seconds()


def run(settings: Settings) -> list[Target]:
    tcpload.allow_files()
    connections, seconds = (MANY_IF_QUICK, SECONDS_IF_QUICK) if settings.quick else (MANY, SECONDS)
    samples: list[Sample] = []
    rows: list[report.Row] = []
    for kind, what in KINDS.items():
        for server in (RELAY, OURS):
            report.progress(f"idle: {connections:,} connections, {what}, {LABELS[server]}")
            try:
                samples.append(_measure(server, kind, connections, seconds, settings))
                rows.append(_row(samples[-1]))
            except (servers.ServerError, load.LoadError) as error:
                rows.append((LABELS[server], what, *["-"] * (len(COLUMNS) - 3), str(error)))
    report.progress("")
    report.table(f"Idle TCP connections: {connections:,} for {seconds:g} s, once", COLUMNS, rows)
    return list(_targets(samples))


def _measure(server: str, kind: str, connections: int, seconds: float, settings: Settings) -> Sample:
    program = tcpload.built(settings.program)
    with servers.running(server, settings.directory, LIVE, (TCP,)) as running:
        return Sample(server, kind, connections, load.run(program, running, kind, n=connections, f=FEW, s=seconds))


def _row(sample: Sample) -> report.Row:
    figures, usages = sample.result.figures, sample.result.usages
    return (
        LABELS[sample.server],
        KINDS[sample.kind],
        f"{usages['few'].rss / 2**20:.1f}",
        report.count(sample.connections),
        f"{usages['many'].rss / 2**20:.1f}",
        f"{sample.kib_each():.2f}",
        report.count(figures["begun_per_s"]),
        f"{sample.idle_seconds():.0f}",
        f"{sample.cpu_share():.2%}",
        report.count(figures["closed"]),
        f"{report.count(figures['notices'])} notices" if figures["notices"] else "",
    )


def _targets(samples: list[Sample]) -> Iterator[Target]:
    for sample in samples:
        value = f"{sample.kib_each():.1f} KiB each, {sample.cpu_share():.2%} of one CPU"
        yield Target(f"idle, {sample.connections:,} {KINDS[sample.kind]}, {LABELS[sample.server]}", value)
