"""Programs on a pseudo-terminal, as people use them: keys are typed, and the screen is read."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tests.daemon import SECONDS

# The terminal becomes the controlling terminal of the program, so Ctrl-C is a signal.
ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program on a terminal. `screen` has all bytes that were shown, with the echo."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = b""

    def type(self, keys: str) -> None:
        self.write(keys.encode())

    def write(self, data: bytes) -> None:
        os.write(self._ours, data)

    def see(self, *lines: str) -> None:
        """Wait until these whole lines are on the screen, one after the other."""
        there = re.compile(rb"(?m)^" + rb"\r\n".join(re.escape(line.encode()) for line in lines) + rb"\r$")
        self.wait(lambda: there.search(self.screen) is not None, "\n".join(lines))

    def end(self) -> int:
        """Wait until the program ends by itself. Return its exit status."""
        self.wait(lambda: self.process.poll() is not None, "the end")
        self._read()
        return self.process.wait()

    def hang_up(self) -> None:
        """Close the window: the program gets SIGHUP, and can neither read nor write."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def close(self) -> None:
        """Close the window, and end the program if it still runs."""
        self.hang_up()
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
            except OSError:  # Linux says so when the other side is closed
                time.sleep(0.05)
