"""The form of the log: nobody outside can write a line of their own in it, or drive a terminal that shows it."""

from __future__ import annotations

import io
import json

from twisted.logger import Logger, LogPublisher, eventFromJSON, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.daemon.observers import observer_for
from tests.daemon import Daemon, LineMember, UDPMember

HOSTILE = "x\n2026-01-01T00:00:00+0000 [info] 192.0.2.8 (tcp): wrong password\r\x1b[2J\x9b31m\u2028\u202e{}"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = io.StringIO()

    def logger(self, *, as_json: bool) -> Logger:
        return Logger(namespace="tests", observer=LogPublisher(observer_for(self.file, as_json=as_json)))

    @property
    def lines(self) -> list[str]:
        return self.file.getvalue().split("\n")[:-1]


class TextTests(Case):
    def test_a_line_has_a_time_a_level_and_the_text(self) -> None:
        self.logger(as_json=False).warn("{name} is late", name="Bob")
        (line,) = self.lines
        self.assertRegex(line, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[warn\] Bob is late\Z")

    def test_an_event_without_a_text_is_no_line(self) -> None:
        self.logger(as_json=False).info("")
        self.assertEqual(self.lines, [])

    def test_no_line_can_be_forged(self) -> None:
        self.logger(as_json=False).info("{name} joined", name=HOSTILE)
        first, second = self.lines
        self.assertTrue(first.endswith(" [info] x"))
        self.assertTrue(second.startswith("\t2026"))

    def test_no_character_drives_a_terminal(self) -> None:
        self.logger(as_json=False).info("{name} joined", name=HOSTILE)
        for character in "\r\x1b\x9b\u2028\u202e":
            self.assertNotIn(character, self.file.getvalue())
        self.assertIn("\\u000d\\u001b[2J\\u009b31m\\u2028\\u202e{} joined", self.file.getvalue())

    def test_a_bug_is_logged_with_its_traceback(self) -> None:
        self.logger(as_json=False).failure("A bug", Failure(ValueError("\x1b[0m\n2026 [info] forged")))
        self.assertIn(" [critical] A bug", self.lines[0])
        self.assertTrue(all(line.startswith("\t") for line in self.lines[1:]))
        self.assertNotIn("\x1b", self.file.getvalue())

    def test_what_cannot_be_formatted_is_no_error(self) -> None:
        self.logger(as_json=False).info("{missing}", other=1)
        self.assertIn("missing", self.file.getvalue())


class JSONTests(Case):
    def test_an_event_is_one_object_a_line(self) -> None:
        self.logger(as_json=True).info("{name} joined", name=HOSTILE, way="tcp", raw=b"\xff", thing=object())
        (line,) = self.lines
        found = json.loads(line)
        self.assertEqual((found["name"], found["way"], found["text"]), (HOSTILE, "tcp", f"{HOSTILE} joined"))
        self.assertTrue(line.isascii() and line.isprintable())

    def test_twisted_reads_it(self) -> None:
        self.logger(as_json=True).error("{name} failed", name="Bob")
        event = eventFromJSON(self.lines[0])
        self.assertEqual((formatEvent(event), event["log_level"].name), ("Bob failed", "error"))

    def test_a_bug_has_its_traceback(self) -> None:
        try:
            raise ValueError("oh")
        except ValueError:
            self.logger(as_json=True).failure("A bug")
        (line,) = self.lines
        self.assertIn("ValueError: oh", json.loads(line)["text"])


class DaemonTests(SynchronousTestCase):
    """The log of a real daemon in the foreground."""

    def test_a_day_in_the_log(self) -> None:
        daemon = Daemon("--db", ":memory:", "--tcp", "0")
        self.addCleanup(daemon.stop)
        alice, bob = LineMember(daemon.tcp[0]), UDPMember(daemon.port)
        self.addCleanup(alice.close)
        self.addCleanup(bob.close)
        alice.join("Alice")
        bob.ask("1 Bob")
        bob.ask("4")
        log = daemon.stop()
        for words in (
            "runs the group lobby of :memory:: 0 members, 0 lines",
            "[info] 127.0.0.1 (tcp): Alice joined",
            "[info] 127.0.0.1 (udp): Bob joined",
            "[info] 127.0.0.1 (udp): Bob left",
        ):
            self.assertIn(words, log)
        for line in log.splitlines():
            self.assertNotRegex(line, r"groupchat\.\w+|Service|Factory|Protocol")

    def test_json_in_the_foreground(self) -> None:
        daemon = Daemon("--db", ":memory:", "--log-json")
        self.addCleanup(daemon.stop)
        bob = UDPMember(daemon.port)
        self.addCleanup(bob.close)
        bob.ask("1 Bob")
        found = [json.loads(line) for line in daemon.stop().splitlines()]
        (joined,) = [event for event in found if event.get("kind") == "joined"]
        port = bob.socket.getsockname()[1]
        facts = {"host": "127.0.0.1", "port": port, "way": "udp", "name": "Bob", "text": "127.0.0.1 (udp): Bob joined"}
        self.assertEqual(joined, {**joined, **facts})
        (opened,) = [event for event in found if "doors" in event]
        self.assertEqual(opened["doors"], [{"scheme": "udp", "host": "", "port": daemon.port}])
