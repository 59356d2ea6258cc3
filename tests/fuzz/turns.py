"""Run twistd, and print each turn of the reactor that takes much CPU time: `turn 23.1 ms`.

Unlike the time of an answer, the CPU time of the reactor's thread is true on a busy machine, too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from time import thread_time
from typing import Any

TWISTD = [sys.executable, "-P", __file__]

LEAST = 1.0
"""The milliseconds from which a turn is printed."""

_TURN = re.compile(r"^turn ([\d.]+) ms$", re.M)


def turns(printed: str) -> Iterable[float]:
    """Return the milliseconds of the turns that were printed."""
    return map(float, _TURN.findall(printed))


class TimedPoller:
    """An epoll object that measures the time from each return of `poll` to the next call."""

    def __init__(self, epoll: Any) -> None:
        self.register, self.modify, self.unregister = epoll.register, epoll.modify, epoll.unregister
        self._poll = epoll.poll
        self._began = thread_time()

    def poll(self, timeout: float, most: int) -> Any:
        took = 1000 * (thread_time() - self._began)
        if took >= LEAST:
            print(f"turn {took:.1f} ms", file=sys.__stdout__, flush=True)  # sys.stdout goes to the log
        found = self._poll(timeout, most)
        self._began = thread_time()
        return found


if __name__ == "__main__":
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    reactor._poller = TimedPoller(reactor._poller)  # type: ignore[attr-defined]
    run()
