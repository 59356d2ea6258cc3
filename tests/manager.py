"""A small stand-in for systemd: it opens sockets, passes them to one daemon after another, and hears how they are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from tests.daemon import SECONDS, TWISTD

_BECOME = """
import fcntl, os, sys
given = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",") if number]
for place, descriptor in enumerate(given, 3):
    os.dup2(descriptor, place)
os.closerange(3 + len(given), 200)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given))}
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Puts the descriptors where systemd does, and becomes the daemon."""


class Ear:
    """The part of systemd that is told something."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def told(self) -> list[str]:
        """Return what it was told since the last call."""
        found: list[str] = []
        try:
            while True:
                found += self.socket.recv(4096).decode().split("\n")
        except BlockingIOError:
            return found

    def wait(self, word: str, seconds: float = SECONDS) -> list[str]:
        """Return what it is told up to an assignment that begins with this word. Raises TimeoutError."""
        self.socket.settimeout(seconds)
        try:
            found: list[str] = []
            while not any(each.startswith(word) for each in found):
                found += self.socket.recv(4096).decode().split("\n")
            return found
        finally:
            self.socket.setblocking(False)


class Manager:
    """Passes sockets, each with a name, to the daemons that it starts in one directory."""

    def __init__(self, passed: Sequence[tuple[str, socket.socket]], *options: str) -> None:
        self.directory = tempfile.mkdtemp(prefix="groupchat-test-manager-")
        self.ear = Ear(f"{self.directory}/notify")
        self.passed = list(passed)
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a daemon, and return while it starts."""
        descriptors = [str(passed.fileno()) for _, passed in self.passed]
        shim = [sys.executable, "-ISc", _BECOME, ",".join(descriptors)]
        names = ":".join(name for name, _ in self.passed)
        with open(f"{self.directory}/output", "ab") as output:
            self.process = subprocess.Popen(
                [*shim, *TWISTD, "--nodaemon", "--pidfile=", "groupchat", *self._options],
                cwd=self.directory,
                env={**os.environ, "LISTEN_FDNAMES": names, "NOTIFY_SOCKET": self.ear.address},
                stdout=output,
                stderr=output,
                pass_fds=[passed.fileno() for _, passed in self.passed],
            )

    def wait_until_ready(self) -> None:
        """Wait until all doors are open. Raises AssertionError if that takes too long, or the daemon ends."""
        end = monotonic() + SECONDS
        while monotonic() < end and self.process is not None and self.process.poll() is None:
            with suppress(TimeoutError):
                self.ear.wait("READY=1", 0.5)
                return
        raise AssertionError(f"the daemon did not start:\n{self.output()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def restart(self) -> None:
        """Do what `systemctl restart` does."""
        self.stop()
        self.ear.told()
        self.start()
        self.wait_until_ready()

    def output(self) -> str:
        with open(f"{self.directory}/output", encoding="utf-8") as output:
            return output.read()

    def close(self) -> None:
        self.stop()
        for each in (self.ear.socket, *(passed for _, passed in self.passed)):
            each.close()
        shutil.rmtree(self.directory)


def datagrams(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket for the five messages, as the unit opens it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind((host, 0))
    return opened


def listening(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket for connections, as the unit opens it."""
    return socket.create_server((host, 0), backlog=4096)
