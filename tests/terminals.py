"""Programs on a pseudo-terminal, as a person has them: keys are typed, and the screen is looked at."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

SECONDS = 20.0

# The terminal becomes the program's own, so that Ctrl-C typed into it is a signal, as in life.
ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program on a terminal. `screen` is all that came on it, the echo included, byte for byte."""

    def __init__(self, command: Sequence[str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = b""

    def type(self, keys: str) -> None:
        self.write(keys.encode())

    def write(self, data: bytes) -> None:
        os.write(self._ours, data)

    def see(self, text: str) -> None:
        """Wait until this line is on the screen, whole."""
        line = re.compile(rb"(?m)^" + re.escape(text.encode()) + rb"\r$")
        self.wait(lambda: line.search(self.screen) is not None, text)

    def end(self) -> None:
        """Wait until it has ended by itself."""
        self.wait(lambda: self.process.poll() is not None, "the end")
        self._read()

    def close(self) -> None:
        """Close the window."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def wait(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + SECONDS
        while not done():
            if time.monotonic() > until:
                raise AssertionError(f"there is no {what!r} in {self.screen!r}")
            self._read()

    def _read(self) -> None:
        ready, _, _ = select.select([self._ours], [], [], 0.05)
        if ready:
            try:
                self.screen += os.read(self._ours, 65_536)
            except OSError:  # Linux's word for: the other side is closed
                time.sleep(0.05)
