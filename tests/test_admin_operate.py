"""What groupchat-admin asks for and prints, with answers that no daemon gave; and its side of the control socket."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from groupchat.admin import operate
from groupchat.admin.backups import MAGIC, prune
from groupchat.admin.daemon import NotDone, asked, audit_of
from groupchat.admin.output import local
from groupchat.log.database import Database
from tests.test_admin import ADMIN, Result, run

NOON = 1_700_000_000.0
SECONDS = 30.0
NOBODY = 65_534


class DirectoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-test-operate-"))
        self.addCleanup(shutil.rmtree, self.directory)


class AnswerTests(DirectoryCase):
    """Commands, with `items` as the answer of the daemon. `requests` has what was asked for."""

    def setUp(self) -> None:
        super().setUp()
        self.items: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []

        def answered(control: object, file: object, request: dict[str, Any], says: object) -> Iterator[dict[str, Any]]:
            self.requests.append(request)
            return iter(self.items)

        self.patch(operate, "asked", answered)

    def done(self, *arguments: str) -> Result:
        result = run(*arguments)
        self.assertEqual(result.returncode, 0, result)
        return result

    def test_bans_say_until_when_and_why(self) -> None:
        common = {"kind": "name", "by": "root"}
        self.items = [
            {"whom": "Eve", "until": NOON, "why": "spam", **common},
            {"whom": "Bob", "until": None, "why": "", **common},
        ]
        _, eve, bob = self.done("bans").stdout.splitlines()
        self.assertEqual(eve, f"{local(NOON)}  name  root  Eve: spam")
        self.assertEqual(bob.split("  ")[0], "for good")
        self.assertTrue(bob.endswith("  Bob"))

    def test_operators_and_muted_members_are_marked(self) -> None:
        common = {"way": "tcp", "host": "::1", "port": 7, "since": NOON, "behind": 0, "lines": 0}
        marks = [(False, False), (True, False), (False, True), (True, True)]
        self.items = [{"name": "Bob", "operator": one, "muted": other, **common} for one, other in marks]
        names = [line.partition("Bob")[2] for line in self.done("who").stdout.splitlines()[1:]]
        self.assertEqual(names, ["", " (operator)", " (muted)", " (operator) (muted)"])

    def test_lost_lines_are_told(self) -> None:
        self.items = [{"lost": 7}, {"number": 9, "at": NOON, "text": "Bob: hi"}]
        result = self.done("log", "--follow")
        self.assertEqual(result.stderr, "groupchat-admin: 7 lines were too many to follow\n")
        self.assertEqual(result.stdout, f"9  {local(NOON)}  Bob: hi\n")

    def test_an_erasure_is_of_lines_or_of_a_member(self) -> None:
        self.items = [{"erased": 2, "done": True, "copies": []}]
        self.assertEqual(self.done("erase", "17-25", "--why", "spam").stdout, "2 lines erased.\n")
        self.done("erase", "--member", "Eve")
        first = {"do": "erase", "first": 17, "last": 25, "why": "spam"}
        self.assertEqual(self.requests, [first, {"do": "erase", "member": "Eve", "why": ""}])
        for arguments in ([], ["17", "--member", "Eve"]):
            result = run("erase", *arguments)
            self.assertEqual(result.returncode, 1)
            self.assertIn("Name the lines, such as 17 or 17-25, or --member NAME.", result.stderr)
        self.assertEqual(len(self.requests), 2)

    def test_copies_are_named_unless_they_are_gone(self) -> None:
        there = self.directory / "there"
        there.touch()
        unknown = str(there / "below a file")
        copies = [str(there), str(self.directory / "gone"), "a\0b", unknown]
        self.items = [{"erased": 1, "done": True, "copies": copies}]
        words = "A copy that may still have the text: "
        self.assertEqual(
            self.done("erase", "1").stdout.splitlines(), ["1 line erased.", f"{words}{there}", f"{words}{unknown}"]
        )

    def test_a_ban_for_no_time_is_a_wrong_argument(self) -> None:
        for time in ("0m", "0d", "m", "1.5h", "1w"):
            result = run("ban", "Bob", "--for", time)
            self.assertEqual(result.returncode, 2)
            self.assertIn("is not like 90m, 12h, 7d", result.stderr)
        self.assertEqual(self.requests, [])


class SocketTests(DirectoryCase):
    """The client of the control socket, and a daemon that answers with `data` and closes."""

    def why(self, data: bytes) -> str:
        """Return why a request is not done."""
        path = self.directory / "control"

        def serve(listening: socket.socket) -> None:
            connection, _ = listening.accept()
            with closing(connection):
                connection.recv(65_536)
                connection.sendall(data)

        with closing(socket.socket(socket.AF_UNIX)) as listening:
            listening.settimeout(SECONDS)
            listening.bind(str(path))
            listening.listen()
            thread = Thread(target=serve, args=[listening])
            thread.start()
            why = self.assertRaises(NotDone, lambda: list(asked(path, self.directory / "log", {"do": "who"})))
            thread.join()
        path.unlink()
        return str(why)

    def test_an_answer_without_an_end_is_not_done(self) -> None:
        item = json.dumps({"item": {"name": "Bob"}}).encode() + b"\n"
        for data in (b"", item, item * 2):
            self.assertEqual(self.why(data), "The daemon ended before it had answered.")

    def test_an_error_is_the_reason(self) -> None:
        self.assertEqual(self.why(b'{"item": {}}\n{"error": "No."}\n'), "No.")

    def test_an_answer_that_is_no_json_is_reported(self) -> None:
        self.assertIn("The daemon does not answer: ", self.why(b"HTTP/1.1 400\r\n"))


class OfflineTests(DirectoryCase):
    @skipUnless(os.geteuid() == 0, "only root can give files away")
    def test_root_works_as_the_owner_of_the_file(self) -> None:
        file = self.directory / "group.sqlite"
        Database(file).close()
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        result = run("--db", file, "topic", "Books", command=list(ADMIN))
        self.assertEqual(result.returncode, 0, result)
        made = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in self.directory.iterdir()}
        self.assertIn("group.sqlite.audit", made)
        self.assertEqual(set(made.values()), {(NOBODY, NOBODY)}, made)


class PruneTests(DirectoryCase):
    """Which of the files that the audit trail names as backups are removed."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.directory.resolve()
        self.file = self.made("group.sqlite")
        self.audit = audit_of(self.file)

    def made(self, name: str) -> Path:
        path = self.directory / name
        path.write_bytes(MAGIC)
        return path

    def prune(self, *named: Path) -> None:
        """Prune all but the newest of these."""
        newest = self.made("newest.sqlite")
        for path in (*named, newest):
            self.audit.record("backup", "root", NOON, to=str(path))
        prune(self.audit, self.file, newest, 1)
        self.assertTrue(newest.exists())

    def test_the_oldest_are_removed(self) -> None:
        old = self.made("old.sqlite")
        self.prune(old)
        self.assertFalse(old.exists())

    def test_the_file_of_the_group_itself_stays(self) -> None:
        link = self.directory / "link.sqlite"
        os.link(self.file, link)
        self.prune(self.file, link)
        self.assertTrue(self.file.exists() and link.exists())

    def test_a_pipe_stays_and_holds_up_nobody(self) -> None:
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        self.prune(pipe)
        self.assertTrue(pipe.exists())

    def test_a_file_of_another_user_stays(self) -> None:
        old, euid = self.made("old.sqlite"), os.geteuid()
        self.patch(os, "geteuid", lambda: euid + 1)
        self.prune(old)
        self.assertTrue(old.exists())
