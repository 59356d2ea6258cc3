"""Damage to the file is never served: a flipped bit ends the start, or changes nothing. Repair saves what is sound."""

from __future__ import annotations

import gc
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from groupchat.core.commands import Rename, Say, SayAsGuest, Share, Whisper
from groupchat.core.errors import CannotOpen
from groupchat.log.database import Database
from groupchat.log.tables import check, position_checksum
from tests.connections import KEY, Connection
from tests.durable import DurableNode
from tests.slow import slow
from tests.test_admin import run
from tests.test_restart import Directory

FLIPS = 300
MEMORY = Path("/dev/shm")


class State(NamedTuple):
    """The state that a node would serve."""

    members: list[tuple[object, ...]]
    waiting: list[bytes]
    """The lines that wait for each member."""
    readers: list[int]
    """The reader of each line, 0 for all."""
    numbers: tuple[int, int]
    lines: list[bytes]


class DamageTestCase(Directory):
    """A file with every kind of event, members who are behind, and a snapshot with entries after it."""

    def setUp(self) -> None:
        if MEMORY.is_dir():
            self.patch(tempfile, "tempdir", str(MEMORY))
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        node = self.node(clock=self.clock)
        node.join(["Alice", "Zoë 🦊", "Eve"])
        robot, guest = Connection(node.service), Connection(node.service)
        robot.join("Robot", KEY)
        node.settle()
        for number in range(60):
            if number == 40:
                node.service._saver.save()
            node.ask(2, f"2 text number {number} " + "x" * number)
            robot.ask(Say("one", 4 * number + 1), Whisper("Alice: psst", 4 * number + 2))
            guest.ask(SayAsGuest("Door", "ding: dong"), Share("Ein Lied, ¡olé!.flac", 2_100_000, guest="Gast"))
            node.settle()
            node.send(5, "1 Bob")
            node.send(6, "1 BOB")
            node.ask(1, "5")
            self.clock.advance(1)
            node.settle()
            node.ask(5, "4")
            node.ask(6, "4")
        robot.ask(Rename("Robert", 1_000))
        node.settle()
        node.ask(3, "2 last")
        self.file = node.cut_off(self.directory / "cut")
        self.killed = {path.name: path.read_bytes() for path in self.file.parent.iterdir()}
        sqlite3.connect(self.file).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
        self.whole = self.file.read_bytes()
        again = self.start()
        assert again is not None
        self.state = self.look(again)
        again.stop()

    def look(self, node: DurableNode) -> State:
        group = node.service.group
        history, members = group.history, group.members.values()
        return State(
            [(m.id, m.name, m.key, m.address, m.secret, m.ids and (m.ids.last, m.ids.mask)) for m in members],
            [bytes(group.waiting(m, m.cursor, m.skipped, 1 << 30)[0]) for m in members],
            [history.reader(number) for number in range(history.first, history.head + 1)],
            (history.first, history.head),
            bytes(history.read(history.first - 1, history.head, 1 << 30)[0]).split(b"\n"),
        )

    def start(self) -> DurableNode | None:
        """Start a node on the file. Return None if it refuses, as it should: with one line."""
        node = DurableNode(self.file, Clock())
        refused: list[object] = []

        def note(failure: Failure) -> None:
            refused.append(failure.value)

        node.started.addErrback(note)
        if not refused:
            return node
        self.assertIsInstance(refused[0], CannotOpen)
        self.assertRegex(str(refused[0]), r"\A[^\n]*cut/group\.sqlite[^\n]*\Z")
        node.stop()
        del node
        refused.clear()
        gc.collect()  # or its connection would be closed, and the file be written, at any later time
        return None

    def flips(self, seed: int, count: int) -> Iterator[tuple[int, int]]:
        """Flip one bit of the file after another, each in a whole file. Yield which."""
        dice = Random(seed)
        for _ in range(count):
            at, bit = dice.randrange(len(self.whole)), dice.randrange(8)
            content = bytearray(self.whole)
            content[at] ^= 1 << bit
            for path in self.file.parent.iterdir():
                path.unlink()
            self.file.write_bytes(content)
            yield at, bit


class FlipTests(DamageTestCase):
    def see(self, seed: int, count: int) -> None:
        """See that no flipped bit changes what is served. See that some do end the start."""
        refused = 0
        for flip in self.flips(seed, count):
            node = self.start()
            if node is None:
                refused += 1
                continue
            self.assertEqual(self.look(node), self.state, f"byte and bit {flip}")
            node.stop()
        self.assertGreater(refused, count // 3)

    def test_no_flipped_bit_is_served(self) -> None:
        self.see(1, FLIPS)

    def test_a_flipped_bit_in_the_wal_is_noticed_or_costs_the_last_commit(self) -> None:
        """SQLite takes the first frame that is not right for the end, as after a power cut, and drops the others."""
        name, dice = f"{self.file.name}-wal", Random(4)
        whole = self.killed[name]
        frame = 24 + 4096
        heads = [whole[at : at + 24] for at in range(32, len(whole) - frame + 1, frame)]
        commits = [number for number, head in enumerate(heads) if head[4:8] != bytes(4) and head[8:16] == whole[16:24]]
        last = 32 + (commits[-2] + 1) * frame  # where the last commit begins
        flips = [dice.randrange(len(whole)) for _ in range(FLIPS // 3)] + [last + dice.randrange(50) for _ in range(5)]
        noticed = dropped = 0
        for at in flips:
            for path in self.file.parent.iterdir():
                path.unlink()
            content = bytearray(whole)
            content[at] ^= 1 << dice.randrange(8)
            for other, data in {**self.killed, name: bytes(content)}.items():
                self.file.with_name(other).write_bytes(data)
            node = self.start()
            if node is None:
                noticed += 1
                self.assertEqual(self.file.with_name(name).read_bytes(), content)
                continue
            lines = self.look(node).lines
            self.assertEqual(lines, self.state.lines[: len(lines)])
            if at < last:
                self.assertEqual(len(lines), len(self.state.lines), at)  # a part that is not used any more
            dropped += at >= last and len(lines) < len(self.state.lines)
            node.stop()
        self.assertGreater(noticed, len(flips) // 10)
        self.assertGreater(dropped, 0)

    def test_a_wal_that_was_cut_off_is_no_damage(self) -> None:
        name, dice = f"{self.file.name}-wal", Random(5)
        for _ in range(20):
            for path in self.file.parent.iterdir():
                path.unlink()
            for other, data in self.killed.items():
                self.file.with_name(other).write_bytes(data)
            os.truncate(self.file.with_name(name), dice.randrange(len(self.killed[name])))
            node = self.start()
            assert node is not None
            lines = [line for line in self.look(node).lines if line]
            self.assertEqual(lines, self.state.lines[: len(lines)])
            node.stop()

    def test_damage_noticed_at_a_write_ends_the_daemon_with_one_line(self) -> None:
        self.file.write_bytes(self.whole)
        node = self.start()
        assert node is not None

        def spoil(database: Database) -> None:
            connection = database.connection
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("PRAGMA shrink_memory").fetchall()
            os.pwrite(database._lock, b"\xff" * (len(self.whole) - 4096), 4096)  # beyond what says whose file it is

        node.thread_reactor.wait(node.file_log._call(spoil))
        events = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        node.send(1, "2 hi")
        while not node.fatal:
            node.clock.advance(0)
            node.thread_reactor.call()
        self.assertEqual(node.replies(), [])
        (event,) = events
        self.assertRegex(eventAsText(event), r"\A[^\n]*group\.sqlite is damaged: [^\n]*groupchat-admin repair [^\n]*\Z")
        self.assertNotIn("log_failure", event)

    @slow
    def test_no_flipped_bit_of_thousands_is_served(self) -> None:
        self.see(2, 5_000)


class RepairTests(DamageTestCase):
    """`groupchat-admin repair`: a daemon starts on what it writes, and only what was damaged is lost."""

    def setUp(self) -> None:
        super().setUp()
        self.to = self.directory / "new.sqlite"

    def repair(self) -> list[str]:
        """Return what repair prints. See that the damaged file is as it was, and the new one sound."""
        before = self.file.read_bytes()
        result = run("repair", self.file, self.to)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.file.read_bytes(), before)
        checked = run("check", self.to)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        return result.stdout.splitlines()

    def repaired(self) -> State:
        """Return the state of a node on the new file."""
        node = self.node(self.to)
        state = self.look(node)
        node.stop()
        self.to.unlink()
        return state

    def execute(self, statement: str) -> None:
        self.file.write_bytes(self.whole)
        connection = sqlite3.connect(self.file, isolation_level=None)
        connection.execute(statement)
        connection.close()

    def position(self, text: str) -> int:
        connection = sqlite3.connect(self.file)
        found: int = connection.execute("SELECT position FROM event WHERE text LIKE ?", (f"{text}%",)).fetchone()[0]
        connection.close()
        return found

    def test_a_sound_file_loses_nothing(self) -> None:
        self.file.write_bytes(self.whole)
        first, second = self.repair()
        self.assertEqual((first, second[-10:]), ("Nothing is lost.", "4 members."))
        self.assertEqual(self.repaired(), self.state)

    def test_a_damaged_entry_costs_its_own_lines_only(self) -> None:
        for text in (b"text number 20 ", b"text number 50 "):  # before and after the snapshot
            position = self.position(text.decode())
            self.execute(f"UPDATE event SET text = 'forged' WHERE position = {position} AND text LIKE 'text%'")
            self.assertIsNone(self.start())
            self.assertEqual(self.repair()[0], f"Entry {position} is lost: 1 line.")
            found = self.repaired()
            self.assertEqual(found.lines, [line for line in self.state.lines if text not in line])
            self.assertEqual((found.members, found.numbers[1]), (self.state.members, self.state.numbers[1]))
            for now, before in zip(found.waiting, self.state.waiting, strict=True):
                wanted = [line for line in before.split(b"\n") if text not in line]
                self.assertEqual(now.split(b"\n")[-len(wanted) :], wanted)

    def test_a_lost_join_costs_the_member_and_not_its_lines(self) -> None:
        self.execute("DELETE FROM snapshot")
        self.execute_again("UPDATE event SET host = '10.0.0.2' WHERE name LIKE 'Zo%' AND kind = 'joined'")
        self.assertEqual(self.repair()[0], "Entry 2 is lost: 1 line.")
        found = self.repaired()
        self.assertEqual(found.lines, [line for line in self.state.lines if line != "Zoë 🦊 has joined".encode()])
        self.assertEqual([member[1] for member in found.members], ["Alice", "Eve", "Robert"])

    def execute_again(self, statement: str) -> None:
        self.whole = self.file.read_bytes()
        self.execute(statement)

    def test_without_the_snapshot_all_lines_are_saved(self) -> None:
        self.execute("UPDATE snapshot SET state = x'7b7d'")
        self.assertEqual(self.repair()[0], "Nothing is lost.")
        self.assertEqual(self.repaired(), self.state)

    def test_repair_of_any_flipped_bit_gives_a_sound_file(self) -> None:
        for flip in self.flips(3, 60):
            result = run("repair", self.file, self.to)
            if result.returncode:
                self.assertEqual(len(result.stderr.splitlines()), 1, (flip, result.stderr))
                self.assertFalse(self.to.exists())
                continue
            self.assertEqual(run("check", self.to).stderr, "", (flip, result.stdout))
            self.assertLessEqual(set(self.repaired().lines), set(self.state.lines), flip)

    def test_an_id_that_was_damaged_to_another_one_costs_nothing(self) -> None:
        connection = sqlite3.connect(self.file)
        without_lines = "position NOT IN (SELECT position FROM event WHERE kind <> 'seen')"
        ids = connection.execute(f"SELECT id FROM entry WHERE position > 99 ORDER BY {without_lines} DESC").fetchall()
        connection.close()
        damaged, other = ids[0][0].encode(), ids[-1][0].encode()
        for found in re.finditer(damaged, self.whole):  # in the index, in the table, and perhaps in unused space
            self.file.write_bytes(self.whole[: found.start()] + other + self.whole[found.end() :])
            self.repair()
            self.assertEqual(self.repaired().numbers, self.state.numbers)

    def test_lost_records_of_cursors_cost_no_line(self) -> None:
        self.execute("UPDATE event SET places = zeroblob(36) WHERE kind = 'seen'")
        self.assertIsNone(self.start())
        *lost, _ = self.repair()
        self.assertTrue(lost)
        for sentence in lost:
            self.assertIn("the positions of members are lost", sentence)
        found = self.repaired()
        self.assertEqual((found.members, found.lines), (self.state.members, self.state.lines))
        for now, before in zip(found.waiting, self.state.waiting, strict=True):
            self.assertTrue(now.endswith(before))

    def test_a_zeroed_page_costs_the_entries_on_it(self) -> None:
        kept = 0
        for page in range(2, len(self.whole) // 4096):
            self.file.write_bytes(self.whole[: page * 4096] + bytes(4096) + self.whole[(page + 1) * 4096 :])
            self.assertEqual(run("check", self.file).returncode, 1)
            result = run("repair", self.file, self.to)
            if result.returncode == 0:
                self.assertEqual(run("check", self.to).returncode, 0)
                lines = self.repaired().lines
                self.assertLessEqual(set(lines) - {b""}, set(self.state.lines))
                kept += len(lines) > 300
        self.assertGreater(kept, 5)

    def test_without_a_snapshot_the_lines_of_a_trimmed_file_stay(self) -> None:
        position = self.position("text number 30 ")
        self.execute(f"DELETE FROM entry WHERE position < {position}")
        self.execute_again(f"DELETE FROM event WHERE position < {position}")
        checksum = position_checksum(position)
        self.execute_again(f"UPDATE beginning SET position = {position}, checksum = {checksum}")
        self.execute_again("DELETE FROM snapshot")
        self.assertIsNone(self.start())
        self.assertIn("have to join again", self.repair()[0])
        found = self.repaired()
        first = next(n for n, line in enumerate(self.state.lines) if b"text number 30 " in line)
        wanted = [line for line in self.state.lines[first:] if line != b"BOB has joined"]
        self.assertEqual([line for line in found.lines if not line.startswith(b"BOB ")], wanted)
        self.assertGreaterEqual(found.numbers[1], self.state.numbers[1] - 20)


class OtherDamageTests(DamageTestCase):
    def test_a_missing_entry_ends_the_start(self) -> None:
        for where, words in [
            ("position = 9", "entry 9 is damaged"),
            ("position > 9", "the table of entries is damaged"),
        ]:
            self.file.write_bytes(self.whole)
            connection = sqlite3.connect(self.file, isolation_level=None)
            connection.execute(f"DELETE FROM entry WHERE {where}")
            connection.close()
            self.assertIn(words, str(self.refusal()))

    def test_a_log_that_ends_before_its_snapshot_is_refused(self) -> None:
        self.file.write_bytes(self.whole)
        connection = sqlite3.connect(self.file, isolation_level=None)
        for table in ("entry", "event"):
            connection.execute(f"DELETE FROM {table} WHERE position > 9")
        connection.close()
        self.assertIn("it ends with entry 9, before that of its snapshot", str(self.refusal()))

    def refusal(self) -> Exception | None:
        try:
            with closing(Database(self.file)) as database:
                snapshot = database.load_snapshot()
                database.read(0 if snapshot is None else 5, 10_000)
        except CannotOpen as error:
            return error
        return None

    def test_a_damaged_index_is_rebuilt_before_it_is_used(self) -> None:
        connection = sqlite3.connect(self.file)
        entry_id = connection.execute("SELECT id FROM entry WHERE position = 9").fetchone()[0].encode()
        connection.close()
        mended = 0
        for found in re.finditer(entry_id, self.whole):  # in the index, in the table, and perhaps in unused space
            content = bytearray(self.whole)
            content[found.start()] ^= 1
            self.file.write_bytes(content)
            with closing(Database(self.file)) as database:
                try:
                    database.read(0, 10_000)
                except CannotOpen:
                    continue
                mended += bool(check(database._connection, "integrity_check"))
                database.trim(20, 1_000)
                self.assertEqual(check(database._connection, "integrity_check"), "")
        self.assertGreater(mended, 0)
