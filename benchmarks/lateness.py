"""The worst lateness of the reactor under each expensive request, at the largest sizes that the limits allow.

The history is full, with whispers among others; so are the membership and the shelf. A probe polls every millisecond,
as in `lag`: its longest round trip is how late the reactor was. The same requests go to a daemon that has nothing, and
the probe polls idle daemons, too: they show the machine itself.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median

from groupchat.core.events import Event, Joined, Said, Whispered
from groupchat.core.limits import MAX_FILES, MAX_HISTORY
from groupchat.core.limits import Settings as Defaults

from . import lag, load, report, servers
from .made import make
from .report import Settings, Target
from .servers import HTTP, LIVE, SQLITE, TCP, UDP, Server

DEFAULTS = Defaults()
FILE = "full.sqlite"
ALICE, BOB, EVE = 1, 2, 3
KEY = "ab" * 16
"""Of Eve, who is shown none of the whispers."""

PIPELINED, CALLERS, STREAMS, LIVE_MEMBERS = 20, 100, 16, 980
PATIENCE = 20.0
COLUMNS = ("history", "request", "polls", "p50 ms", "p99 ms", "worst ms", "at best ms", "")
EMPTY = "empty"
HISTORIES: dict[str, int] = {"all whispers": 0, "1 of 2 public": 2, "1 of 130 public": 130}
"""How many lines go on one that is public. Where few are, each line that is shown has to be found."""


@dataclass(slots=True)
class Outcome:
    polls: list[float] = field(default_factory=list)
    """How long each took, in seconds."""
    worst: list[float] = field(default_factory=list)
    """The longest of each round."""
    error: str = ""


Request = Callable[[Server], float | None]
"""What is measured; it returns when that began, if not at once."""


def run(settings: Settings) -> list[Target]:
    found: dict[tuple[str, str], Outcome] = {}
    with tempfile.TemporaryDirectory(dir=settings.directory) as name:
        directory = Path(name)
        _fill_shelf(directory / "shelf")
        for history in (EMPTY, *HISTORIES):
            report.progress(f"lateness: a history, {history}")
            make(directory / "made.sqlite", _events(HISTORIES.get(history)))
            for _ in range(settings.rounds):
                _remove(directory, FILE)
                shutil.copyfile(directory / "made.sqlite", directory / FILE)
                try:
                    _measure(history, directory, settings, found)
                except (servers.ServerError, load.LoadError, OSError) as error:
                    found.setdefault((history, "start"), Outcome()).error = str(error)
            _remove(directory, "made.sqlite")
    report.progress("")
    title = f"Lateness at {DEFAULTS.keep:,} lines, {DEFAULTS.max_members:,} members, {MAX_FILES:,} files"
    report.table(title, COLUMNS, [_row(*key, outcome) for key, outcome in found.items()])
    return list(_targets(found))


def _measure(history: str, directory: Path, settings: Settings, found: dict[tuple[str, str], Outcome]) -> None:
    options = [*LIVE, "--web", "0", "--db", str(directory / FILE), "--max-connections", "20000"]
    options += ["--files", str(directory / "shelf")] if history != EMPTY else []
    with (
        servers.running(SQLITE, settings.directory, options, (UDP, TCP, HTTP)) as server,
        tempfile.TemporaryFile("w+", dir=settings.directory) as samples,
        ExitStack() as stack,
    ):
        stack.enter_context(lag._probing(settings.program, server, samples.fileno()))
        windows: list[tuple[str, float, float]] = []
        for name, ask in REQUESTS.items():
            report.progress(f"lateness, {history}: {name}")
            outcome = found.setdefault((history, name), Outcome())
            begun = time.monotonic()
            try:
                begun = ask(server) or begun
            except (OSError, AssertionError) as error:
                outcome.error = f"{type(error).__name__}: {error}"
            time.sleep(0.05)  # what a request caused may come after its answer
            windows.append((name, begun, time.monotonic()))
        time.sleep(0.1)
        stack.close()
        samples.seek(0)
        polls = list(lag._read(samples, lag.Outcome(), 0.0, float("inf")))
    for name, begun, ended in windows:
        within = [poll.took() for poll in polls if poll.sent <= ended and poll.answered >= begun]
        found[history, name].polls += within
        found[history, name].worst.append(max(within, default=0.0))


# What is asked


def _idle(server: Server) -> None:
    time.sleep(2.0)


def _connect(server: Server, transport: str = TCP) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.ports[transport]), PATIENCE)


def _read_until(connection: socket.socket, what: bytes, count: int = 1) -> bytes:
    data = bytearray()
    while data.count(what) < count:
        some = connection.recv(1 << 20)
        if not some:
            raise OSError(f"closed after {bytes(data[-200:])!r}")
        data += some
    return bytes(data)


def _get(target: str, count: int = PIPELINED, clients: int = 1) -> Request:
    """Return a request over HTTP that some clients send at the same time, each so many times without waiting."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()

    def ask(server: Server) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(_connect(server, HTTP))) for _ in range(clients)]
            for connection in connections:
                connection.sendall(request * count)
            for connection in connections:
                _read_until(connection, b"HTTP/1.1 ", count)

    return ask


def _streams(server: Server) -> None:
    """Read along from the beginning, in as many places as one may."""
    _get("/events?after=0", 1, STREAMS)(server)


def _resume(server: Server) -> None:
    with closing(_connect(server)) as connection:
        connection.sendall(f"/resume {KEY} 0\n1 /help\n".encode())
        _read_until(connection, b"ok 1\n")


def _lines(command: str, *, ok: bool = True) -> Request:
    """Return a command that a session asks for again and again without waiting. If not `ok`, it is refused."""

    def ask(server: Server) -> None:
        with closing(_connect(server)) as connection:
            number = time.monotonic_ns()  # ids are used once
            asked = "".join(f"{number + more} {command}\n" for more in range(PIPELINED))
            connection.sendall(f"/resume {KEY} 9999999\n{asked}".encode())
            _read_until(connection, b" %d%s" % (number + PIPELINED - 1, b"\n" if ok else b" "))

    return ask


def _callers(server: Server) -> None:
    """Connect, and be greeted, many times at once."""
    with ExitStack() as stack:
        for connection in [stack.enter_context(closing(_connect(server))) for _ in range(CALLERS)]:
            _read_until(connection, b"name?\n")


def _polls(server: Server) -> None:
    """Poll without waiting, as many members that are far behind: each is the last to have used its address."""
    with ExitStack() as stack:
        for number in range(64):
            asking = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            asking.bind(("127.0.0.1", PORTS + number))
            asking.sendto(b"5", ("127.0.0.1", server.port))
        asking.settimeout(PATIENCE)
        asking.recv(65_536)


def _joins(server: Server) -> None:
    """Let many members join at once over TCP, who read along."""
    with ExitStack() as stack:
        _join(server, stack)


def _join(server: Server, stack: ExitStack) -> None:
    readers = [stack.enter_context(closing(_connect(server))) for _ in range(LIVE_MEMBERS)]
    for number, connection in enumerate(readers):
        connection.sendall(b"R%d-%d\n" % (number, time.monotonic_ns() % 1_000_000))
    for connection in readers:
        _read_until(connection, b"leaves.\n")


def _leaves(server: Server) -> float:
    """Let many members who read along close their connections at once."""
    with ExitStack() as stack:
        _join(server, stack)
        time.sleep(0.2)
        return time.monotonic()


def _live_whispers(server: Server) -> float:
    """Whisper 100 times while many members read along who are not shown it."""
    with ExitStack() as stack:
        _join(server, stack)
        time.sleep(0.2)
        begun = time.monotonic()
        speaker = stack.enter_context(closing(_connect(server)))
        speaker.sendall(b"/resume %s 9999999\n" % KEY.encode())
        _read_until(speaker, b"\n")
        first = time.monotonic_ns()
        speaker.sendall(b"".join([b"%d /msg Alice: psst\n" % (first + number) for number in range(100)]))
        _read_until(speaker, b"ok %d\n" % (first + 99))
        time.sleep(0.05)
        return begun


REQUESTS: dict[str, Request] = {
    "idle": _idle,
    "GET /history at the end": _get("/history?after=99999999&limit=1"),
    "GET /history after 0": _get("/history?after=0&limit=200"),
    "GET /history": _get("/history?limit=200"),
    "GET /history, 100 clients": _get("/history?limit=200", 1, CALLERS),
    "GET /events after 0": _streams,
    "GET /members": _get("/members"),
    "GET /files": _get("/files"),
    "GET /metrics": _get("/metrics"),
    "GET /, 100 clients": _get("/", 1, CALLERS),
    "/resume after 0": _resume,
    "/history": _lines(f"/history {MAX_HISTORY}"),
    "/users": _lines("/users"),
    "/files": _lines("/files"),
    "/msg with many spaces": _lines("/msg " + "a " * 16 + "x", ok=False),
    "100 connections": _callers,
    "64 polls": _polls,
    "980 joins": _joins,
    "980 leaves": _leaves,
    "whispers, 980 live": _live_whispers,
}


# The files


PORTS = 20_000
"""Members have addresses from this port on."""


def _fill_shelf(shelf: Path) -> None:
    shelf.mkdir()
    for number in range(MAX_FILES):
        (shelf / f"file {number}.txt").write_bytes(b"")


def _events(public: int | None) -> Iterator[Event]:
    """Yield the events of a history; only the joins of three if `public` is None."""
    now = time.time() - 60
    members, lines = (DEFAULTS.max_members, DEFAULTS.keep) if public is not None else (EVE, 0)
    for member in range(1, members + 1):
        name = {ALICE: "Alice", BOB: "Bob", EVE: "Eve"}.get(member, f"member{member:05}")
        secret = sha256(bytes.fromhex(KEY)).hexdigest() if member == EVE else None
        port = None if member == EVE else PORTS + (member - 100) % members
        yield Joined(member, name, name.lower(), now, "127.0.0.1", port, secret)
    for number in range(lines):
        if public and not number % public:
            yield Said(ALICE, "Alice", "x", now)
        else:
            yield Whispered(ALICE, "Alice", BOB, "Bob", "x", now)


def _remove(directory: Path, name: str) -> None:
    for path in directory.glob(f"{name}*"):
        path.unlink()


# The table


def _row(history: str, name: str, outcome: Outcome) -> tuple[str, ...]:
    if not outcome.polls:
        return (history, name, *["-"] * (len(COLUMNS) - 3), outcome.error)
    shares = [f"{_share(outcome.polls, share) * 1000:.2f}" for share in (0.5, 0.99)]
    worst = [f"{of(outcome.worst) * 1000:.1f}" for of in (median, min)]
    return (history, name, report.count(len(outcome.polls)), *shares, *worst, outcome.error)


def _share(polls: Sequence[float], share: float) -> float:
    return sorted(polls)[int(len(polls) * share)]


def _targets(found: dict[tuple[str, str], Outcome]) -> Iterator[Target]:
    for history in (EMPTY, *HISTORIES):
        worst = {name: median(o.worst) for (of, name), o in found.items() if of == history and o.worst}
        if worst:
            name = max(worst, key=lambda name: worst[name])
            idle = worst.get("idle", 0.0) * 1000
            yield Target(f"lateness, {history}", f"{worst[name] * 1000:.1f} ms ({name}), idle {idle:.1f} ms")
