"""The command `groupchat-admin`, with which an operator looks at the file that a group is kept in.

Two rules. Reading changes nothing and holds up nobody: the file is opened read-only, also beside a running daemon, and
the daemon's lock is not taken. And printed text, which may come from anybody, cannot drive a terminal.
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
from groupchat.admin.repair import repair as mend
from groupchat.core.errors import CannotOpen, LogError
from groupchat.core.events import GuestSaid, Line, Renamed, Said, Shared, Whispered
from groupchat.core.group import Group, Member
from groupchat.core.texts import FORBIDDEN
from groupchat.log import Entry, Snapshot, database, tables
from groupchat.log.reader import Reader, open_to_read
from groupchat.service.snapshots import Snapshots

DESCRIPTION = """\
Look at the file that a group is kept in, back it up, or save what is sound in a damaged one. A daemon may be using the
file: it is not changed, and nobody has to wait.
"""

EPILOG = """\
exit status: 0 if done (check: if sound); 1 if not, with the reason on standard error; 2 for wrong arguments

"groupchat-admin COMMAND --help" tells more about a command. "groupchat-admin backup --help" also tells how to restore.
"""

AT_ONCE = 200  # entries are read at once; each may be hundreds of events
LARGE = 5_000  # pages (of 4 KiB) make a backup large enough to show its progress


class Replay:
    """The log of a file, folded as the daemon folds it: its lines one after another, and the group that they lead to.

    It takes memory for the members, and not for the lines. `read` calls a function with a connection.
    """

    def __init__(self, read: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        self.group = Group(keep=1)
        self.position = 0
        """The position of the last entry that was read."""
        self.number = 0
        """The number of the last line."""
        self.snapshot: Snapshot | None = read(tables.load_snapshot)
        self._read = read
        self._snapshots = Snapshots(self.group)
        if self.snapshot is not None:
            with _applying("The snapshot"):
                self.position = self._snapshots.load(self.snapshot)
            self.number = self._snapshots.first_number(read(self._count_covered)) - 1

    def _count_covered(self, connection: sqlite3.Connection) -> int:
        """Return the number of lines, refused ones included, in the entries that the snapshot covers."""
        assert self.snapshot is not None
        events = tables.count_events(connection, self.position, self.snapshot.position)
        return events.total() - events["seen"]

    def lines(self) -> Iterator[tuple[int, Line]]:
        """Yield the lines that are kept, each with its number. Raises LogError."""
        while entries := self._read(self._fetch):
            for entry in entries:
                for line in self._fold(entry):
                    self.number += 1
                    yield self.number, line
        self._snapshots.caught_up()

    def _fetch(self, connection: sqlite3.Connection) -> list[Entry]:
        with _applying(f"What comes after entry {self.position}"):
            return tables.read(connection, self.position, AT_ONCE)

    def _fold(self, entry: Entry) -> list[Line]:
        self.position = entry.position
        with _applying(f"Entry {entry.position}"):
            return self._snapshots.fold(entry)


@contextmanager
def _applying(what: str) -> Iterator[None]:
    """Turn any exception that stored data leads to into a LogError of one line."""
    try:
        yield
    except (LogError, sqlite3.Error):
        raise
    except Exception as error:
        raise LogError(f"{what} cannot be applied ({type(error).__name__}: {error}).") from error


def check(given: argparse.Namespace) -> int:
    """Print what is in FILE, and check that it is sound: as a database, and as a log that a daemon can start with.

    The last line is "sound". If FILE is not sound, standard error says what is wrong, and the exit status is 1.
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
    """Return what is in a file, as far as that is known, and what is wrong with it: "" if it is sound."""
    facts: list[tuple[str, object]] = [("format", connection.execute("PRAGMA user_version").fetchone()[0])]
    if damage := tables.check(connection, "integrity_check(1)"):
        return facts, f"it is damaged ({damage})."
    beginning, head = tables.span(connection)
    entries = tables.count_entries(connection)
    events = tables.count_events(connection, 0, sys.maxsize)
    facts += [("first kept", beginning), ("head", head), ("entries", entries), ("events", _listed(events))]
    if entries != head - beginning + 1 or events != tables.count_events(connection, beginning - 1, head):
        return facts, f"It does not hold all of the entries {beginning} to {head} with their events, and no others."
    try:
        return facts, _fold(connection, facts)
    except LogError as error:
        return facts, str(error)


def _fold(connection: sqlite3.Connection, facts: list[tuple[str, object]]) -> str:
    """Fold the log, and add to the facts. Return what is wrong with it."""
    beginning, head = tables.span(connection)
    replay = Replay(lambda function: function(connection))
    position = replay.snapshot.position if replay.snapshot else 0
    facts.append(("snapshot", f"of entry {position}" if replay.snapshot else "none"))
    if not beginning - 1 <= replay.position <= position <= head:
        return f"It holds the entries {beginning} to {head}, but needs those after {replay.position} to {position}."
    kinds = Counter(tables.KINDS[type(line)] for _, line in replay.lines())
    numbers = f", numbers {replay.number - kinds.total() + 1} to {replay.number}" if kinds else ""
    facts += [("lines", _listed(kinds) + numbers), ("members", len(replay.group.members))]
    last = replay.group.history.head
    if replay.number != last:
        return f"By its snapshot the last line is number {last}, by its entries {replay.number}."
    for member in replay.group.members.values():
        if not 0 <= replay.group.hidden(member, member.skipped) <= last - member.cursor:
            return f"The cursor of {member.name} cannot be right."
    return ""


def _listed(counts: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"{counts.total()} ({kinds})" if kinds else "0"


def history(given: argparse.Namespace) -> int:
    """Print the lines that are kept, oldest first, with the local date and time of each.

    Control characters are printed as \\u and four digits. With --json each line is one object with these keys: number,
    at (ISO 8601, UTC), kind (joined, said, whispered, renamed, left, shared or told), member (its id, a string; null
    for a guest, who shares or tells something without being a member), name, text (of said, whispered and told), to (of
    whispered: the name of the receiver), new (of renamed: the new name), file and size (of shared: the name of the
    file, and its size in bytes), and line (the whole line as it is shown in the group).
    """
    # Read a little at a time: a long transaction would make the -wal grow as long as somebody pages through the output.
    for number, line in Replay(Reader(given.file).read).lines():
        if line.at >= given.since:
            print(_json_line(number, line) if given.json else f"{_local(line.at)}  {safe(line.line())}")
    return 0


def _json_line(number: int, line: Line) -> str:
    found: dict[str, object] = {
        "number": number,
        "at": _utc(line.at),
        "kind": tables.KINDS[type(line)],
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
    """Print the members, in the order in which they joined.

    For each: its address (without a port, if it has a connection), the time of its join, its last contact, the number
    of lines that wait for it, and its name. A daemon records contacts once a minute, and cursors once a second. With
    --json each member is one object with these keys: member (its id, a string), name, host, port, since, last_contact
    (both ISO 8601, UTC) and behind; null means unknown, or none.
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
    # The time of a join is not known if it happened under an older groupchat.
    times = {"since": _utc(member.since) if member.since else None, "last_contact": _utc(member.logged // 60 * 60)}
    return {**found, **times, "behind": behind}


def _row(member: Member, behind: int) -> Sequence[str]:
    host = f"[{member.host}]" if ":" in member.host else member.host
    address = host if member.address is None else f"{host}:{member.address[1]}"
    since = _local(member.since) if member.since else "unknown"
    return safe(address), since, _local(member.logged)[: -len(":00")], str(behind), safe(member.name)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns. The last one is not padded: only a terminal knows the width of a name."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))


def backup(given: argparse.Namespace) -> int:
    """Copy FILE, as it is at this moment, to the new file TO, which only you can read.

    A daemon that uses FILE keeps running. The copy gets its name only after it was checked and is on the disk. Do not
    copy the file of a running daemon in any other way.

    To restore: stop the daemon, remove FILE-wal and FILE-shm if they exist, copy the backup to FILE, make sure that the
    user of the daemon may write to it, and start the daemon. What came after the backup is then gone, for everybody.
    """
    reader = Reader(given.file)
    with _new_file(given.to) as part:
        reader.read(lambda connection: _copy(connection, part))
    return 0


def repair(given: argparse.Namespace) -> int:
    """Write what is sound in the damaged FILE to the new file TO, and print what is lost. FILE is not changed.

    Stop the daemon before. Then move FILE, FILE-wal and FILE-shm away, move TO to the place of FILE, make sure that the
    user of the daemon may write to it, and start the daemon. A backup that was sound may hold more.
    """
    reader = Reader(given.file)
    with _new_file(given.to) as part:

        def write(connection: sqlite3.Connection) -> list[str]:
            _remove(part)
            return mend(connection, part)

        said = reader.read(write)
    print(*said, sep="\n")
    return 0


@contextmanager
def _new_file(to: Path) -> Iterator[Path]:
    """Give the name of a file to write. It becomes `to` once it was checked and is on the disk."""
    _check_free(to)
    part = to.with_name(f"{to.name}.{secrets.token_hex(4)}.part")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        yield part
        _check_copy(part)
        database.sync(part)
        _check_free(to)
        part.rename(to)
        database.sync(to.parent)
    finally:
        _remove(part)


def _remove(part: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)


def _check_free(to: Path) -> None:
    """Raise CannotOpen if the new file, or one that SQLite would take for a part of it, exists."""
    for suffix in ("", "-wal", "-journal"):
        if os.path.lexists(f"{to}{suffix}"):
            raise CannotOpen(f"{to}{suffix} is there already: nothing was copied.")


def _copy(connection: sqlite3.Connection, part: Path) -> None:
    """Copy the file as this connection sees it. That does not change, or else the copy would start again and again."""
    part.unlink(missing_ok=True)
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    # Always pass a function: Python handles signals only while one runs.
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
        with closing(open_to_read(part, immutable=True)) as connection:
            damage = tables.check(connection, "quick_check(1)")
    except sqlite3.Error as error:
        damage = str(error)
    if damage:
        raise LogError(f"no backup was made: the copy would be damaged ({damage}).")


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def safe(text: str) -> str:
    """Return the text with escapes, which JSON has too, in place of characters that could drive a terminal."""
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
    """An argument parser that prints an error in one line."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{self.prog}: {safe(message)}; {usage} (see {self.prog} --help)\n")


def moment(text: str) -> float:
    """Return the time that an argument of --since means. Raise ArgumentTypeError."""
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

    add(check, "print what is in FILE, and check that it is sound")
    lines = add(history, "print the lines that are kept")
    since = "only newer lines: since a local date or time, or within 90m, 12h, 7d (minutes, hours, days)"
    lines.add_argument("--since", metavar="WHEN", type=moment, default=float("-inf"), help=since)
    for command in (lines, add(members, "print the members, and how far behind they are")):
        command.add_argument("--json", action="store_true", help="one JSON object a line")
    for command in (
        add(backup, "copy FILE, even while a daemon uses it"),
        add(repair, "write what is sound in a damaged FILE to a new file"),
    ):
        command.add_argument("to", metavar="TO", type=Path, help="the new file")
    return parser


def _run(given: argparse.Namespace) -> int:
    """Run a command, and return the exit status. A closed pipe (as by `head`) is no error."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if getattr(given, "json", False) else None, errors="backslashreplace")
    try:
        status: int = given.function(given)
        print(end="", flush=True)
        return status
    except (LogError, ValueError, OverflowError) as error:  # the last two for impossible times
        complain(str(error))
        return 1
    except BrokenPipeError:
        status = 0
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except OSError as error:
        complain(f"{error.filename or 'standard output'}: {error.strerror}")
        status = 1
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or else flushing at exit would fail again
    return status


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    sys.exit(_run(make_parser().parse_args(arguments)))
