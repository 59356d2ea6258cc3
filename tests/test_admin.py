"""`groupchat-admin` on the files of daemons that run, were killed or stopped, and on damaged files."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import TestCase

from groupchat import __version__
from groupchat.admin import cli as admin
from groupchat.admin.arguments import moment
from groupchat.core.errors import CannotOpen
from groupchat.core.events import Event, GuestSaid, Joined, Left, Renamed, Said, Seen, Shared, Whispered
from groupchat.core.group import Group
from groupchat.files import disk
from groupchat.log import database, tables
from groupchat.log.database import Database
from groupchat.log.reader import Reader
from groupchat.service.snapshots import VERSION, Snapshots
from tests.daemon import Daemon, UDPMember

ADMIN = [sys.executable, "-c", "from groupchat.admin import main; main()"]
READING = ("check", "history", "members")
START = 1_700_000_000.0

Result = subprocess.CompletedProcess[str]


def run(*arguments: str | Path, command: Sequence[str] = ADMIN, **environment: str) -> Result:
    """Run a command: in this process, which is much faster, unless it is a special one or has an environment."""
    if command is ADMIN and not environment:
        return run_here(*arguments)
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def run_here(*arguments: str | Path) -> Result:
    streams = [TextIOWrapper(BytesIO(), encoding="utf-8") for _ in range(2)]
    status: object = None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with (
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
        patch.object(os, "dup2"),
    ):  # which would silence tests
        try:
            admin.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code or 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    assert isinstance(status, int)
    for stream in streams:
        stream.flush()
    printed = [stream.buffer.getvalue().decode() for stream in streams]
    return Result(arguments, status, *printed)


class Files(TestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-admin-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.file = self.directory / "group.sqlite"

    def start(self, *options: str) -> Daemon:
        daemon = Daemon("--db", str(self.file), *options)
        self.addCleanup(daemon.stop)
        return daemon

    def member(self, daemon: Daemon) -> UDPMember:
        member = UDPMember(daemon.port, seconds=20.0)
        self.addCleanup(member.close)
        return member

    def good(self, *arguments: str | Path) -> list[str]:
        """Return the lines that a command prints. See that it succeeds."""
        result = run(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""), arguments)
        return result.stdout.splitlines()

    def bad(self, *arguments: str | Path, words: str) -> None:
        """See that a command fails and says why in one line, which matches `words`."""
        result = run(*arguments)
        self.assertEqual(result.returncode, 1, (arguments, result))
        self.assertRegex(result.stderr, rf"\Agroupchat-admin: [^\n]*{words}[^\n]*\n\Z")

    def facts(self) -> dict[str, str]:
        *facts, last = self.good("check", self.file)
        self.assertEqual(last, "sound")
        return {fact[:12].strip(): fact[12:] for fact in facts}

    def objects(self, command: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.good(command, self.file, "--json")]

    def wait_until_behind(self, *behind: int) -> None:
        """Wait until the cursors in the file say so: a daemon records them once a second."""
        until = time.monotonic() + 30
        while [member["behind"] for member in self.objects("members")] != list(behind):
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)

    def there(self) -> dict[str, bytes]:
        """Return the content of every file in the directory."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if not path.is_socket()}

    def write(self, *entries: Sequence[Event], snapshot_after: int = 0, keep: int = 100) -> None:
        """Write a file with these entries, and a snapshot after `snapshot_after` of them, as a service saves it."""
        database, group = Database(self.file), Group(keep)
        snapshots = Snapshots(group)
        for entry in database.append([(f"e{number}", events) for number, events in enumerate(entries, 1)]):
            assert entry is not None
            snapshots.fold(entry)
            if entry.position == snapshot_after:
                dump = snapshots.dump()
                database.save_snapshot(snapshot_after, VERSION, dump.state())
                database.trim(dump.first, 1_000)
        database.close()

    def use_time_zone(self, zone: str) -> None:
        self.addCleanup(time.tzset)
        environment = patch.dict(os.environ, TZ=zone)
        environment.start()
        self.addCleanup(environment.stop)
        time.tzset()

    def execute(self, *statements: str) -> None:
        connection = sqlite3.connect(self.file)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def forge(self, *statements: str) -> None:
        """Change the file, and make the checksums fit."""
        self.execute(*statements)
        connection = sqlite3.connect(self.file)
        connection.create_function("snapshot_checksum", 3, tables.snapshot_checksum)
        connection.create_function("position_checksum", 1, tables.position_checksum)
        for position, entry_id in connection.execute("SELECT position, id FROM entry").fetchall():
            rows = connection.execute(f"SELECT {tables.COLUMNS} FROM event WHERE position = ?", (position,))
            checksum = tables.entry_checksum(entry_id, rows.fetchall())
            connection.execute("UPDATE entry SET checksum = ? WHERE position = ?", (checksum, position))
        connection.execute("UPDATE snapshot SET checksum = snapshot_checksum(position, version, state)")
        connection.execute("UPDATE beginning SET checksum = position_checksum(position)")
        connection.commit()
        connection.close()


def alice(count: int) -> list[list[Event]]:
    """Return entries of one event each, by a member who says something once a minute."""
    said: list[list[Event]] = [[Said(7, "Alice", str(n), START + 60 * n)] for n in range(1, count)]
    return [[Joined(7, "Alice", "alice", START, "127.0.0.1", 4000)], *said]


class SharedFilesTests(Files):
    def test_what_lies_there_and_is_not_shared_is_named(self) -> None:
        self.write(*alice(2))
        shared = self.directory / "shared"
        (shared / ".groupchat").mkdir(parents=True)
        (shared / "folder").mkdir()
        (shared / "link").symlink_to(self.file)
        os.mkfifo(shared / "pipe")
        good = ["ok.txt", "a: b", "cafe\u0301", "\U0001fae9", "\u0645\u06cc\u200c\u062e", "\U0001f468\u200d\U0001f469"]
        bad = [
            "new\nline",
            "esc\x1b[2J",
            "a\u200db",
            "\u202egpj.exe",
            ".hidden",
            "\U000e0001",
            os.fsdecode(b"\xe9.txt"),
        ]
        for name in good + bad:
            (shared / name).touch()
        before = sorted(path.name for path in shared.iterdir())
        printed = self.good("check", self.file, "--files", shared)
        self.assertEqual(printed[-1], "sound")
        unseen = "its name has characters that are not seen"
        self.assertEqual(
            printed[printed.index("shared      6 files") + 1 : -1],
            [
                "not shared  .hidden: a name that begins with a dot is hidden",
                f"not shared  a\\u200db: {unseen}",
                f"not shared  esc\\x1b[2J: {unseen}",
                "not shared  folder: a directory",
                "not shared  link: a link",
                f"not shared  new\\nline: {unseen}",
                "not shared  pipe: no regular file",
                f"not shared  \\u202egpj.exe: {unseen}",
                "not shared  \\xe9.txt: its name is not UTF-8",
                f"not shared  \\U000e0001: {unseen}",
            ],
        )
        self.assertEqual(sorted(path.name for path in shared.iterdir()), before)

    def test_of_too_many_the_oldest_are_not_shared(self) -> None:
        self.patch(disk, "MAX_FILES", 2)
        for number in range(4):
            (self.directory / f"{number}").touch()
            os.utime(self.directory / f"{number}", (number, number))
        count, others = disk.unlisted(self.directory)
        self.assertEqual((count, [name for name, _ in others]), (2, ["0", "1"]))
        self.assertIn("only the newest 2 files", others[0][1])

    def test_a_directory_that_is_not_there_is_reported(self) -> None:
        self.write(*alice(2))
        self.bad("check", self.file, "--files", self.directory / "nothing", words="nothing: No such file or directory")


class DaemonFileTests(Files):
    def converse(self, daemon: Daemon) -> None:
        self.alice, self.bob = self.member(daemon), self.member(daemon)
        for member, request in [
            (self.alice, "1 Alice"),
            (self.bob, "1 Bob"),
            (self.bob, "2 Hi Alice"),
            (self.alice, "5"),
            (self.alice, "3 Alicia"),
            (self.bob, "2 bye: \u0437\U0001f98a"),
        ]:
            member.ask(request)
        self.wait_until_behind(1, 0)

    def see(self) -> None:
        """See that every command shows what was said in `converse`."""
        facts = self.facts()
        self.assertEqual(facts["lines"], "5 (2 joined, 1 renamed, 2 said), numbers 1 to 5")
        self.assertEqual((facts["format"], facts["first kept"], facts["members"]), (str(tables.VERSION), "1", "2"))
        self.assertEqual(facts["head"], facts["entries"])
        words = ["Alice has joined", "Bob has joined", "Bob: Hi Alice", "Alice changed his name to Alicia"]
        words.append("Bob: bye: \u0437\U0001f98a")
        lines = self.good("history", self.file)
        alice, bob = (f" (127.0.0.1:{member.socket.getsockname()[1]})" for member in (self.alice, self.bob))
        shown = [words[0] + alice, words[1] + bob, *words[2:]]
        self.assertEqual([line[19:] for line in lines], [f"  {line}" for line in shown])
        for line in lines:
            self.assertLess(abs(datetime.fromisoformat(line[:19]) - datetime.now()), timedelta(minutes=5))
        objects = self.objects("history")
        self.assertEqual([found["line"] for found in objects], words)
        self.assertEqual([found["number"] for found in objects], [1, 2, 3, 4, 5])
        header, one, two = self.good("members", self.file)
        self.assertEqual(header.split(), ["ADDRESS", "SINCE", "LAST", "CONTACT", "BEHIND", "NAME"])
        self.assertRegex(one, rf"\A127\.0\.0\.1:{self.alice.socket.getsockname()[1]}  .* 1       Alicia\Z")
        self.assertRegex(two, r" 0       Bob\Z")

    def test_a_file_is_read_beside_a_running_daemon(self) -> None:
        daemon = self.start()
        self.converse(daemon)
        names = set(self.there())
        self.see()
        self.assertEqual(set(self.there()), names)
        self.assertEqual(self.alice.ask("5"), "Bob: bye: \u0437\U0001f98a")

    def test_the_wal_of_a_killed_daemon_is_read_and_unchanged(self) -> None:
        daemon = self.start()
        self.converse(daemon)
        daemon.process.kill()
        daemon.process.wait()
        before = self.there()
        self.assertEqual(set(before), {f"group.sqlite{end}" for end in ("", "-shm", "-wal", ".highest")})
        self.see()
        copy, link, real = self.directory / "copy", self.directory / "link", self.file
        self.good("backup", real, copy)
        link.symlink_to(real)
        for self.file in (copy, link):
            self.see()
            self.file.unlink()
        self.file = real
        self.assertEqual({name: data for name, data in self.there().items() if ".audit" not in name}, before)
        (self.directory / "group.sqlite-shm").unlink()
        for command in READING:
            self.bad(command, self.file, words="-shm")
        self.assertEqual(len(self.there()), 4)  # with the audit trail

    def test_reading_a_closed_file_creates_no_other_file(self) -> None:
        daemon = self.start()
        self.converse(daemon)
        daemon.stop()
        before = self.there()
        self.assertEqual(set(before), {"group.sqlite", "group.sqlite.highest"})
        self.see()
        real, self.file = self.file, self.directory / "a b?c#d%41&\u00e4.sqlite"
        self.file.symlink_to(real)
        self.see()
        self.good("check", f"/{self.file}")
        self.file.unlink()
        self.assertEqual(self.there(), before)

    def test_numbers_and_members_outlast_trimmed_lines(self) -> None:
        daemon = self.start("--keep", "5")
        one, two = self.member(daemon), self.member(daemon)
        one.ask("1 Alice")
        two.ask("1 Bob")
        for number in range(20):
            two.ask(f"2 {number}")
        daemon.stop()
        facts = self.facts()
        self.assertEqual(facts["lines"], "5 (5 said), numbers 18 to 22")
        self.assertGreater(int(facts["first kept"]), 10)
        self.assertRegex(facts["snapshot"], r"\Aof entry \d+\Z")
        self.assertEqual([found["number"] for found in self.objects("history")], [18, 19, 20, 21, 22])
        first, second = self.objects("members")
        self.assertEqual((first["name"], first["host"], first["behind"]), ("Alice", "127.0.0.1", 21))
        self.assertEqual((second["name"], second["host"], second["behind"]), ("Bob", "127.0.0.1", 0))
        for member in (first, second):
            since = datetime.fromisoformat(str(member["since"])).timestamp()
            self.assertLess(abs(since - time.time()), 300)

    def test_a_reader_sees_one_moment_while_a_daemon_writes(self) -> None:
        self.write(*alice(3))
        database = Database(self.file)
        self.addCleanup(database.close)

        def look_twice(connection: sqlite3.Connection) -> tuple[object, object]:
            before = tables.span(connection)
            database.append([("more", alice(1)[0])])
            return before, tables.span(connection)

        self.assertEqual(Reader(self.file).read(look_twice), ((1, 3), (1, 3)))

    def test_a_closed_file_is_read_again_if_a_daemon_starts(self) -> None:
        self.write(*alice(3))
        seen: list[int] = []

        def count(connection: sqlite3.Connection) -> int:
            found: int = connection.execute("SELECT count(*) FROM entry").fetchone()[0]
            if not seen:
                self.member(self.start()).ask("1 Bob")
            seen.append(found)
            return found

        self.assertGreater(Reader(self.file).read(count), 3)
        self.assertEqual(seen[0], 3)


class BackupTests(Files):
    def setUp(self) -> None:
        super().setUp()
        self.to = self.directory / "backup.sqlite"

    def test_a_daemon_on_a_backup_made_under_load_misses_nothing(self) -> None:
        daemon = self.start("--rate", "0")
        one, two = self.member(daemon), self.member(daemon)
        one.ask("1 Alice")
        two.ask("1 Bob")
        for number in range(10):
            two.ask(f"2 {number}")
        self.assertEqual(len(one.ask("5").split("\n")), 11)
        self.wait_until_behind(0, 0)
        said, enough = [10], Flag()

        def say() -> None:
            while not enough.is_set():
                two.ask(f"2 {said[0]}")
                said[0] += 1

        thread = Thread(target=say)
        thread.start()
        while said[0] < 50 and thread.is_alive():
            time.sleep(0.01)
        least = said[0]
        self.good("backup", self.file, self.to)
        most = said[0]
        enough.set()
        thread.join()
        self.assertEqual(self.to.stat().st_mode & 0o777, 0o600)
        self.assertEqual(sorted(p.name for p in self.directory.iterdir() if "backup" in p.name), ["backup.sqlite"])
        daemon.stop()
        self.file = self.to
        one.socket.connect(("127.0.0.1", self.start().port))
        lines = one.ask("5").split("\n")
        self.assertEqual(lines, [f"Bob: {number}" for number in range(10, 10 + len(lines))])
        self.assertTrue(least <= 10 + len(lines) <= most + 1, (least, len(lines), most))
        self.assertEqual(one.ask("2 still here"), "")
        self.assertIn("sound", self.good("check", self.to))

    def test_a_backup_overwrites_no_file(self) -> None:
        self.write(*alice(3))
        for suffix in ("", "-wal", "-journal"):
            taken = Path(f"{self.to}{suffix}")
            taken.write_bytes(b"mine")
            before = self.there()
            self.bad("backup", self.file, self.to, words="is there already")
            self.assertEqual(self.there(), before)
            taken.unlink()
        self.bad("backup", self.file, self.directory / "no" / "such", words="No such file or directory")
        for command in ("backup", "repair"):
            self.bad(command, self.file, self.file, words="is there already")

    def test_a_file_that_appears_meanwhile_is_not_overwritten(self) -> None:
        self.write(*alice(3))
        real = database.backup

        def backup(*arguments: Any) -> None:
            real(*arguments)
            self.to.write_bytes(b"mine")

        with patch.object(database, "backup", backup):
            self.bad("backup", self.file, self.to, words="is there already")
        self.assertEqual(self.to.read_bytes(), b"mine")

    def spoiled(self, statement: str) -> Result:
        """Return the result of a backup which does this in place of a copy."""
        self.write(*alice(3))
        before = self.there()
        script = (
            "import os, signal, sys, errno\nfrom groupchat.admin import cli as admin, copies\n"
            f"\nreal = copies.database.backup\n{statement}"
        )
        result = run("backup", self.file, self.to, command=[sys.executable, "-c", script + "\nadmin.main()"])
        self.assertEqual(self.there(), before)
        return result

    def test_a_backup_ended_by_a_signal_leaves_nothing(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            kill = f"lambda c, to, p: (real(c, to, p), os.kill(os.getpid(), {int(number)}), p(0, 0, 0))"
            result = self.spoiled(f"copies.database.backup = {kill}")
            self.assertEqual((result.returncode, result.stderr), (128 + number, ""))
            self.file.unlink()

    def test_a_damaged_copy_is_not_kept(self) -> None:
        spoil = "lambda c, to, p: (real(c, to, p), os.truncate(to, os.stat(to).st_size - 8192))"
        result = self.spoiled(f"copies.database.backup = {spoil}")
        self.assertEqual((result.returncode, len(result.stderr.splitlines())), (1, 1), result)

    def test_progress_is_shown_on_a_terminal_only(self) -> None:
        self.write(*alice(3000))
        script = "from groupchat.admin import cli as admin, copies; copies.LARGE = 1; real = copies.database.backup\n"
        few = "lambda c, to, p: (real(c, to, p), p(0, 30, 40), p(0, 0, 40))"
        command = [sys.executable, "-c", f"{script}copies.database.backup = {few}; admin.main()"]
        self.assertEqual(run("backup", self.file, self.to, command=command).stderr, "")
        ours, theirs = pty.openpty()
        subprocess.run([*command, "backup", self.file, f"{self.to}2"], stderr=theirs, check=True, timeout=60)
        self.assertIn(b"\r 25 %\r\r     \r", os.read(ours, 1000))
        os.close(ours)
        os.close(theirs)


class FoldTests(Files):
    events: list[list[Event]] = [
        [Joined(7, "Alice", "alice", START, "::1", 4000), Joined(8, "ALICE", "alice", START, "::1", 4001)],
        [Said(7, "Alice", "one", START + 60), Said(9, "Nobody", "two", START + 60)],
        [Joined(2**63 - 1, "Bob", "bob", START + 120, "::1", None), Seen(START + 120, ((7, 2, 1, 28_333_335, 2),))],
        [Renamed(7, "Alice", "Bob", "bob", START + 180), Renamed(7, "Alice", "Al", "al", START + 180.25)],
        [Said(7, "Alice", "late", START + 180), Left(7, "Al", START + 240)],
        [Said(2**63 - 1, "Bob", "\x1b[2J\t\x9b\u2028\u202e\n", START + 300)],
    ]

    def test_refused_events_are_not_lines_with_any_snapshot(self) -> None:
        for snapshot_after in range(7):
            self.write(*self.events, snapshot_after=snapshot_after)
            objects = self.objects("history")
            self.assertEqual([found["number"] for found in objects], [1, 2, 3, 4, 5, 6], snapshot_after)
            self.assertEqual(
                [found["kind"] for found in objects], ["joined", "said", "joined", "renamed", "left", "said"]
            )
            self.assertEqual(
                objects[3],
                {
                    "number": 4,
                    "at": "2023-11-14T22:16:20.250Z",
                    "kind": "renamed",
                    "member": "7",
                    "name": "Alice",
                    "host": "::1",
                    "port": 4000,
                    "new": "Al",
                    "line": "Alice changed his name to Al",
                },
            )
            self.assertEqual((objects[5]["member"], objects[5]["text"]), (str(2**63 - 1), self.events[5][0].text))  # type: ignore[union-attr]
            self.assertEqual(self.facts()["lines"][:2], "6 ")
            self.file.unlink()

    def test_members_are_listed_with_address_and_contact(self) -> None:
        self.write(*self.events[:4], snapshot_after=2)
        one, two = self.objects("members")
        self.assertEqual(
            one,
            {
                "member": "7",
                "name": "Al",
                "host": "::1",
                "port": 4000,
                "since": "2023-11-14T22:13:20.000Z",
                "last_contact": "2023-11-14T22:16:00.000Z",
                "behind": 1,
            },
        )
        self.assertEqual((two["host"], two["port"], two["last_contact"]), ("::1", None, "2023-11-14T22:15:00.000Z"))
        self.use_time_zone("XXX-1")
        self.assertEqual(
            self.good("members", self.file),
            [
                "ADDRESS     SINCE                LAST CONTACT      BEHIND  NAME",
                "[::1]:4000  2023-11-14 23:13:20  2023-11-14 23:16  1       Al",
                "[::1]       2023-11-14 23:15:20  2023-11-14 23:15  1       Bob",
            ],
        )

    def test_join_time_of_a_version_1_member_is_unknown(self) -> None:
        self.write(*alice(5), snapshot_after=3)
        state = '{"first":1,"head":3,"members":[[7,"Alice","alice",["127.0.0.1",4000],1,2,2,60.0]],"refused":[]}'
        self.forge(f"UPDATE snapshot SET version = 1, state = CAST('{state}' AS BLOB)")
        (member,) = self.objects("members")
        self.assertEqual((member["name"], member["port"], member["since"], member["behind"]), ("Alice", 4000, None, 0))
        self.assertRegex(self.good("members", self.file)[1], r"\A127\.0\.0\.1:4000  unknown  +2023-11-14 .* 0 +Alice\Z")
        self.assertEqual(self.facts()["lines"], "5 (1 joined, 4 said), numbers 1 to 5")

    def test_whispers_are_shown_with_their_receiver(self) -> None:
        entries: list[list[Event]] = [
            *alice(2),
            [Joined(8, "Bob", "bob", START + 90, "10.0.0.9", None, "0f" * 32)],
            [
                Whispered(7, "Alice", 8, "Bob", "psst: \u009b", START + 120, 5),
                Whispered(7, "Alice", 9, "Eve", "no", START),
            ],
            [Whispered(8, "Bob", 7, "Alice", "yes?", START + 180.5)],
        ]
        for snapshot_after in range(6):
            self.write(*entries, snapshot_after=snapshot_after)
            lines = [line[21:] for line in self.good("history", self.file)]
            self.assertEqual(lines[3:], ["Alice (private): psst: \\u009b", "Bob (private): yes?"], snapshot_after)
            *others, one, two = self.objects("history")
            self.assertEqual([("to" in found, found["kind"]) for found in others], [(False, k) for k in self.kinds])
            self.assertEqual((one["number"], one["kind"], one["text"], one["to"]), (4, "private", "psst: \x9b", "Bob"))
            self.assertEqual(
                two,
                {
                    "number": 5,
                    "at": "2023-11-14T22:16:20.500Z",
                    "kind": "private",
                    "member": "8",
                    "name": "Bob",
                    "host": "10.0.0.9",
                    "port": None,
                    "text": "yes?",
                    "to": "Alice",
                    "line": "Bob (private): yes?",
                },
            )
            self.assertEqual(self.facts()["lines"], "5 (2 joined, 2 private, 1 said), numbers 1 to 5")
            self.assertEqual([member["behind"] for member in self.objects("members")], [2, 1])
            self.file.unlink()

    kinds = ("joined", "said", "joined")

    def test_addresses_are_shown_wherever_a_snapshot_is(self) -> None:
        entries: list[list[Event]] = [
            *alice(2),
            [Joined(8, "Bob", "bob", START + 90, "2001:db8::9", None, "0f" * 32)],
            [Left(7, "Alice", START + 100)],
            [Joined(9, "Alice", "alice", START + 110, "10.0.0.2", 5), Said(9, "Alice", "has joined (1.2.3.4)", START)],
        ]
        for snapshot_after in range(6):
            self.write(*entries, snapshot_after=snapshot_after)
            lines = [line[21:] for line in self.good("history", self.file)]
            self.assertEqual(lines[0], "Alice has joined (127.0.0.1:4000)")
            self.assertEqual(lines[2], "Bob has joined ([2001:db8::9])")
            self.assertEqual(lines[4:], ["Alice has joined (10.0.0.2:5)", "Alice: has joined (1.2.3.4)"])
            places = [(found["host"], found["port"]) for found in self.objects("history")]
            first, last = ("127.0.0.1", 4000), ("10.0.0.2", 5)
            self.assertEqual(places, [first, first, ("2001:db8::9", None), first, last, last])
            self.file.unlink()

    def test_files_and_guests_are_shown(self) -> None:
        entries: list[list[Event]] = [
            *alice(1),
            [Shared(7, "Alice", "", "a b.jpg", 2_100_000, START), GuestSaid("alice", "alice", "I am not", START)],
            [Shared(0, "Door", "door", "x", 5, START), GuestSaid("Door", "door", "ding", START + 0.5)],
        ]
        for snapshot_after in range(4):
            self.write(*entries, snapshot_after=snapshot_after)
            lines = [line[21:] for line in self.good("history", self.file)]
            self.assertEqual(lines[1:], ["Alice shared a b.jpg (2.1 MB)", "Door shared x (5 B)", "Door: ding"])
            _, one, two, three = self.objects("history")
            found = {"number": 2, "at": "2023-11-14T22:13:20.000Z", "kind": "shared", "member": "7", "name": "Alice"}
            found |= {"host": "127.0.0.1", "port": 4000}
            self.assertEqual(one, {**found, "file": "a b.jpg", "size": 2_100_000, "line": lines[1]})
            self.assertEqual((two["member"], two["file"], two["size"]), (None, "x", 5))
            found = {"number": 4, "at": "2023-11-14T22:13:20.500Z", "kind": "said", "name": "Door", "text": "ding"}
            self.assertEqual(three, {**found, "member": None, "host": None, "port": None, "line": "Door: ding"})
            self.assertEqual(self.facts()["lines"], "4 (1 joined, 1 said, 2 shared), numbers 1 to 4")
            self.assertEqual([member["behind"] for member in self.objects("members")], [2])
            self.file.unlink()

    def test_control_characters_are_escaped(self) -> None:
        self.write(*self.events)
        for encoding in ("utf-8", "ascii"):
            result = run("history", self.file, PYTHONIOENCODING=encoding)
            self.assertTrue(result.stdout.endswith("  Bob: \\u001b[2J\t\\u009b\\u2028\\u202e\\u000a\n"), result)
            self.assertEqual(len(run("history", self.file, "--json").stdout.splitlines()), 6)
        self.bad("check", "\x1b]0;no\n", words=r"\\u001b\]0;no\\u000a")

    def test_since_takes_times_and_ages(self) -> None:
        self.use_time_zone("XXX-1")
        self.write(*alice(5))
        for since, count in [
            ("2023-11-14", 5),
            ("2023-11-15", 0),
            ("2023-11-14T23:15", 3),
            ("2023-11-14 23:15:20", 3),
            ("2023-11-14T23:15:21", 2),
            ("2023-11-14T22:15:20Z", 3),
            ("999999999d", 5),
            ("60m", 0),
        ]:
            result = run("history", self.file, "--since", since)
            self.assertEqual((result.returncode, len(result.stdout.splitlines())), (0, count), since)
        for text, seconds in [("5m", 300), ("2h", 7_200), ("3d", 259_200)]:
            self.assertLess(abs(moment(text) - time.time() + seconds), 10)

    def test_a_closed_pipe_is_no_error_and_a_full_disk_is(self) -> None:
        self.write(*alice(3_000))
        for options in ("", "--json"):
            script = f'set -o pipefail; "$@" {options} | head -n 1'
            result = run("history", self.file, command=["bash", "-c", script, "bash", *ADMIN])
            self.assertEqual((result.returncode, len(result.stdout.splitlines()), result.stderr), (0, 1, ""))
        with open("/dev/full", "w") as full:
            failed = subprocess.run([*ADMIN, "check", self.file], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual((failed.returncode, failed.stderr.count(b"\n")), (1, 1), failed)


class UnsoundTests(Files):
    def test_other_files_are_refused(self) -> None:
        text, other = self.directory / "text", self.directory / "other"
        text.write_text("Not a database at all.\n" * 100)
        empty = self.directory / "empty"
        empty.write_bytes(b"")
        sqlite3.connect(other).executescript("CREATE TABLE t (a)").connection.close()
        for path, words in [
            (self.directory / "missing", "No such file or directory"),
            (self.directory, "no file"),
            (empty, "empty"),
            (text, "is not a database"),
            (other, "of another program"),
        ]:
            for command in READING:
                self.bad(command, path, words=words)
            self.bad("backup", path, self.directory / "copy", words=words)
        self.assertEqual(set(self.there_but_directories()), {"text", "empty", "other"})

    def there_but_directories(self) -> list[str]:
        return [path.name for path in self.directory.iterdir() if path.is_file()]

    def test_newer_and_impossible_formats_are_refused(self) -> None:
        for version, words in [
            (tables.VERSION + 1, "newer groupchat"),
            (0, "damaged: its format is 0"),
        ]:
            self.write(*alice(3))
            self.execute(f"PRAGMA user_version={version}")
            for command in READING:
                self.bad(command, self.file, words=words)
            self.file.unlink()
        self.write(*alice(3), snapshot_after=2)
        self.forge("UPDATE snapshot SET version = 99")
        self.bad("check", self.file, words="not sound: .*newer groupchat")

    def test_damage_is_found(self) -> None:
        self.write(*alice(400))
        whole = self.file.read_bytes()
        for page in (0, 1, 4, len(whole) // 4096 - 1):
            at = page * 4096 + (100 if not page else 0)
            self.file.write_bytes(whole[:at] + b"\xff" * 512 + whole[at + 512 :])
            self.bad("check", self.file, words="damaged|not a database")
            for command in ("history", "members"):
                self.assertLessEqual(len(run(command, self.file).stderr.splitlines()), 1, (command, page))
            self.assertEqual(run("backup", self.file, self.directory / "copy").returncode, 1)
            self.assertEqual(self.there_but_directories(), ["group.sqlite"])
        self.file.write_bytes(whole[:-8192])
        self.bad("check", self.file, words="damaged")

    def test_a_log_that_cannot_be_applied_is_not_sound(self) -> None:
        for statement, words in [
            ("UPDATE event SET kind = 'sung' WHERE position = 4", "entry 4 is damaged"),
            ("UPDATE event SET places = x'01', kind = 'seen' WHERE position = 4", "entry 4 is damaged"),
            ("DELETE FROM entry WHERE position = 4", "the entries 1 to 9"),
            ("DELETE FROM entry WHERE position = 9", "the table of entries is damaged"),
            ("UPDATE beginning SET position = 5", "the entries 5 to 9"),
            ("UPDATE snapshot SET position = 10", "after 0 to 10"),
            ("UPDATE snapshot SET state = x'6e6f'", "snapshot cannot be applied"),
            (self.state('"refused":[]', '"refused":[[2,7]]'), "last line is number 9, by its entries 10"),
            (self.state(",1,0,2,", ",1,9,2,"), "The cursor of Alice cannot be right"),
        ]:
            self.write(*alice(9), snapshot_after=3)
            self.forge(statement)
            self.bad("check", self.file, words=words)
            result = run("history", self.file)
            self.assertLessEqual(len(result.stderr.splitlines()), 1, result)
            self.file.unlink()

    def state(self, old: str, new: str) -> str:
        """Return the statement that replaces something in the snapshot."""
        return f"UPDATE snapshot SET state = CAST(replace(CAST(state AS TEXT), '{old}', '{new}') AS BLOB)"

    def test_an_impossible_time_is_an_error(self) -> None:
        self.write(*alice(3))
        self.forge("UPDATE event SET at = 9e999 WHERE position = 2")
        self.bad("history", self.file, words="out of range")

    def test_an_empty_log_without_a_snapshot_is_not_sound(self) -> None:
        self.write(*alice(3))
        self.forge("DELETE FROM entry", "DELETE FROM event", "UPDATE beginning SET position = 4")
        self.bad("check", self.file, words="needs those after 0")

    def test_a_file_that_changes_during_each_read_is_given_up(self) -> None:
        self.write(*alice(3))

        def touch(_: sqlite3.Connection) -> None:
            os.utime(self.file, ns=(0, time.time_ns()))

        self.assertRaises(CannotOpen, Reader(self.file).read, touch)


class ArgumentTests(TestCase):
    def test_wrong_arguments_give_one_line_and_status_2(self) -> None:
        for arguments in [
            [],
            ["mend", "x"],
            ["check", "x", "y"],
            ["history", "x", "--since", "yesterday"],
            ["history", "x", "--since", "5s"],
            ["history", "x", "--since", "0001-01-01\n"],
            ["history", "x", "--js"],
            ["members", "x", "--since", "5m"],
            ["backup"],
            ["repair"],
            ["backup", "x", "--keep", "0"],
            ["erase", "5-4"],
            ["erase", "9" * 5000],
            ["ban", "Bob", "--for", "0d"],
            ["set", "post"],
            ["--db", "x", "--control", "y", "who"],
        ]:
            result = run(*arguments)
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertRegex(result.stderr, r"\Agroupchat-admin[^\n]+; usage: groupchat-admin [^\n]+ --help\)\n\Z")

    def test_version_and_help(self) -> None:
        self.assertEqual(run("--version").stdout, f"groupchat {__version__}\n")
        for arguments, words in [
            ([], ["check", "history", "members", "backup", "repair", "--version", "exit status"]),
            (["check"], ["FILE", "sound"]),
            (["history"], ["--since WHEN", "--json", "ISO 8601"]),
            (["members"], ["--json", "unknown"]),
            (["backup"], ["TO", "groupchat-admin restore --help"]),
            (["restore"], ["BACKUP", "Stop the daemon", "FILE is groupchat.sqlite", "next million"]),
            (["repair"], ["TO", "Stop the daemon", "print what is lost", "groupchat-admin restore TO FILE"]),
        ]:
            shown = run(*arguments, "--help").stdout
            for word in words:
                self.assertIn(word, shown)
            self.assertLessEqual(max(map(len, shown.splitlines())), 120)

    def test_it_is_installed_and_starts_without_a_reactor(self) -> None:
        setup = Path(__file__).parent.parent.joinpath("setup.cfg").read_text()
        self.assertIn("\n    groupchat-admin = groupchat.admin:main\n", setup)
        script = "import sys, groupchat.admin; print('twisted.internet.reactor' in sys.modules)"
        self.assertEqual(run(command=[sys.executable, "-c", script]).stdout, "False\n")
