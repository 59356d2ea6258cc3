"""The crash test: a daemon is killed (SIGKILL) at random moments while members talk, and goes on from its file.

    python -m tests.crash --kills 300

The rule that `judge` holds: what was answered has happened, once, in one place, for everybody; what was not answered
has happened for everybody or for nobody; and nobody has to join again.

A member sends one request at a time, from one socket for the whole run, and waits for its reply until the daemon is
dead: were it to give up earlier, a late reply would pass for that of its next request. While there is no daemon,
members go on *in the dark*, into the socket of one that may be starting. Which of these requests a reply is for cannot
be told, so none of them counts as acknowledged. They are over when a *fence* is answered: a request that is always
refused, and in its turn. Whatever a reply holds is recorded, whenever it comes.
"""

from __future__ import annotations

import argparse
import random
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import inf
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import NamedTuple, NoReturn

from groupchat.frontends.udp import check_free
from tests.daemon import START_SECONDS, STOP_SECONDS

AGAIN_SECONDS = 1.5
"""How long before a kill a line may have been given to a member that is given it again after it.

Where members are is appended once a second; half a second more is for that record to be made and become durable.
"""

SILENCE_SECONDS = 20.0
"""How long a living daemon may leave a request unanswered."""

LIFE_SECONDS = (0.02, 1.5)
LONG_LIFE_SECONDS = (2.5, 4.0)
"""How long a daemon lives once it answers; and every fifth, so that what it gives at first must not come again."""

UNBORN = 0.1
"""How many of the daemons are killed before they answer, as they read their file: within UNBORN_SECONDS."""

UNBORN_SECONDS = (0.0, 0.8)

DARK_SECONDS = 0.1
"""How often a member asks something in the dark; at most DARK_REQUESTS times, since a source has a queue of 16."""

DARK_REQUESTS = 10

BREATH = 0.05
"""How many texts come after a pause of at most BREATH_SECONDS, and not at once: a long run must fit into memory."""

BREATH_SECONDS = 0.05

SNAPSHOT_EVENTS = 6_000
KEEP = 20_000
"""After how many events a daemon saves a snapshot, and how many lines it keeps: so few that kills hit both."""

LONGEST_SLEEP = 3.0
"""How long a member may not ask for what waits: it must not miss KEEP lines."""

SAY_EVERY = 10
"""After how many kills a run says how far it is."""

LEAST_MEMBERS = 4
"""Two who keep their names, one who changes it, one who comes and goes."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""What the kernel is asked to hold of the replies to one member: none may be lost for want of room."""

PORTS = range(15_000, 30_000)
"""Where a free port is looked for: systems give none of these to whoever asks for any, while no daemon has it."""

ILLEGAL = "Illegal message"
RENAMED = " changed his name to "
JOINED = " has joined"
LEFT = " has left the group"

_PROGRAM = f"""
from groupchat import service
assert service.SNAPSHOT_EVENTS > {SNAPSHOT_EVENTS}
service.SNAPSHOT_EVENTS = {SNAPSHOT_EVENTS}
from twisted.scripts.twistd import run
run()
"""

_LINE = re.compile(rf"(?P<shown>.*?)(?P<key>: .*|{RENAMED}.*)")


# What was done and seen, and what is wrong with it


@dataclass(slots=True)
class Deed:
    """A request that makes a line: `key` is that line, but for the name that its author is shown under.

    `settled` is when it had surely happened, or never would. Keys are unique.
    """

    author: str
    key: str
    sent: float
    settled: float = inf
    acknowledged: bool = False


class Reading(NamedTuple):
    """A line that a member received in a life of the daemon (0, 1 ...). Who joins or leaves is `shown` as ""."""

    key: str
    shown: str
    at: float
    life: int


def reading(line: str, at: float, life: int) -> Reading:
    found = _LINE.fullmatch(line)
    key, shown = (found["key"], found["shown"]) if found else (line, "")
    return Reading(sys.intern(key), sys.intern(shown), at, life)  # a long run has millions of them


@dataclass(slots=True)
class Reader:
    """One membership. Whatever others did between `since` and `until` must be among its readings.

    `listed` are the names that it was told at the end, newest first: of everybody, as it was the first to join.
    """

    author: str
    since: float
    until: float = -inf
    readings: list[Reading] = field(default_factory=list)
    listed: list[str] | None = None


@dataclass(slots=True)
class Record:
    """All of a run. `deeds` are by key, in the order in which they were sent; life n ended with `kills[n]`."""

    deeds: dict[str, Deed] = field(default_factory=dict)
    readers: list[Reader] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


Seen = dict[str, Reading]
"""The first reading of each line, by key, in order."""


@dataclass(slots=True)
class Verdict:
    """`errors` by kind, the first few of each described. `stored` was not acknowledged."""

    errors: Counter[str] = field(default_factory=Counter)
    described: list[str] = field(default_factory=list)
    acknowledged: int = 0
    stored: int = 0
    again: int = 0
    oldest_again: float = 0.0  # how long before a kill it was given first

    def error(self, kind: str, description: str) -> None:
        self.errors[kind] += 1
        if self.errors[kind] <= 10:
            self.described.append(f"{kind}: {description}")


def judge(record: Record) -> Verdict:
    """Compare what members received with what was done, and with each other."""
    verdict = Verdict()
    for refusal in record.refusals:
        verdict.error("refused", refusal)
    seen = [(reader, _seen(reader, record, verdict)) for reader in record.readers]
    everywhere = {key for _, readings in seen for key in readings}
    deeds = list(record.deeds.values())
    for reader, readings in seen:
        _check_authors(reader, readings, record, verdict)
        _check_complete(reader, readings, everywhere, deeds, verdict)
    _check_order(seen, verdict)
    verdict.acknowledged = sum(deed.acknowledged for deed in deeds)
    verdict.stored = sum(not deed.acknowledged and deed.key in everywhere for deed in deeds)
    return verdict


def _seen(reader: Reader, record: Record, verdict: Verdict) -> Seen:
    """A line may come again only if it was given shortly before a kill."""
    seen: Seen = {}
    last: Seen = {}
    for reading in reader.readings:
        deed = record.deeds.get(reading.key)
        before = last.get(reading.key)
        last[reading.key] = reading
        if deed is None or deed.author == reader.author:
            verdict.error("foreign", f"{reader.author} received {reading}")
        elif before is None:
            seen[reading.key] = reading
        elif before.life < reading.life and (age := record.kills[before.life] - before.at) <= AGAIN_SECONDS:
            verdict.again += 1
            verdict.oldest_again = max(verdict.oldest_again, age)
        else:
            verdict.error("doubled", f"{reader.author} received {before} and {reading}")
    return seen


def _check_authors(reader: Reader, seen: Seen, record: Record, verdict: Verdict) -> None:
    """What one author did comes in that order, under the name that the author had at the time."""
    sent: dict[str, float] = {}
    names: dict[str, str] = {}
    for key, reading in seen.items():
        deed = record.deeds[key]
        author = deed.author
        if deed.sent < sent.get(author, -inf):
            verdict.error("out of order", f"{reader.author} received {reading} after what {author} did later")
        sent[author] = deed.sent
        if reading.shown and (reading.shown != names.setdefault(author, reading.shown) or not _is_by(author, reading)):
            verdict.error("misnamed", f"{reader.author} received {reading}, by {author}, who is {names[author]}")
        if key.startswith(RENAMED):
            names[author] = key.removeprefix(RENAMED)
        elif key.endswith(JOINED):
            names[author] = key.removesuffix(JOINED)
        elif key.endswith(LEFT):
            names.pop(author, None)
    if reader.listed not in (None, list(reversed(names.values()))):
        verdict.error("misnamed", f"{reader.author} was told of {reader.listed}, and should have been of {names}")


def _is_by(author: str, reading: Reading) -> bool:
    return reading.shown.split(".")[0] == author


def _check_complete(reader: Reader, seen: Seen, everywhere: set[str], deeds: Sequence[Deed], verdict: Verdict) -> None:
    """What was acknowledged was received, and so was what anybody else received."""
    for deed in deeds[bisect_left(deeds, reader.since, key=lambda deed: deed.sent) :]:
        if deed.sent > reader.until:
            return
        if deed.settled <= reader.until and deed.author != reader.author and deed.key not in seen:
            if deed.acknowledged:
                verdict.error("lost", f"{reader.author} never received {deed}")
            elif deed.key in everywhere:
                verdict.error("half seen", f"{reader.author} never received {deed}, which others did")


def _check_order(seen: Sequence[tuple[Reader, Seen]], verdict: Verdict) -> None:
    """What two readers both received, they received in the same order."""
    longest_first = sorted(seen, key=lambda one: -len(one[1]))
    for index, (reader, readings) in enumerate(longest_first):
        places = {key: place for place, key in enumerate(readings)}
        for other, other_readings in longest_first[index + 1 :]:
            for before, after in pairwise(key for key in other_readings if key in places):
                if places[before] > places[after]:
                    names = f"{other.author} received {before!r} before {after!r}, {reader.author}"
                    verdict.error("out of order", f"{names} the other way round")


# What members do: a script is sent the reply to what it asked last, or None if there was none


class Ask(NamedTuple):
    """A request, to be sent after a pause; `key` if it makes a line. `refusable` if it may be illegal by now."""

    request: str
    key: str = ""
    pause: float = 0.0
    refusable: bool = False


Script = Generator[Ask, str | None, None]


def talking(author: str, dice: random.Random, renames: bool) -> Script:
    """Say one text after the other; now and then under a new name from there on."""
    yield Ask(f"1 {author}", f"{author}{JOINED}")
    for number in count(1):
        if renames and dice.random() < 0.02:
            yield Ask(f"3 {author}.{number}", f"{RENAMED}{author}.{number}")
        yield Ask(f"2 {author}-{number}", f": {author}-{number}", breath(dice))


def breath(dice: random.Random) -> float:
    return dice.uniform(0, BREATH_SECONDS) if dice.random() < BREATH else 0.0


def listening(author: str, dice: random.Random, longest_pause: float) -> Script:
    yield Ask(f"1 {author}", f"{author}{JOINED}")
    while True:
        yield Ask("5", pause=dice.uniform(0, longest_pause))
        yield from catching_up()


def catching_up() -> Script:
    while (yield Ask("5")):
        pass


def visiting(author: str, dice: random.Random) -> Script:
    """Join, say something, and leave, again and again, each time under another name."""
    numbers = count(1)
    for visit in count(1):
        name = f"{author}.{visit}"
        doubtful = (yield Ask(f"1 {name}", f"{name}{JOINED}", dice.uniform(0, 0.2))) is None
        if not doubtful:
            for _, number in zip(range(dice.randrange(50)), numbers, strict=False):
                yield Ask(f"2 {author}-{number}", f": {author}-{number}", breath(dice))
            yield from catching_up()
        while (yield Ask("4", f"{name}{LEFT}", refusable=doubtful)) is None:
            doubtful = True


def scripts(members: int, seed: int) -> dict[str, Script]:
    """By author. m0 and m1 keep their names, which the fences rely on; m3 and m4 listen; the last one visits."""
    made: dict[str, Script] = {}
    for number in range(members - 1):
        author = f"m{number}"
        dice = random.Random(f"{seed}-{author}")
        made[author] = (
            listening(author, dice, LONGEST_SLEEP if number == 3 else 0.02)
            if number in {3, 4}
            else talking(author, dice, renames=number % 2 == 0 and number > 0)
        )
    made["guest"] = visiting("guest", random.Random(f"{seed}-guest"))
    return made


# The members and the daemon


class Member:
    """A script, the one socket through which it asks, and what comes of that."""

    def __init__(self, author: str, script: Script, port: int, record: Record) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.reader: Reader | None = None
        self.under_way: Ask | None = None
        self.next: Ask | None = next(script)
        self.sent = self._due = 0.0
        self._server = ("127.0.0.1", port)
        self._fence = Ask("3 m1" if author == "m0" else "3 m0")
        self._author = author
        self._script = script
        self._record = record
        self._dark: list[Deed] = []

    def ask(self, now: float) -> None:
        """Ask what is next, when it is time to."""
        if self.under_way is None and self.next is not None and now >= self._due:
            self._send(self.next, now)
            self.under_way = self.next

    def ask_in_the_dark(self, now: float) -> None:
        """Say what is next, when it is time to, and go on as if there were no reply."""
        ask = self.next
        if ask is not None and ask.request[0] in "23" and now >= self._due and len(self._dark) < DARK_REQUESTS:
            self._dark.append(self._send(ask, now))
            self._go_on(None, now)
            self._due = now + DARK_SECONDS

    def ask_fence(self, now: float) -> None:
        self._send(self._fence, now)
        self.under_way = self._fence

    def _send(self, ask: Ask, now: float) -> Deed:
        self.sent = now
        self.socket.sendto(ask.request.encode(), self._server)
        deed = Deed(self._author, ask.key, now)
        if ask.key:
            deed = self._record.deeds.setdefault(ask.key, deed)
            deed.settled = inf
        return deed

    def _go_on(self, reply: str | None, now: float) -> None:
        try:
            self.next = self._script.send(reply)
            self._due = now + self.next.pause
        except StopIteration:
            self.next = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def finish(self) -> None:
        """Ask no more but for what waits."""
        self._script = catching_up()
        self.next = next(self._script) if self.reader else None

    def list_names(self) -> None:
        """Ask who is there. Raises TimeoutError."""
        assert self.reader is not None
        self.socket.settimeout(SILENCE_SECONDS)
        self.socket.sendto(f"1 {self._author}".encode(), self._server)
        self.reader.listed = self.socket.recv(65_535).decode().split(", ")

    def receive(self) -> None:
        """Take in all that has come."""
        try:
            while True:
                self._received(self.socket.recv(65_535).decode(), monotonic())
        except BlockingIOError:
            pass

    def _received(self, reply: str, now: float) -> None:
        ask = self.under_way
        if ask is None or (ask is self._fence and reply != ILLEGAL):
            self._read(reply, now)
            return
        self.under_way = None
        if ask is self._fence:
            self._settle_dark(now)
        else:
            self._answered(ask, reply, now)
            self._go_on(reply, now)

    def _answered(self, ask: Ask, reply: str, now: float) -> None:
        if ask.key:
            deed = self._record.deeds[ask.key]
            deed.settled, deed.acknowledged = now, reply != ILLEGAL
        if reply == ILLEGAL and not ask.refusable:
            self._record.refusals.append(f"{ask.request!r} of {self._author} in life {len(self._record.kills)}")
        elif ask.request[0] == "1":
            self.reader = Reader(self._author, now)
            self._record.readers.append(self.reader)
        elif ask.request[0] == "4":
            self.reader = None
        else:
            self._read(reply, now)
            if self.reader is not None and not reply:
                self.reader.until = self.sent

    def _read(self, reply: str, now: float) -> None:
        life = len(self._record.kills)
        if reply == ILLEGAL or self.reader is None:
            self._record.refusals.append(f"{reply!r} to something of {self._author} in life {life}")
        elif reply:
            self.reader.readings += [reading(line, now, life) for line in reply.split("\n")]

    def cut_off(self, now: float) -> bool:
        """The daemon is dead. Returns whether a request of the script was under way."""
        ask, self.under_way = self.under_way, None
        self._settle_dark(now)
        if ask is None or ask is self._fence:
            return False
        if ask.key:
            self._record.deeds[ask.key].settled = now
        self._go_on(None, now)
        return True

    def _settle_dark(self, now: float) -> None:
        for deed in self._dark:
            deed.settled = now
        self._dark.clear()


class RunError(Exception):
    """The run cannot go on."""


class Daemon:
    """A process, and what it prints. `killed` is when it was, by a thread: whatever members are doing just then."""

    def __init__(self, directory: Path, port: int, options: Sequence[str]) -> None:
        self.killed: float | None = None
        self._printed = directory / "output"
        self._timer = Timer(0, self._kill)
        where = ["--port", str(port), "--interface", "127.0.0.1"]
        with self._printed.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, "--nodaemon", "--pidfile=", "groupchat", *where, *options],
                cwd=directory,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def answers(self) -> bool:
        return b"UDP port" in self._printed.read_bytes()

    def kill_in(self, seconds: float) -> None:
        self._timer = Timer(seconds, self._kill)
        self._timer.start()

    def _kill(self) -> None:
        at = monotonic()
        self._process.kill()
        self.killed = at

    def close(self) -> None:
        """Returns when it is surely dead."""
        self._timer.cancel()
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def check(self) -> None:
        """Raises RunError if it has ended in any way but this, or complained."""
        output = self._printed.read_text()
        if self._process.poll() not in {None, -signal.SIGKILL} or "Traceback" in output:
            self.fail(f"ended with status {self._process.poll()}, or complained")

    def fail(self, why: str) -> NoReturn:
        raise RunError(f"The daemon {why}. It printed:\n{self._printed.read_text()}")


@dataclass(frozen=True, slots=True)
class Plan:
    """`options` are those of the daemon. With no kills, the members talk for a second."""

    seed: int
    kills: int
    members: int = 6
    options: Sequence[str] = ()


class Run:
    """The members, and one daemon after the other. `cut_off` is how many requests a kill left unanswered."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self.record = Record()
        self.cut_off = 0
        self._plan = plan
        self._directory = directory
        self._dice = random.Random(plan.seed)
        self._port = free_port()
        made = scripts(plan.members, plan.seed)
        self._members = [Member(author, script, self._port, self.record) for author, script in made.items()]
        self._asking = True
        self._start()

    def lives(self) -> Iterator[int]:
        """Gives the number of kills after each of them, when there is another daemon."""
        self._wait_for_daemon()
        self._must(lambda: all(member.reader for member in self._members))
        if not self._plan.kills:
            self._pump(1.0)
        while len(self.record.kills) < self._plan.kills:
            life = LONG_LIFE_SECONDS if len(self.record.kills) % 5 == 4 else LIFE_SECONDS
            self._kill_within(*life if self._answers else UNBORN_SECONDS)
            self._start()
            if len(self.record.kills) == self._plan.kills or self._dice.random() >= UNBORN:
                self._wait_for_daemon()
            yield len(self.record.kills)

    def settle(self) -> None:
        """Let what is under way be answered, and everybody ask for what waits."""
        self._asking = False
        self._must(self._all_are_idle)
        self._asking = True
        for member in self._members:
            member.finish()
        self._must(lambda: bool(self.record.refusals) or not any(member.next for member in self._members))
        if not self.record.refusals:
            self._members[0].list_names()
        self._daemon.check()

    def close(self) -> None:
        self._daemon.close()
        for member in self._members:
            member.socket.close()

    def _start(self) -> None:
        self._daemon = Daemon(self._directory, self._port, self._plan.options)
        self._answers = False

    def _wait_for_daemon(self) -> None:
        self._answers = self._pump(START_SECONDS, self._daemon.answers)
        if not self._answers:
            self._daemon.fail("does not start")
        for member in self._members:
            member.ask_fence(monotonic())

    def _kill_within(self, least: float, most: float) -> None:
        self._daemon.kill_in(self._dice.uniform(least, most))
        self._pump(SILENCE_SECONDS, lambda: self._daemon.killed is not None)
        self._daemon.close()
        self._daemon.check()
        self._receive(0.01)  # what it has sent is here: on the loopback, sending is receiving
        assert self._daemon.killed is not None
        self.record.kills.append(self._daemon.killed)
        self.cut_off += sum(member.cut_off(monotonic()) for member in self._members)

    def _pump(self, seconds: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let members ask and receive, for so long or until it is done. Returns whether it is."""
        end = monotonic() + seconds
        while not done():
            now = monotonic()
            if now >= end:
                return False
            for member in self._members if self._asking else ():
                if self._answers:
                    member.ask(now)
                else:
                    member.ask_in_the_dark(now)
            self._receive(0.002)
        return True

    def _must(self, happen: Callable[[], bool]) -> None:
        if not self._pump(SILENCE_SECONDS, happen):
            self._daemon.fail("leaves requests unanswered")

    def _receive(self, seconds: float) -> None:
        for member in select.select(self._members, [], [], seconds)[0]:
            member.receive()

    def _all_are_idle(self) -> bool:
        return all(member.under_way is None for member in self._members)


def free_port() -> int:
    """A UDP port that nobody has. Raises RunError."""
    for port in random.sample(PORTS, 100):
        try:
            check_free("127.0.0.1", port)
        except OSError:
            continue
        return port
    raise RunError("There is no free port.")


# The whole


@dataclass(frozen=True, slots=True)
class Outcome:
    """`cut_off` is how many requests were under way when the daemon was killed."""

    verdict: Verdict
    kills: int
    cut_off: int
    seconds: float

    def __str__(self) -> str:
        verdict, errors = self.verdict, self.verdict.errors
        kinds = dict.fromkeys(["lost", "doubled", "out of order", *errors])
        return (
            f"{self.kills} kills, {verdict.acknowledged} acknowledged, "
            + "".join(f"{errors[kind]} {kind}, " for kind in kinds)
            + f"{verdict.again} again (from {verdict.oldest_again:.2f} s before a kill), "
            f"{verdict.stored} unacknowledged but stored, {self.cut_off} cut off, {self.seconds:.1f} seconds"
        )


def crash(plan: Plan, directory: Path, say: Callable[[str], None] = lambda line: None) -> Outcome:
    """A whole run; it ends early when something is wrong. Raises RunError when it cannot even go on.

    All of it is judged at the end, and after 1, 2, 4, 8 ... kills: more often would take longer than the run.
    """
    began = monotonic()
    run = Run(plan, directory)

    def outcome() -> Outcome:
        return Outcome(judge(run.record), len(run.record.kills), run.cut_off, monotonic() - began)

    try:
        for kills in run.lives():
            if kills % SAY_EVERY == 0:
                say(f"{kills} kills, {len(run.record.deeds)} requests, {monotonic() - began:.1f} seconds")
            if (kills.bit_count() == 1 or run.record.refusals) and (so_far := outcome()).verdict.errors:
                return so_far
        run.settle()
        return outcome()
    finally:
        run.close()


def options(durability: str) -> list[str]:
    return ["--db", "groupchat.sqlite", "--durability", durability, "--keep", str(KEEP)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="how often the daemon is killed (%(default)s)")
    parser.add_argument("--members", type=int, default=6, help="how many members talk and listen (%(default)s)")
    parser.add_argument("--durability", default="full", choices=["full", "normal"], help="of the daemon (%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="try a run again (any)")
    chosen = parser.parse_args()
    if chosen.members < LEAST_MEMBERS:
        parser.error(f"it takes {LEAST_MEMBERS} members")
    directory = Path(tempfile.mkdtemp(prefix="groupchat-crash-"))
    print(f"seed {chosen.seed}, {chosen.members} members, durability {chosen.durability}, in {directory}", flush=True)
    plan = Plan(chosen.seed, chosen.kills, chosen.members, options(chosen.durability))
    try:
        outcome = crash(plan, directory, lambda line: print(line, flush=True))
    except RunError as error:
        sys.exit(str(error))
    print(*outcome.verdict.described, outcome, sep="\n")
    if outcome.verdict.errors:
        sys.exit(1)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
