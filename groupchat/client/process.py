"""The process that a client runs in: its standard descriptors and its signals."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LAST_SECONDS = 2.5
"""The time an interrupted client may take to end."""


def complain(problem: str) -> None:
    """Write one line to standard error. If it takes nothing now, the line is dropped: the conversation goes on."""
    with suppress(OSError):
        os.write(2, f"groupchat: {problem}\n".encode(errors="replace"))


def open_standard_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed, or a socket would get the number and be written to."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


@contextmanager
def standard_descriptors_restored() -> Iterator[None]:
    """Restore the blocking mode of standard input and output at the end: the shell shares them."""
    blocking = [os.get_blocking(number) for number in (0, 1)]
    yield
    for number, was_blocking in enumerate(blocking):
        os.set_blocking(number, was_blocking)


def output_is_pipe() -> bool:
    """Return True if the reader of standard output may close it, which is then no error."""
    mode = os.fstat(1).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a client. Those ignored at its start, by nohup or in the background, stay ignored."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
