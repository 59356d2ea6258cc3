"""The command `groupchat-admin`, with which an operator looks after a group, and the file that it is kept in.

Two rules. Reading the file changes nothing and holds up nobody: it is opened read-only, also beside a running daemon,
and the daemon's lock is not taken. And printed text, which may come from anybody, cannot drive a terminal. What
operators do to the group is in operate.py.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from inspect import cleandoc
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from groupchat import __version__
from groupchat.admin import arguments, operate
from groupchat.admin.arguments import Parser
from groupchat.admin.backups import name_of, prune
from groupchat.admin.copies import copy, new_file, remove
from groupchat.admin.daemon import NotDone, audit_of, user
from groupchat.admin.output import as_json, complain, local, print_table, safe, utc
from groupchat.admin.repair import repair as mend
from groupchat.admin.replay import Replay
from groupchat.admin.restore import restore as put_back
from groupchat.admin.shelf import shelf_facts
from groupchat.core.errors import LogError
from groupchat.core.events import Address, GuestSaid, Joined, Left, Line, Removed, Renamed, Said, Shared, Whispered
from groupchat.core.group import Group, Member
from groupchat.core.notices import Kind
from groupchat.log import tables
from groupchat.log.reader import Reader

DESCRIPTION = """\
See who is in a group, remove, mute and ban, erase lines, and look after the file that the group is kept in.

The running daemon is asked over its control socket, FILE.control. If no daemon runs, the file is used itself; standard
error says which. The file is groupchat.sqlite in this directory, unless --db names another one.
"""

EPILOG = """\
exit status: 0 if done (check: if sound); 1 if not, with the reason on standard error; 2 for wrong arguments

"groupchat-admin COMMAND --help" tells more about a command.
"""


def check(given: argparse.Namespace) -> int:
    """Print what is in FILE, and check that it is sound: as a database, and as a log that a daemon can start with.

    The last line is "sound". If FILE is not sound, standard error says what is wrong, and the exit status is 1. With
    --files, what lies in the directory of shared files and is not shared is printed as well, with the reason.
    """
    facts, problem = Reader(given.file).read(_examined)
    size = sum(path.stat().st_size for path in (given.file, Path(f"{given.file.resolve()}-wal")) if path.exists())
    shared = shelf_facts(given.files) if given.files else []
    for label, fact in [("size", f"{size} bytes"), *facts, *shared]:
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
    kinds = Counter(_kind(line) for _, line in replay.lines())
    lines = replay.line - kinds.total() + 1, replay.line
    numbers = ", numbers {} to {}".format(*map(replay.group.numbering.of, lines)) if kinds else ""
    facts += [("lines", _listed(kinds) + numbers), ("members", len(replay.group.members))]
    last = replay.group.history.head
    if replay.line != last:
        return f"By its snapshot the last line is number {last}, by its entries {replay.line}."
    for member in replay.group.members.values():
        if not 0 <= replay.group.hidden(member, member.skipped) <= last - member.cursor:
            return f"The cursor of {member.name} cannot be right."
    return ""


def _listed(counts: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return f"{counts.total()} ({kinds})" if kinds else "0"


def history(given: argparse.Namespace) -> int:
    """Print the lines that are kept, oldest first, with the local date and time of each, and the address of each join.

    Control characters are printed as \\u and four digits. With --json each line is one object with these keys: number,
    at (ISO 8601, UTC), kind (joined, said, private, renamed, left or shared), member (its id, a string; null for a
    guest, who shares or says something without being a member), name, host and port (the address from which the member
    joined; null if that is not known: of a guest, and of who left before the lines that are kept began; port is null
    for a member with a connection), text (of said and private), to (of private: the
    name of the receiver), new (of renamed: the new name), file and size (of shared: the name of the file, and its size
    in bytes), and line (the whole line as it is shown in the group).
    """
    # Read a little at a time: a long transaction would make the -wal grow as long as somebody pages through the output.
    replay = Replay(Reader(given.file).read)
    places = {member.id: _place(member.host, member.address) for member in replay.group.members.values()}
    for number, line in replay.lines():
        if isinstance(line, Joined):
            places[line.member] = line.host, line.port
        if line.at >= given.since:
            place = places.get(line.member, (None, None))
            shown = f" ({_address(*place)})" if isinstance(line, Joined) else ""
            text = f"{local(line.at)}  {safe(line.line() + shown)}"
            print(_json_line(number, line, place) if given.json else text)
        if isinstance(line, Left | Removed):
            places.pop(line.member, None)
    return 0


Place = tuple[str | None, int | None]
"""The host from which a member joined, and the port of its datagrams. None is unknown, or none."""


def _place(host: str, address: Address | None) -> Place:
    return host, None if address is None else address[1]


def _address(host: str | None, port: int | None) -> str:
    bare = f"[{host}]" if host and ":" in host else str(host)
    return bare if port is None else f"{bare}:{port}"


def _kind(line: Line) -> str:
    """Return the kind of a line as everybody else is given it. Its event may have another name in the file."""
    match line:
        case Whispered():
            return Kind.PRIVATE.value
        case GuestSaid():
            return Kind.SAID.value
    return tables.KINDS[type(line)]


def _json_line(number: int, line: Line, place: Place) -> str:
    found: dict[str, object] = {
        "number": number,
        "at": utc(line.at),
        "kind": _kind(line),
        "member": str(line.member) if line.member else None,
        "name": getattr(line, "name", ""),
        "host": place[0],
        "port": place[1],
    }
    if isinstance(line, Said | Whispered | GuestSaid):
        found["text"] = line.text
    if isinstance(line, Whispered):
        found["to"] = line.to
    elif isinstance(line, Renamed):
        found["new"] = line.new
    elif isinstance(line, Shared):
        found["file"], found["size"] = line.file, line.size
    return as_json({**found, "line": line.line()})


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
            print(as_json(_described(*member)))
    else:
        print_table([("ADDRESS", "SINCE", "LAST CONTACT", "BEHIND", "NAME"), *(_row(*member) for member in found)])
    return 0


def _group(connection: sqlite3.Connection) -> Group:
    replay = Replay(lambda function: function(connection))
    replay.finish()
    return replay.group


def _described(member: Member, behind: int) -> dict[str, object]:
    port = None if member.address is None else member.address[1]
    found = {"member": str(member.id), "name": member.name, "host": member.host, "port": port}
    # The time of a join is not known if it happened under an older groupchat.
    times = {"since": utc(member.since) if member.since else None, "last_contact": utc(member.logged // 60 * 60)}
    return {**found, **times, "behind": behind}


def _row(member: Member, behind: int) -> Sequence[str]:
    address = _address(*_place(member.host, member.address))
    since = local(member.since) if member.since else "unknown"
    return safe(address), since, local(member.logged)[: -len(":00")], str(behind), safe(member.name)


def backup(given: argparse.Namespace) -> int:
    """Copy FILE, as it is at this moment, to the new file TO, which only you can read.

    A daemon that uses FILE keeps running. The copy gets its name only after it was checked and is on the disk. Do not
    copy the file of a running daemon in any other way. If TO is a directory, the copy is named after FILE and the time.

    The audit trail, FILE.audit, remembers where each backup is. With --keep 14 only the newest 14 that are in the
    same directory stay; older ones that this command made are removed.

    To restore it: "groupchat-admin restore --help".
    """
    to = name_of(given.file, given.to)
    reader = Reader(given.file)
    with new_file(to) as part:
        reader.read(lambda connection: copy(connection, part))
    _record(given, "backup", to=str(to.resolve()))
    if given.keep is not None:
        prune(audit_of(given.file), given.file, to, given.keep)
    return 0


def _record(given: argparse.Namespace, did: str, **facts: str) -> None:
    """Record in the audit trail what was done. Whoever may only read the file cannot, and is told."""
    try:
        audit_of(given.file).record(did, user(), time.time(), **facts)
    except OSError as error:
        complain(f"that is not in the audit trail: {error.filename or given.file}: {error.strerror}")


def restore(given: argparse.Namespace) -> int:
    """Put a copy of BACKUP in the place of FILE. Stop the daemon before. The old file is kept: its new name is printed.

    What came after the backup is then gone, for everybody. Numbers of lines go on with the next million above every one
    that was given, so that clients take none of the new lines for one that they have. BACKUP may be of an older
    groupchat: the copy is upgraded. FILE is groupchat.sqlite if it is not named. The new file gets the permissions of
    the old one and, if you are root, its owner.
    """
    print(*put_back(given.backup, given.file), sep="\n")
    _record(given, "restore", backup=str(given.backup.resolve()))
    return 0


def repair(given: argparse.Namespace) -> int:
    """Write what is sound in the damaged FILE to the new file TO, and print what is lost. FILE is not changed.

    Stop the daemon before, and put TO in the place of FILE with "groupchat-admin restore TO FILE". A backup that was
    sound may hold more.
    """
    reader = Reader(given.file)
    with new_file(given.to) as part:

        def write(connection: sqlite3.Connection) -> list[str]:
            remove(part)
            return mend(connection, part)

        said = reader.read(write)
    print(*said, sep="\n")
    return 0


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the command line, and those of the commands by name."""
    style: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = Parser(prog="groupchat-admin", description=DESCRIPTION, epilog=EPILOG, **style)
    parser.add_argument("--version", action="version", version=f"groupchat {__version__}")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--db", metavar="FILE", type=Path, help="the file of the group (groupchat.sqlite)")
    which.add_argument("--control", metavar="PATH", type=Path, help="the control socket of the daemon (FILE.control)")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(function: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        description = cleandoc(function.__doc__ or "")
        command = commands.add_parser(function.__name__.rstrip("_"), help=summary, description=description, **style)
        command.set_defaults(function=function)
        return command

    def add_for_file(function: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        command = add(function, summary)
        if function is restore:
            command.add_argument("backup", metavar="BACKUP", type=Path, help="the backup")
        words = "the file that the group is kept in (that of --db)"
        command.add_argument("file", metavar="FILE", type=Path, nargs="?", help=words)
        return command

    operate.add_commands(add)
    examine = add_for_file(check, "print what is in FILE, and check that it is sound")
    examine.add_argument("--files", metavar="DIRECTORY", type=Path, help="the directory of shared files")
    lines = add_for_file(history, "print the lines that are kept")
    since = "only newer lines: since a local date or time, or within 90m, 12h, 7d (minutes, hours, days)"
    lines.add_argument("--since", metavar="WHEN", type=arguments.moment, default=float("-inf"), help=since)
    for command in (lines, add_for_file(members, "print the members, and how far behind they are")):
        command.add_argument("--json", action="store_true", help="one JSON object a line")
    add_for_file(restore, "put a copy of BACKUP in the place of FILE")
    copying = add_for_file(backup, "copy FILE, even while a daemon uses it")
    copying.add_argument("to", metavar="TO", type=Path, help="the new file, or a directory")
    copying.add_argument("--keep", metavar="N", type=arguments.number, help="remove older backups, so that N stay")
    mending = add_for_file(repair, "write what is sound in a damaged FILE to a new file")
    mending.add_argument("to", metavar="TO", type=Path, help="the new file")
    return parser, commands.choices


def _run(given: argparse.Namespace) -> int:
    """Run a command, and return the exit status. A closed pipe (as by `head`) is no error."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if getattr(given, "json", False) else None, errors="backslashreplace")
    if getattr(given, "file", None) is None:
        given.file = given.db or Path("groupchat.sqlite")
    try:
        status: int = given.function(given)
        print(end="", flush=True)
        return status
    except (LogError, NotDone, ValueError, OverflowError) as error:  # the last two for impossible times
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


def main(argv: Sequence[str] | None = None) -> NoReturn:
    sys.exit(_run(make_parser()[0].parse_args(argv)))
