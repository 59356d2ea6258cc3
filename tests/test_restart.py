"""Restarts after a stop, a kill and a full disk, and files that cannot be used."""

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
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

import groupchat.log.sqlite as sqlite_module
import groupchat.service.group_service as service_module
from groupchat.core.errors import CannotOpen, Unavailable
from groupchat.core.events import Said
from groupchat.core.history import History
from groupchat.core.limits import Settings
from groupchat.frontends.udp import FiveMessages, UDPService
from groupchat.log.database import Database
from groupchat.log.sqlite import SqliteLog
from groupchat.service.group_service import GroupService
from tests.daemon import TWISTD, Daemon, UDPMember
from tests.durable import DurableNode

ILLEGAL = "Illegal message"
reactor: Any = installed


class Directory(SynchronousTestCase):
    """A test case with a directory of its own."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-restart-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "group.sqlite"
        self.copies = 0

    def node(self, path: Path | None = None, **settings: Any) -> DurableNode:
        return DurableNode(path or self.path, **settings)

    def after_a_kill(self, node: DurableNode, **settings: Any) -> DurableNode:
        """Return the node that a new process would start if this one were killed now. This node goes on."""
        self.copies += 1
        return self.node(node.cut_off(self.directory / str(self.copies)), clock=node.clock, **settings)


class RestartTests(Directory):
    def test_names_and_cursors_survive_a_kill(self) -> None:
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

    def test_no_line_is_given_again_after_a_stop(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        node.ask(2, "2 hi")
        node.ask(1, "5")
        node.ask(2, "2 ho")
        node.stop()
        again = self.node(clock=node.clock)
        self.assertEqual(again.ask(1, "5"), "Bob: ho")

    def test_only_lines_of_the_last_second_come_again_after_a_kill(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        node.ask(2, "2 one")
        node.ask(1, "5")
        node.clock.advance(1)
        node.settle()
        node.ask(2, "2 two")
        node.ask(1, "5")
        self.assertEqual(self.after_a_kill(node).ask(1, "5"), "Bob: two")

    def test_downtime_does_not_count_as_silence(self) -> None:
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

    def test_old_entries_are_deleted_from_the_file_once_a_day(self) -> None:
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
        """Wait until a snapshot that was begun is saved, and the log is trimmed."""
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

    def test_only_the_owner_can_read_the_file(self) -> None:
        self.node().join(["Alice"])
        files = list(self.directory.glob("group.sqlite*"))
        self.assertGreater(len(files), 1)
        for path in files:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)


class RefusedTests(Directory):
    def test_refused_events_stay_refused_after_seens_are_deleted(self) -> None:
        self.patch(service_module, "SNAPSHOT_EVENTS", 10)
        node = self.node()
        node.join(["Alice", "Bob"])
        for number in range(12):
            node.ask(2, f"2 {number}")
            node.ask(1, "5")
            # All in one turn, and so in one entry: cursors, a join, another join that is refused, and a text.
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
    """Random commands, with snapshots at random times: a node that starts again has the same state."""

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
                node.send(7 - who, f"1 {dice.choice(self.NAMES)}")  # perhaps the same name in the same turn
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

    def test_a_node_that_starts_again_has_the_same_state(self) -> None:
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
                node.clock.advance(1)  # the cursors are recorded
                node.settle()
                again = self.after_a_kill(node, keep=keep, release=0)
                self.assertEqual(self.state(again), self.state(node), f"seed {seed}")
                node.stop()  # so that its files are closed: there are hundreds
                node = again
            node.stop()

    def test_the_file_does_not_grow_for_ever(self) -> None:
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
    def test_nothing_is_sent_before_it_is_on_the_disk(self) -> Any:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-durable-"))
        self.addCleanup(shutil.rmtree, directory)
        held = Flag()
        append = Database.append
        self.patch(Database, "append", lambda it, batch: (held.wait(20), append(it, batch))[1])
        service = GroupService(Settings(), SqliteLog(directory / "group.sqlite", reactor), reactor, self.fail)
        udp = UDPService(reactor, service, 0, ["127.0.0.1"], lambda: FiveMessages(service, 65_507))
        yield service.startService()
        udp.startService()
        alice, bob = (UDPMember(udp.ports[0].getHost().port, seconds=0.0) for _ in range(2))
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
        for _ in range(3_000):
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

    def test_texts_are_unanswered_while_the_disk_is_full(self) -> None:
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

    def test_a_probe_finds_that_there_is_room_again(self) -> None:
        node = self.node()
        node.join(["Alice"])
        self.limit(node, 1)
        for size in (4_000, 400, 0):  # so that not even a short entry fits
            while node.ask(1, f"2 x{'x' * size}") is not None:
                pass
        self.assertFalse(self.is_well(node))
        self.limit(node, 1_000_000)
        self.assertFalse(self.is_well(node))
        node.clock.advance(5)
        self.assertTrue(self.is_well(node))
        self.assertIsNotNone(self.after_a_kill(node).ask(1, "5"))

    def is_well(self, node: DurableNode) -> bool:
        node.thread_reactor.wait(node.service.probe())
        return node.service.is_well()


class FileTests(Directory):
    """Files that cannot be used: the reason is one line, and the file is not changed."""

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

    def test_a_file_that_is_no_database_is_refused(self) -> None:
        self.path.write_text("Dear diary, " * 1000)
        self.assertIn("file is not a database", self.refused(self.path))

    def test_a_database_of_another_program_is_refused(self) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
        self.assertIn("another program", self.refused(self.path))

    def test_a_newer_format_is_refused(self) -> None:
        Database(self.path).close()
        with sqlite3.connect(self.path) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
        self.assertIn("newer groupchat", self.refused(self.path))

    def test_a_damaged_file_is_refused(self) -> None:
        log = Database(self.path)
        for number in range(200):
            log.append([(str(number), [Said(1, "Alice", "x" * 400, 0.0)])])
        log.close()
        content = bytearray(self.path.read_bytes())
        content[8192:40_000] = bytes(40_000 - 8192)
        self.path.write_bytes(content)
        self.refused(self.path)

    def test_a_missing_directory_is_refused(self) -> None:
        self.assertIn("is not a directory", self.refused(self.directory / "nowhere" / "group.sqlite"))

    def test_a_directory_is_refused(self) -> None:
        self.path.mkdir()
        self.refused(self.path)

    def test_a_file_in_use_by_another_daemon_is_refused(self) -> None:
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

    def test_opening_syncs_the_files_behind_a_symbolic_link(self) -> None:
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

    def test_a_read_only_file_is_refused(self) -> None:
        Database(self.path).close()
        self.path.chmod(0o400)
        try:
            Database(self.path).close()
        except CannotOpen as why:
            self.assertIn("cannot be opened for writing", str(why))
        else:
            self.skipTest("this user may write to read-only files")


class ProcessTests(TestCase):
    def test_members_go_on_from_the_same_sockets_after_a_kill(self) -> None:
        daemon = Daemon()
        self.addCleanup(daemon.directory.cleanup)
        alice, bob = UDPMember(daemon.port, seconds=20.0), UDPMember(daemon.port, seconds=20.0)
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

    def test_a_log_in_memory_creates_no_file(self) -> None:
        daemon = Daemon("--db", ":memory:")
        member = UDPMember(daemon.port, seconds=20.0)
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
    def test_a_stop_during_the_start_changes_nothing(self) -> None:
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
            log = SqliteLog(copy, node.thread_reactor)  # type: ignore[arg-type]  # the part of a reactor that it needs
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
