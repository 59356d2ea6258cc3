"""The process that a client runs in: its standard descriptors and its signals."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LAST_SECONDS = 2.5
"""The time an interrupted client may take to end."""


def complain(problem: str) -> None:
    """Write one line to standard error. If it takes nothing now, the line is dropped: the conversation goes on."""
    with suppress(OSError):
        os.write(2, f"groupchat: {problem}\n".encode(errors="replace"))


def open_standard_descriptors() -> None:
    """Open those of the descriptors 0 to 2 that are closed, or a socket would get the number and be written to.

    They are open for reading only: input is at its end, and what is written fails, as it does on a closed descriptor.
    """
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def write_output(text: str) -> int:
    """Write a text to standard output. Return the exit status: 1 if it cannot be written, which is then said."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):  # the reader has closed the pipe, which is no error
            complain(f"standard output: {error.strerror}")
            return 1
    return 0


def discard_output() -> None:
    """Discard what could not be written to standard output, or Python would fail once more when it ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


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
