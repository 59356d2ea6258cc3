"""The client's side of a numbered session: it loses no line, and has no command carried out twice."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable

from tests.daemon import SECONDS

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Session:
    """A session that outlives its connections.

    `seen` has all lines that it was sent, with their numbers; `answers` the answers to its commands, by id; `buffer` is
    the size of its receive buffer in the kernel, in bytes.
    """

    def __init__(self, port: int, name: str, buffer: int = 0) -> None:
        self.port = port
        self.buffer = buffer
        self.name = name
        self.last = 0
        self.seen: list[tuple[int, str]] = []
        self.answers: dict[int, str] = {}
        self.unanswered: dict[int, str] = {}
        self._names = {name}
        self._key = secrets.token_hex(16)
        self._asked = 0
        self._joined = False
        self._connection: socket.socket | None = None
        self._rest = b""

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def lines(self) -> list[str]:
        return [line for _, line in self.seen]

    def ask(self, *lines: str) -> None:
        """Send commands, each with an id of its own: now, or else on the next connection."""
        for line in lines:
            self._asked += 1
            if line.startswith("/name "):
                self._names.add(line.removeprefix("/name "))
            self.unanswered[self._asked] = line
            if self._connection is not None:
                self._send(self._numbered(self._asked))

    def opening(self) -> bytes:
        """Return what a new connection begins with: its first line, and all commands without an answer."""
        first = f"/resume {self._key} {self.last}" if self._joined else f"/numbered {self._key} {self.name}"
        return f"{first}\n".encode() + b"".join(map(self._numbered, self.unanswered))

    def connect(self, size: int | None = None) -> None:
        """Connect, and send at most `size` bytes of the opening. Raises OSError if there is no server."""
        assert self._connection is None
        connection = socket.socket()
        connection.settimeout(SECONDS)
        if self.buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        try:
            connection.connect(("127.0.0.1", self.port))
        except OSError:
            connection.close()
            raise
        self._connection = connection
        self._rest = b""
        self._send(self.opening()[:size])

    def cut(self, *, reset: bool) -> None:
        """End the connection, even within a line."""
        if self._connection is not None:
            if reset:
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.cut(reset=False)

    def read(self, size: int = 65_536, seconds: float = SECONDS) -> int:
        """Receive at most `size` bytes. Return how many came; without a connection, none."""
        if self._connection is None:
            return 0
        self._connection.settimeout(seconds)
        try:
            data = self._connection.recv(size)
        except (TimeoutError, BlockingIOError):
            return 0
        except OSError:
            data = b""
        if not data:
            self.cut(reset=False)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode())
        return len(data)

    def read_until(self, done: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not done():
            if not self.read(seconds=1.0) and (self._connection is None or time.monotonic() > until):
                raise AssertionError(f"{self.name} saw {self.seen[-5:]}, unanswered is {self.unanswered}")

    def settle(self) -> None:
        """Wait until every command is answered."""
        self.read_until(lambda: self._joined and not self.unanswered)

    def _numbered(self, number: int) -> bytes:
        return f"{number} {self.unanswered[number]}\n".encode()

    def _send(self, data: bytes) -> None:
        assert self._connection is not None
        try:
            self._connection.sendall(data)
        except OSError:
            self.cut(reset=False)

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word in ("*", "="):
            return
        if word == "session":
            number, _waiting, name = rest.split(" ", 2)
            assert not self._joined or int(number) == self.last, (line, self.last)
            assert name in self._names, (line, self._names)
            self._joined, self.last = True, int(number)
        elif word in ("ok", "no"):
            number = rest.partition(" ")[0]
            assert number != "0", line
            self.unanswered.pop(int(number), None)
            self.answers[int(number)] = line
            assert word == "ok", line
        else:
            assert int(word) > self.last, (line, self.last)
            self.last = int(word)
            self.seen.append((self.last, rest))
