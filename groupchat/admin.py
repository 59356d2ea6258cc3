"""The command `groupchat-admin`: what an operator asks of the file that a group is kept in.

Two rules. What reads changes nothing and holds up nobody: the file is opened read-only, also beside a running daemon,
and the daemon's lock is not asked for. And what is printed may come from anybody: it cannot drive a terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from groupchat import __version__
from groupchat.core.errors import CannotOpen, LogError
from groupchat.core.events import GuestSaid, Line, Renamed, Said, Seen, Shared, Whispered
from groupchat.core.group import Group, Member
from groupchat.core.texts import FORBIDDEN
from groupchat.log import Entry, database
from groupchat.log.database import Reader
from groupchat.service.snapshots import Snapshots

DESCRIPTION = """\
Look at the file that a group is kept in, or back it up. A daemon may be using it: nothing in it is changed, and nobody
has to wait.
"""

EPILOG = """\
exit status: 0 if done (of check: if sound); 1 if not, with the reason on standard error; 2 for wrong arguments

"groupchat-admin COMMAND --help" tells more of a command, that of backup also how to restore one.
"""

AT_ONCE = 200  # how many entries are read at once; each may be hundreds of events
LARGE = 5_000  # from how many pages (of 4 KiB) on a backup shows how far it is


class Replay(Snapshots):
    """The log of a file, folded as the daemon folds it: its lines, one after another, and the group they lead to.

    That takes memory for the members, and not for the lines. `read` calls a function with a connection.
    """

    def __init__(self, read: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        self.group = Group(keep=1)
        super().__init__(self.group)
        self._read = read
        self.snapshot = read(database.load_snapshot)
        self.number = 0  # of the last line
        if self.snapshot is not None:
            with _applying("The snapshot"):
                self.position = self.load(self.snapshot)
            self.number = self._head - read(self._count_known)

    def _count_known(self, connection: sqlite3.Connection) -> int:
        """How many lines are in the entries that the snapshot knows."""
        events = database.count_events(connection, self.position, self._known)
        return events.total() - events["seen"] - len(self._refused)

    def lines(self) -> Iterator[tuple[int, Line]]:
        """The lines that are kept, each with its number. Raises LogError."""
        while entries := self._read(self._fetch):
            for entry in entries:
                for line in self._apply(entry):
                    self.number += 1
                    yield self.number, line
        self.caught_up()

    def _fetch(self, connection: sqlite3.Connection) -> list[Entry]:
        with _applying(f"What comes after entry {self.position}"):
            return list(database.read(connection, self.position, AT_ONCE))

    def _apply(self, entry: Entry) -> list[Line]:
        """Fold an entry. Returns its lines: what was refused is none."""
        if entry.position != self.position + 1:
            raise LogError(f"Entry {self.position + 1} is needed, and the next that is there is {entry.position}.")
        with _applying(f"Entry {entry.position}"):
            if not self.begin(entry):
                return self.lines_of(entry)
            taken = [event for event in entry.events if self.group.apply(event) is not None]
            return [event for event in taken if not isinstance(event, Seen)]


@contextmanager
def _applying(what: str) -> Iterator[None]:
    """Whatever is wrong with what was stored, it is said in one line."""
    try:
        yield
    except (LogError, sqlite3.Error):
        raise
    except Exception as error:
        raise LogError(f"{what} cannot be applied ({type(error).__name__}: {error}).") from error


def check(given: argparse.Namespace) -> int:
    """Say what is in FILE, and whether it is sound: as a database, and as a log that a daemon can start with.

    The last line is "sound"; if it is not, standard error says what is wrong, and the exit status is 1.
    """
    facts, problem = Reader(given.file).read(_examined)
    size = sum(path.stat().st_size for path in (given.file, Path(f"{given.file.resolve()}-wal")) if path.exists())
    for label, fact in [("size", f"{size} bytes"), *facts]:
        print(f"{label:<12}{fact}")
    if problem:
        complain(f"{given.file} is not sound: {problem}")
        return 1
    print("sound")
    return 0


def _examined(connection: sqlite3.Connection) -> tuple[list[tuple[str, object]], str]:
    """What is in a file, as far as that can be told, and what is wrong with it: nothing if it is sound."""
    facts: list[tuple[str, object]] = [("format", database.VERSION)]
    if damage := database.check(connection, "integrity_check"):
        return facts, f"it is damaged ({damage})."
    beginning, head = database.span(connection)
    entries = database.count_entries(connection)
    events = database.count_events(connection, 0, sys.maxsize)
    facts += [("first kept", beginning), ("head", head), ("entries", entries), ("events", _listed(events))]
    if entries != head - beginning + 1 or events != database.count_events(connection, beginning - 1, head):
        return facts, f"What it holds are not the entries {beginning} to {head}, and their events."
    try:
        return facts, _fold(connection, facts)
    except LogError as error:
        return facts, str(error)


def _fold(connection: sqlite3.Connection, facts: list[tuple[str, object]]) -> str:
    """Fold the log, add to the facts, and say what is wrong with it."""
    beginning, head = database.span(connection)
    replay = Replay(lambda function: function(connection))
    position = replay.snapshot.position if replay.snapshot else 0
    facts.append(("snapshot", f"of entry {position}" if replay.snapshot else "none"))
    if not beginning - 1 <= replay.position <= position <= head:
        return f"It holds the entries {beginning} to {head}, and needs those after {replay.position} to {position}."
    kinds = Counter(type(line).__name__.lower() for _, line in replay.lines())
    numbers = f", numbers {replay.number - kinds.total() + 1} to {replay.number}" if kinds else ""
    facts += [("lines", _listed(kinds) + numbers), ("members", len(replay.group.members))]
    last = replay.group.history.head
    if replay.number != last:
        return f"By its snapshot the last line is number {last}, by its entries {replay.number}."
    wrong = [m.name for m in replay.group.members.values() if not _is_possible(replay.group, m)]
    return f"What waits for {wrong[0]} cannot be right." if wrong else ""


def _is_possible(group: Group, member: Member) -> bool:
    return 0 <= group.hidden(member, member.skipped) <= group.history.head - member.cursor


def _listed(counts: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"{counts.total()} ({kinds})" if kinds else "0"


def history(given: argparse.Namespace) -> int:
    """Print the lines that are kept, oldest first, with the local date and time of each.

    Control characters are printed as \\u and four digits. With --json each line is one object: number, at (ISO 8601,
    UTC), kind (joined, said, whispered, renamed, left, shared or told), member (its id, a string; null of a guest, who
    shared or told something without being a member), name, text (of said, whispered, told), to (of whispered: to whom),
    new (of renamed: the new name), file and size (of shared: its name, and how many bytes it is), and line, which is
    how it reads.
    """
    # A little at a time: whoever pages through it for hours does not make the -wal grow for hours.
    for number, line in Replay(Reader(given.file).read).lines():
        if line.at >= given.since:
            print(_json_line(number, line) if given.json else f"{_local(line.at)}  {safe(line.line())}")
    return 0


def _json_line(number: int, line: Line) -> str:
    found: dict[str, object] = {
        "number": number,
        "at": _utc(line.at),
        "kind": type(line).__name__.lower(),
        "member": str(line.member) if line.member else None,
        "name": line.name,
    }
    if isinstance(line, Said | Whispered | GuestSaid):
        found["text"] = line.text
    if isinstance(line, Whispered):
        found["to"] = line.to
    elif isinstance(line, Renamed):
        found["new"] = line.new
    elif isinstance(line, Shared):
        found["file"], found["size"] = line.file, line.size
    return _json({**found, "line": line.line()})


def members(given: argparse.Namespace) -> int:
    """Print who is a member, in the order in which they joined.

    For each its address (without a port, if it has a connection instead), since when it is one, its last contact, how
    many lines wait for it, and its name. A daemon notes contacts once a minute, and who was given what once a second.
    With --json each member is one object: member (its id, a string), name, host, port, since, last_contact (both ISO
    8601, UTC), behind; null is unknown, or none.
    """
    group = Reader(given.file).read(_group)
    found = [(m, group.behind(m)) for m in group.members.values()]
    if given.json:
        for member in found:
            print(_json(_described(*member)))
    else:
        _print_table([("ADDRESS", "SINCE", "LAST CONTACT", "BEHIND", "NAME"), *(_row(*member) for member in found)])
    return 0


def _group(connection: sqlite3.Connection) -> Group:
    replay = Replay(lambda function: function(connection))
    for _ in replay.lines():
        pass
    return replay.group


def _described(member: Member, behind: int) -> dict[str, object]:
    port = None if member.address is None else member.address[1]
    found = {"member": str(member.id), "name": member.name, "host": member.host, "port": port}
    # Of whom an older groupchat let in, it is not known since when it is here.
    times = {"since": _utc(member.since) if member.since else None, "last_contact": _utc(member.logged // 60 * 60)}
    return {**found, **times, "behind": behind}


def _row(member: Member, behind: int) -> Sequence[str]:
    host = f"[{member.host}]" if ":" in member.host else member.host
    address = host if member.address is None else f"{host}:{member.address[1]}"
    since = _local(member.since) if member.since else "unknown"
    return safe(address), since, _local(member.logged)[: -len(":00")], str(behind), safe(member.name)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """The last column is not padded: how wide a name is on a terminal only the terminal knows."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))


def backup(given: argparse.Namespace) -> int:
    """Copy FILE, as it is at this moment, to the new file TO, which only you can read.

    A daemon that uses FILE goes on. The copy has its name only once it was checked and is on the disk. Do not copy the
    file of a running daemon in any other way.

    To restore: stop the daemon, remove FILE-wal and FILE-shm if they are there, copy the backup to FILE, see that the
    user of the daemon may write to it, and start the daemon. What came after the backup is gone then, for everybody.
    """
    reader, to = Reader(given.file), given.to
    _check_free(to)
    part = to.with_name(f"{to.name}.{secrets.token_hex(4)}.part")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        reader.read(lambda connection: _copy(connection, part))
        _check_copy(part)
        _sync(part)
        _check_free(to)
        part.rename(to)
        _sync(to.parent)
    finally:
        for suffix in ("", "-journal"):
            Path(f"{part}{suffix}").unlink(missing_ok=True)
    return 0


def _check_free(to: Path) -> None:
    """What a file of this name left beside it, SQLite would take for a part of the new one."""
    for suffix in ("", "-wal", "-journal"):
        if os.path.lexists(f"{to}{suffix}"):
            raise CannotOpen(f"{to}{suffix} is there already: nothing was copied.")


def _copy(connection: sqlite3.Connection, part: Path) -> None:
    """Copy what this connection sees, which is one moment: a copy of what changes would begin again and again."""
    part.unlink(missing_ok=True)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    # A function in any case: signals are heard while it runs.
    try:
        database.backup(connection, part, _show_progress if on_terminal else lambda *_: None)
    except sqlite3.Error as error:
        raise LogError(f"no backup was made: {error}.") from error


def _show_progress(_status: int, remaining: int, pages: int) -> None:
    if pages >= LARGE:
        shown = f"{100 * (pages - remaining) // pages:3} %" if remaining else " " * 5
        print(f"\r{shown}\r", end="", file=sys.stderr, flush=True)


def _check_copy(part: Path) -> None:
    try:
        with closing(database.open_to_read(part, immutable=True)) as connection:
            damage = database.check(connection, "quick_check")
    except sqlite3.Error as error:
        damage = str(error)
    if damage:
        raise LogError(f"no backup was made: the copy would be damaged ({damage}).")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


_ENCODER = json.JSONEncoder(ensure_ascii=False)

# C0 but TAB, DEL and C1; line and paragraph separators; bidirectional embeddings and overrides.


def safe(text: str) -> str:
    """The text with escapes, which JSON knows too, in place of what could drive a terminal."""
    return FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _json(found: dict[str, object]) -> str:
    return safe(_ENCODER.encode(found))


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _local(at: float) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"


def complain(problem: str) -> None:
    with suppress(OSError):
        print(f"groupchat-admin: {safe(problem)}", file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {safe(message)}; {usage} (see {self.prog} --help)\n")


def moment(text: str) -> float:
    """What --since takes. Raises ArgumentTypeError."""
    if ago := re.fullmatch(r"([0-9]{1,9})([mhd])", text):
        return time.time() - int(ago[1]) * {"m": 60, "h": 3_600, "d": 86_400}[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2026-11-21, 2026-11-21T10:15, 90m, 12h, 7d") from None


def make_parser() -> Parser:
    style: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = Parser(prog="groupchat-admin", description=DESCRIPTION, epilog=EPILOG, **style)
    parser.add_argument("--version", action="version", version=f"groupchat {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(function: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        description = cleandoc(function.__doc__ or "")
        command = commands.add_parser(function.__name__, help=summary, description=description, **style)
        command.set_defaults(function=function)
        command.add_argument("file", metavar="FILE", type=Path, help="the file that the group is kept in")
        return command

    add(check, "say what is in FILE, and whether it is sound")
    lines = add(history, "print the lines that are kept")
    since = "only lines since then: a date or a date and time (local), or how long ago: a number and m, h or d"
    lines.add_argument("--since", metavar="WHEN", type=moment, default=float("-inf"), help=since)
    for command in (lines, add(members, "print the members, and how far behind they are")):
        command.add_argument("--json", action="store_true", help="one JSON object a line")
    command = add(backup, "copy FILE, also while a daemon uses it")
    command.add_argument("to", metavar="TO", type=Path, help="the backup: a file that is not there yet")
    return parser


def _run(given: argparse.Namespace) -> int:
    """Returns the exit status. Whoever reads no further, as `head` does, has all it wanted."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if getattr(given, "json", False) else None, errors="backslashreplace")
    try:
        status: int = given.function(given)
        print(end="", flush=True)
        return status
    except (LogError, ValueError, OverflowError) as error:  # the latter for what can be no time
        complain(str(error))
        return 1
    except BrokenPipeError:
        status = 0
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except OSError as error:
        complain(f"{error.filename or 'standard output'}: {error.strerror}")
        status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print would fail again at exit
    return status


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    sys.exit(_run(make_parser().parse_args(arguments)))
