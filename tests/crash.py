"""The crash test: a daemon is killed (SIGKILL) at random moments while members talk, and started again on its file.

    python -m tests.crash --kills 300

crash_judge.py has the rule, and crash_members.py the members, who talk in a way that shows which request was answered.
"""

from __future__ import annotations

import argparse
import random
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import NoReturn

from groupchat.frontends.udp import check_free
from tests.crash_judge import Record, Verdict, judge
from tests.crash_members import LEAST_MEMBERS, SILENCE_SECONDS, Member, scripts
from tests.daemon import START_SECONDS, STOP_SECONDS

LIFE_SECONDS = (0.02, 1.5)
LONG_LIFE_SECONDS = (2.5, 4.0)
"""How long a daemon lives once it answers. Every fifth lives longer: what it gives at first must not come again."""

UNBORN = 0.1
"""The share of daemons that are killed before they answer, while they read their file: within UNBORN_SECONDS."""

UNBORN_SECONDS = (0.0, 0.8)

SNAPSHOT_EVENTS = 6_000
KEEP = 20_000
"""The events between two snapshots of a daemon, and the lines that it keeps: so few that kills hit both."""

SAY_EVERY = 10
"""The number of kills after which a run prints its progress."""

PORTS = range(15_000, 30_000)
"""The ports to choose from: no system gives one of these to a process that asks for any free port."""

_PROGRAM = f"""
from groupchat.service import group_service as service
assert service.SNAPSHOT_EVENTS > {SNAPSHOT_EVENTS}
service.SNAPSHOT_EVENTS = {SNAPSHOT_EVENTS}
from twisted.scripts.twistd import run
run()
"""


class RunError(Exception):
    """The run cannot go on."""


class Daemon:
    """A process and its output. `killed` is the time at which a thread killed it, at any moment of the conversation."""

    def __init__(self, directory: Path, port: int, options: Sequence[str]) -> None:
        self.killed: float | None = None
        self._printed = directory / "output"
        self._timer = Timer(0, self._kill)
        where = ["--port", str(port), "--interface", "127.0.0.1"]
        with self._printed.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "--nodaemon", "--pidfile=", "groupchat", *where, *options],
                cwd=directory,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def answers(self) -> bool:
        return b"UDP port" in self._printed.read_bytes()

    def kill_in(self, seconds: float) -> None:
        self._timer = Timer(seconds, self._kill)
        self._timer.start()

    def _kill(self) -> None:
        at = monotonic()
        self._process.kill()
        self.killed = at

    def close(self) -> None:
        """Kill the process, and wait for its end."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def check(self) -> None:
        """Raise RunError if the process ended in any other way than by a kill, or logged an error."""
        output = self._printed.read_text()
        if self._process.poll() not in {None, -signal.SIGKILL} or "Traceback" in output:
            self.fail(f"ended with status {self._process.poll()}, or complained")

    def fail(self, why: str) -> NoReturn:
        raise RunError(f"The daemon {why}. It printed:\n{self._printed.read_text()}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `options` are those of the daemon. Without kills, the members talk for a second."""

    seed: int
    kills: int
    members: int = 6
    options: Sequence[str] = ()


class Run:
    """The members, and one daemon after another. `cut_off` counts the requests that kills left unanswered."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.record = Record()
        self.cut_off = 0
        self._plan = plan
        self._directory = directory
        self._dice = random.Random(plan.seed)
        self._port = free_port()
        made = scripts(plan.members, plan.seed)
        self._members = [Member(author, script, self._port, self.record) for author, script in made.items()]
        self._asking = True
        self._start()

    def lives(self) -> Iterator[int]:
        """Yield the number of kills after each of them, when the next daemon was started."""
        self._wait_for_daemon()
        self._must(lambda: all(member.reader for member in self._members))
        if not self._plan.kills:
            self._pump(1.0)
        while len(self.record.kills) < self._plan.kills:
            life = LONG_LIFE_SECONDS if len(self.record.kills) % 5 == 4 else LIFE_SECONDS
            self._kill_within(*life if self._answers else UNBORN_SECONDS)
            self._start()
            if len(self.record.kills) == self._plan.kills or self._dice.random() >= UNBORN:
                self._wait_for_daemon()
            yield len(self.record.kills)

    def settle(self) -> None:
        """Wait for the answers under way, and let all members read what waits for them."""
        self._asking = False
        self._must(self._all_are_idle)
        self._asking = True
        for member in self._members:
            member.finish()
        self._must(lambda: bool(self.record.refusals) or not any(member.next for member in self._members))
        if not self.record.refusals:
            self._members[0].list_names()
        self._daemon.check()

    def close(self) -> None:
        self._daemon.close()
        for member in self._members:
            member.socket.close()

    def _start(self) -> None:
        self._daemon = Daemon(self._directory, self._port, self._plan.options)
        self._answers = False

    def _wait_for_daemon(self) -> None:
        self._answers = self._pump(START_SECONDS, self._daemon.answers)
        if not self._answers:
            self._daemon.fail("does not start")
        for member in self._members:
            member.ask_fence(monotonic())

    def _kill_within(self, least: float, most: float) -> None:
        self._daemon.kill_in(self._dice.uniform(least, most))
        self._pump(SILENCE_SECONDS, lambda: self._daemon.killed is not None)
        self._daemon.close()
        self._daemon.check()
        self._receive(0.01)  # on the loopback, everything sent has arrived
        assert self._daemon.killed is not None
        self.record.kills.append(self._daemon.killed)
        self.cut_off += sum(member.cut_off(monotonic()) for member in self._members)

    def _pump(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let members ask and receive, for some seconds or until `done`. Return True if it is done."""
        end = monotonic() + seconds
        while not done():
            now = monotonic()
            if now >= end:
                return False
            for member in self._members if self._asking else ():
                if self._answers:
                    member.ask(now)
                else:
                    member.ask_in_the_dark(now)
            self._receive(0.002)
        return True

    def _must(self, happen: Callable[[], bool]) -> None:
        if not self._pump(SILENCE_SECONDS, happen):
            self._daemon.fail("leaves requests unanswered")

    def _receive(self, seconds: float) -> None:
        for member in select.select(self._members, [], [], seconds)[0]:
            member.receive()

    def _all_are_idle(self) -> bool:
        return all(member.under_way is None for member in self._members)


def free_port() -> int:
    """Return a UDP port that is free. Raise RunError."""
    for port in random.sample(PORTS, 100):
        try:
            check_free("127.0.0.1", port)
        except OSError:
            continue
        return port
    raise RunError("There is no free port.")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run. `cut_off` counts the requests that were under way at a kill."""

    verdict: Verdict
    kills: int
    cut_off: int
    seconds: float

    def __str__(self) -> str:
        verdict, errors = self.verdict, self.verdict.errors
        kinds = dict.fromkeys(["lost", "doubled", "out of order", *errors])
        return (
            f"{self.kills} kills, {verdict.acknowledged} acknowledged, "
            + "".join(f"{errors[kind]} {kind}, " for kind in kinds)
            + f"{verdict.again} again (from {verdict.oldest_again:.2f} s before a kill), "
            f"{verdict.stored} unacknowledged but stored, {self.cut_off} cut off, {self.seconds:.1f} seconds"
        )


def crash(plan: Plan, directory: Path, say: Callable[[str], None] = lambda line: None) -> Outcome:
    """Run a plan. It ends early if there is an error; RunError is raised if it cannot even go on.

    The whole is judged at the end and after 1, 2, 4, 8 ... kills: judging more often would take longer than the run.
    """
    began = monotonic()
    run = Run(plan, directory)

    def outcome() -> Outcome:
        return Outcome(judge(run.record), len(run.record.kills), run.cut_off, monotonic() - began)

    try:
        for kills in run.lives():
            if kills % SAY_EVERY == 0:
                say(f"{kills} kills, {len(run.record.requests)} requests, {monotonic() - began:.1f} seconds")
            if (kills.bit_count() == 1 or run.record.refusals) and (so_far := outcome()).verdict.errors:
                return so_far
        run.settle()
        return outcome()
    finally:
        run.close()


def options(durability: str) -> list[str]:
    return ["--db", "groupchat.sqlite", "--durability", durability, "--keep", str(KEEP), "--rate", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="number of kills (%(default)s)")
    parser.add_argument("--members", type=int, default=6, help="number of members (%(default)s)")
    parser.add_argument(
        "--durability", default="full", choices=["full", "normal"], help="the daemon's --durability (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="repeat a run with its seed (random)")
    chosen = parser.parse_args()
    if chosen.members < LEAST_MEMBERS:
        parser.error(f"at least {LEAST_MEMBERS} members are needed")
    directory = Path(tempfile.mkdtemp(prefix="groupchat-crash-"))
    print(f"seed {chosen.seed}, {chosen.members} members, durability {chosen.durability}, in {directory}", flush=True)
    plan = Plan(chosen.seed, chosen.kills, chosen.members, options(chosen.durability))
    try:
        outcome = crash(plan, directory, lambda line: print(line, flush=True))
    except RunError as error:
        sys.exit(str(error))
    print(*outcome.verdict.described, outcome, sep="\n")
    if outcome.verdict.errors:
        sys.exit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
