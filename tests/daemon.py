"""A real `twistd groupchat` in a process of its own, and blocking members over UDP and TCP."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import TestCase

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
SECONDS = START_SECONDS = STOP_SECONDS = 60.0  # to wait for anything, also on a very busy machine

ILLEGAL = "Illegal message"


class Daemon:
    """A running daemon. `port` is its UDP port, `output` what it has printed so far.

    `tcp` has the ports of its live lines, in the order of the options `--tcp`, and `web` those of the page. It runs in
    a `directory` of its own, or in that of another daemon, which then has to stop last.
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
        self._last_to_listen = "open to live lines" if "--tcp" in options else "UDP port"
        if "--web" in options:
            self._last_to_listen = "has its page"
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(SECONDS):
            self.stop()
            raise AssertionError(f"the daemon did not start:\n{self.output}")
        found = re.search(r"UDP port (\d+)", self.output)
        assert found, f"the daemon did not say where it listens:\n{self.output}"
        self.port = int(found[1])
        self.tcp = [int(port) for port in re.findall(r"TCP port (\d+)", self.output)]
        self.web = [int(port) for port in dict.fromkeys(re.findall(r"https?://\S+?:(\d+)", self.output))]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if self._last_to_listen in line:
                self._listening.set()
        self._listening.set()

    def stop(self) -> str:
        """End it with SIGTERM. Return all that it printed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._own_directory:
            self.directory.cleanup()
        return self.output

    def kill(self) -> None:
        """End it with SIGKILL, at once."""
        self.process.kill()
        self.process.wait()
        self._reader.join(SECONDS)

    def again(self, *options: str) -> Daemon:
        """Start another daemon on the same port, in the same directory."""
        return Daemon("--port", str(self.port), *options, directory=self.directory)


class UDPMember:
    """A socket that sends requests and waits for replies."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, seconds: float = SECONDS) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(seconds)
        self.socket.connect((host, port))

    def ask(self, request: str | bytes) -> str:
        """Return the reply to a request. Raises TimeoutError if there is none."""
        self.send(request)
        return self.receive()

    def send(self, request: str | bytes) -> None:
        self.socket.send(request.encode() if isinstance(request, str) else request)

    def receive(self) -> str:
        return self.socket.recv(65535).decode()

    def close(self) -> None:
        self.socket.close()


class LineMember:
    """A blocking connection for live lines. With `trust`, a file with a certificate, it is one over TLS.

    `buffer` is the size of its receive buffer in the kernel, in bytes; `source` is its own address.
    """

    def __init__(
        self, port: int, host: str = "127.0.0.1", *, trust: str = "", buffer: int = 0, source: str = ""
    ) -> None:
        plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        plain.settimeout(SECONDS)
        if buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            if source:
                plain.bind((source, 0))
            plain.connect((host, port))
            self.socket: socket.socket = self._encrypted(plain, trust) if trust else plain
        except OSError:
            plain.close()
            raise
        self._reader = self.socket.makefile("rb")

    def _encrypted(self, plain: socket.socket, trust: str) -> socket.socket:
        return ssl.create_default_context(cafile=trust).wrap_socket(plain, server_hostname="localhost")

    def send(self, *lines: str) -> None:
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> str:
        """Return the next line. Raises EOFError at the end, and TimeoutError if no line comes."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError(line.decode())
        return line.decode().removesuffix("\n")

    def receive_until(self, end: str) -> list[str]:
        """Return the next lines, up to the first that contains `end`."""
        lines = [self.receive()]
        while end not in lines[-1]:
            lines.append(self.receive())
        return lines

    def receive_all(self) -> list[str]:
        """Return the next lines, until the other side closes."""
        return self._reader.read().decode().splitlines()

    def join(self, name: str) -> list[str]:
        """Join, and return the lines up to the welcome."""
        self.send(name)
        return self.receive_until("/help tells more")

    def end(self) -> None:
        """End the sending. Lines can still be received, but not over TLS."""
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket = self.socket.unwrap()
        else:
            self.socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End the connection with a reset, as a machine does that was switched off and on."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


class DaemonTestCase(TestCase):
    """A test that starts daemons of its own."""

    def start(self, *options: str) -> Daemon:
        daemon = Daemon(*options)
        self.addCleanup(daemon.stop)
        return daemon

    def member(self, daemon: Daemon, host: str = "127.0.0.1") -> UDPMember:
        member = UDPMember(daemon.port, host)
        self.addCleanup(member.close)
        return member


@contextmanager
def running(*options: str) -> Iterator[Daemon]:
    daemon = Daemon(*options)
    try:
        yield daemon
    finally:
        daemon.stop()
