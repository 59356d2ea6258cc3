"""The servers under load, each a process of its own on a free loopback port.

A server is any command that prints a line with `UDP port N`, `TCP port N`, or `http://HOST:N` once it listens. Its
memory and CPU time are read from /proc (Linux).
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
NO_LIMITS = ["--rate", "0", "--join-rate", "0", "--max-members", "20000", "--max-per-host", "0"]
DAEMON = [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", *NO_LIMITS]

DATABASE = "groupchat.sqlite"

UDP, TCP, HTTP = "UDP", "TCP", "http"
LIVE = ("--tcp", "0", "--interface", "127.0.0.1", "--max-connections", "20000")
"""Options of a daemon that also listens on TCP."""

# The servers that can be measured. Another log engine is one more line in COMMANDS and LOG_ENGINES.
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
    """A server that did not start, or that ended by itself. The text is the last line that it printed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources of a process at one moment: seconds of the monotonic clock and of CPU, and bytes of memory."""

    at: float
    cpu: float
    rss: int


class Server:
    """A running server. `ports` are its ports by transport, `port` is the first of them, `output` what it has printed.

    It listens once each of the transports has its port. `begun` is when it was started. `bound` is when the daemon had
    bound its port, and began to read its log.
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
        """Return the last line that the server printed, which may say why it ended."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it printed nothing"

    def died(self) -> bool:
        """Return True if the server has ended by itself. Waits a moment for the rest of its output."""
        if self.process.poll() is None:
            return False
        self._reader.join(1)
        return True

    def usage(self) -> Usage:
        """Return the resources used so far. Raises ServerError if the process is gone."""
        proc = Path(f"/proc/{self.process.pid}")
        try:
            # after the name, which may contain spaces: state is field 3, utime and stime are fields 14 and 15
            fields = (proc / "stat").read_text().rpartition(")")[2].split()
            resident = re.search(r"Rss:\s+(\d+) kB", (proc / "smaps_rollup").read_text())
        except OSError as error:
            raise ServerError(f"ended: {self.last_line()}") from error
        cpu = (int(fields[11]) + int(fields[12])) / TICKS
        return Usage(time.monotonic(), cpu, int(resident[1]) * 1024 if resident else 0)

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Stop the server. `output` is complete afterwards."""
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
    """Run a fresh server of this name (see COMMANDS) in a new directory in `within`. Raises ServerError.

    The options are for the daemon; other servers have none.
    """
    with tempfile.TemporaryDirectory(prefix="groupchat-bench-", dir=within) as directory:
        server = Server([*COMMANDS[name], *(options if name in DAEMONS else ())], directory, transports)
        try:
            server.wait_until_it_listens()
            yield server
        finally:
            server.stop()
