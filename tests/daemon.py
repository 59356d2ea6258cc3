"""A real `twistd groupchat` in a process of its own, and a plain blocking UDP member to talk to it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
START_SECONDS = 20
STOP_SECONDS = 20


class Daemon:
    """A running daemon: `port` is where it listens, `output` what it has printed so far.

    It runs in a `directory` of its own, or in that of another, which then has to stop last.
    """

    def __init__(
        self,
        *options: str,
        twistd: list[str] = TWISTD,
        directory: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self._own_directory = directory is None
        self.directory = directory or tempfile.TemporaryDirectory(prefix="groupchat-test-")
        self.process = subprocess.Popen(
            [*twistd, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", *options],
            cwd=self.directory.name,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(START_SECONDS):
            self.stop()
            raise AssertionError(f"the daemon did not start:\n{self.output}")
        found = re.search(r"UDP port (\d+)", self.output)
        assert found, f"the daemon did not say where it listens:\n{self.output}"
        self.port = int(found[1])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "UDP port" in line:
                self._listening.set()
        self._listening.set()

    def stop(self) -> str:
        """End it with SIGTERM, and return all that it printed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._own_directory:
            self.directory.cleanup()
        return self.output

    def kill(self) -> None:
        """End it with SIGKILL, at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join(STOP_SECONDS)

    def again(self, *options: str) -> Daemon:
        """Start another in the place of this one: on the same port, in the same directory."""
        return Daemon("--port", str(self.port), *options, directory=self.directory)


class UDPMember:
    """One socket that sends a request and waits for its reply."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, seconds: float = 5.0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(seconds)
        self.socket.connect((host, port))

    def ask(self, request: str | bytes) -> str:
        """The reply to one request. Raises TimeoutError when there is none."""
        self.send(request)
        return self.receive()

    def send(self, request: str | bytes) -> None:
        self.socket.send(request.encode() if isinstance(request, str) else request)

    def receive(self) -> str:
        return self.socket.recv(65535).decode()

    def close(self) -> None:
        self.socket.close()


@contextmanager
def running(*options: str) -> Iterator[Daemon]:
    daemon = Daemon(*options)
    try:
        yield daemon
    finally:
        daemon.stop()
