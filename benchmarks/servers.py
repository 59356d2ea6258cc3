"""The servers under load: each a process of its own, on a free loopback port, and ended by whoever started it.

A server is any command that prints a line with `UDP port N`, `TCP port N`, or `http://HOST:N`, once it listens. What it
costs is read in /proc (Linux).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
NO_LIMITS = ["--rate", "0", "--max-members", "20000", "--max-per-host", "0"]
DAEMON = [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", *NO_LIMITS]

DATABASE = "groupchat.sqlite"

UDP, TCP, HTTP = "UDP", "TCP", "http"
LIVE = ("--tcp", "0", "--interface", "127.0.0.1", "--max-connections", "20000")
"""Options for a daemon that is open to TCP lines as well."""

# What may stand in a row. Another log engine is one more line here.
ECHO, MAILBOX, RELAY, SSE, OURS, SQLITE = "echo", "mailbox", "relay", "sse", "ours", "sqlite"
COMMANDS = {
    ECHO: [sys.executable, str(HERE / "echo_server.py"), "0"],
    MAILBOX: [sys.executable, str(HERE / "mailbox_server.py"), "0"],
    RELAY: [sys.executable, str(HERE / "relay_server.py"), "0"],
    SSE: [sys.executable, str(HERE / "sse_relay.py"), "0"],
    OURS: [*DAEMON, "--db", ":memory:"],
    SQLITE: [*DAEMON, "--db", DATABASE, "--durability", "full"],
}
LOG_ENGINES = {OURS: "memory", SQLITE: "a file, durability full"}
DAEMONS = tuple(LOG_ENGINES)

PORT = re.compile(r"\b(UDP|TCP|http)(?: port |://[^\s:]+:)(\d+)")
START_SECONDS = 20
STOP_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server that did not start, or that ended by itself; the text is the last line it printed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process had used at one moment: seconds of the monotonic clock and of CPU, bytes of memory."""

    at: float
    cpu: float
    rss: int


class Server:
    """A running server: `port` is where it listens, and `ports` by transport; `output` is what it has printed so far.

    It listens once each of the transports has its port, and `port` is that of the first. `begun` is when it was started
    and, of the daemon, `bound` when it had its port and began to read its log.
    """

    def __init__(self, command: list[str], directory: str | Path, transports: Sequence[str] = (UDP,)) -> None:
        self.output = ""
        self.ports: dict[str, int] = {}
        self.transports = transports
        self.directory = Path(directory)
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.bound = self.begun
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "FiveMessages starting" in line:
                self.bound = time.monotonic()
            self.ports |= {transport: int(port) for transport, port in PORT.findall(line)}
            if self.ports.keys() >= set(self.transports):
                self._listening.set()
        self._listening.set()

    def wait_until_it_listens(self, patience: float = START_SECONDS) -> None:
        self._listening.wait(patience)
        if not self.ports.keys() >= set(self.transports):
            raise ServerError(f"did not start: {self.last_line()}")
        self.port = self.ports[self.transports[0]]

    def last_line(self) -> str:
        """Why it ended, as far as it said so."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it printed nothing"

    def died(self) -> bool:
        """Whether it has ended by itself. Waits a moment for its last words."""
        if self.process.poll() is None:
            return False
        self._reader.join(1)
        return True

    def usage(self) -> Usage:
        """Raises ServerError when the process is gone."""
        proc = Path(f"/proc/{self.process.pid}")
        try:
            # after the name, which may hold spaces: state is field 3, utime and stime are fields 14 and 15
            fields = (proc / "stat").read_text().rpartition(")")[2].split()
            resident = re.search(r"Rss:\s+(\d+) kB", (proc / "smaps_rollup").read_text())
        except OSError as error:
            raise ServerError(f"ended: {self.last_line()}") from error
        cpu = (int(fields[11]) + int(fields[12])) / TICKS
        return Usage(time.monotonic(), cpu, int(resident[1]) * 1024 if resident else 0)

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """End it; `output` is complete afterwards."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(STOP_SECONDS)


@contextmanager
def running(
    name: str, within: Path | None = None, options: Sequence[str] = (), transports: Sequence[str] = (UDP,)
) -> Iterator[Server]:
    """A fresh server of this name (see COMMANDS), in a directory of its own, in `within`. Raises ServerError.

    The options are for the daemon; other servers have none.
    """
    with tempfile.TemporaryDirectory(prefix="groupchat-bench-", dir=within) as directory:
        server = Server([*COMMANDS[name], *(options if name in DAEMONS else ())], directory, transports)
        try:
            server.wait_until_it_listens()
            yield server
        finally:
            server.stop()
