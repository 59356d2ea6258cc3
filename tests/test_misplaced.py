"""The file of a running daemon is removed, moved, replaced or overwritten: it is noticed, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher

from groupchat.core.errors import CannotOpen
from groupchat.log import database as database_module
from groupchat.log import rescue as rescue_module
from groupchat.log.database import Database
from groupchat.log.rescue import RETRY
from tests.durable import DurableNode
from tests.test_admin import run
from tests.test_restart import Directory

Harm = Callable[[Path, Path], object]
"""What somebody does to the file at the first path, with another sound file at the second."""


def _everything(path: Path) -> None:
    for found in path.parent.glob(f"{path.name}*"):
        found.unlink()


def _replaced(path: Path) -> Path:
    path.unlink()
    return path


def _cut(path: Path) -> None:
    os.truncate(f"{path}-wal", 100)


HARM: dict[str, Harm] = {
    "removed": lambda path, other: path.unlink(),
    "removed with the files beside it": lambda path, other: _everything(path),
    "its directory removed": lambda path, other: shutil.rmtree(path.parent),
    "its directory moved": lambda path, other: path.parent.rename(path.parent.with_name("elsewhere")),
    "moved": lambda path, other: path.rename(path.with_name("elsewhere")),
    "replaced by another log": lambda path, other: other.replace(path),
    "replaced by a directory": lambda path, other: _replaced(path).mkdir(),
    "replaced by a link": lambda path, other: _replaced(path).symlink_to(other),
    "overwritten by another log": lambda path, other: path.write_bytes(other.read_bytes()),
    "emptied": lambda path, other: os.truncate(path, 0),
    "its -wal cut off": lambda path, other: _cut(path),
}


class MisplacedTestCase(Directory):
    def setUp(self) -> None:
        super().setUp()
        temporary = self.directory / "tmp"
        temporary.mkdir()
        self.patch(tempfile, "tempdir", str(temporary))
        self.path = self.directory / "data" / "group.sqlite"
        self.path.parent.mkdir()
        self.told: list[LogEvent] = []
        observer = cast("ILogObserver", self.told.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def talk(self, path: Path | None = None) -> DurableNode:
        """Return a node with two members, a snapshot, and a text that waits."""
        node = self.node(path)
        node.join(["Alice", "Bob"])
        saved = node.service._saver.save_last()
        node.settle()
        node.thread_reactor.wait(saved)
        node.ask(2, "2 hello")
        self.second(node)
        self.second(node)
        return node

    def second(self, node: DurableNode) -> None:
        node.clock.advance(1)
        node.settle()

    def lines(self) -> list[str]:
        """Return what was logged since the last call, for an operator to see."""
        found = [
            str(eventAsText(event, includeTimestamp=False, includeSystem=False))
            for event in self.told
            if event["log_level"] >= LogLevel.warn
        ]
        self.told.clear()
        return found

    def other(self) -> Path:
        """Return the file of another group."""
        node = self.node(self.directory / "other.sqlite")
        node.join(["Eve"])
        node.stop()
        return node.path

    def names(self, node: DurableNode) -> list[str]:
        return [member.name for member in node.service.group.members.values()]

    def rescued(self) -> Path:
        (found,) = self.directory.rglob("*.rescued")
        return found

    def content(self, path: Path) -> str:
        """Return what waits for Alice in a file. See that it is sound."""
        self.assertEqual(run("check", path).stderr, "")
        node = self.node(path)
        waiting = str(node.ask(1, "5"))
        node.stop()
        return waiting


class MisplacedTests(MisplacedTestCase):
    def test_harm_to_the_file_is_noticed_and_its_content_rescued(self) -> None:
        for name, harm in HARM.items():
            with self.subTest(name):
                self.see(harm, name)
            shutil.rmtree(self.directory)
            self.path.parent.mkdir(parents=True)
            (self.directory / "tmp").mkdir()

    def see(self, harm: Harm, name: str) -> None:
        node, other = self.talk(), self.other()
        self.lines()
        harm(self.path, other)
        self.assertEqual(node.ask(2, "2 acknowledged before it is noticed"), "")
        self.second(node)
        self.assertFalse(node.service.is_well(), name)
        (line,) = self.lines()
        self.assertIn(str(self.path), line)
        self.assertIn(f"What it held is in {self.rescued()}. Stop the daemon.", line)
        self.assertNotIn("\n", line)
        put_there = self.path.read_bytes() if self.path.is_file() else None
        self.assertIsNone(node.ask(2, "2 never stored"))
        self.assertEqual(node.ask(1, "5"), "Bob: hello\nBob: acknowledged before it is noticed")
        for _ in range(2 * RETRY):
            self.second(node)
            node.thread_reactor.wait(node.service.probe())
        self.assertFalse(node.service.is_well())
        self.assertEqual((self.lines(), node.fatal), ([], 0))
        node.stop()
        self.assertEqual(self.path.read_bytes() if self.path.is_file() else None, put_there)
        self.assertEqual(self.content(self.rescued()), "Bob: hello\nBob: acknowledged before it is noticed")

    def test_a_start_finds_what_was_put_there_without_pages_of_before(self) -> None:
        for how in ("stopped", "killed"):
            node, other = self.talk(), self.other()
            self.path.write_bytes(other.read_bytes())
            self.second(node)
            if how == "stopped":
                node.stop()
            path = node.cut_off(self.directory / "next")
            self.assertEqual(self.names(self.node(path)), ["Eve"], how)
            shutil.rmtree(self.directory)
            self.path.parent.mkdir(parents=True)

    def test_a_file_that_is_back_is_used_again(self) -> None:
        node = self.talk()
        away = self.directory / "away"
        self.path.parent.rename(away)
        self.second(node)
        self.assertIsNone(node.ask(2, "2 never stored"))
        self.lines()
        away.rename(self.path.parent)
        self.second(node)
        (line,) = self.lines()
        self.assertIn("is in its place again", line)
        self.assertEqual(node.ask(2, "2 stored"), "")
        self.assertTrue(node.service.is_well())
        self.assertEqual(self.after_a_kill(node).ask(1, "5"), "Bob: hello\nBob: stored")
        self.path.unlink()
        self.second(node)
        self.assertIn(f"{self.path}.rescued", self.lines()[0])
        node.stop()

    def test_a_link_that_is_moved_is_noticed(self) -> None:
        target, other = self.path.with_name("target"), self.other()
        self.path.symlink_to(target)
        node = self.talk()
        self.path.unlink()
        self.path.symlink_to(other)
        self.second(node)
        self.assertIn("replaced by another file", self.lines()[-1])
        node.stop()
        self.assertEqual([found.name for found in target.parent.glob("target*")], ["target"])
        self.assertEqual(self.content(target), "Bob: hello")
        self.assertEqual(self.content(self.rescued()), "Bob: hello")

    def test_what_stood_beside_another_file_is_left_alone(self) -> None:
        """SQLite removes the -wal at the end by its name: that of another daemon, on the new file, must stay."""
        node, other = self.talk(), self.other()
        other.replace(self.path)
        _remove_sides(self.path)
        new = self.node()
        self.assertEqual(new.ask(2, "1 Zoe"), "Eve")
        self.second(node)
        node.stop()
        self.assertEqual(new.ask(1, "2 here"), "Zoe has joined")
        kept = self.after_a_kill(new)
        self.assertEqual((self.names(kept), kept.service.group.history.head), (["Eve", "Zoe"], 3))

    def test_a_wal_or_shm_that_is_lost_is_made_anew(self) -> None:
        other = self.directory / "other"
        for end in ("-wal", "-shm"):
            for how in ("removed", "replaced"):
                node = self.talk()
                self.lines()
                side = Path(f"{self.path}{end}")
                side.unlink()
                if how == "replaced":
                    shutil.copy(self.path, other)
                    other.rename(side)
                self.assertEqual(node.ask(2, "2 before it is noticed"), "")
                self.second(node)
                (line,) = self.lines()
                self.assertIn(f"{side} was removed or replaced", line)
                self.assertEqual(node.ask(2, "2 after"), "")
                self.second(node)
                self.assertEqual((self.lines(), node.service.is_well()), ([], True))
                for found in (self.after_a_kill(node), node):
                    self.assertEqual(found.ask(1, "5"), "Bob: hello\nBob: before it is noticed\nBob: after")
                node.stop()
                self.assertEqual(list(self.directory.rglob("*.rescued")), [])
                self.path.unlink()

    def test_a_rescue_that_fails_is_tried_again(self) -> None:
        node, attempts = self.talk(), []
        backup = database_module.backup

        def full(connection: sqlite3.Connection, to: Path) -> None:
            attempts.append(to)
            if len(attempts) <= 4:
                raise sqlite3.OperationalError("database or disk is full")
            backup(connection, to)

        self.patch(rescue_module, "backup", full)
        self.lines()
        self.path.unlink()
        self.second(node)
        (line,) = self.lines()
        self.assertIn("Do not stop the daemon now", line)
        self.assertIn("disk is full", line)
        self.assertEqual({path.parent for path in attempts}, {self.path.parent, self.directory / "tmp"})
        for _ in range(RETRY + 1):
            self.second(node)
        self.assertEqual((self.lines(), len(attempts)), ([], 4))
        for _ in range(RETRY):
            self.second(node)
        (line,) = self.lines()
        self.assertIn(f"What it held is in {self.path}.rescued", line)
        self.assertEqual([path.name for path in self.path.parent.glob("*.part")], [])
        node.stop()
        self.assertEqual(self.content(self.rescued()), "Bob: hello")

    def test_a_rescue_replaces_no_file(self) -> None:
        node = self.talk()
        Path(f"{self.path}.rescued").write_text("precious")
        self.path.unlink()
        self.second(node)
        self.assertIn(f"{self.path}.rescued.2", self.lines()[-1])
        self.assertEqual(Path(f"{self.path}.rescued").read_text(), "precious")
        node.stop()

    def test_a_rescued_file_is_private(self) -> None:
        node = self.talk()
        self.path.unlink()
        self.second(node)
        self.assertEqual(self.rescued().stat().st_mode & 0o777, 0o600)
        node.stop()

    def test_a_mixture_is_called_damaged(self) -> None:
        """What was overwritten and is not in memory cannot be rescued."""
        node = self.talk()
        self.run_in_thread(node, "PRAGMA wal_checkpoint(TRUNCATE)")
        self.second(node)
        self.lines()
        content = self.path.read_bytes()
        self.path.write_bytes(content[:24] + b"other" + content[29:4096] + b"x" * (len(content) - 4096))
        self.run_in_thread(node, "PRAGMA shrink_memory")
        self.second(node)
        (line,) = self.lines()
        self.assertIn(f"{self.rescued()}, but is damaged", line)
        self.assertIn(f"groupchat-admin repair {self.rescued()} NEW", line)
        node.stop()

    def run_in_thread(self, node: DurableNode, statement: str) -> None:
        node.thread_reactor.wait(
            node.file_log._call(lambda database: database.connection.execute(statement).fetchall())
        )

    def test_a_start_does_not_begin_anew_beside_what_was_rescued(self) -> None:
        node = self.talk()
        self.path.unlink()
        self.second(node)
        node.stop()
        with self.assertRaises(CannotOpen) as caught:
            Database(self.path)
        self.assertIn(f"{self.path}.rescued", str(caught.exception))
        self.assertFalse(self.path.exists())
        self.rescued().rename(self.path)
        _remove_sides(self.path)
        self.assertEqual(self.content(self.path), "Bob: hello")


def _remove_sides(path: Path) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
