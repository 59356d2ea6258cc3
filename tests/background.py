"""Daemons in the background, with a pid file and a log file."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.daemon import SECONDS, TWISTD

PID_FILE, LOG_FILE = "chat.pid", "chat.log"


class BackgroundCase(TestCase):
    """Its daemons run in `directory`, one at a time."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-background-")).resolve()
        self.addCleanup(shutil.rmtree, self.directory)
        self.log = self.directory / LOG_FILE
        self.pid_file = self.directory / PID_FILE

    def run_twistd(
        self, *options: str, twistd: Sequence[str] = (), user: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `twistd groupchat` with these options, and return when it has forked or failed."""
        self.addCleanup(self.kill)
        return subprocess.run(
            [*TWISTD, "--pidfile", PID_FILE, "--logfile", LOG_FILE, *twistd, "groupchat", "--port", "0", *options],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            user=user,
            env={**os.environ, **environment},
        )

    def start(self, *options: str, twistd: Sequence[str] = ()) -> int:
        """Start a daemon, and return its process id when it is open."""
        started = self.run_twistd(*options, twistd=twistd)
        self.assertEqual((started.returncode, started.stdout, started.stderr), (0, "", ""))
        self.wait(lambda: "Ways to join" in self.logged(), "its start in the log")
        return self.pid()

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def port(self, name: str = "UDP") -> int:
        """Return the port that the daemon that was started last says it has."""
        return int(re.findall(rf"{name} port (\d+)", self.logged())[-1])

    def logged(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def kept(self) -> list[str]:
        """Return the lines that are kept in the file, as the operator sees them."""
        command = [sys.executable, "-c", "from groupchat.admin import main; main()", "history", "--json"]
        shown = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=True, timeout=SECONDS)
        return [json.loads(line)["line"] for line in shown.stdout.splitlines()]

    def wait(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + SECONDS
        while not done():
            if time.monotonic() > until:
                raise AssertionError(f"there is no {what}: {self.logged()}")
            time.sleep(0.02)

    def wait_for_end(self, pid: int) -> None:
        self.wait(lambda: not runs(pid), "end of the daemon")

    def kill(self) -> None:
        if self.pid_file.exists():
            with suppress(ProcessLookupError):
                os.kill(self.pid(), signal.SIGKILL)


def runs(pid: int) -> bool:
    """Return True if a process has not ended. One that nobody waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
