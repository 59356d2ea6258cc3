"""One download, over one of three ways, and over one network or another: how long it took, and what it cost.

The beginning (the start of the client's process, and the handshake) is measured by a download of one byte, and taken
off. What came is compared with what was there, always.
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

QUIC, STOP, PLAIN = WAYS = ("quic", "stop and wait", "tcp")
MB = 1_000_000
SEEDS = count(1)
"""Each download meets other losses, and the next time that this program runs, the same."""
ETHERNET = 1472
"""The largest datagram on an Ethernet, in bytes: what is larger is lost on every network but loopback itself."""
LIMIT_SECONDS = 300.0
SETTLED = 0.3
"""Seconds without work, after which a server has done what it does at first."""


@dataclass(frozen=True, slots=True)
class Network:
    """Between client and server. `round_trip` is in seconds; 0 is loopback itself, with nothing between."""

    name: str
    round_trip: float
    loss: float
    sizes: dict[str, int]
    """How much is fetched by each way that is measured here, in bytes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds by the clock, and of the CPU."""

    took: float
    client: float
    server: float


@dataclass(frozen=True, slots=True)
class Download:
    """What it cost beyond its beginning."""

    size: int
    began: float
    cost: Cost

    @property
    def rate(self) -> float:
        """MB a second."""
        return self.size / self.cost.took / MB

    def client_ms(self) -> float:
        """Milliseconds of CPU for one MB."""
        return self.cost.client / self.size * MB * 1000

    def server_ms(self) -> float:
        return self.cost.server / self.size * MB * 1000


class Source:
    """Files of random bytes, each the beginning of the same: named by their sizes, in a directory to be shared."""

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


class Fetching:
    """A server of one way that runs, and how a client of it is started."""

    def __init__(self, way: str, network: Network, files: Source, within: Path, stack: ExitStack) -> None:
        self.way = way
        self.files = files
        self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="groupchat-bench-", dir=within)))
        self.server = self._start(self._command(network), TCP if way == PLAIN else UDP, stack)
        settle(self.server)
        self.port = self.server.port
        if network.round_trip:
            between = self._between(network)
            self.port = self._start(between, TCP if way == PLAIN else UDP, stack).port

    def _start(self, command: list[str], transport: str, stack: ExitStack) -> Server:
        server = Server(command, self.directory, (transport,))
        stack.callback(server.stop)
        server.wait_until_it_listens()
        return server

    def _command(self, network: Network) -> list[str]:
        if self.way == QUIC:
            return [*servers.COMMANDS[servers.OURS], *sharing(self.files)]
        return [sys.executable, self._program(), "serve", str(self.files.path(network.sizes[self.way]))]

    def _between(self, network: Network) -> list[str]:
        if self.way == PLAIN:
            return [sys.executable, str(HERE / "slowtcp.py"), str(self.port), str(network.round_trip / 2)]
        relay = [sys.executable, str(HERE.parent / "tests" / "lossy.py"), "--to", f"127.0.0.1:{self.port}"]
        options = {"rtt": network.round_trip, "loss": network.loss, "largest": ETHERNET, "seed": next(SEEDS)}
        return relay + [text for name, value in options.items() for text in (f"--{name}", f"{value:g}")]

    def _program(self) -> str:
        return str(HERE / ("stopwait.py" if self.way == STOP else "plaintcp.py"))

    def client(self, size: int) -> list[str]:
        """A command that writes so many bytes to standard output."""
        if self.way == QUIC:
            return getting(self.port, size)
        return [sys.executable, self._program(), "get", str(self.port), str(size)]

    def fetch(self, size: int) -> Cost:
        """Raises LoadError, also if what comes is not what was there."""
        before = self.server.usage()
        with output() as got:
            process = subprocess.Popen(
                self.client(size), stdin=subprocess.DEVNULL, stdout=got, stderr=subprocess.PIPE, env=self._environment()
            )
            used = self._wait(process)
            after = self.server.usage()
            got.seek(0)
            if digest(got) != self.files.digests[size]:
                raise LoadError(f"{self.way}: what came is not what was there")
        return Cost(after.at - before.at, used, after.cpu - before.cpu)

    def _environment(self) -> dict[str, str]:
        return os.environ | {"XDG_DATA_HOME": str(self.directory)}

    def _wait(self, process: subprocess.Popen[bytes]) -> float:
        """Its seconds of CPU, at its end. It says little: a pipe holds that."""
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
            raise LoadError(f"{self.way}: {said.splitlines()[-1] if said else 'was ended: it hung'}")
        return used.ru_utime + used.ru_stime


def sharing(files: Source) -> list[str]:
    """The daemon's options."""
    return ["--quic", "--files", str(files.shelf), "--keep-free", "0"]


def getting(port: int, size: int) -> list[str]:
    url = f"quic://127.0.0.1:{port}"
    return [sys.executable, "-m", "groupchat", "get", "--trust-new", url, f"{size}.bin", "-"]


@contextmanager
def output() -> Iterator[IO[bytes]]:
    """A file for what comes; in memory where that is possible, since no disk is measured."""
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
    """Wait until it has nothing to do: the daemon reads its files at first, since their hashes are asked for."""
    before = server.usage()
    while True:
        time.sleep(SETTLED)
        after = server.usage()
        if after.cpu - before.cpu < SETTLED / 10:
            return
        before = after


def download(way: str, network: Network, files: Source, within: Path) -> Download:
    """With a server of its own. Raises LoadError or ServerError with the reason."""
    size = network.sizes[way]
    with ExitStack() as stack:
        fetching = Fetching(way, network, files, within, stack)
        first, all_of_it = fetching.fetch(1), fetching.fetch(size)
    cost = Cost(
        max(1e-3, all_of_it.took - first.took),
        max(0.0, all_of_it.client - first.client),
        max(0.0, all_of_it.server - first.server),
    )
    return Download(size, first.took, cost)
