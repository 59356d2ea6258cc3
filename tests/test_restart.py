"""What survives: a stop, a kill, a full disk, and whatever else may be the matter with a file."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Event as Flag
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

import groupchat.log.sqlite as sqlite_module
import groupchat.service.group_service as service_module
from groupchat.core.errors import CannotOpen, Unavailable
from groupchat.core.events import Said
from groupchat.core.history import History
from groupchat.core.limits import Settings
from groupchat.frontends.udp import FiveMessages, UDPService
from groupchat.log.database import VERSION, Database
from groupchat.log.sqlite import SqliteLog
from groupchat.service.group_service import GroupService
from tests.daemon import TWISTD, Daemon, UDPMember
from tests.durable import DurableNode

ILLEGAL = "Illegal message"
reactor: Any = installed


class Directory(SynchronousTestCase):
    """A test with a directory of its own."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-restart-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "group.sqlite"
        self.copies = 0

    def node(self, path: Path | None = None, **settings: Any) -> DurableNode:
        return DurableNode(path or self.path, **settings)

    def after_a_kill(self, node: DurableNode, **settings: Any) -> DurableNode:
        """What a new process finds if the one of this node ends now. The node itself goes on."""
        self.copies += 1
        return self.node(node.cut_off(self.directory / str(self.copies)), clock=node.clock, **settings)


class RestartTests(Directory):
    def test_after_a_kill_everybody_is_who_and_where_they_were(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        node.clock.advance(1)
        node.ask(2, "3 Robert")
        node.ask(2, "2 hi")
        node.ask(2, "2 ho")
        again = self.after_a_kill(node)
        self.assertEqual(again.ask(1, "5"), "Bob changed his name to Robert\nRobert: hi\nRobert: ho")
        self.assertEqual(again.ask(2, "2 still me"), "")
        self.assertEqual(again.ask(1, "5"), "Robert: still me")
        self.assertEqual(again.ask(3, "1 Eve"), "Robert, Alice")
        self.assertEqual(again.ask(4, "1 robert"), ILLEGAL)

    def test_after_a_stop_nothing_is_given_again(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        node.ask(2, "2 hi")
        node.ask(1, "5")
        node.ask(2, "2 ho")
        node.stop()
        again = self.node(clock=node.clock)
        self.assertEqual(again.ask(1, "5"), "Bob: ho")

    def test_after_a_kill_what_was_given_before_the_last_second_is_not_given_again(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        node.ask(2, "2 one")
        node.ask(1, "5")
        node.clock.advance(1)
        node.settle()
        node.ask(2, "2 two")
        node.ask(1, "5")
        self.assertEqual(self.after_a_kill(node).ask(1, "5"), "Bob: two")

    def test_nobody_was_silent_while_nobody_could_be_heard(self) -> None:
        node = self.node(idle=1)
        node.join(["Alice", "Bob"])
        node.stop()
        node.clock.advance(1000 * 86_400)
        again = self.node(clock=node.clock, idle=1)
        self.assertEqual(again.ask(7, "1 Alice"), ILLEGAL)
        again.pass_time(3500)
        self.assertEqual(again.ask(1, "5"), "")
        again.pass_time(300)
        again.settle()
        self.assertEqual(again.ask(1, "5"), "Bob has left the group")

    def test_once_a_day_what_is_too_old_leaves_the_file(self) -> None:
        node = self.node(keep_days=1)
        node.join(["Alice", "Bob"])
        node.ask(2, "2 old")
        node.pass_time(1.5 * 86_400)
        node.ask(2, "2 new")
        self.save(node)
        node.pass_time(0.6 * 86_400)
        self.save(node)
        with sqlite3.connect(node.cut_off(self.directory / "old")) as connection:
            texts = [text for (text,) in connection.execute("SELECT text FROM event WHERE kind = 'said'")]
        connection.close()
        self.assertEqual(texts, ["new"])
        self.assertEqual(node.ask(1, "5"), "* 1 line is no longer kept\nBob: new")

    def save(self, node: DurableNode) -> None:
        """Let a snapshot that was begun be saved, and what it lets go of be forgotten."""
        for _ in range(4):
            node.settle()

    def test_a_clock_that_was_set_back_loses_nothing(self) -> None:
        node = self.node()
        node.clock.advance(1_000_000)
        node.join(["Alice", "Bob"])
        node.ask(2, "2 before")
        node.clock.rightNow -= 500_000
        node.ask(2, "2 after")
        self.assertEqual(node.ask(1, "5"), "Bob: before\nBob: after")
        node.ask(2, "2 waiting")
        again = self.after_a_kill(node)
        again.pass_time(300)
        self.assertTrue(str(again.ask(1, "5")).endswith("Bob: waiting"))

    def test_the_file_is_its_owners_alone(self) -> None:
        self.node().join(["Alice"])
        files = list(self.directory.glob("group.sqlite*"))
        self.assertGreater(len(files), 1)
        for path in files:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)


class RefusedTests(Directory):
    def test_what_was_refused_is_no_line_and_hides_none_though_records_are_forgotten(self) -> None:
        self.patch(service_module, "SNAPSHOT_EVENTS", 10)
        node = self.node()
        node.join(["Alice", "Bob"])
        for number in range(12):
            node.ask(2, f"2 {number}")
            node.ask(1, "5")
            # In one turn, and so in one entry: a record of cursors, a join, one that it refuses, and a text.
            node.clock.callLater(1, node.send, 5, "1 Eve")
            node.clock.callLater(1, node.send, 6, "1 EVE")
            node.clock.callLater(1, node.send, 2, "2 in the same turn")
            node.clock.advance(1)
            for _ in range(4):
                node.settle()
            node.send(5, "4")
            node.send(6, "4")
            node.settle()
        again = self.after_a_kill(node)
        for number in (1, 2):
            self.assertEqual(again.ask(number, "5"), node.ask(number, "5"))
        lines = [
            bytes(history.read(0, history.head, 1 << 30)[0])
            for history in (node.service.group.history, again.service.group.history)
        ]
        self.assertEqual(lines[0], lines[1])
        with sqlite3.connect(node.cut_off(self.directory / "look")) as connection:
            slots = {slot for (slot,) in connection.execute("SELECT DISTINCT slot FROM event WHERE kind = 'said'")}
        connection.close()
        self.assertGreater(max(slots), 2)


class RandomRestartTests(Directory):
    """Whatever was done, and whenever snapshots were saved: what starts again is what was there."""

    NAMES = ("Al", "Bo", "Cy", "Dee", "al", "BO")

    def state(self, node: DurableNode) -> dict[str, object]:
        group = node.service.group
        history = group.history
        lines = history.read(history.first - 1, history.head, 1 << 30)[0]
        return {
            "members": [
                (
                    m.id,
                    m.name,
                    m.key,
                    m.address,
                    bytes(group.waiting(m, m.cursor, m.skipped, 1 << 30)[0]),
                )
                for m in group.members.values()
            ],
            "numbers": (history.first, history.head, history.first_entry()),
            "lines": bytes(lines),
            "indices": (set(group.by_key), set(group.by_address), dict(group.per_host)),
        }

    def do_something(self, node: DurableNode, dice: random.Random) -> None:
        who = dice.randrange(1, 7)
        match dice.randrange(12):
            case 0 | 1:
                node.send(who, f"1 {dice.choice(self.NAMES)}")
                node.send(7 - who, f"1 {dice.choice(self.NAMES)}")  # maybe the same one in the same turn
            case 2:
                node.send(who, f"3 {dice.choice(self.NAMES)}")
            case 3:
                node.send(who, "4")
            case 4 | 5:
                node.send(who, "5")
            case _:
                node.send(who, f"2 {dice.random()}")
        if dice.random() < 0.7:
            node.settle()

    def test_it(self) -> None:
        self.patch(service_module, "SNAPSHOT_EVENTS", 25)
        self.patch(History, "least_surplus", 3)
        for seed in range(12):
            dice = random.Random(seed)
            keep = dice.choice([1, 5, 40, 1000])
            node = self.node(self.directory / f"{seed}.sqlite", keep=keep, release=0)
            for _ in range(8):
                for _ in range(dice.randrange(60)):
                    self.do_something(node, dice)
                node.settle()
                node.clock.advance(1)  # where everybody is by now is recorded
                node.settle()
                again = self.after_a_kill(node, keep=keep, release=0)
                self.assertEqual(self.state(again), self.state(node), f"seed {seed}")
                node = again

    def test_the_file_does_not_grow_with_age(self) -> None:
        self.patch(service_module, "SNAPSHOT_EVENTS", 100)
        self.patch(History, "least_surplus", 10)
        node = self.node(keep=50)
        node.join(["Alice", "Bob"])
        rows = []
        for number in range(1_000):
            node.ask(2, f"2 {number}")
            if number % 50 == 0:
                node.ask(1, "5")
                node.clock.advance(1)
            if number % 250 == 249:
                rows.append(self.rows(node))
        self.assertLess(max(rows), 300)
        again = self.after_a_kill(node, keep=50)
        self.assertEqual(len(str(again.ask(1, "5")).split("\n")), 49)

    def rows(self, node: DurableNode) -> int:
        with sqlite3.connect(node.cut_off(self.directory / f"rows{random.random()}")) as connection:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])


class DurabilityTests(TestCase):
    @inlineCallbacks
    def test_nothing_leaves_before_it_is_on_the_disk(self) -> Any:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-durable-"))
        self.addCleanup(shutil.rmtree, directory)
        held = Flag()
        append = Database.append
        self.patch(Database, "append", lambda it, batch: (held.wait(20), append(it, batch))[1])
        service = GroupService(Settings(), SqliteLog(directory / "group.sqlite", reactor), reactor, self.fail)
        udp = UDPService(reactor, service, 0, ["127.0.0.1"], lambda: FiveMessages(service, 65_507))
        yield service.startService()
        udp.startService()
        alice, bob = (UDPMember(udp._ports[0].getHost().port, seconds=0.0) for _ in range(2))
        held.set()
        for member, request in [(alice, "1 Alice"), (bob, "1 Bob"), (alice, "5")]:
            member.send(request)
            yield self.reply(member)
        held.clear()
        bob.send("2 not stored yet")
        bob.send("5")
        yield self.wait(0.3)
        alice.send("5")
        self.assertEqual((yield self.reply(alice)), "")
        self.assertRaises(BlockingIOError, bob.receive)
        held.set()
        self.assertEqual((yield self.reply(bob)), "")
        alice.send("5")
        self.assertEqual((yield self.reply(alice)), "Bob: not stored yet")
        yield udp.stopService()
        yield service.stopService()
        alice.close()
        bob.close()

    def wait(self, seconds: float) -> Deferred[None]:
        return deferLater(reactor, seconds, lambda: None)

    @inlineCallbacks
    def reply(self, member: UDPMember) -> Any:
        for _ in range(500):
            try:
                return member.receive()
            except BlockingIOError:
                yield self.wait(0.01)
        raise AssertionError("no reply")


class FullDiskTests(Directory):
    def limit(self, node: DurableNode, pages: int) -> None:
        def set_limit(it: Database) -> None:
            it._connection.execute(f"PRAGMA max_page_count={pages}")

        node.thread_reactor.wait(node.file_log._call(set_limit))

    def test_what_cannot_be_stored_is_not_answered_and_it_goes_on_when_there_is_room(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        self.limit(node, 1)
        texts = [f"{number}" + "x" * 4000 for number in range(20)]
        answered = [text for text in texts if node.ask(2, f"2 {text}") == ""]
        self.assertLess(len(answered), 20)
        self.assertIsNone(node.ask(2, "2 " + "y" * 4000))
        self.assertEqual(str(node.ask(1, "5")).count("Bob: "), len(answered))
        self.limit(node, 1_000_000)
        self.assertEqual(node.ask(2, "2 there is room again"), "")
        again = self.after_a_kill(node)
        lines = "\n".join(filter(None, [node.ask(1, "5")]))
        self.assertTrue(lines.endswith("Bob: there is room again"))
        self.assertTrue(str(again.ask(1, "5")).endswith("Bob: there is room again"))
        self.assertEqual(node.fatal, 0)


class FileTests(Directory):
    """Each thing that may be the matter with the file is said in one line, and leaves it as it is."""

    def refused(self, path: Path) -> str:
        before = path.read_bytes() if path.is_file() else None
        result = subprocess.run(
            [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", "--db", str(path)],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((result.returncode, result.stdout, len(result.stderr.splitlines())), (1, "", 1), result.stderr)
        self.assertEqual(path.read_bytes() if path.is_file() else None, before)
        self.assertIn(str(path), result.stderr)
        return result.stderr

    def test_a_file_that_is_no_database(self) -> None:
        self.path.write_text("Dear diary, " * 1000)
        self.assertIn("file is not a database", self.refused(self.path))

    def test_a_database_of_another_program(self) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
        self.assertIn("another program", self.refused(self.path))

    def test_a_newer_format(self) -> None:
        Database(self.path).close()
        with sqlite3.connect(self.path) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
        self.assertIn("newer groupchat", self.refused(self.path))

    def test_a_damaged_file(self) -> None:
        log = Database(self.path)
        for number in range(200):
            log.append([(str(number), [Said(1, "Alice", "x" * 400, 0.0)])])
        log.close()
        content = bytearray(self.path.read_bytes())
        content[8192:40_000] = bytes(40_000 - 8192)
        self.path.write_bytes(content)
        self.refused(self.path)

    def test_a_missing_directory(self) -> None:
        self.assertIn("no directory", self.refused(self.directory / "nowhere" / "group.sqlite"))

    def test_a_directory_in_its_place(self) -> None:
        self.path.mkdir()
        self.refused(self.path)

    def test_a_file_that_another_daemon_has(self) -> None:
        daemon = Daemon()
        self.addCleanup(daemon.stop)
        result = subprocess.run(
            [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0"],
            cwd=daemon.directory.name,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((result.returncode, len(result.stderr.splitlines())), (1, 1))
        self.assertIn("in use by another daemon", result.stderr)

    def test_what_is_found_is_made_durable_where_it_is_also_through_a_link(self) -> None:
        if not Path("/proc/self/fd").exists():
            self.skipTest("needs /proc, to see which files are synced")
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        node = self.node(elsewhere / "group.sqlite")
        node.join(["Alice"])
        found = node.cut_off(self.directory / "found")
        self.path.symlink_to(found)
        synced: list[str] = []
        fsync = os.fsync

        def noted(handle: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{handle}"))
            fsync(handle)

        self.patch(os, "fsync", noted)
        Database(self.path).close()
        self.assertEqual(synced, [str(found), f"{found}-wal", str(found.parent)])

    def test_a_read_only_file(self) -> None:
        Database(self.path).close()
        self.path.chmod(0o400)
        try:
            Database(self.path).close()
        except CannotOpen as why:
            self.assertIn("cannot be opened for writing", str(why))
        else:
            self.skipTest("whoever runs this may write to read-only files")


FIRST_VERSION = """
CREATE TABLE beginning (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL) STRICT;
INSERT INTO beginning VALUES (1, 1);
CREATE TABLE entry (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO entry VALUES (1, 'e-1'), (2, 'e-2'), (3, 'e-3'), (4, 'e-4'), (5, 'e-5'), (6, 'e-6'), (7, 'e-7'), (8, 'e-8'),
    (9, 'e-9'), (10, 'e-10'), (11, 'e-11'), (12, 'e-12'), (13, 'e-13');
CREATE TABLE event (
    position INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    member INTEGER,
    name TEXT,
    text TEXT,
    key TEXT,
    host TEXT,
    port INTEGER,
    places BLOB,
    PRIMARY KEY (position, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO event VALUES
    (1, 0, 'joined', 1700000000.0, 11, 'Alice', NULL, 'alice', '10.0.0.1', 1, NULL),
    (2, 0, 'joined', 1700000000.0, 22, 'Zoë 🦊', NULL, 'zoë 🦊', 'fe80::1%2', 2, NULL),
    (3, 0, 'joined', 1700000000.0, 33, 'Eve', NULL, 'eve', '::1', 3, NULL),
    (4, 0, 'said', 1700000000.0, 22, 'Zoë 🦊', 'one', NULL, NULL, NULL, NULL),
    (5, 0, 'renamed', 1700000000.0, 11, 'Alice', 'Al', 'al', NULL, NULL, NULL),
    (7, 0, 'left', 1700000001.0, 33, 'Eve', NULL, NULL, NULL, NULL, NULL),
    (8, 0, 'joined', 1700000001.0, 44, 'Bob', NULL, 'bob', '10.0.0.1', 4, NULL),
    (8, 1, 'joined', 1700000001.0, 55, 'BOB', NULL, 'bob', '10.0.0.1', 5, NULL),
    (9, 0, 'said', 1700000060.0, 11, 'Al', 'after the snapshot', NULL, NULL, NULL, NULL),
    (10, 0, 'renamed', 1700000060.0, 22, 'Zoë 🦊', 'Zoë', 'zoë', NULL, NULL, NULL),
    (12, 0, 'said', 1700000061.0, 44, 'Bob', 'last', NULL, NULL, NULL, NULL),
    (13, 0, 'said', 1700000061.0, 44, 'Bob', 'mine', NULL, NULL, NULL, NULL);
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL,
    version INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
PRAGMA application_id = 1735552885;
PRAGMA user_version = 1;
"""
"""What a daemon of the first release left: its tables but for their comments, and its rows but for two with a blob."""

FIRST_PLACES = (
    "0B00000000000000080000000000000002000000000000001655B00100000000"
    "2C00000000000000080000000000000000000000000000001655B00100000000"
    "1600000000000000090000000000000002000000000000001655B00100000000"
)
FIRST_STATE = (
    '{"first":1,"head":7,"members":[[11,"Al","al",["10.0.0.1",1],5,0,1,1700000000.0],'
    '[22,"Zoë 🦊","zoë 🦊",["fe80::1%2",2],4,0,1,1700000000.0],'
    '[44,"Bob","bob",["10.0.0.1",4],7,0,0,1700000001.0]],"refused":[[8,1]]}'
)


class UpgradeTests(Directory):
    """A file of the first release: in it are a record of cursors, a snapshot, and what was done after both."""

    def setUp(self) -> None:
        super().setUp()
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(FIRST_VERSION)
        places = bytes.fromhex(FIRST_PLACES)
        connection.execute(
            "INSERT INTO event (position, slot, kind, at, places) VALUES (11, 0, 'seen', 0, ?)", (places,)
        )
        connection.execute("INSERT INTO snapshot VALUES (1, 8, 1, ?)", (FIRST_STATE.encode(),))
        connection.commit()
        connection.close()
        self.copy = self.directory / "group.sqlite.v1"
        self.clock = Clock()
        self.clock.advance(1_700_000_070)

    def version(self, path: Path) -> tuple[int, int]:
        """The format of a file, and how many events are in it."""
        connection = sqlite3.connect(path)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        count = connection.execute("SELECT count(*) FROM event").fetchone()[0]
        connection.close()
        return version, count

    def see(self, node: DurableNode) -> None:
        """Everybody is who and where they were, and all that was said is there."""
        group = node.service.group
        self.assertEqual(
            [(m.id, m.name, m.address, m.cursor, group.behind(m)) for m in group.members.values()],
            [
                (11, "Al", ("10.0.0.1", 1), 8, 3),
                (22, "Zoë", ("fe80::1%2", 2), 9, 2),
                (44, "Bob", ("10.0.0.1", 4), 8, 1),
            ],
        )
        self.assertEqual((group.history.first, group.history.head), (1, 11))
        self.assertEqual(
            bytes(group.history.read(0, 11, 1 << 30)[0]).decode().split("\n"),
            [
                "Alice has joined",
                "Zoë 🦊 has joined",
                "Eve has joined",
                "Zoë 🦊: one",
                "Alice changed his name to Al",
                "Eve has left the group",
                "Bob has joined",
                "Al: after the snapshot",
                "Zoë 🦊 changed his name to Zoë",
                "Bob: last",
                "Bob: mine",
            ],
        )

    def test_it_is_copied_and_upgraded_and_everybody_goes_on(self) -> None:
        node = self.node(clock=self.clock)
        self.see(node)
        self.assertEqual((self.version(self.copy), self.version(self.path)), ((1, 13), (VERSION, 13)))
        self.assertEqual(stat.S_IMODE(self.copy.stat().st_mode), 0o600)
        self.assertEqual(sorted(path.name for path in self.directory.glob("*.v*")), ["group.sqlite.v1"])
        self.assertEqual(node.ask(1, "5"), "Zoë 🦊 changed his name to Zoë\nBob: last\nBob: mine")
        self.assertEqual(node.ask(2, "2 still me", host="fe80::1%2"), "Bob: last\nBob: mine")
        self.assertEqual(node.ask(4, "5"), "Zoë 🦊 changed his name to Zoë\nZoë: still me")
        self.assertEqual(node.ask(9, "1 BOB"), ILLEGAL)
        self.assertEqual(node.ask(9, "1 Eve"), "Bob, Zoë, Al")

    def test_what_starts_on_it_again_finds_the_same_and_makes_no_other_copy(self) -> None:
        node = self.node(clock=self.clock)
        copy = self.copy.stat()
        again = self.after_a_kill(node)
        self.see(again)
        node.stop()
        self.see(self.node(clock=self.clock))
        self.assertEqual(self.copy.stat().st_mtime_ns, copy.st_mtime_ns)

    def test_without_its_snapshot_it_comes_to_the_same(self) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute("DELETE FROM snapshot")
        connection.commit()
        connection.close()
        self.see(self.node(clock=self.clock))

    def test_an_upgrade_that_was_cut_off_is_done_again(self) -> None:
        for left in (self.copy, Path(f"{self.copy}.part")):
            left.write_bytes(b"half a copy")
        self.see(self.node(clock=self.clock))
        self.assertEqual((self.version(self.copy), self.version(self.path)), ((1, 13), (VERSION, 13)))

    def test_a_copy_that_cannot_be_made_is_said_and_nothing_is_changed(self) -> None:
        Path(f"{self.copy}.part").mkdir()
        with self.assertRaisesRegex(CannotOpen, "group.sqlite cannot be used: .*part"):
            Database(self.path)
        self.assertEqual(self.version(self.path), (1, 13))


class ProcessTests(TestCase):
    def test_members_go_on_from_the_same_sockets_after_a_kill(self) -> None:
        daemon = Daemon()
        self.addCleanup(daemon.directory.cleanup)
        alice, bob = UDPMember(daemon.port), UDPMember(daemon.port)
        self.addCleanup(alice.close)
        self.addCleanup(bob.close)
        alice.ask("1 Alice")
        bob.ask("1 Bob")
        bob.ask("2 before")
        daemon.kill()
        again = daemon.again()
        self.addCleanup(again.stop)
        bob.ask("2 after")
        self.assertEqual(alice.ask("5"), "Bob has joined\nBob: before\nBob: after")

    def test_in_memory_nothing_is_left(self) -> None:
        daemon = Daemon("--db", ":memory:")
        member = UDPMember(daemon.port)
        self.addCleanup(member.close)
        member.ask("1 Alice")
        self.assertEqual(list(Path(daemon.directory.name).iterdir()), [])
        daemon.stop()

    def test_a_disk_that_fails_ends_the_process_with_status_1(self) -> None:
        script = (
            "import sqlite3; from groupchat.log.database import Database\n"
            "def append(self, batch): raise sqlite3.OperationalError('disk I/O error')\n"
            "Database.append = append\n"
            "from twisted.scripts.twistd import run; run()"
        )
        daemon = Daemon(twistd=[sys.executable, "-c", script])
        self.addCleanup(daemon.stop)
        member = UDPMember(daemon.port, seconds=1.0)
        self.addCleanup(member.close)
        member.send("1 Alice")
        self.assertEqual(daemon.process.wait(30), 1)
        self.assertRaises(OSError, member.receive)
        self.assertIn("disk I/O error", daemon.stop())


class StopWhileStartingTests(Directory):
    def test_a_stop_before_everything_is_folded_leaves_the_file_as_it_is(self) -> None:
        self.patch(service_module, "SNAPSHOT_EVENTS", 40)
        self.patch(sqlite_module, "READ_AT_ONCE", 3)
        node = self.node()
        node.join(["Alice", "Bob"])
        for number in range(200):
            node.ask(2, f"2 {number}")
        node.clock.advance(1)
        node.settle()
        for calls in range(1, 60, 7):
            copy = node.cut_off(self.directory / f"stopped{calls}")
            log = SqliteLog(copy, node.thread_reactor)  # type: ignore[arg-type]  # all it needs of a reactor
            service = GroupService(Settings(), log, node.clock, self.fail)
            started = service.startService()
            for _ in range(calls):
                node.thread_reactor.call()
            stopped = service.stopService()
            while not stopped.called or not started.called:
                node.thread_reactor.call()
            started.addErrback(lambda failure: failure.trap(Unavailable))
            again = self.node(copy, clock=node.clock)
            self.assertEqual(again.service.group.history.head, 202)
            self.assertEqual(again.service.group.by_key["bob"].own, 200)
            self.assertEqual(len(str(again.ask(1, "5")).split("\n")), 200)
