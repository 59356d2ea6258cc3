"""The audit trail as a file: what is written, and what is read from a file that others can write to."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.events import Promoted, Removed
from groupchat.service import audit
from groupchat.service.audit import Audit, path_of

NOON = 1_700_000_000.0


class AuditCase(SynchronousTestCase):
    """A test with an audit trail that does not exist yet."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-test-audit-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.use("group.sqlite")

    def use(self, name: str) -> None:
        self.log = self.directory / name
        self.log.touch()
        self.audit = Audit(path_of(self.log))

    def write(self, *lines: bytes) -> None:
        assert self.audit.path is not None
        self.audit.path.write_bytes(b"".join(line + b"\n" for line in lines))


class WritingTests(AuditCase):
    def test_a_record_says_when_who_and_what(self) -> None:
        self.audit.event(Removed(7, "Eve", "Alice", "spam", NOON))
        (record,) = self.audit.last(1)
        expected = {"at": "2023-11-14T22:13:20Z", "by": "Alice", "did": "remove", "member": 7, "name": "Eve"}
        self.assertEqual(record, {**expected, "why": "spam"})

    def test_who_becomes_an_operator_did_it(self) -> None:
        self.audit.event(Promoted(7, "Alice", NOON))
        (record,) = self.audit.last(1)
        self.assertEqual((record["by"], record["did"]), ("Alice", "operator"))

    def test_only_the_owner_can_read_it(self) -> None:
        self.audit.record("stop", "root", NOON)
        self.assertEqual(stat.S_IMODE(path_of(self.log).stat().st_mode), 0o600)

    def test_a_link_in_its_place_is_not_followed(self) -> None:
        other = self.directory / "other"
        other.touch()
        path_of(self.log).symlink_to(other)
        self.assertRaises(OSError, self.audit.record, "stop", "root", NOON)
        self.assertEqual(other.read_bytes(), b"")

    def test_a_pipe_in_its_place_holds_up_nobody(self) -> None:
        os.mkfifo(path_of(self.log))
        self.assertRaises(OSError, self.audit.record, "stop", "root", NOON)

    def test_without_a_file_nothing_is_recorded(self) -> None:
        nothing = Audit(None)
        nothing.record("stop", "root", NOON)
        self.assertEqual((nothing.last(9), nothing.backups(), nothing.kept_aside()), ([], [], []))


class ReadingTests(AuditCase):
    def test_the_last_records_are_given_oldest_first(self) -> None:
        self.assertEqual(self.audit.last(3), [])
        for number in range(5):
            self.audit.record("say", "root", NOON, text=str(number))
        self.assertEqual([record["text"] for record in self.audit.last(3)], ["2", "3", "4"])
        self.assertEqual(len(self.audit.last(9)), 5)
        self.assertEqual(self.audit.last(0), [])

    def test_what_is_no_record_is_passed_over(self) -> None:
        self.write(b"", b"garbage", b"\xff", b"[" * 100_000, b"7", b'["x"]', b'{"did": "stop"}', b'{"did"')
        self.assertEqual(self.audit.last(9), [{"did": "stop"}])

    def test_a_record_that_is_read_in_part_is_passed_over(self) -> None:
        self.patch(audit, "AT_ONCE", 20)
        self.write(b'{"x": {"did": "say"}}', b'{"did": "ban"}')
        self.assertEqual(self.audit.last(9), [{"did": "ban"}])
        self.write(b'          {"did": "say"}', b"{}")
        self.assertEqual(self.audit.last(9), [{}])


class CopiesTests(AuditCase):
    def backed_up(self, *named: Any) -> list[str]:
        self.write(*(json.dumps({"did": "backup", "to": each}).encode() for each in named))
        return self.audit.backups()

    def test_backups_are_named_once_and_oldest_first(self) -> None:
        self.assertEqual(self.audit.backups(), [])
        self.assertEqual(self.backed_up("/b", "/a", "/b", 7, None), ["/b", "/a"])

    def test_no_text_can_pose_as_a_backup(self) -> None:
        self.audit.record("say", "root", NOON, text='"did": "backup"', to="/precious")
        self.write(*path_of(self.log).read_bytes().splitlines(), b'{"did": "say", "to": "/x", "y": {"did": "backup"}}')
        self.assertEqual(self.audit.backups(), [])

    def test_what_restore_and_rescue_kept_is_found(self) -> None:
        for name in ("group.sqlite", "a[b]*.sqlite"):
            self.use(name)
            kept = sorted(str(self.directory / f"{name}{end}") for end in (".replaced-1", ".replaced-2", ".rescued"))
            for path in kept:
                Path(path).touch()
            self.assertEqual(self.audit.kept_aside(), kept)
