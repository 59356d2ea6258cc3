"""The facts of a group: they are set by operators, hold over restarts, and win over the options."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core import facts
from groupchat.core.commands import Change
from groupchat.core.errors import IllegalMessage
from groupchat.core.limits import MOST, Settings
from groupchat.log.memory import MemoryLog, Store
from tests.connections import Connection
from tests.logs import LateLog
from tests.node import Node
from tests.test_moderation import ILLEGAL, OperatorTestCase


class ValueTests(SynchronousTestCase):
    def test_a_value_is_checked_and_stored_in_one_form(self) -> None:
        for fact, value, stored in [
            ("post", "operators", "operators"),
            ("keep-lines", "0007", "7"),
            ("keep-days", "0", "0"),
            ("reserve", "0", "0"),
            ("max-members", str(MOST), str(MOST)),
            ("max-members", "", ""),
        ]:
            self.assertEqual(facts.check(fact, value), stored)

    def test_other_values_are_refused_with_the_bounds(self) -> None:
        for value in ("0", "-1", "1.5", " 1", "many", str(MOST + 1), "9" * 5000):
            why = self.assertRaises(IllegalMessage, facts.check, "keep-lines", value)
            self.assertIn(f"keep-lines must be a whole number from 1 to {MOST}", str(why))
            self.assertLess(len(str(why)), 150)

    def test_facts_win_over_options(self) -> None:
        found = facts.settings(Settings(keep=5, rate=7), {"keep-lines": "10", "post": "operators"})
        self.assertEqual(found, Settings(keep=10, rate=7))

    def test_unusable_facts_of_a_file_are_ignored(self) -> None:
        self.assertEqual(facts.settings(Settings(), {"keep-lines": "0", "keep-days": "x", "other": "1"}), Settings())


class GroupTests(OperatorTestCase):
    def test_fewer_lines_are_kept_at_once(self) -> None:
        for number in range(10):
            self.node.ask(1, f"2 text {number}")
        history = self.node.service.group.history
        self.assertEqual(self.operate(Change("keep-lines", "3")), "")
        self.assertEqual(history.head - history.first + 1, 3)
        self.node.ask(1, "2 more")
        self.assertEqual(history.head - history.first + 1, 3)

    def test_a_full_group_takes_members_once_it_may(self) -> None:
        self.assertEqual(self.operate(Change("max-members", "1")), "")
        self.assertEqual(self.refused_join(), "The group is full.")
        self.assertEqual(self.operate(Change("max-members", "2")), "")
        self.assertEqual(self.refused_join(), "")

    def refused_join(self) -> str:
        connection = Connection(self.node.service)
        connection.join("Carol")
        self.settle()
        return connection.why[-1] if connection.why else ""

    def test_a_fact_holds_after_a_restart_and_wins(self) -> None:
        self.operate(Change("keep-lines", "3"))
        for number in range(5):
            self.node.ask(1, f"2 text {number}")
        for _ in range(2):  # from the events, and then from a snapshot
            again = Node(LateLog(self.store, self.clock, self.delay), self.clock, keep=1000)
            self.settle()
            self.assertEqual(again.service.settings.keep, 3)
            self.assertEqual(again.service.group.history.first, 4)
            again.service.stopService()
            self.settle()

    def test_an_empty_value_lets_the_option_count_again(self) -> None:
        service = self.node.service
        self.operate(Change("keep-days", "7"))
        self.assertEqual(service.settings.keep_days, 7)
        self.operate(Change("keep-days", ""))
        self.assertEqual(service.settings.keep_days, 30)

    def test_other_options_do_not_change_a_fact(self) -> None:
        service = self.node.service
        self.operate(Change("keep-lines", "3"))
        service.configure(replace(service.settings, keep=50, idle=5))
        self.assertEqual((service.settings.keep, service.settings.idle), (3, 5))

    def test_a_fact_alone_restricts_nobody(self) -> None:
        self.operate(Change("keep-lines", "30"))
        self.assertFalse(self.node.service.group.moderation.is_restricting)
        self.operate(Change("post", "operators"))
        self.assertEqual(self.node.ask(1, "2 hi"), ILLEGAL)


class LimitTests(OperatorTestCase):
    def configure(self, **settings: int) -> None:
        service = self.node.service
        service.configure(replace(service.settings, **settings))  # type: ignore[arg-type]

    def test_a_lower_rate_holds_for_the_next_text(self) -> None:
        self.configure(rate=1)
        refused = [self.node.ask(1, f"2 {number}") for number in range(110)].count(ILLEGAL)
        self.assertEqual(refused, 10)
        self.configure(rate=0)
        self.assertEqual(self.node.ask(1, "2 more"), "")

    def test_a_lower_join_rate_holds_for_the_next_join(self) -> None:
        self.configure(join_rate=1, max_per_host=0)
        for number in range(2, 1100):
            self.node.send(number, f"1 N{number}")
        self.settle()
        self.assertEqual(len(self.node.service.group.members), 1001)

    def test_a_shorter_hold_ends_sessions_that_are_held(self) -> None:
        alice = self.connection("Alice", "ab" * 16)
        self.node.service.hang_up(alice.seat, hold=True)
        self.tick(10)
        self.assertIn("Alice", self.names())
        self.configure(hold=5)
        self.tick()
        self.assertNotIn("Alice", self.names())


class WithoutLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store, self.clock = Store(), Clock()

    def done(self, deferred: Deferred[Any]) -> None:
        self.clock.pump([0.0] * 5)
        self.successResultOf(deferred)

    def test_a_group_without_lines_starts_again_and_again(self) -> None:
        for start in range(4):
            node = Node(MemoryLog(self.store), self.clock)
            self.done(node.started)
            if not start:
                self.done(node.service.operate(Change("post", "operators", by="root")))
            self.assertTrue(node.service.group.moderation.only_operators_post)
            self.done(node.service.stopService())
            snapshot = self.store.snapshot
            assert snapshot is not None
            self.store.trim(json.loads(snapshot.state)["first"])
