"""The work of one reactor turn, counted in executed lines of code: the same on every machine and in every run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.task import Clock


def work(function: Callable[[], object]) -> int:
    """Return how many lines of groupchat's code a call executes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if event == "call":
            return trace if "groupchat" in frame.f_globals.get("__name__", "") else None
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def turn(clock: Clock) -> None:
    """Do what is due now, and not what that makes due."""
    for call in [call for call in clock.calls if call.getTime() <= clock.seconds()]:
        if call.active():
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


def turns(clock: Clock) -> list[int]:
    """Do all that needs no time, and return the work of each turn."""
    found = []
    while any(call.getTime() <= clock.seconds() for call in clock.calls):
        found.append(work(lambda: turn(clock)))
    return found
