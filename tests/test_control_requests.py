"""What is asked over the control socket, in memory: the answers, and what is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from groupchat.control import requests
from groupchat.control.requests import FOLLOW_SECONDS, Daemon, ask
from groupchat.core.commands import Ban, Mute, Promote
from groupchat.core.errors import IllegalMessage
from groupchat.service.audit import Audit
from tests.connections import KEY
from tests.test_moderation import OperatorTestCase


class Unwritable(Audit):
    """An audit trail on a disk that is full."""

    def record(self, did: str, by: str, at: float, **facts: Any) -> None:
        raise OSError(28, "No space left on device")


class Unchanging:
    """The settings of a daemon: all can be set, and nothing is new."""

    def listing(self) -> Any:
        return iter(())

    def reload(self) -> list[Any]:
        return []

    def set(self, name: str, value: str) -> list[Any]:
        return []


class RequestTestCase(OperatorTestCase):
    """A test with Bob, who polls, and a user who asks."""

    def setUp(self) -> None:
        super().setUp()
        self.items: list[Any] = []
        self.daemon = Daemon(self.node.service, Audit(None), self.clock, dict, lambda: None, 0.0)

    def begin(self, do: str, **fields: Any) -> Deferred[None]:
        """Ask for something. Its items are added to `items` as they come."""

        async def run() -> None:
            async for item in ask(self.daemon, {"do": do, **fields}, "root"):
                self.items.append(item)

        self.items = []
        return ensureDeferred(run())

    def answer(self, do: str, **fields: Any) -> list[Any]:
        """Return all items of an answer."""
        asking = self.begin(do, **fields)
        self.settle()
        self.successResultOf(asking)
        return self.items

    def refused(self, do: str, **fields: Any) -> str:
        """Return why a request is refused."""
        asking = self.begin(do, **fields)
        self.settle()
        return str(self.failureResultOf(asking, IllegalMessage).value)


class WhoTests(RequestTestCase):
    def test_the_way_and_the_marks_of_each_member_are_told(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Promote())
        self.operate(Mute("Bob"))
        self.connection("Carol", "aa" * 32).hang_up(hold=True)
        shown = [
            (item["name"], item["way"], item["port"], item["operator"], item["muted"]) for item in self.answer("who")
        ]
        bob, carol = ("Bob", "udp", 1, False, True), ("Carol", "away", None, False, False)
        self.assertEqual(shown, [bob, ("Alice", "tcp", None, True, False), carol])

    def test_lines_of_the_last_hour_are_counted(self) -> None:
        self.node.ask(1, "2 long ago")
        self.tick(3_590)
        self.node.ask(1, "2 one")
        self.tick(20)
        self.node.ask(1, "2 two")
        (bob,) = self.answer("who")
        self.assertEqual(bob["lines"], 2)

    def test_the_last_contact_is_that_of_this_moment(self) -> None:
        self.tick(30)
        self.node.ask(1, "5")
        (bob,) = self.answer("who")
        self.assertEqual(bob["contact"], self.clock.seconds())

    def test_others_have_their_turn_and_who_left_is_not_shown(self) -> None:
        self.patch(requests, "AT_ONCE", 1)
        for name, key in (("Alice", KEY), ("Carol", "aa" * 32)):
            self.connection(name, key)
        eve = self.connection("Eve", "bb" * 32)
        asking = self.begin("who")
        self.assertEqual([item["name"] for item in self.items], ["Bob"])
        eve.hang_up(hold=False)
        self.settle()
        self.successResultOf(asking)
        self.assertEqual([item["name"] for item in self.items], ["Bob", "Alice", "Carol"])


class LogTests(RequestTestCase):
    def test_who_follows_too_slowly_is_told_what_is_lost(self) -> None:
        self.node.service.group.history.keep(5)
        following = self.begin("log", follow=True)
        for number in range(20):
            self.node.ask(1, f"2 {number}")
        self.clock.advance(FOLLOW_SECONDS)
        self.assertEqual([item.get("lost", item.get("text")) for item in self.items][1:3], [15, "Bob: 15"])
        self.assertEqual(self.items[-1]["text"], "Bob: 19")
        following.addErrback(lambda why: None).cancel()

    def test_so_many_lines_are_shown_as_asked_for(self) -> None:
        for number in range(30):
            self.node.ask(1, f"2 {number}")
        self.assertEqual([item["text"] for item in self.answer("log", lines=2)], ["Bob: 28", "Bob: 29"])
        self.assertEqual(len(self.answer("log")), requests.LINES)
        self.assertEqual(self.answer("log", lines=0), [])


class BanTests(RequestTestCase):
    def test_bans_that_are_over_are_not_listed(self) -> None:
        self.operate(Ban("192.0.2.1", 10))
        self.operate(Ban("192.0.2.2"))
        self.assertEqual([ban["until"] is None for ban in self.answer("bans")], [False, True])
        self.tick(10)
        self.assertEqual([ban["whom"] for ban in self.answer("bans")], ["192.0.2.2/32"])

    def test_a_mute_of_an_address_says_for_whom_it_counts(self) -> None:
        self.operate(Mute("Bob", why="noise"))
        self.connection("Alice", KEY)
        self.operate(Mute("Alice"))
        bob, alice = self.answer("bans")
        self.assertEqual(bob["whom"], "Bob, and all without a key at 10.0.0.1")
        self.assertEqual((bob["why"], alice["whom"]), ("noise", "Alice"))

    def test_a_time_is_a_number_of_at_most_ten_years(self) -> None:
        for seconds in (0, True, "9", [1], 11 * 366 * 86_400):
            self.assertIn("at most ten years", self.refused("ban", whom="192.0.2.1", seconds=seconds))
        self.assertEqual(self.answer("ban", whom="192.0.2.1", seconds=0.5), [])

    def test_only_true_is_a_yes(self) -> None:
        for sure in (1, "true"):
            self.assertEqual(self.refused("ban", whom="0.0.0.0/0", sure=sure), "That would ban everybody.")


class FieldTests(RequestTestCase):
    def test_a_number_is_not_true_and_not_beyond_its_bounds(self) -> None:
        for lines in (True, -1, 100_001, 1.0, None):
            self.assertEqual(self.refused("log", lines=lines), "lines must be a number from 0 to 100000.")

    def test_a_reason_is_a_text(self) -> None:
        self.assertEqual(self.refused("remove", name="Bob", why=7), "remove needs why, a text.")
        self.assertEqual(self.names(), ["Bob"])

    def test_so_many_records_are_shown_as_asked_for(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-audit-")
        self.addCleanup(directory.cleanup)
        audit = Audit(Path(directory.name, "audit"))
        for number in range(150):
            audit.record("say", "root", 0.0, text=number)
        self.daemon = Daemon(self.node.service, audit, self.clock, dict, lambda: None, 0.0)
        self.assertEqual([record["text"] for record in self.answer("audit", lines=2)], [148, 149])
        self.assertEqual(len(self.answer("audit")), 100)

    def test_what_was_done_without_a_record_is_said(self) -> None:
        self.daemon = Daemon(self.node.service, Unwritable(None), self.clock, dict, lambda: None, 0.0, Unchanging())
        why = "It is done, but the audit trail cannot be written: No space left on device."
        self.assertEqual(self.refused("reload"), why)
        self.assertEqual(self.refused("set", name="rate", value="1"), why)
