"""A log that is replaced by an older copy: numbers go on above all that were given, and clients miss nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from groupchat.admin.repair import repair
from groupchat.admin.restore import restore
from groupchat.core.commands import Say, Whisper
from groupchat.core.errors import Damaged, LogError, Unavailable
from groupchat.core.events import Raised
from groupchat.core.numbering import LARGEST, STEP
from groupchat.log import database as database_module
from groupchat.log import highest
from groupchat.log.database import Database
from groupchat.log.reader import Reader
from tests.connections import SessionTestCase
from tests.durable import DurableNode
from tests.lobby import KEY, LobbyTestCase
from tests.node import Node
from tests.test_admin import Files, alice
from tests.test_restart import Directory
from tests.web import WebTestCase


def last(node: Node) -> tuple[int, int]:
    """Return the count of all lines, and the number that comes before the next one."""
    group = node.service.group
    return group.history.head, group.numbering.after(group.history.head)


class CopiedByHandTests(Directory):
    """Alice and Bob talk; the file is copied after line 3, and they talk on to line 5."""

    def setUp(self) -> None:
        super().setUp()
        node = self.node()
        node.join(["Alice", "Bob"])
        node.ask(1, "2 kept")
        node.stop()
        self.backup = self.directory / "backup"
        shutil.copy(self.path, self.backup)
        node = self.again(node)
        node.ask(1, "2 lost")
        node.ask(1, "2 lost too")
        node.ask(2, "5")
        node.stop()
        self.old = node

    def again(self, node: DurableNode) -> DurableNode:
        return self.node(clock=node.clock)

    def copy_back(self) -> DurableNode:
        shutil.copy(self.backup, self.path)
        return self.again(self.old)

    def test_numbers_go_on_above_the_highest(self) -> None:
        node = self.copy_back()
        self.assertEqual(last(node), (3, STEP))
        self.assertEqual(node.ask(1, "2 new"), "")
        self.assertEqual(node.ask(2, "5"), "Alice: kept\nAlice: new")
        self.assertEqual(last(node), (4, STEP + 1))

    def test_the_raise_is_stored_and_made_once(self) -> None:
        node = self.copy_back()
        again = self.after_a_kill(node)
        self.assertEqual(last(again), (3, STEP))
        node.stop()
        node = self.again(node)
        self.assertEqual(last(node), (3, STEP))
        node.stop()
        with closing(Database(self.path)) as database:
            events = [event for entry in database.read(0, 99) for event in entry.events if isinstance(event, Raised)]
        self.assertEqual([event.to for event in events], [STEP])

    def test_each_older_copy_raises_again(self) -> None:
        node = self.copy_back()
        node.ask(1, "2 new")
        node.stop()
        node = self.copy_back()
        self.assertEqual(last(node), (3, 2 * STEP))
        node.stop()
        self.assertEqual(last(self.copy_back()), (3, 3 * STEP))

    def test_numbers_outlast_a_snapshot_and_the_lines_before_it(self) -> None:
        node = self.copy_back()
        node.ask(1, "2 new")
        node.stop()
        node = self.node(clock=node.clock, keep=1)
        self.assertEqual(last(node), (4, STEP + 1))
        node.stop()
        node = self.node(clock=node.clock, keep=1)
        self.assertEqual((last(node), node.service.group.history.first), ((4, STEP + 1), 4))
        self.assertEqual(node.service.group.numbering.raises(), [(3, STEP)])
        self.assertEqual(node.ask(2, "5"), "* 1 line is no longer kept\nAlice: new")

    def test_a_log_that_was_removed_begins_above(self) -> None:
        self.path.unlink()
        node = self.again(self.old)
        self.assertEqual(last(node), (0, STEP))

    def test_an_ordinary_restart_raises_nothing(self) -> None:
        for _ in range(2):
            self.old = self.again(self.old)
            self.assertEqual(last(self.old), (5, 5))
            self.old.ask(1, "5")
            self.old.stop()
        self.assertEqual(last(self.after_a_kill(self.again(self.old))), (5, 5))

    def test_a_copy_without_the_file_beside_it_is_taken_as_it_is(self) -> None:
        highest.beside(self.path).unlink()
        self.assertEqual(last(self.copy_back()), (3, 3))
        self.assertEqual(highest.load(self.path), 0)

    def test_a_damaged_number_raises_as_a_precaution(self) -> None:
        for damage in (b"", b"5", b"5 00000000\n", b"x" * 99, b"5 8dc1e71d\nmore", b"-5 8dc1e71d\n"):
            highest.beside(self.path).write_bytes(damage)
            node = self.copy_back()
            self.assertEqual(last(node), (3, 2 * STEP), damage)
            node.stop()
            self.assertEqual(highest.load(self.path), last(node)[1])

    def test_a_full_disk_at_the_start_fails_it(self) -> None:
        shutil.copy(self.backup, self.path)
        with patch.object(Database, "append", side_effect=Unavailable("the disk is full")):
            node = self.again(self.old)
        self.failureResultOf(node.started, Unavailable)


class HighestFileTests(Directory):
    def test_the_number_is_written_each_second_if_it_changed(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        for number in (2, 3):
            self.pass_a_second(node)
            self.assertEqual(highest.load(self.path), number)
            node.ask(1, "2 more")
        before = highest.beside(self.path).stat()
        self.assertEqual(stat.S_IMODE(before.st_mode), 0o600)
        self.pass_a_second(node)
        written = highest.beside(self.path).stat()
        self.assertNotEqual(before.st_ino, written.st_ino)  # replaced as a whole
        self.pass_a_second(node)
        self.assertEqual(highest.beside(self.path).stat().st_mtime_ns, written.st_mtime_ns)
        node.ask(1, "2 last")
        node.stop()
        self.assertEqual(highest.load(self.path), 5)

    def pass_a_second(self, node: DurableNode) -> None:
        node.clock.advance(1)
        node.settle()

    def test_what_is_left_of_a_power_cut_does_no_harm(self) -> None:
        highest.save(self.path, 7)
        part = Path(f"{highest.beside(self.path)}.part")
        part.write_bytes(b"9")
        self.assertEqual(highest.load(self.path), 7)
        highest.save(self.path, 8)
        self.assertEqual((highest.load(self.path), part.exists()), (8, False))

    def test_the_old_number_stays_until_the_new_one_is_on_the_disk(self) -> None:
        highest.save(self.path, 7)
        with patch.object(os, "fsync", side_effect=OSError(28, "No space left on device")):
            self.assertRaises(Unavailable, highest.save, self.path, 8)
        self.assertEqual(highest.load(self.path), 7)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["group.sqlite.highest"])

    def test_a_large_number_is_damage(self) -> None:
        highest.save(self.path, LARGEST)
        self.assertEqual(highest.load(self.path), LARGEST)
        highest.save(self.path, LARGEST + 1)
        self.assertRaises(Damaged, highest.load, self.path)

    def test_a_daemon_goes_on_if_it_cannot_be_written(self) -> None:
        node = self.node()
        blocking = Path(f"{highest.beside(self.path)}.part")
        blocking.mkdir()
        with capturedLogs() as logs:
            node.join(["Alice", "Bob"])
            for _ in range(3):
                self.pass_a_second(node)
            blocking.rmdir()
            self.pass_a_second(node)
            self.pass_a_second(node)
        words = [formatEvent(event) for event in logs if event.get("kind") != "joined"]
        self.assertEqual(len(words), 2, words)
        self.assertRegex(
            words[0], r"group.sqlite.highest cannot be written: .*\. If the log is replaced by an older copy"
        )
        self.assertEqual(words[1], "The highest number is recorded again")
        self.assertEqual(highest.load(self.path), 2)
        node.stop()


class NumberedTests(SessionTestCase):
    """Lines 1 and 2 were followed by a raise."""

    def setUp(self) -> None:
        super().setUp()
        self.bob = self.connection("Bob", "0b" * 32)
        self.eve = self.connection("Eve", "0e" * 32)
        self.store.add([Raised(0.0, STEP)], "raised")
        self.settle()

    def test_a_run_over_a_raise_has_both_numbers(self) -> None:
        self.eve.ask(Say("one"), Say("two"))
        self.settle()
        self.bob.listen(after=1, numbered=True)
        self.settle()
        self.assertEqual(
            "".join(self.bob.given()).split("\n")[:-1],
            ["2 Eve has joined", f"{STEP + 1} Eve: one", f"{STEP + 2} Eve: two"],
        )

    def test_whispers_and_own_lines_leave_gaps_as_ever(self) -> None:
        dora = self.connection("Dora")
        self.eve.ask(Whisper("Dora: psst"), Say("aloud"))
        self.bob.ask(Say("mine"))
        self.eve.ask(Say("more"))
        self.settle()
        self.bob.listen(after=0, numbered=True)
        self.settle()
        numbers = [line.partition(" ")[0] for line in "".join(self.bob.given()).split("\n")[:-1]]
        self.assertEqual(numbers, ["2", *(str(STEP + number) for number in (1, 3, 5))])
        self.assertEqual(dora.member.joined, 3)

    def test_live_readers_notice_nothing(self) -> None:
        self.bob.listen()
        self.settle()
        self.bob.given()
        self.eve.ask(Say("one"))
        self.store.add([Raised(0.0, 2 * STEP)], "again")
        self.eve.ask(Say("two"))
        self.settle()
        self.assertEqual("".join(self.bob.given()), "Eve: one\nEve: two\n")


class MemoryTests(SynchronousTestCase):
    def test_a_log_in_memory_raises_nothing(self) -> None:
        node = Node()
        node.join(["Alice"])
        node.clock.advance(1)
        self.assertEqual(last(node), (1, 1))


class ResumeTests(LobbyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alice = self.lobby.program("Alice")
        self.lobby.ask(1, "2 old")
        self.assertEqual(self.alice.heard(), ["3 Bob: old"])
        self.raise_to(STEP)
        self.alice.lose()

    def raise_to(self, to: int) -> None:
        self.lobby.log.append([Raised(0.0, to)], f"raised-{to}").addErrback(self.fail)
        self.lobby.settle()

    def resume(self, number: int) -> list[str]:
        caller = self.lobby.call()
        heard = caller.ask(f"/resume {KEY} {number}")
        caller.lose()
        return [line for line in heard if not line.startswith("* ")]

    def test_a_number_of_lost_lines_leads_to_all_new_ones(self) -> None:
        for number in (3, 4, 313, STEP):
            self.assertEqual(self.resume(number), [f"session {STEP} 0 Alice"])
        self.lobby.ask(1, "2 new")
        for number in (3, 4, 313, STEP):
            self.assertEqual(self.resume(number), [f"session {STEP} 1 Alice", f"{STEP + 1} Bob: new"])
        self.assertEqual(self.resume(STEP + 1), [f"session {STEP + 1} 0 Alice"])

    def test_older_numbers_lead_to_the_lines_after_them(self) -> None:
        self.lobby.ask(1, "2 new")
        self.assertEqual(self.resume(2), ["session 2 2 Alice", "3 Bob: old", f"{STEP + 1} Bob: new"])

    def test_a_number_that_was_never_given_leads_to_the_end(self) -> None:
        self.assertEqual(self.resume(5 * STEP), [f"session {STEP} 0 Alice"])

    def test_history_shows_the_numbers_of_lines(self) -> None:
        self.lobby.ask(1, "2 new")
        caller = self.lobby.call()
        caller.ask(f"/resume {KEY} {STEP + 1}")
        self.assertEqual(caller.ask("1 /history 2"), ["= 3 Bob: old", f"= {STEP + 1} Bob: new", "ok 1"])
        caller.lose()


class HTTPTests(WebTestCase):
    """Bob is line 1, Alice line 2, and `old` line 3; then the numbers were raised."""

    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.lobby.ask(1, "2 old")
        self.lobby.log.append([Raised(0.0, STEP)], "raised").addErrback(self.fail)
        self.lobby.settle()

    def numbers(self, query: str) -> list[int]:
        return [line["number"] for line in self.get(f"/history?{query}").json["lines"]]

    def test_heads_are_raised_at_once(self) -> None:
        self.assertEqual(self.get("/me").json["head"], STEP)
        page = self.get("/history").json
        self.assertEqual((page["first"], page["head"], len(page["lines"])), (1, STEP, 3))
        self.assertEqual(self.ask("POST", "/name", "Zoe", Authorization=f"Bearer {'3' * 32}").json["head"], STEP + 1)

    def test_a_text_is_answered_with_its_number(self) -> None:
        self.assertEqual(self.post("/messages", "new").json, {"number": STEP + 1})

    def test_pages_of_history_go_over_the_raise(self) -> None:
        self.lobby.ask(1, "2 new")
        for query, numbers in [
            ("", [1, 2, 3, STEP + 1]),
            ("limit=2", [3, STEP + 1]),
            (f"before={STEP + 1}", [1, 2, 3]),
            (f"before={STEP}&limit=1", [3]),
            ("before=4&limit=1", [3]),
            ("before=3&limit=1", [2]),
            ("before=1", []),
            ("before=0", []),
            (f"before={9 * STEP}&limit=1", [STEP + 1]),
            ("after=1&limit=2", [2, 3]),
            ("after=3", [STEP + 1]),
            ("after=313", [STEP + 1]),
            (f"after={STEP}", [STEP + 1]),
            (f"after={STEP + 1}", []),
            (f"after={9 * STEP}", []),
        ]:
            self.assertEqual(self.numbers(query), numbers, query)

    def test_a_stream_goes_on_after_lost_lines(self) -> None:
        self.lobby.ask(1, "2 new")
        for last_id in (3, 313, STEP):
            events = self.events(Last_Event_ID=str(last_id))
            first, *more = events.blocks()
            self.assertEqual(first["id"], str(STEP), last_id)
            self.assertEqual([block["id"] for block in more], [str(STEP + 1)], last_id)
            events.line.lose()

    def test_a_gap_has_the_number_of_the_last_lost_line(self) -> None:
        self.lobby.service.group.history._keep = 2
        for text in ("new", "newer", "newest"):
            self.lobby.ask(1, f"2 {text}")
        page = self.get("/history?after=1").json
        self.assertEqual([line["number"] for line in page["lines"]], [STEP + 1, STEP + 2, STEP + 3])
        self.assertEqual(page["lines"][0]["text"], "3 lines are no longer kept")
        self.assertEqual(page["first"], STEP + 2)
        ids = [block["id"] for block in self.events("/events?after=313").blocks()]
        self.assertEqual(ids[1:], [str(STEP + 1), str(STEP + 2), str(STEP + 3)])

    def test_members_are_not_behind_by_the_raise(self) -> None:
        self.lobby.ask(1, "2 new")
        behind = {member["name"]: member["behind"] for member in self.get("/members").json["members"]}
        self.assertEqual(behind, {"Bob": 0, "Alice": 2})


class RestoreCommandTests(Files):
    def setUp(self) -> None:
        super().setUp()
        self.backup = self.directory / "backup"

    def make(self, lines: int, backup: int) -> None:
        """Write a file with so many lines, and a backup of the first ones."""
        self.write(*alice(backup), snapshot_after=backup // 2)
        self.good("backup", self.file, self.backup)
        self.file.unlink()
        self.write(*alice(lines))

    def numbers(self) -> str:
        return self.facts()["lines"].partition("numbers ")[2]

    def say(self) -> None:
        daemon = self.start()
        member = self.member(daemon)
        member.ask("1 Carol")
        daemon.stop()

    def test_a_restored_file_goes_on_with_the_next_million(self) -> None:
        self.make(13, 8)
        said = self.good("restore", self.backup, self.file)
        aside = f"{self.file}.replaced-1"
        self.assertEqual(said[0], f"What was there is kept as {aside}")
        self.assertEqual(said[1], "Restored: 8 lines and 1 member. The next line has the number 1000001.")
        self.say()
        facts = self.facts()
        self.assertIn("1 raised", facts["events"])
        self.assertEqual(facts["lines"], "9 (2 joined, 7 said), numbers 1 to 1000001")
        self.assertEqual([found["number"] for found in self.objects("history")], [*range(1, 9), 1_000_001])
        self.assertEqual(len(Reader(Path(aside)).read(lambda c: c.execute("SELECT * FROM entry").fetchall())), 13)

    def test_two_restores_in_a_row_keep_both_files(self) -> None:
        self.make(13, 8)
        self.good("restore", self.backup, self.file)
        self.good("restore", self.backup, self.file)
        self.say()
        self.assertEqual(self.numbers(), "1 to 2000001")
        names = {path.name for path in self.directory.iterdir()}
        self.assertEqual(
            names,
            {"backup", *(f"group.sqlite{end}" for end in ("", ".audit", ".highest", ".replaced-1", ".replaced-2"))},
        )

    def test_the_number_beside_a_lost_or_damaged_file_counts(self) -> None:
        self.make(13, 8)
        highest.save(self.file, 3_999_950)
        for spoil in (lambda: self.file.write_bytes(b"no database"), self.file.unlink):
            spoil()
            self.good("restore", self.backup, self.file)
            self.say()
            self.assertEqual(self.numbers(), "1 to 5000001")
            highest.save(self.file, 3_999_950)

    def test_without_any_number_a_million_more_is_left_free(self) -> None:
        self.make(13, 8)
        self.file.unlink()
        self.good("restore", self.backup, self.file)
        self.assertFalse(highest.beside(self.file).exists())
        self.say()
        self.assertEqual(self.numbers(), "1 to 2000001")

    def test_the_old_file_counts_if_the_number_is_damaged(self) -> None:
        self.make(13, 8)
        highest.beside(self.file).write_bytes(b"?")
        self.good("restore", self.backup, self.file)
        self.say()
        self.assertEqual(self.numbers(), "1 to 1000001")

    def test_the_wal_of_a_killed_daemon_counts_and_is_kept(self) -> None:
        self.make(13, 8)
        daemon = self.start()
        member = self.member(daemon)
        member.ask("1 Carol")
        daemon.kill()
        highest.beside(self.file).unlink(missing_ok=True)
        self.assertTrue(Path(f"{self.file}-wal").exists())
        self.good("restore", self.backup, self.file)
        self.assertFalse(Path(f"{self.file}-wal").exists())
        aside = Path(f"{self.file}.replaced-1")
        count = Reader(aside).read(
            lambda c: c.execute("SELECT count(*) FROM event WHERE kind = 'joined'").fetchone()[0]
        )
        self.assertEqual(count, 2)
        self.say()
        self.assertEqual(self.numbers(), "1 to 1000001")

    def test_a_file_in_use_is_not_replaced(self) -> None:
        self.make(13, 8)
        daemon = self.start()
        before = set(self.there())
        self.bad("restore", self.backup, self.file, words="in use by a daemon. Stop it first: nothing was restored")
        self.assertEqual(set(self.there()), before)
        daemon.stop()

    def test_what_is_no_sound_backup_changes_nothing(self) -> None:
        self.make(13, 8)
        damaged = self.directory / "damaged"
        shutil.copy(self.backup, damaged)
        connection = sqlite3.connect(damaged)
        connection.execute("UPDATE event SET text = 'other' WHERE position = 8")
        connection.commit()
        connection.close()
        text = self.directory / "text"
        text.write_text("no database")
        before = self.there()
        for backup, words in [
            (damaged, "damaged is damaged: entry 8 is damaged"),
            (text, "text is not a database"),
            (self.directory / "missing", "missing cannot be read"),
            (self.directory, "is empty, or no file"),
            (self.file, "is the file itself"),
        ]:
            self.bad("restore", backup, self.file, words=words)
            self.assertEqual(self.there(), before)

    def test_the_default_is_groupchat_sqlite_here(self) -> None:
        self.make(13, 8)
        self.file.rename(self.directory / "groupchat.sqlite")
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.directory)
        self.assertIn("replaced-1", self.good("restore", "backup")[0])
        self.file = self.directory / "groupchat.sqlite"
        self.assertEqual(self.facts()["members"], "1")

    def test_permissions_and_links_stay(self) -> None:
        self.make(13, 8)
        self.file.chmod(0o640)
        real = self.directory / "real"
        real.mkdir()
        self.file.rename(real / "group.sqlite")
        self.file.symlink_to(real / "group.sqlite")
        said = self.good("restore", self.backup, self.file)
        self.assertTrue(self.file.is_symlink())
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o640)
        self.assertIn(str(real / "group.sqlite.replaced-1"), said[0])
        self.assertEqual(self.numbers(), "1 to 8")

    def test_a_failure_leaves_the_old_file_in_its_place(self) -> None:
        self.make(13, 8)
        before = self.there()
        for function in ("rename", "chmod"):
            failure = patch.object(Path, function, side_effect=OSError(28, "No space left on device"))
            with failure, self.assertRaises(OSError):
                restore(self.backup, self.file)
            left = {name: data for name, data in self.there().items() if ".replaced-" not in name}
            self.assertEqual(left, before)
        failure = patch.object(os, "link", side_effect=OSError(1, "Operation not permitted"))
        with failure, self.assertRaisesRegex(LogError, "cannot get a second name here .* move it away, and retry"):
            restore(self.backup, self.file)
        failure = patch.object(database_module, "backup", side_effect=sqlite3.OperationalError("disk I/O error"))
        with failure, self.assertRaisesRegex(LogError, "no copy was made: disk I/O error"):
            restore(self.backup, self.file)

    def test_a_repaired_file_can_be_put_back(self) -> None:
        self.make(13, 8)
        self.execute("UPDATE event SET text = 'other' WHERE position = 12")
        new = self.directory / "new"
        self.good("repair", self.file, new)
        self.good("restore", new, self.file)
        self.say()
        self.assertTrue(self.numbers().endswith(" to 2000001"), self.numbers())


class RepairTests(Directory):
    def test_lines_after_a_loss_keep_their_numbers_over_a_raise(self) -> None:
        node = self.node()
        node.join(["Alice", "Bob"])
        raised = node.log.append([Raised(0.0, STEP)], "raised")
        node.thread_reactor.wait(raised)
        for text in ("one", "two", "three"):
            node.ask(1, f"2 {text}")
        before = {
            text: node.service.group.numbering.of(number) for number, text in enumerate(["one", "two", "three"], 3)
        }
        copy = node.cut_off(self.directory / "cut")
        node.stop()
        connection = sqlite3.connect(copy)
        connection.execute("UPDATE event SET text = 'other' WHERE text = 'two'")
        connection.commit()
        connection.close()
        new = self.directory / "new"
        said = Reader(copy).read(lambda connection: repair(connection, new))
        self.assertIn("1 line", said[0])
        again = self.node(new, clock=node.clock)
        group = again.service.group
        found = dict(group.numbering.numbered(group.history.last(9, 0, 1 << 20)))
        self.assertEqual(found[before["three"]], b"Alice: three")
        earlier = [line for number, line in found.items() if number < STEP]
        self.assertEqual(earlier, [b"Alice has joined", b"Bob has joined"])
        self.assertEqual(last(again), (5, STEP + 3))
