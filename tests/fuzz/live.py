"""Rounds against a real daemon: the same inputs as in memory, sent from several addresses of the loopback network."""

from __future__ import annotations

import re
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from tests.daemon import Daemon
from tests.fuzz import datagrams, http, lines, quic
from tests.fuzz.grammar import Dice
from tests.fuzz.turns import TWISTD, turns
from tests.fuzz.watch import PATIENCE
from tests.fuzz.world import OPEN

KEEP = 2_000
"""The number of lines that the daemon keeps: so few that its memory can be seen to grow no more in some minutes."""

OPTIONS = ("--tcp", "0", "--web", "0", "--quic", "--files", "shared", "--hold", "5", "--keep-lines", str(KEEP))
SOURCES = 32
"""The number of sockets that datagrams come from: members stay members over several rounds."""

WAIT_SECONDS = 0.02
"""How long an answer to a datagram is waited for; a piece of a connection's input is not answered at once."""

SEND_SECONDS = 2.0
"""How long a client waits to connect, and for room to send."""

_TROUBLE = re.compile("Traceback|A bug while|Unhandled|can no longer be trusted|never retrieved")


class Target:
    """A daemon with all its doors, and the clients of one fuzzer."""

    def __init__(self) -> None:
        self.daemon = Daemon(*OPTIONS, twistd=TWISTD)
        self._read = self._timed = len(self.daemon.output)  # characters of its output; the turns of its start are over
        self._sockets = [self._socket(number) for number in range(SOURCES)]
        self._open: list[socket.socket] = []

    def _socket(self, number: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((_host(number), 0))
        made.connect(("127.0.0.1", self.daemon.port))
        made.setblocking(False)
        return made

    def stop(self) -> None:
        self.leave()
        for each in self._sockets:
            each.close()
        self.daemon.stop()

    def leave(self) -> None:
        """End all connections."""
        while self._open:
            self._open.pop().close()

    def trouble(self) -> str:
        """Return what the daemon printed since the last call, if it tells of trouble; "" if not."""
        printed, self._read = self.daemon.output[self._read :], len(self.daemon.output)
        if self.daemon.process.poll() is not None:
            return f"the daemon ended with status {self.daemon.process.returncode}:\n{printed}"
        return printed if _TROUBLE.search(printed) else ""

    def turns(self) -> list[float]:
        """Return the milliseconds of CPU time of the long turns since the last call."""
        printed, self._timed = self.daemon.output[self._timed :], len(self.daemon.output)
        return list(turns(printed))

    def counts(self) -> str:
        """Return in words what takes memory in the daemon: lines, members and files."""
        with urlopen(f"http://127.0.0.1:{self.daemon.web[0]}/metrics", timeout=PATIENCE) as answer:
            found = dict(re.findall(r"^groupchat_(members|appended_total) ([\d.e+]+)$", answer.read().decode(), re.M))
        lines = min(int(float(found["appended_total"])), KEEP)
        files = len(list(Path(self.daemon.directory.name, "shared").iterdir()))
        return f"{lines} lines kept, {int(float(found['members']))} members, {files} files"

    @property
    def memory(self) -> float:
        """The memory of the daemon, in MB."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found, status
        return int(found[1]) / 1000

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.daemon.process.pid}/fd").iterdir()))

    # One input for each door

    def datagrams(self, dice: Dice) -> None:
        source = dice.choice(self._sockets)
        for datagram in datagrams.datagrams(dice):
            self._ask(source, datagram)

    def packets(self, dice: Dice) -> None:
        source = dice.choice(self._sockets)
        packets = quic.packets(dice)
        with suppress(StopIteration):
            datagram = next(packets)
            while True:
                datagram = packets.send(self._ask(source, datagram))

    def _ask(self, source: socket.socket, datagram: bytes) -> bytes:
        """Return the last answer to a datagram, empty if none comes soon."""
        answer = b""
        with suppress(OSError):
            source.send(datagram)
            select.select([source], [], [], WAIT_SECONDS)
            while True:
                answer = source.recv(65_535)
        return answer

    def lines(self, dice: Dice) -> None:
        self._connect(dice, self.daemon.tcp[0], lines.connection(dice))

    def http(self, dice: Dice) -> None:
        self._connect(dice, self.daemon.web[0], http.connection(dice))

    def _connect(self, dice: Dice, port: int, data: bytes) -> None:
        """Send data in pieces on a connection, and leave it open until others came; read only some of the answers."""
        client = socket.socket()
        client.settimeout(SEND_SECONDS)
        client.bind((_host(dice.randrange(SOURCES)), 0))
        if dice.one_in(3):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it will be reset
        self._open.append(client)
        if len(self._open) > OPEN:
            self._open.pop(0).close()
        reads, ends = not dice.one_in(4), dice.one_in(3)
        with suppress(OSError):
            client.connect(("127.0.0.1", port))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in dice.cut(data):
                client.sendall(piece)
            if ends:
                client.shutdown(socket.SHUT_WR)
            if reads:
                select.select([client], [], [], WAIT_SECONDS)
                client.setblocking(False)
                client.recv(65_535)


def _host(number: int) -> str:
    return f"127.0.0.{1 + number % 8}"


INPUT: dict[str, Callable[[Target, Dice], None]] = {
    "udp": Target.datagrams,
    "lines": Target.lines,
    "http": Target.http,
    "quic": Target.packets,
}
"""How one input goes to a door of a real daemon. The others are tried in memory: each of their inputs is a start."""
