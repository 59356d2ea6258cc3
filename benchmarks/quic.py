"""The cost of QUIC connections: handshakes, memory while idle, and bytes sent to forged addresses."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

from . import load, report, servers
from .report import NOTHING, Settings, Target
from .servers import HERE, OURS, Server

PROGRAM = (sys.executable, str(HERE / "quicload.py"))
HELD = 200
WINDOW = 8
SILENCE = 12.0
"""Seconds after which the daemon has given up an unfinished handshake."""
COLUMNS = (
    "round",
    "handshakes/s",
    "p50 us",
    "p99 us",
    "server ms each",
    "CPU",
    "load CPU",
    "idle KiB each",
    "forged out/in",
    "silent out/in",
    "",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """`idle` is the resident memory of one connection in bytes; `forged` and `silent` are bytes out per byte in."""

    handshakes: load.Result
    idle: float
    forged: float
    silent: float

    def each(self) -> float:
        """Return the seconds of the server's CPU for one handshake."""
        return self.handshakes.cpu_seconds() / self.handshakes.figures["requests"]


def run(settings: Settings) -> list[Target]:
    title = f"Connections over QUIC: {WINDOW} handshakes at a time, each with Retry; {HELD} idle; two never answer"
    return _targets(report.rounds(title, COLUMNS, settings, _measure, _row))


def _measure(settings: Settings) -> Sample:
    with _daemon(settings) as server:
        handshakes = load.run(PROGRAM, server, "handshakes", w=WINDOW, s=settings.seconds)
    with _daemon(settings) as server:
        load.run(PROGRAM, server, "handshakes", w=1, s=0.5)  # to allocate what all connections share
        held = load.run(PROGRAM, server, "hold", n=HELD, w=WINDOW)
    with _daemon(settings) as server:
        forged = load.run(PROGRAM, server, "forged", s=2.0 if settings.quick else SILENCE).figures
    return Sample(
        handshakes,
        (held.usages["done"].rss - held.usages["few"].rss) / HELD,
        forged["forged_out"] / forged["forged_in"],
        forged["silent_out"] / forged["silent_in"],
    )


def _daemon(settings: Settings) -> AbstractContextManager[Server]:
    return servers.running(OURS, settings.directory, ("--quic",))


def _row(sample: Sample) -> tuple[str, ...]:
    figures = sample.handshakes.figures
    return (
        report.count(figures["requests_per_s"]),
        report.count(figures["p50_us"]),
        report.count(figures["p99_us"]),
        f"{sample.each() * 1000:.2f}",
        f"{sample.handshakes.cpu_share():.0%}",
        f"{figures['own_cpu']:.0%}",
        f"{sample.idle / 1024:.1f}",
        f"{sample.forged:.2f}",
        f"{sample.silent:.2f}",
        "",
    )


def _targets(samples: list[Sample]) -> list[Target]:
    if not samples:
        return [Target("quic", NOTHING)]
    handshakes = median(sample.handshakes.figures["requests_per_s"] for sample in samples)
    idle = median(sample.idle for sample in samples) / 1024
    forged, silent = (max(getattr(sample, name) for sample in samples) for name in ("forged", "silent"))
    return [
        Target("quic, handshakes", f"{handshakes:,.0f} a second"),
        Target("quic, an idle connection", f"{idle:.1f} KiB"),
        Target("quic, bytes out per byte in without an answer", f"{forged:.2f} forged, {silent:.2f} silent"),
    ]
