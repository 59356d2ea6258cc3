"""A real `twistd groupchat` in a process of its own, and plain blocking members to talk to it, over UDP and TCP."""

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

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
START_SECONDS = 20
STOP_SECONDS = 20


class Daemon:
    """A running daemon: `port` is where it listens, `output` what it has printed so far.

    `tcp` has the ports of its live lines, in the order of the options `--tcp`; and `web` those of the page.

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
        self._last_to_listen = "open to live lines" if "--tcp" in options else "UDP port"
        if "--web" in options:
            self._last_to_listen = "has its page"
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(START_SECONDS):
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


class LineMember:
    """One connection for live lines, which blocks. With `trust`, a file with a certificate, it is one over TLS.

    `buffer` is how much the kernel holds of what is not read yet, in bytes; `source` the address that it comes from.
    """

    def __init__(
        self, port: int, host: str = "127.0.0.1", *, trust: str = "", buffer: int = 0, source: str = ""
    ) -> None:
        plain = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        plain.settimeout(20.0)
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
        """The next line. Raises EOFError at the end, and TimeoutError if there is none for long."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError(line.decode())
        return line.decode().removesuffix("\n")

    def receive_until(self, end: str) -> list[str]:
        """The next lines, up to the first with this in it."""
        lines = [self.receive()]
        while end not in lines[-1]:
            lines.append(self.receive())
        return lines

    def receive_all(self) -> list[str]:
        """The next lines, until the other side closes."""
        return self._reader.read().decode().splitlines()

    def join(self, name: str) -> list[str]:
        """What it is told before it is a member, and that it is one."""
        self.send(name)
        return self.receive_until("/help tells more")

    def end(self) -> None:
        """Send nothing more. What comes can still be read; but over TLS nothing does."""
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket = self.socket.unwrap()
        else:
            self.socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Break the connection off with a reset, as when a machine is switched off and on again."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.socket.close()


@contextmanager
def running(*options: str) -> Iterator[Daemon]:
    daemon = Daemon(*options)
    try:
        yield daemon
    finally:
        daemon.stop()
