"""Fuzz a real daemon through all its doors in turn, and print a table of what was seen. See `--help`."""

from __future__ import annotations

import argparse
import secrets
import sys
from dataclasses import dataclass
from time import monotonic, sleep

from twisted.logger import globalLogBeginner

from tests.fuzz.doors import DOORS
from tests.fuzz.grammar import Dice
from tests.fuzz.live import INPUT, Target
from tests.fuzz.watch import Lateness, Watch
from tests.fuzz.world import INPUTS, Fault

REST_SECONDS = 3.0
"""The time for which the daemon is watched before the first input, to compare."""

SETTLE_SECONDS = 30.0
"""The time in which the daemon has to close what clients left open."""


REPORTS = 10
"""How often it is reported how much memory the daemon uses."""


@dataclass(slots=True)
class Row:
    """The findings at one door."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    polls: int = 0
    late: int = 0
    worst: float = 0.0
    worst_turn: float = 0.0
    faults: int = 0

    def add(self, inputs: int, seconds: float, lateness: Lateness, turns: list[float], faults: int) -> None:
        self.inputs += inputs
        self.seconds += seconds
        self.polls += lateness.polls
        self.late += lateness.late
        self.worst = max(self.worst, lateness.worst)
        self.worst_turn = max(self.worst_turn, *turns, 0.0)
        self.faults += faults

    def __str__(self) -> str:
        figures = f"{self.inputs:8} {self.seconds:8.1f} {self.polls:8} {self.late:11} {self.worst:10.1f}"
        return f"{self.name:9} {figures} {self.worst_turn:9.1f} {self.faults:7}"


HEADING = (
    f"{'door':9} {'inputs':>8} {'seconds':>8} {'polls':>8} {'over 20 ms':>11} {'worst (ms)':>10} {'CPU (ms)':>9} "
    f"{'faults':>7}"
)
"""Under "CPU" is the longest turn of the reactor, in CPU time; 0 if none was longer than `turns.LEAST`."""


class Run:
    """A run of many rounds. `faults` has the name of each round in which something was found, and what."""

    def __init__(self, seed: str, doors: list[str]) -> None:
        self.faults: list[str] = []
        self._seed = seed
        self._rows = {door: Row(door) for door in ["at rest", *doors]}
        self._doors = doors
        self._memory: list[str] = []
        self._target = Target()
        self._watch = Watch(self._target.daemon.port)

    def run(self, seconds: float) -> None:
        """Run rounds for some time, at least one for each door, and print the table."""
        target = self._target
        end = monotonic() + seconds
        report = end - seconds
        target.turns()  # those of the start
        sleep(REST_SECONDS)
        self._rows["at rest"].add(0, REST_SECONDS, self._watch.take(), target.turns(), 0)
        memory, files = target.memory, target.open_files
        number = 0
        while monotonic() < end or not number:
            for door in self._doors:
                self._round(door, number)
                if target.daemon.process.poll() is not None:
                    self._print()
                    return
            number += 1
            if monotonic() >= report:
                report += seconds / REPORTS
                self._memory.append(self._remembered(end - seconds))
        self._settle(files)
        self._print()
        print(f"memory {memory:.0f} MB before, then", *self._memory, sep="\n  ")
        print(f"open files {files} before, {target.open_files} after")

    def _round(self, door: str, number: int) -> None:
        name = f"{self._seed}/{door}/{number}"
        began = monotonic()
        found = ""
        if door in INPUT:
            dice = Dice(name)
            for _ in range(INPUTS):
                INPUT[door](self._target, dice)
        else:
            try:
                DOORS[door](name, INPUTS)
            except Fault as fault:
                found = str(fault)
        lateness = self._watch.take()
        found = found or self._target.trouble()
        if found:
            self._report(f"{name}: {found}")
        self._rows[door].add(INPUTS, monotonic() - began, lateness, self._target.turns(), bool(found))

    def _settle(self, files: int) -> None:
        """Let all clients go. It is a fault if the daemon has more files open than before."""
        self._target.leave()
        end = monotonic() + SETTLE_SECONDS
        while self._target.open_files > files and monotonic() < end:
            sleep(0.1)
        if self._target.open_files > files:
            self._report(f"{self._seed}: {self._target.open_files} files are open, {files} were before")
        if trouble := self._target.trouble():
            self._report(f"{self._seed}: {trouble}")

    def _remembered(self, began: float) -> str:
        """Return how much memory the daemon uses now, and for what: it may grow as long as these do."""
        minutes = (monotonic() - began) / 60
        return f"after {minutes:5.1f} minutes {self._target.memory:4.0f} MB: {self._target.counts()}"

    def _report(self, fault: str) -> None:
        self.faults.append(fault)
        print(f"FAULT {fault}", flush=True)

    def _print(self) -> None:
        print(HEADING)
        for row in self._rows.values():
            print(row)

    def stop(self) -> None:
        self._watch.stop()
        self._target.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition(". See")[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (%(default)s)")
    parser.add_argument("--seed", default="", help="repeat the inputs of a run with its seed (random)")
    parser.add_argument("--door", choices=DOORS, action="append", help="only this door; may be repeated (all)")
    parser.add_argument("--repeat", metavar="SEED/DOOR/NUMBER", help="repeat one round in memory, and do nothing else")
    chosen = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)  # faults tell of what is logged
    if chosen.repeat:
        try:
            DOORS[chosen.repeat.split("/")[1]](chosen.repeat, INPUTS)
        except Fault as fault:
            sys.exit(str(fault))
        return
    seed = chosen.seed or secrets.token_hex(4)
    print(f"seed {seed}, {INPUTS} inputs a round", flush=True)
    run = Run(seed, chosen.door or list(DOORS))
    try:
        run.run(60 * chosen.minutes)
    finally:
        run.stop()
    if run.faults:
        sys.exit(f"{len(run.faults)} faults: python -m tests.fuzz --repeat SEED/DOOR/NUMBER repeats a round in memory")


if __name__ == "__main__":
    main()
