"""How fast a member may say things, also when it leaves and joins again."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from groupchat.core.errors import NotNow
from groupchat.core.events import Joined
from groupchat.core.group import Member
from groupchat.core.limits import BURST
from groupchat.core.pace import Pace

NOW = 1_700_000_000.0
RATE = 5


class RejoinTests(TestCase):
    def setUp(self) -> None:
        self.pace = Pace(RATE)

    def joined(self, now: float, host: str = "10.0.0.1") -> Member:
        self.pace.check_join(host, now)
        member = Member(Joined(1, "Alice", "alice", now, host, None), 1, 0)
        self.pace.joined(member, now)
        return member

    def said(self, member: Member, now: float) -> int:
        """How much a member may say at once."""
        for count in range(10 * BURST):
            try:
                self.pace.take(member, now)
            except NotNow:
                return count
        return 10 * BURST

    def may_join(self, now: float) -> bool:
        try:
            self.pace.check_join("10.0.0.1", now)
        except NotNow:
            return False
        return True

    def test_who_leaves_and_joins_again_goes_on_where_it_was(self) -> None:
        alice = self.joined(NOW)
        for _ in range(60):
            self.pace.take(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual(self.said(self.joined(NOW + 1), NOW + 1), BURST - 61 + RATE)

    def test_joining_and_leaving_again_and_again_is_paced_as_well(self) -> None:
        said = joins = 0
        for tenth in range(1000):
            now = NOW + tenth / 10
            while self.may_join(now):
                alice = self.joined(now)
                joins += 1
                said += self.said(alice, now)
                self.pace.left(alice, now)
        self.assertLess(said + joins, 3 * BURST + 100 * RATE)
        self.assertGreater(said + joins, 90 * RATE)

    def test_who_said_little_leaves_little_behind(self) -> None:
        """A class goes, and the next one comes."""
        class_of_50 = [self.joined(NOW) for _ in range(50)]
        for member in class_of_50:
            self.pace.left(member, NOW + 3600)
        first, second = self.joined(NOW + 3610), self.joined(NOW + 3610)
        self.assertEqual((self.said(first, NOW + 3610), self.said(second, NOW + 3610)), (BURST, BURST))

    def test_what_many_have_spent_locks_nobody_out_for_long(self) -> None:
        for member in [self.joined(NOW) for _ in range(20)]:
            self.said(member, NOW)
            self.pace.left(member, NOW)
        self.assertTrue(self.may_join(NOW))

    def test_taking_turns_gains_nothing(self) -> None:
        """Some take the debts over, the next ones speak, and all leave: again and again."""
        said = 0
        for round in range(100):
            now = NOW + round / 5
            members = [self.joined(now) for _ in range(5) if self.may_join(now)]
            said += sum(self.said(member, now) for member in members)
            for member in members:
                self.pace.left(member, now)
        self.assertLess(said, 5 * BURST + 20 * RATE)

    def test_one_who_said_too_much_locks_nobody_else_out(self) -> None:
        alice = self.joined(NOW)
        self.said(alice, NOW)
        self.pace.left(alice, NOW)
        bob = self.joined(NOW)
        self.assertEqual((self.said(bob, NOW), self.said(bob, NOW + 1)), (0, RATE))

    def told(self, now: float, host: str = "10.0.0.1") -> int:
        """How much guests may say at once."""
        for count in range(10 * BURST):
            try:
                self.pace.check_guest(host, now)
                self.pace.take_from(host, now)
            except NotNow:
                self.assertRaises(NotNow, self.pace.check_guest, host, now)
                return count
        return 10 * BURST

    def test_the_guests_of_a_host_have_one_bucket(self) -> None:
        self.assertEqual([self.told(NOW + second) for second in (0, 0.01, 1, 3)], [BURST, 0, RATE, 2 * RATE])
        self.assertEqual((self.told(NOW, "10.0.0.2"), self.told(NOW + 1000)), (BURST, BURST))

    def test_guests_lock_nobody_out_of_joining_who_is_only_slow_to_speak(self) -> None:
        self.told(NOW)
        self.assertTrue(self.may_join(NOW))
        alice = self.joined(NOW)
        self.assertEqual((self.said(alice, NOW), self.said(alice, NOW + 1)), (0, RATE))
        self.assertEqual(self.said(self.joined(NOW + BURST / RATE), NOW + BURST / RATE), BURST)

    def test_guests_pay_for_those_who_left(self) -> None:
        alice = self.joined(NOW)
        self.said(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual((self.told(NOW), self.told(NOW + 1)), (0, RATE - 1))

    def test_looking_whether_one_may_say_something_costs_nothing(self) -> None:
        alice = self.joined(NOW)
        for _ in range(2 * BURST):
            self.pace.check(alice, NOW)
            self.pace.check_guest("10.0.0.1", NOW)
        self.assertEqual((self.said(alice, NOW), self.told(NOW)), (BURST, BURST))
        self.assertRaises(NotNow, self.pace.check, alice, NOW)
        self.pace.check(alice, NOW + 1)

    def test_hosts_have_nothing_to_do_with_each_other(self) -> None:
        alice = self.joined(NOW)
        self.said(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual(self.said(self.joined(NOW, "10.0.0.2"), NOW), BURST)

    def test_what_is_paid_is_forgotten(self) -> None:
        for host in range(100):
            alice = self.joined(NOW, f"10.0.1.{host}")
            self.pace.take(alice, NOW)
            self.pace.left(alice, NOW)
        self.pace.forget(NOW)
        self.assertEqual(len(self.pace._debts), 100)
        self.pace.forget(NOW + 1)
        self.assertEqual(self.pace._debts, {})

    def test_without_a_limit_nothing_is_noted(self) -> None:
        self.pace = Pace(0)
        alice = self.joined(NOW)
        self.assertEqual((self.said(alice, NOW), self.told(NOW)), (10 * BURST, 10 * BURST))
        self.pace.check(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual(self.pace._debts, {})
