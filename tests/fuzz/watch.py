"""Measure how late the daemon answers: a process of its own polls it over UDP every few milliseconds.

    python -m tests.fuzz.watch PORT

For each line of its input it prints the number of polls since the line before, how many of them took longer than LATE,
and the longest time in milliseconds. On a busy machine, the times include those in which neither process could run.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from dataclasses import dataclass
from time import perf_counter

from groupchat.wire.datagrams import REFUSAL

LATE = 20.0
"""The milliseconds for which no input may hold the reactor."""

PAUSE = 0.003
PATIENCE = 20.0
"""Seconds between two polls, and for which an answer is waited for at most."""


@dataclass(frozen=True, slots=True)
class Lateness:
    """The number of polls, of those answered late, and the longest time in milliseconds."""

    polls: int
    late: int
    worst: float


class Watch:
    """A process that polls."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.watch", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.take()  # it has joined

    def take(self) -> Lateness:
        """Return how late answers were since the last call."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(file=stdin, flush=True)
        polls, late, worst = stdout.readline().split()
        return Lateness(int(polls), int(late), float(worst))

    def stop(self) -> None:
        self._process.communicate()


def main(port: int) -> None:
    source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.bind(("127.0.0.200", 0))
    source.connect(("127.0.0.1", port))
    source.settimeout(PATIENCE)
    times: list[float] = []
    request = b"1 Watch"
    while True:
        began = perf_counter()
        try:
            source.send(request)
            request = b"1 Watch" if source.recv(65_535) == REFUSAL else b"5"
        except OSError:  # it is counted as late as it is
            pass
        times.append(1000 * (perf_counter() - began))
        if select.select([sys.stdin], [], [], PAUSE)[0]:
            if not sys.stdin.readline():
                break
            print(len(times), sum(each > LATE for each in times), f"{max(times):.2f}", flush=True)
            times.clear()


if __name__ == "__main__":
    main(int(sys.argv[1]))
