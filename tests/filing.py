"""A server of files in memory, for tests of the client: a shelf, and streams that may break anywhere."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from groupchat.client.files.transfers import Transfer


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


class FakeDisk:
    """A disk that works at once, or while it is `held`, when `let_go` is called."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[Callable[[], None]] = []

    def do(self, work: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        if not self.held:
            return maybeDeferred(work, *arguments)
        done: Deferred[Any] = Deferred()

        def later() -> None:
            maybeDeferred(work, *arguments).chainDeferred(done)

        self.waiting.append(later)
        return done

    def let_go(self) -> None:
        self.held = False
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class FakeServer:
    """The connection of a client, and the server behind it. At each `turn`, each stream delivers `step` bytes.

    Each entry of `cut` is for one stream, which breaks after so many bytes.
    """

    def __init__(self) -> None:
        self.shelf: dict[str, bytes] = {}
        self.shared: list[tuple[str, str]] = []
        self.parts: dict[str, bytes] = {}
        self.password = ""
        self.asked: list[str] = []
        self.refusals: list[Exception] = []  # raised when the next streams are opened
        self.answers: list[str] = []  # sent to the next requests instead of the right ones
        self.cut: list[int] = []
        self.step = 1 << 20
        self.streams: list[FakeStream] = []
        self.window = 1 << 20
        self.closed = 0
        self.spoils = False  # it sends other data than it promised
        self._trusts = False

    def open(self, protocol: IProtocol) -> Deferred[None]:
        if self.refusals:
            return fail(self.refusals.pop(0))
        stream = FakeStream(self, protocol, self.cut.pop(0) if self.cut else -1)
        self.streams.append(stream)
        stream.connect()
        return succeed(None)

    def close(self) -> None:
        self.closed += 1

    def turn(self) -> bool:
        """Deliver what can be delivered. Returns False if there was nothing."""
        moved = [stream.turn() for stream in list(self.streams)]
        return any(moved)

    def answer(self, stream: FakeStream, line: str) -> None:
        """Answer the first line of a stream, or the second one of a PUT."""
        self.asked.append(line)
        verb, _, rest = line.partition(" ")
        if self.answers:
            stream.say(f"{self.answers.pop(0)}\n".encode(), end=True)
        elif verb == "PASSWORD":
            self._trusts = rest == self.password
            stream.say(b"ok\n" if self._trusts else b"no That is not the password.\n", end=True)
        elif self.password and not self._trusts:
            stream.say(b"no There is a password.\n", end=True)
        elif verb == "FILES":
            lines = [f"{len(data)} {digest(data)} 1700000000 {name}\n" for name, data in self.shelf.items()]
            stream.say(f"ok {len(lines)}\n{''.join(lines)}".encode(), end=True)
        elif verb == "GET":
            self._get(stream, *rest.split(" ", 2))
        elif verb == "PUT":
            stream.put = rest
        elif verb == "BY" and stream.put:
            self._put(stream, stream.put, rest)

    def _get(self, stream: FakeStream, offset: str, beginning: str, name: str) -> None:
        data = self.shelf.get(name)
        if data is None:
            stream.say(b"no There is no such file.\n", end=True)
            return
        whole = digest(data)
        fits = beginning != "-" and whole.startswith(beginning) and int(offset) <= len(data)
        begin = int(offset) if fits else 0
        body = bytes(reversed(data)) if self.spoils else data
        stream.say(f"ok {len(data)} {whole} {begin}\n".encode() + body[begin:], end=True)

    def _put(self, stream: FakeStream, put: str, by: str) -> None:
        size, whole, name = put.split(" ", 2)
        stream.receives = (int(size), whole, name, by)
        stream.say(f"go {len(self.parts.get(whole, b''))}\n".encode())

    def received(self, stream: FakeStream, data: bytes) -> None:
        assert stream.receives is not None
        size, whole, name, by = stream.receives
        self.parts[whole] = self.parts.get(whole, b"") + data
        if len(self.parts[whole]) < size or not stream.heard_end:
            return
        if digest(self.parts[whole]) != whole:
            stream.say(b"no That is another file than was announced.\n", end=True)
            return
        got = name if name not in self.shelf else f"another {name}"
        self.shelf[got] = self.parts.pop(whole)
        self.shared.append((got, by))
        stream.say(f"ok {got}\n".encode(), end=True)


class FakeStream:
    """One stream: the transport of the client, and the server's end."""

    disconnecting = False

    def __init__(self, server: FakeServer, protocol: IProtocol, cut: int) -> None:
        self.put = ""
        self.receives: tuple[int, str, str, str] | None = None
        self.heard_end = False
        self.paused = False
        self.most_waiting = 0
        self.over = False
        self._server = server
        self._protocol: Any = protocol
        self._left = cut
        self._heard = bytearray()
        self._says = bytearray()
        self._ends = False
        self._producer: Any = None

    def connect(self) -> None:
        self._protocol.makeConnection(self)

    # The server's side

    def say(self, data: bytes, *, end: bool = False) -> None:
        self._says += data
        self._ends = end

    def turn(self) -> bool:
        moved = self._hear()
        if not self.over and not self.paused:
            moved = self._deliver() or moved
        return moved

    def _spend(self, data: bytes) -> bytes:
        """Return the beginning of this that gets through before the stream breaks."""
        if self._left < 0:
            return data
        through = data[: self._left]
        self._left -= len(through)
        return through

    def _hear(self) -> bool:
        if self.over or not (self._heard or (self.heard_end and self.receives and not self._ends)):
            return False
        data, self._heard = bytes(self._heard), bytearray()
        while self.receives is None and b"\n" in data:
            line, _, data = data.partition(b"\n")
            self._server.answer(self, line.decode())
        if self.receives is not None:
            through = self._spend(data)
            self._server.received(self, through)
            if len(through) < len(data):
                self.lose(ConnectionLost())
                return True
        else:
            self._heard = bytearray(data)
        if self._producer is not None and not self.over:
            self._producer.resumeProducing()
        return True

    def _deliver(self) -> bool:
        if not self._says:
            if self._ends:
                self._ends = False
                self._protocol.readConnectionLost()
                return True
            if self._left == 0 and self.receives is None:
                self.lose(ConnectionLost())
                return True
            return False
        piece = bytes(self._says[: self._server.step])
        del self._says[: len(piece)]
        through = self._spend(piece) if self.receives is None else piece
        if through:
            self._protocol.dataReceived(through)
        if len(through) < len(piece):
            self.lose(ConnectionLost())
        return True

    def lose(self, why: Exception) -> None:
        if not self.over:
            self.over = True
            self._protocol.connectionLost(Failure(why))

    # The transport

    def write(self, data: bytes) -> None:
        assert not self.over
        assert not self.heard_end
        self._heard += data
        self.most_waiting = max(self.most_waiting, len(self._heard))
        if len(self._heard) > 64 * 1024 and self._producer is not None:
            self._producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def loseWriteConnection(self) -> None:
        self.heard_end = True

    def loseConnection(self) -> None:
        self.lose(ConnectionDone())

    def abortConnection(self) -> None:
        self.lose(ConnectionDone())

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class FakeWatcher:
    """A watcher that records what becomes of transfers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def news(self) -> list[tuple[str, ...]]:
        told, self.told = self.told, []
        return told

    def began(self, transfer: Transfer) -> None:
        self.told.append(("began", transfer.name))

    def waits(self, transfer: Transfer, why: str) -> None:
        self.told.append(("waits", transfer.name, why))

    def is_done(self, transfer: Transfer, name: str) -> None:
        self.told.append(("done", transfer.name, name))

    def failed(self, transfer: Transfer, why: Exception) -> None:
        self.told.append(("failed", transfer.name, str(why.args[0]) if why.args else str(why)))

    def stopped(self, transfer: Transfer) -> None:
        self.told.append(("stopped", transfer.name))


def run(server: FakeServer, clock: Clock, seconds: float = 60.0) -> None:
    """Run the server and the clock for so many seconds."""
    for _ in range(int(seconds / 0.25)):
        while server.turn():
            pass
        clock.advance(0.25)


NOTHING_LISTENS = ConnectError(string="nothing is listening there")
