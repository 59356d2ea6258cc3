"""The time and the CPU that one download takes, over one of three protocols and one of several networks.

The start (of the client's process, and the handshake) is measured by a download of one byte, and subtracted. The
received bytes are always compared with the file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from . import servers
from .load import LoadError
from .servers import HERE, TCP, UDP, Server

QUIC, STOP, PLAIN = ("quic", "stop and wait", "tcp")
MB = 1_000_000
SEEDS = count(1)
"""Seeds of the losses: different for each download, and the same in each run of this program."""
ETHERNET = 1472
"""The largest datagram on an Ethernet, in bytes. Larger ones are lost on every network but loopback itself."""
LIMIT_SECONDS = 300.0
SETTLED = 0.3
"""Seconds without work after which a server has finished its start."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network between client and server. `round_trip` is in seconds; 0 is plain loopback."""

    name: str
    round_trip: float
    loss: float
    sizes: dict[str, int]
    """The size of the download over each protocol that is measured here, in bytes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that passed, and seconds of CPU of the client and the server."""

    took: float
    client: float
    server: float


@dataclass(frozen=True, slots=True)
class Download:
    """A download of `size` bytes: the seconds that its start took, and the cost without it."""

    size: int
    began: float
    cost: Cost

    @property
    def rate(self) -> float:
        """Return MB a second."""
        return self.size / self.cost.took / MB

    def client_ms(self) -> float:
        """Return the milliseconds of CPU for one MB."""
        return self.cost.client / self.size * MB * 1000

    def server_ms(self) -> float:
        return self.cost.server / self.size * MB * 1000


class Source:
    """Files of random bytes in a directory to share, named by their sizes. Each is the beginning of the largest."""

    def __init__(self, directory: Path, sizes: set[int]) -> None:
        self.shelf = directory / "shelf"
        self.shelf.mkdir()
        self.digests: dict[int, str] = {}
        data = os.urandom(max(sizes))
        for size in sizes:
            self.path(size).write_bytes(memoryview(data)[:size])
            self.digests[size] = hashlib.sha256(memoryview(data)[:size]).hexdigest()

    def path(self, size: int) -> Path:
        return self.shelf / f"{size}.bin"


@contextmanager
def source(within: Path, sizes: set[int]) -> Iterator[Source]:
    with tempfile.TemporaryDirectory(prefix="groupchat-bench-", dir=within) as directory:
        yield Source(Path(directory), sizes | {1})


class Testbed:
    """A running server of one protocol behind a network, and the commands of its clients."""

    def __init__(self, protocol: str, network: Network, files: Source, within: Path, stack: ExitStack) -> None:
        self.protocol = protocol
        self.files = files
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="groupchat-bench-", dir=within)))
        self.server = self._start(self._command(network), TCP if protocol == PLAIN else UDP, stack)
        settle(self.server)
        self.port = self.server.port
        if network.round_trip:
            between = self._between(network)
            self.port = self._start(between, TCP if protocol == PLAIN else UDP, stack).port

    def _start(self, command: list[str], transport: str, stack: ExitStack) -> Server:
        server = Server(command, self.directory, (transport,))
        stack.callback(server.stop)
        server.wait_until_it_listens()
        return server

    def _command(self, network: Network) -> list[str]:
        if self.protocol == QUIC:
            return [*servers.COMMANDS[servers.OURS], *sharing(self.files)]
        return [sys.executable, self._program(), "serve", str(self.files.path(network.sizes[self.protocol]))]

    def _between(self, network: Network) -> list[str]:
        if self.protocol == PLAIN:
            return [sys.executable, str(HERE / "slowtcp.py"), str(self.port), str(network.round_trip / 2)]
        relay = [sys.executable, str(HERE.parent / "tests" / "lossy.py"), "--to", f"127.0.0.1:{self.port}"]
        options = {"rtt": network.round_trip, "loss": network.loss, "largest": ETHERNET, "seed": next(SEEDS)}
        return relay + [text for name, value in options.items() for text in (f"--{name}", f"{value:g}")]

    def _program(self) -> str:
        return str(HERE / ("stopwait.py" if self.protocol == STOP else "plaintcp.py"))

    def client(self, size: int) -> list[str]:
        """Return a command that writes so many bytes to standard output."""
        if self.protocol == QUIC:
            return getting(self.port, size)
        return [sys.executable, self._program(), "get", str(self.port), str(size)]

    def fetch(self, size: int) -> Cost:
        """Download once. Raises LoadError, also if the bytes are not those of the file."""
        before = self.server.usage()
        with output() as got:
            process = subprocess.Popen(
                self.client(size), stdin=subprocess.DEVNULL, stdout=got, stderr=subprocess.PIPE, env=self._environment()
            )
            used = self._wait(process)
            after = self.server.usage()
            got.seek(0)
            if digest(got) != self.files.digests[size]:
                raise LoadError(f"{self.protocol}: the bytes are not those of the file")
        return Cost(after.at - before.at, used, after.cpu - before.cpu)

    def _environment(self) -> dict[str, str]:
        return os.environ | {"XDG_DATA_HOME": str(self.directory)}

    def _wait(self, process: subprocess.Popen[bytes]) -> float:
        """Wait for a client to end, and return its seconds of CPU. Its output fits into a pipe."""
        watchdog = threading.Timer(LIMIT_SECONDS, process.kill)
        watchdog.start()
        try:
            _pid, status, used = os.wait4(process.pid, 0)
        finally:
            watchdog.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read().decode(errors="replace").strip()
        if process.returncode:
            raise LoadError(f"{self.protocol}: {said.splitlines()[-1] if said else 'killed after a timeout'}")
        return used.ru_utime + used.ru_stime


def sharing(files: Source) -> list[str]:
    """Return the options of the daemon."""
    return ["--quic", "--files", str(files.shelf), "--keep-free", "0"]


def getting(port: int, size: int) -> list[str]:
    url = f"quic://127.0.0.1:{port}"
    return [sys.executable, "-m", "groupchat", "get", "--trust-new", url, f"{size}.bin", "-"]


@contextmanager
def output() -> Iterator[IO[bytes]]:
    """Open a file for the received bytes, in memory if possible, because no disk is measured."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryFile(dir=memory if _has_room(memory) else None) as file:
        yield file


def digest(file: IO[bytes]) -> str:
    made = hashlib.sha256()
    while part := file.read(1 << 20):
        made.update(part)
    return made.hexdigest()


def _has_room(directory: Path) -> bool:
    return directory.is_dir() and shutil.disk_usage(directory).free > 1 << 30


def settle(server: Server) -> None:
    """Wait until a server is idle: the daemon first reads its files to compute their hashes."""
    before = server.usage()
    while True:
        time.sleep(SETTLED)
        after = server.usage()
        if after.cpu - before.cpu < SETTLED / 10:
            return
        before = after


def download(protocol: str, network: Network, files: Source, within: Path) -> Download:
    """Download once with a fresh server. Raises LoadError or ServerError with the reason."""
    size = network.sizes[protocol]
    with ExitStack() as stack:
        testbed = Testbed(protocol, network, files, within, stack)
        first, all_of_it = testbed.fetch(1), testbed.fetch(size)
    cost = Cost(
        max(1e-3, all_of_it.took - first.took),
        max(0.0, all_of_it.client - first.client),
        max(0.0, all_of_it.server - first.server),
    )
    return Download(size, first.took, cost)
