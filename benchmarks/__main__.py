"""Measure everything, or only the named benches, and print the results. See benchmarks/README.md."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from . import (
    closed_loop,
    crowd,
    disk,
    downloading,
    durable,
    fanout,
    files,
    idle,
    joins,
    lag,
    lateness,
    listeners,
    load,
    memory,
    quic,
    rates,
    report,
    startup,
    web,
)
from .report import Settings, Target

BENCHES: dict[str, Callable[[Settings], list[Target]]] = {
    "rates": rates.run,
    "crowd": crowd.run,
    "memory": memory.run,
    "joins": joins.run,
    "durable": durable.run,
    "startup": startup.run,
    "lag": lag.run,
    "lateness": lateness.run,
    "fanout": fanout.run,
    "listeners": listeners.run,
    "idle": idle.run,
    "files": files.run,
    "downloading": downloading.run,
    "quic": quic.run,
    "web": web.run,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benches", nargs="*", metavar="bench", help=f"which of {', '.join(BENCHES)} (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement of a rate (%(default)s)")
    parser.add_argument("--crowd-seconds", type=float, default=20.0, help="crowd: its length (%(default)s)")
    parser.add_argument(
        "--members", type=int, nargs="+", default=[64, 1000, 10000], help="rates, durable: group sizes (%(default)s)"
    )
    modes = closed_loop.MODES
    parser.add_argument("--modes", nargs="+", default=modes, choices=modes, help="rates, durable: requests (all)")
    parser.add_argument("--events", type=int, default=1_000_000, help="startup: texts in the history (%(default)s)")
    parser.add_argument("--load-seconds", type=float, default=8.0, help="lag: length of one load (%(default)s)")
    parser.add_argument(
        "--directory",
        type=Path,
        help="where to create the databases (where temporary files are, if that is a disk)",
    )
    parser.add_argument("--quick", action="store_true", help="one short round of everything, for development")
    chosen = parser.parse_args()
    unknown = set(chosen.benches) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))} (choose from {', '.join(BENCHES)})")
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.crowd_seconds, chosen.load_seconds = 1, 1.0, 4.0, 3.0
        chosen.events = min(chosen.events, 50_000)
    return chosen


def measure(name: str, settings: Settings) -> list[Target]:
    """Run one bench. If it fails, print the traceback and go on with the others."""
    try:
        return BENCHES[name](settings)
    except Exception:
        traceback.print_exc()
        return [Target(name, "failed")]


def main() -> None:
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped first
    try:
        with load.built() as program, disk.place(chosen.directory) as directory:
            settings = Settings(
                program=program,
                rounds=chosen.rounds,
                seconds=chosen.seconds,
                crowd_seconds=chosen.crowd_seconds,
                members=chosen.members,
                modes=chosen.modes,
                events=chosen.events,
                load_seconds=chosen.load_seconds,
                quick=chosen.quick,
                disk=disk.measured(directory),
            )
            print(report.heading(settings), flush=True)
            found = [target for name in chosen.benches or BENCHES for target in measure(name, settings)]
    except load.LoadError as error:
        sys.exit(str(error))
    report.targets(found)


if __name__ == "__main__":
    main()
