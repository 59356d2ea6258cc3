"""Damage by a disk, or by somebody with the file: damaged files, and snapshots that are none.

A start on a damaged file either ends with one line, which is a LogError, or serves what it served before.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from groupchat.core.commands import Whisper
from groupchat.core.errors import LogError
from groupchat.log import Snapshot
from groupchat.log.database import Database
from groupchat.log.memory import MemoryLog, Store
from groupchat.log.sqlite import SqliteLog
from tests.connections import KEY, Connection
from tests.durable import DurableNode, ThreadReactor
from tests.fuzz.grammar import Dice
from tests.fuzz.world import Fault, no_bugs, told
from tests.node import Node

NOON = 12 * 3600.0
SECTOR, PAGE = 512, 4096

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A directory in memory, if there is one: what is tried here does not depend on the disk."""

Served = tuple[int, bytes, list[tuple[Any, ...]]]
"""The number of the last line, the lines, and the members."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A file that is as it should be, and what a daemon serves from it."""

    data: bytes
    served: Served


def _clock() -> Clock:
    clock = Clock()
    clock.rightNow = NOON
    return clock


@cache
def sound() -> Sound:
    """Return a file with a snapshot, and entries of every kind before and after it."""
    with tempfile.TemporaryDirectory(prefix="groupchat-fuzz-", dir=MEMORY) as directory:
        path = Path(directory) / "sound"
        for life in range(2):
            node = DurableNode(path, _clock())
            _talk(node, life)
            if life:
                path = node.cut_off(Path(directory) / "later")
                served = _served(node)
            node.stop()
        with closing(sqlite3.connect(path)) as connection:  # so that all of it is in one file
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Sound(path.read_bytes(), served)


def _talk(node: DurableNode, life: int) -> None:
    for who, name in enumerate(("Alice", "Bob", "Zoë"), 1 + 10 * life):
        node.ask(who, f"1 {name} {life}")
        for number in range(8):
            node.ask(who, f"2 {name} says {number} {'ノア' * 10 * number}")
    connection = Connection(node.service)
    connection.join(f"Ada {life}", f"{KEY[:-1]}{life}")
    node.settle()
    connection.ask(Whisper("Bob 0: psst", 7))
    node.settle()
    node.ask(2, "3 Rob")
    node.ask(1 + 10 * life, "4")
    node.pass_time(61)
    node.settle()


def _served(node: Node) -> Served:
    group = node.service.group
    lines, _ = group.history.read(group.history.first - 1, group.history.head, 1 << 30)
    members = [(m.id, m.name, m.key, m.host, m.address, m.secret) for m in group.members.values()]
    return group.history.head, bytes(lines), members


# Damage


def damaged(dice: Dice, data: bytes) -> bytes:
    """Return a file with one kind of damage."""
    changed = bytearray(data)
    at = dice.randrange(len(changed))
    sector, page = at - at % SECTOR, at - at % PAGE
    other = dice.randrange(len(changed) // PAGE) * PAGE
    match dice.randrange(12):
        case 0:
            changed[at] = dice.randrange(256)
        case 1:
            changed[sector : sector + SECTOR] = bytes(SECTOR)
        case 2:
            changed[sector : sector + SECTOR] = dice.randbytes(SECTOR)
        case 3:
            changed[page : page + PAGE] = changed[other : other + PAGE]  # a write that went to another place
        case 4:
            del changed[at:]
        case 5:
            del changed[page : page + PAGE]
        case 6:
            changed += dice.randbytes(dice.choice((1, PAGE, 3 * PAGE)))
        case 7:
            changed[at % 100] = dice.randrange(256)  # the header
        case _:
            changed[at] ^= 1 << dice.randrange(8)
    return bytes(changed)


HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 7, 2**31, 2**63 - 1, 2**63, -(2**63), 2**70, 1.5, 1e308, float("nan"), float("inf")),
    *("", "x", "Bob", "*", "a" * 5000, "\ud800", "\0", "٣", [], [[]], [None], {}, {"head": 1}, [1, 2, 3]),
)
"""Values of JSON for the place of others."""


def changed_state(dice: Dice, state: bytes) -> bytes:
    """Return the state of a snapshot with one change: of its bytes, or of a value anywhere in it."""
    if dice.one_in(4):
        return dice.mutate(state)
    value = json.loads(state)
    places = list(_places(value))
    where, key = dice.choice(places)
    match dice.randrange(4):
        case 0:
            del where[key]
        case 1 if isinstance(where, list):
            where.insert(key, where[dice.randrange(len(where))])
        case _:
            where[key] = dice.choice(HOSTILE)
    return json.dumps(value if not dice.one_in(30) else dice.choice(HOSTILE)).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a JSON value: its container, and the key there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


# One input for each door


def start(path: Path) -> Served | None:
    """Start a daemon on a file, and let somebody speak. Return what it serves, None if it refuses to start.

    Raise Fault if it ends in any other way than with a LogError.
    """
    reactor = ThreadReactor()
    log = SqliteLog(path, reactor)  # type: ignore[arg-type]  # all it needs of a reactor

    def wait_for(deferred: Deferred[Any]) -> None:
        while not (deferred.called or node.fatal):
            node.clock.advance(0)
            reactor.call()

    with no_bugs():
        node = Node(log, _clock())
        wait_for(node.started)
        served = _outcome(node)
    with no_bugs():
        if served is not None:
            node.send(99, "1 Newcomer")
            node.send(99, "2 hello")
            wait_for(log.head())
        if served is not None and not node.fatal:
            wait_for(log.check())
        if not node.fatal:
            wait_for(log.close())
    return served


def _outcome(node: Node) -> Served | None:
    """Return what a node serves that has started; None if it refused to."""
    if not node.started.called:
        return None
    results: list[object] = []
    node.started.addBoth(results.append)
    match results:
        case [Failure() as failure]:
            if not failure.check(LogError):
                raise Fault(f"a start ended with {failure.getTraceback()}")
            if "\n" in failure.getErrorMessage():
                raise Fault(f"a start ended with more than one line: {failure.getErrorMessage()!r}")
            return None
    return _served(node)


def files(name: str, inputs: int) -> None:
    """Run a round: start on damaged files."""
    dice, given = Dice(name), sound()
    with tempfile.TemporaryDirectory(prefix="groupchat-fuzz-", dir=MEMORY) as directory:
        for number in range(inputs):
            path = Path(directory) / f"{number}"
            path.write_bytes(damaged(dice, given.data))
            with told(name, f"input {number}"):
                served = start(path)
                if served not in (None, given.served):
                    raise Fault(f"damage is served: {served}")
            for left in Path(directory).iterdir():
                left.unlink()


@cache
def killed() -> tuple[dict[str, bytes], tuple[Served, ...]]:
    """Return the files of a killed daemon, by the ends of their names, and what is served after each commit."""
    with tempfile.TemporaryDirectory(prefix="groupchat-fuzz-", dir=MEMORY) as directory:
        path = Path(directory) / "sound"
        path.write_bytes(sound().data)
        node = DurableNode(path, _clock())
        _talk(node, 2)
        cut = node.cut_off(Path(directory) / "cut")
        node.stop()
        files = {end: Path(f"{cut}{end}").read_bytes() for end in ("", "-wal", "-shm")}
        states = []
        for size in range(32, len(files["-wal"]) + 1, 24 + PAGE):
            _lay(cut, {**files, "-wal": files["-wal"][:size]})
            if (served := start(cut)) and served not in states:
                states.append(served)
        return files, tuple(states)


def _lay(path: Path, files: dict[str, bytes]) -> None:
    for end, data in files.items():
        Path(f"{path}{end}").write_bytes(data)


def wals(name: str, inputs: int) -> None:
    """Run a round: start on damaged -wals. What is served is what was there after one of the commits."""
    dice = Dice(name)
    given, states = killed()
    with tempfile.TemporaryDirectory(prefix="groupchat-fuzz-", dir=MEMORY) as directory:
        for number in range(inputs):
            path = Path(directory) / f"{number}"
            _lay(path, {**given, "-wal": damaged(dice, given["-wal"])})
            with told(name, f"input {number}"):
                served = start(path)
                if served is not None and served not in states:
                    raise Fault(f"damage is served: {served}")
            for left in Path(directory).iterdir():
                left.unlink()


def snapshots(name: str, inputs: int) -> None:
    """Run a round: start with snapshots that were changed."""
    dice, given = Dice(name), sound()
    with tempfile.TemporaryDirectory(prefix="groupchat-fuzz-", dir=MEMORY) as directory:
        path = Path(directory) / "sound"
        path.write_bytes(given.data)
        with closing(Database(path)) as database:
            entries, snapshot = database.read(0, 1 << 30), database.load_snapshot()
    assert snapshot is not None
    for number in range(inputs):
        store = Store(retain=1 << 30)
        for entry in entries:
            store.add(entry.events, entry.entry_id)
        store.snapshot = Snapshot(snapshot.position, snapshot.version, changed_state(dice, snapshot.state))
        with told(name, f"input {number}"), no_bugs():
            node = Node(MemoryLog(store), _clock())
            if _outcome(node) is not None:
                node.ask(1, "5")
                node.ask(99, "1 Newcomer")
                node.ask(99, "2 hello")
                node.pass_time(61)
            if node.fatal:
                raise Fault("the daemon ended by itself")
