"""Requests a second over UDP while a client downloads over QUIC from the same daemon, again and again.

The load is `mix` in `rates`, with 64 members active. Runs with and without the downloads take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median

from . import load, report, servers
from .closed_loop import ACTIVE, MIX
from .downloads import MB, QUIC, Network, Source, Testbed, source
from .report import NOTHING, Settings, Target

SIZE = 50 * MB
LOOPBACK = Network("loopback", 0, 0, {QUIC: SIZE})
COLUMNS = (
    "round",
    "alone/s",
    "with it/s",
    "of alone",
    "alone p99 us",
    "with it p99 us",
    "CPU",
    "files",
    "MB/s meanwhile",
    "lost",
    "",
)


@dataclass(slots=True)
class Fetched:
    """The seconds that each download took, and the error that ended them, if any."""

    took: list[float] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    alone: load.Result
    beside: load.Result
    fetched: Fetched

    def ratio(self) -> float:
        return self.beside.figures["requests_per_s"] / self.alone.figures["requests_per_s"]

    def rate(self) -> float:
        """Return MB a second, with the start of each client."""
        took = self.fetched.took
        return len(took) * SIZE / sum(took) / MB


def run(settings: Settings) -> list[Target]:
    title = f"{MIX} over UDP, {ACTIVE} members active, during repeated downloads of {SIZE // MB} MB over QUIC"
    with source(settings.directory, {SIZE}) as files:
        return _targets(report.rounds(title, COLUMNS, settings, lambda chosen: _measure(files, chosen), _row))


def _measure(files: Source, settings: Settings) -> Sample:
    options = {"m": ACTIVE, "a": ACTIVE, "s": settings.seconds}
    with ExitStack() as stack:
        alone = load.run(settings.program, _daemon(files, settings, stack).server, MIX, **options)
    with ExitStack() as stack:
        daemon = _daemon(files, settings, stack)
        with _downloading(daemon) as fetched:
            beside = load.run(settings.program, daemon.server, MIX, **options)
    if fetched.error:
        raise load.LoadError(fetched.error)
    return Sample(alone, beside, fetched)


def _daemon(files: Source, settings: Settings, stack: ExitStack) -> Testbed:
    return Testbed(QUIC, LOOPBACK, files, settings.directory, stack)


@contextmanager
def _downloading(daemon: Testbed) -> Iterator[Fetched]:
    """Keep downloading while the context lasts. The first download has begun when it is entered."""
    fetched, over, begun = Fetched(), threading.Event(), threading.Event()

    def fetch() -> None:
        daemon.fetch(1)
        begun.set()
        while not over.is_set():
            fetched.took.append(daemon.fetch(SIZE).took)

    def survive() -> None:
        try:
            fetch()
        except (servers.ServerError, load.LoadError) as error:
            fetched.error = str(error)
        finally:
            begun.set()

    thread = threading.Thread(target=survive)
    thread.start()
    try:
        begun.wait()
        yield fetched
    finally:
        over.set()
        thread.join()


def _row(sample: Sample) -> tuple[str, ...]:
    alone, beside = sample.alone.figures, sample.beside.figures
    return (
        report.count(alone["requests_per_s"]),
        report.count(beside["requests_per_s"]),
        f"{sample.ratio():.2f}",
        report.count(alone["p99_us"]),
        report.count(beside["p99_us"]),
        f"{sample.beside.cpu_share():.0%}",
        report.count(len(sample.fetched.took)),
        f"{sample.rate():.0f}",
        report.count(beside["lost"]),
        "",
    )


def _targets(samples: list[Sample]) -> list[Target]:
    name = f"{MIX} beside a download"
    if not samples:
        return [Target(name, NOTHING)]
    ratio = median(sample.ratio() for sample in samples)
    p99 = median(sample.beside.figures["p99_us"] for sample in samples) / 1000
    alone = median(sample.alone.figures["p99_us"] for sample in samples) / 1000
    lost = sum(sample.beside.figures["lost"] for sample in samples)
    return [Target(name, f"{ratio:.2f} of alone, p99 {p99:.1f} ms ({alone:.1f} alone), {lost:.0f} lost")]
