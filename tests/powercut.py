"""Simulated power cuts: whatever a disk may hold after one, the log opens with everything that it had acknowledged.

The rules of the disk. Content that was written before the last fsync of its file is there. Later content may be there
in part: each write, and each sector of a write, is kept or lost independently of all others, and a file may have its
new size without its new content. The same holds for the names in a directory, until the directory is synced.

The rule of the log. The file is whole and as one of its transactions left it, and none of the acknowledged transactions
is missing. Opening a log acknowledges everything in it, since it is shown to members from then on.

The changes come from processes that append to a `Database`. The preloaded powercut.c records what they do to the disk,
and marks which say what was acknowledged. The first process is killed in place of an fsync. Some of the files that are
left after a cut are used by further processes, and cut again.

    python -m tests.powercut --cuts 1000 --durability full
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest import SkipTest

from groupchat.core.errors import GroupchatError
from groupchat.core.events import Event, Joined, Left, Renamed, Said, Seen
from groupchat.log import Entry
from groupchat.log.database import Database
from tests.programs import need, unavailable

SHIM = Path(__file__).with_suffix(".c")
DATABASE = "group.sqlite"
ALL = 1 << 40
"""A limit that is never reached."""

Files = Mapping[str, bytes]
"""The files of a directory, by name."""


# Entries and snapshots follow from generation and position alone, so that they can be checked when read back.


@cache
def entry(generation: int, position: int) -> Entry:
    """Return an entry of one short text, or up to a hundred kilobytes."""
    rng = Random(f"entry {generation} {position}")
    events = tuple(_event(rng) for _ in range(rng.choice((1, 1, 1, 2, 10))))
    return Entry(position, f"{rng.getrandbits(128):032x}", events)


def _event(rng: Random) -> Event:
    member, name, at = rng.getrandbits(63), f"Name{rng.randrange(1000)}", rng.random() * 2e9
    kind = rng.random()
    if kind < 0.8:
        return Said(member, name, "x" * rng.choice((1, 30, 100, 4000)), at)
    if kind < 0.85:
        return Joined(member, name, name.lower(), at, "fe80::1%2", rng.choice((None, 4711)))
    if kind < 0.9:
        return Renamed(member, name, "New", "new", at)
    if kind < 0.95:
        return Left(member, name, at)
    return Seen(at, tuple((member - i, i, i, i, i) for i in range(rng.choice((1, 10, 10, 2000)))))


@cache
def snapshot(generation: int, position: int) -> bytes:
    rng = Random(f"snapshot {generation} {position}")
    return rng.randbytes(rng.choice((100, 10_000, 200_000)))


class State(NamedTuple):
    """The state of the log after a transaction."""

    head: int = 0
    beginning: int = 1
    snapshot: int = 0
    """The position of the snapshot, 0 for none."""
    forgotten: int = 0
    """The Seen events of entries before this position were deleted."""

    @property
    def told(self) -> tuple[int, int, int]:
        """The part of the state that can be read from a file: all but `forgotten`."""
        return self[:3]


def held(database: Database) -> State:
    kept = database.load_snapshot()
    return State(database.head, database.beginning, kept.position if kept else 0)


def first_seen(entries: Iterable[Entry]) -> int:
    """Return the position of the first entry with a Seen event, 0 for none: it depends on `forgotten`."""
    return next((one.position for one in entries if any(isinstance(event, Seen) for event in one.events)), 0)


# The processes that append.


class Life:
    """Appends, and now and then saves a snapshot, trims, and deletes Seens. Marks each step before and after."""

    def __init__(self, database: Database, generation: int, mark: Callable[[str], object]) -> None:
        self._database = database
        self._generation = generation
        self._mark = mark
        self._state = held(database)
        self._rng = Random(f"life {generation} {self._state}")
        mark(f"opened {_words(self._state)} {first_seen(database.read(self._state.beginning - 1, ALL))}")

    def run(self, steps: int) -> None:
        for step in range(1, steps + 1):
            self._append(count=self._rng.choice((1, 1, 1, 2, 5, 30)))
            if step % 20 == 0:
                self._clean()

    def _append(self, count: int) -> None:
        first = self._state.head + 1
        batch = [entry(self._generation, position) for position in range(first, first + count)]
        with self._promised(self._state._replace(head=self._state.head + count)):
            stored = self._database.append([(one.entry_id, one.events) for one in batch])
        assert stored == batch

    def _clean(self) -> None:
        head = self._state.head
        with self._promised(self._state._replace(snapshot=head)):
            self._database.save_snapshot(head, self._generation, snapshot(self._generation, head))
        while self._trim(before=head - 150, most=100):
            pass
        with self._promised(self._state._replace(forgotten=max(head - 50, self._state.forgotten))):
            self._database.forget_seen(head - 50)

    def _trim(self, before: int, most: int) -> bool:
        beginning = max(self._state.beginning, min(before, self._state.beginning + most))
        with self._promised(self._state._replace(beginning=beginning)):
            return self._database.trim(before, most)

    @contextmanager
    def _promised(self, state: State) -> Iterator[None]:
        self._mark(f"begins {_words(state)}")
        yield
        assert held(self._database).told == state.told
        self._state = state
        self._mark("done")


def live(path: str, durability: str, generation: str, steps: str, end: str) -> None:
    """Run one process, from its command line. It exits at once at the end, or closes the database before."""
    library = ctypes.CDLL(None)
    database = Database(Path(path), durability)
    Life(database, int(generation), lambda text: library.powercut_mark(text.encode())).run(int(steps))
    if end == "close":
        database.close()
    os._exit(0)


def _words(state: State) -> str:
    return " ".join(map(str, state))


# What must be on the disk.


class Broken(Exception):
    """The files do not hold a state of the log, whole and in order."""


@dataclass
class Story:
    """Everything that was appended and done up to a mark."""

    generation: int
    before: tuple[Entry, ...] = ()
    """The entries that an earlier generation left."""
    states: list[State] = field(default_factory=lambda: [State()])
    """The state after each transaction, in order. Those after index `told` are uncertain."""
    told: int = 0
    last: str = ""
    """The last mark."""

    def mark(self, text: str) -> None:
        self.last = text
        match text.split():
            case ["begins", *numbers]:
                self._begun(State(*map(int, numbers)))
            case ["done"]:
                self.told = len(self.states) - 1
            case ["opened", *numbers]:
                *state, seen = map(int, numbers)
                self._opened(State(*state), seen)
            case _:
                raise AssertionError(text)

    def _begun(self, state: State) -> None:
        """Add the state that a process begins to write. It does not know which Seens an earlier process deleted."""
        self.states.append(state._replace(forgotten=max(state.forgotten, self.states[self.told].forgotten)))

    def _opened(self, state: State, seen: int) -> None:
        """Settle what was uncertain: a process has ended, which loses nothing, and the next has opened the file."""
        likely = [at for at in range(self.told, len(self.states)) if self.states[at].told == state.told]
        found = [at for at in likely if first_seen(self.entries(self.states[at])) == seen]
        if not found:
            raise Broken(f"after the end of a process, the state {state} is none of {self.states[self.told :]}")
        self.told = found[0]
        del self.states[found[-1] + 1 :]

    def entries(self, state: State) -> list[Entry]:
        """Return the entries of the log in this state."""
        last = self.before[-1].position if self.before else self.states[0].head
        kept = [one for one in self.before if one.position >= state.beginning]
        kept += [entry(self.generation, at) for at in range(max(last + 1, state.beginning), state.head + 1)]
        return [_without_seen(one) if one.position < state.forgotten else one for one in kept]

    def place(self, state: State, entries: Sequence[Entry]) -> int:
        """Return the index of this state, the last if there are several. Raise Broken if there is none."""
        likely = [at for at, known in enumerate(self.states) if known.told == state.told]
        if not likely:
            raise Broken(f"no transaction led to the state {state}")
        for at in reversed(likely):
            if same(entries, self.entries(self.states[at])):
                return at
        raise Broken(f"in {state}: {difference(entries, self.entries(self.states[likely[-1]]))}")


def _without_seen(one: Entry) -> Entry:
    return replace(one, events=[event for event in one.events if not isinstance(event, Seen)])


def same(entries: Sequence[Entry], expected: Sequence[Entry]) -> bool:
    return list(map(_plain, entries)) == list(map(_plain, expected))


def _plain(one: Entry) -> tuple[int, str, list[Event]]:
    return one.position, one.entry_id, list(one.events)


def difference(entries: Sequence[Entry], expected: Sequence[Entry]) -> str:
    for one, other in zip(entries, expected, strict=False):
        if _plain(one) != _plain(other):
            return f"entry {one.position} is not entry {other.position} as it was appended"
    return f"{len(entries)} entries instead of {len(expected)}"


# The disk.


@dataclass(frozen=True, slots=True)
class Change:
    """A change of content. `at` is its index in the journal. Without data, it truncates or extends to `offset`."""

    at: int
    offset: int
    data: bytes | None

    @property
    def end(self) -> int:
        return self.offset + len(self.data or b"")

    def apply(self, content: bytearray) -> None:
        if self.data is None:
            del content[self.offset :]
        content.extend(bytes(max(0, self.offset - len(content))))
        if self.data is not None:
            content[self.offset : self.end] = self.data

    def sectors(self, size: int) -> Iterator[Change]:
        """Yield the same change, as one for each sector."""
        if self.data is None:
            yield self
            return
        start = self.offset
        while start < self.end:
            stop = min(self.end, (start // size + 1) * size)
            yield Change(self.at, start, self.data[start - self.offset : stop - self.offset])
            start = stop


@dataclass(slots=True, eq=False)
class File:
    """A file: the content that is certainly on the disk, and the changes since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    syncs: int = 0
    """The number of fsyncs that wrote anything."""

    def sync(self) -> None:
        self.syncs += bool(self.pending)
        for change in self.pending:
            change.apply(self.durable)
        self.pending.clear()

    def content(self) -> bytes:
        """Return the content as a process reads it."""
        content = bytearray(self.durable)
        for change in self.pending:
            change.apply(content)
        return bytes(content)


Names = dict[str, File | None]
"""Changes to some names of the directory at once: None for a name that was removed."""


class Directory:
    """The names of a directory: those certainly on the disk, and the changes since."""

    def __init__(self, files: Files) -> None:
        self.durable = {name: File(bytearray(content)) for name, content in files.items()}
        self.pending: list[tuple[int, Names]] = []
        self.now = dict(self.durable)

    def change(self, at: int, names: Names) -> None:
        self.pending.append((at, names))
        _apply(names, self.now)

    def sync(self) -> None:
        self.durable = dict(self.now)
        self.pending.clear()


def _apply(names: Names, to: dict[str, File]) -> None:
    for name, file in names.items():
        if file is None:
            to.pop(name, None)
        else:
            to[name] = file


class Record(NamedTuple):
    """One record of the journal, as powercut.c describes it."""

    kind: str
    fd: int
    offset: int
    data: bytes


def journal(path: Path) -> Iterator[Record]:
    head = struct.Struct("=IiQQ")
    content = path.read_bytes()
    start = 0
    while start < len(content):
        kind, fd, offset, length = head.unpack_from(content, start)
        start += head.size + length
        yield Record(chr(kind), fd, offset, content[start - length : start])


class Disk:
    """A directory and its files, changed by the records of a journal. One that is not `honest` ignores fsync."""

    def __init__(self, files: Files, honest: bool = True) -> None:
        self.directory = Directory(files)
        self._honest = honest
        self._open: dict[int, File | Directory] = {}
        self.at = 0

    def play(self, record: Record) -> None:
        self.at += 1
        match record.kind:
            case "P":
                self._open.clear()
            case "O":
                self._open[record.fd] = self._opened(record.data.decode(), record.offset)
            case "W":
                self._file(record).pending.append(Change(self.at, record.offset, record.data))
            case "T":
                self._file(record).pending.append(Change(self.at, record.offset, None))
            case "S" if self._honest:
                self._open[record.fd].sync()
            case "U":
                self.directory.change(self.at, {record.data.decode(): None})
            case "R":
                old, new = record.data.decode().split("\0")
                self.directory.change(self.at, {old: None, new: self.directory.now[old]})

    def _opened(self, name: str, flags: int) -> File | Directory:
        if not name:
            return self.directory
        file = self.directory.now.get(name)
        if file is None:
            file = File()
            self.directory.change(self.at, {name: file})
        elif flags & os.O_TRUNC:
            file.pending.append(Change(self.at, 0, None))
        return file

    def _file(self, record: Record) -> File:
        file = self._open[record.fd]
        assert isinstance(file, File)
        return file

    def files(self) -> Files:
        """Return the files as a process reads them."""
        return {name: file.content() for name, file in self.directory.now.items()}


# The cut.

Fate = Callable[[int, object], float]
"""A function of a change's index and file: the probability that the change, or each sector of it, is kept."""


def _all_or_nothing(rng: Random, at: int) -> Fate:
    chance = rng.choice((0.0, 1.0))
    return lambda _at, _of: chance


def _in_order(rng: Random, at: int) -> Fate:
    """Keep all changes up to a recent moment, and tear the last one."""
    last = at - rng.randrange(rng.choice((3, 30, 3000)))
    return lambda at, _of: 1.0 if at < last else 0.5 if at == last else 0.0


def _by_file(rng: Random, at: int) -> Fate:
    chances: dict[int, float] = {}
    return lambda _at, of: chances.setdefault(id(of), rng.choice((0.0, 1.0)))


def _by_write(rng: Random, at: int) -> Fate:
    chance = rng.choice((0.02, 0.5, 0.98))
    return lambda _at, _of: float(rng.random() < chance)


def _by_sector(rng: Random, at: int) -> Fate:
    chance = rng.choice((0.02, 0.5, 0.98, 0.999))
    return lambda _at, _of: chance


FATES = (_all_or_nothing, _in_order, _by_file, _by_write, _by_sector)


def cut(disk: Disk, rng: Random) -> Files:
    """Return files that may be left if the power is cut now."""
    fate = rng.choice(FATES)(rng, disk.at)
    names = dict(disk.directory.durable)
    for at, change in disk.directory.pending:
        if rng.random() < fate(at, disk.directory):
            _apply(change, names)
    return {name: _survivor(file, fate, rng) for name, file in names.items()}


def _survivor(file: File, fate: Fate, rng: Random) -> bytes:
    content = bytearray(file.durable)
    sector = rng.choice((512, 4096))
    if file.pending and rng.random() < 0.3:
        _grow(content, max(change.end for change in file.pending), rng)
    for change in file.pending:
        chance = fate(change.at, file)
        parts = change.sectors(sector) if 0 < chance < 1 else (change,)
        for part in parts:
            if rng.random() < chance:
                part.apply(content)
    return bytes(content)


def _grow(content: bytearray, size: int, rng: Random) -> None:
    """Extend a file whose new size was written before its content: with zeros, or old content of those sectors."""
    missing = max(0, size - len(content))
    content.extend(rng.choice((bytes, rng.randbytes))(missing))


# Putting it together.


@dataclass
class Figures:
    """The results of all cuts."""

    durability: str
    cuts: int = 0
    changes: int = 0
    """The number of writes, fsyncs and so on. A cut is between two of them."""
    checkpoints: int = 0
    """The fsyncs of the database file: two when it is created, then one for each checkpoint."""
    told: int = 0
    """The number of acknowledged entries, over all cuts."""
    lost: int = 0
    """The number of acknowledged entries that were lost."""
    worst: int = 0
    """The most entries lost in one cut."""
    losses: list[str] = field(default_factory=list)
    """The cuts which lost something acknowledged: entries, a snapshot, a trim."""
    damages: list[str] = field(default_factory=list)
    """The cuts after which the log did not open, or was not whole or not in order."""

    def __str__(self) -> str:
        return (
            f"{self.durability}: {self.cuts} cuts in {self.changes} changes and {self.checkpoints} checkpoints: "
            f"{len(self.damages)} damaged, {len(self.losses)} with a loss, "
            f"{self.lost} of {self.told} acknowledged entries lost, {self.worst} at most"
        )


class Recording:
    """The changes that processes of one generation made to given files."""

    def __init__(self, files: Files, story: Story, records: list[Record]) -> None:
        self._files = files
        self._story = story
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def played(self, moments: Iterable[int], honest: bool = True) -> Iterator[tuple[Disk, Story]]:
        """Yield the disk and its story after each number of records in `moments`, in order. The next changes them."""
        disk = Disk(self._files, honest)
        story = replace(self._story, states=list(self._story.states))
        for moment in moments:
            for record in self._records[disk.at : moment]:
                disk.play(record)
                if record.kind == "M":
                    story.mark(record.data.decode())
            yield disk, story

    def end(self) -> Disk:
        return next(self.played([len(self)]))[0]

    def moments(self, count: int, rng: Random) -> list[int]:
        """Return moments to cut at: after opening the file; then half near marks and fsyncs, and half anywhere."""
        kinds = list(enumerate(self._records, 1))
        opened = [at for at, record in kinds if record.kind == "M" and record.data.startswith(b"opened")]
        special = [at for at, record in kinds if record.kind in "MSU"]
        chosen = [at + after for at in opened for after in (0, 0, 1, 2)][:count]
        while len(chosen) < count:
            chosen.append(rng.choice((rng.randrange(len(self) + 1), rng.choice(special) + rng.randrange(-2, 2))))
        return sorted(min(max(0, at), len(self)) for at in chosen)


class Workshop:
    """A temporary directory in which processes write, and files are opened after a cut."""

    def __init__(self, directory: Path, durability: str) -> None:
        self._directory = directory.resolve()
        self._durability = durability
        self._shim = self._directory / "powercut.so"
        _compile(self._shim)

    def record(self, files: Files, story: Story, lives: Iterable[tuple[int, str]]) -> Recording:
        """Run processes one after another. Each does a number of steps, and ends as `live` says, or is killed."""
        path = self._directory / "journal"
        path.unlink(missing_ok=True)
        work = self._laid_out("work", files)
        for steps, end in lives:
            self._run(work, path, story.generation, steps, end)
        recording = Recording(files, story, list(journal(path)))
        there = {path.name: path.read_bytes() for path in work.iterdir() if not path.name.endswith("-shm")}
        assert recording.end().files() == there, "something was written in a way that powercut.c does not record"
        return recording

    def _run(self, work: Path, path: Path, generation: int, steps: int, end: str) -> None:
        code = "import sys; from tests.powercut import live; live(*sys.argv[1:])"
        arguments = [str(work / DATABASE), self._durability, str(generation), str(steps), end]
        setting = {"LD_PRELOAD": str(self._shim), "POWERCUT_DIRECTORY": str(work), "POWERCUT_JOURNAL": str(path)}
        if end == "killed":
            setting["POWERCUT_LIFE"] = str(steps)  # counted in fsyncs: with FULL, a step has one or more
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | setting,
            cwd=SHIM.parent.parent,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr

    def _laid_out(self, name: str, files: Files) -> Path:
        place = self._directory / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for file, content in files.items():
            (place / file).write_bytes(content)
        return place

    def reopened(self, files: Files, story: Story) -> tuple[int, list[Entry]]:
        """Open files, and append to them. Return the index of their state and their entries. Raise Broken."""
        path = self._laid_out("cut", files) / DATABASE
        try:
            with closing(Database(path, self._durability)) as database:
                found = held(database)
                entries = database.read(found.beginning - 1, ALL)
                at = story.place(found, entries)
                _check_snapshot(database)
                more = _go_on(database, entries, story.generation + 1)
            with closing(Database(path, self._durability)) as database:
                again = database.read(found.beginning - 1, ALL)
        except (GroupchatError, sqlite3.Error) as error:
            raise Broken(str(error)) from error
        if not same(again, more):
            raise Broken(f"opened once more, after going on: {difference(again, more)}")
        return at, entries


def _check_snapshot(database: Database) -> None:
    kept = database.load_snapshot()
    if kept and kept.state != snapshot(kept.version, kept.position):
        raise Broken(f"the snapshot of {kept.position} is not as it was saved")


def _go_on(database: Database, entries: Sequence[Entry], generation: int) -> Sequence[Entry]:
    """Append the last entry again, as after a missing answer, and new ones. Return all entries then."""
    last = list(entries[-1:])
    new = [entry(generation, database.head + after) for after in (1, 2, 3)]
    stored = database.append([(one.entry_id, one.events) for one in last + new])
    if stored != [None] * len(last) + new:
        raise Broken("an entry was stored twice, or a new one was not")
    return [*entries, *new]


def _compile(to: Path) -> None:
    command = [need("cc", "gcc"), "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(to), str(SHIM), "-ldl"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Rehearsal:
    """The cuts of one durability, on a disk that is honest or not."""

    def __init__(self, workshop: Workshop, durability: str, seed: int, honest: bool) -> None:
        self.figures = Figures(durability)
        self._workshop = workshop
        self._rng = Random(seed)
        self._honest = honest

    def run(self, cuts: int, generations: int) -> None:
        """Do half of the cuts after a start without a file, and the others after some of those cuts."""
        share = cuts // 2 // generations
        first = self._workshop.record({}, Story(1), ((75, "killed"), (100, "close"), (50, "exit"), (5, "exit")))
        left = self._cut(first, cuts - share * generations, keep=generations)
        for generation, (files, story) in enumerate(left, 2):
            story.generation = generation
            lives = ((3, "exit"), (self._rng.randrange(5, 30), "killed"), (20, "close"))
            self._cut(self._workshop.record(files, story, lives), share)

    def _cut(self, recording: Recording, count: int, keep: int = 0) -> list[tuple[Files, Story]]:
        """Cut `count` times. Return the files left by `keep` of the cuts, and their stories."""
        self.figures.changes += len(recording)
        self.figures.checkpoints += recording.end().directory.now[DATABASE].syncs
        kept = self._rng.sample(range(count), keep)
        left = []
        moments = recording.moments(count, self._rng)
        for number, (disk, story) in enumerate(recording.played(moments, self._honest)):
            files = cut(disk, self._rng)
            self.figures.cuts += 1
            try:
                at, entries = self._workshop.reopened(files, story)
            except Broken as broken:
                self.figures.damages.append(f"after {disk.at} changes ({story.last}): {broken}")
                continue
            self._count(disk, story, at)
            if number in kept:
                left.append((files, Story(story.generation, tuple(entries), [story.states[at]])))
        return left

    def _count(self, disk: Disk, story: Story, at: int) -> None:
        told, found = story.states[story.told], story.states[at]
        lost = max(0, told.head - found.head)
        self.figures.told += told.head
        self.figures.lost += lost
        self.figures.worst = max(self.figures.worst, lost)
        if at < story.told:
            self.figures.losses.append(f"after {disk.at} changes ({story.last}): {found} instead of {told}")


def rehearse(durability: str, cuts: int, seed: int = 1, honest: bool = True) -> Figures:
    """Do a number of cuts, at least four."""
    if not sys.platform.startswith("linux"):
        unavailable("needs Linux: the recording uses LD_PRELOAD and /proc")
    memory = Path("/dev/shm")  # if there is one: no fsync of the test itself matters
    with tempfile.TemporaryDirectory(prefix="powercut-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        rehearsal = Rehearsal(Workshop(Path(name), durability), durability, seed, honest)
        rehearsal.run(cuts, generations=max(2, cuts // 250))
    return rehearsal.figures


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.powercut", description="Cut the power, and check what is left."
    )
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--durability", choices=("full", "normal"), default="full")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        figures = rehearse(options.durability.upper(), max(4, options.cuts), options.seed)
    except SkipTest as skipped:
        sys.exit(str(skipped))
    print(figures, flush=True)
    unwanted = figures.damages + (figures.losses if options.durability == "full" else [])
    sys.exit("\n".join(unwanted) or None)


if __name__ == "__main__":
    main()
