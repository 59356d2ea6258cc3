"""Flood control, also of members that leave and join again."""

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
        """Return how much a member may say at once."""
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

    def test_joining_again_does_not_refill_the_bucket(self) -> None:
        alice = self.joined(NOW)
        for _ in range(60):
            self.pace.take(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual(self.said(self.joined(NOW + 1), NOW + 1), BURST - 61 + RATE)

    def test_repeated_joins_and_leaves_are_limited(self) -> None:
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

    def test_a_member_that_said_little_leaves_a_small_debt(self) -> None:
        """A class of pupils leaves, and the next one joins from the same address."""
        class_of_50 = [self.joined(NOW) for _ in range(50)]
        for member in class_of_50:
            self.pace.left(member, NOW + 3600)
        first, second = self.joined(NOW + 3610), self.joined(NOW + 3610)
        self.assertEqual((self.said(first, NOW + 3610), self.said(second, NOW + 3610)), (BURST, BURST))

    def test_debts_of_many_members_lock_nobody_out(self) -> None:
        for member in [self.joined(NOW) for _ in range(20)]:
            self.said(member, NOW)
            self.pace.left(member, NOW)
        self.assertTrue(self.may_join(NOW))

    def test_members_that_take_turns_gain_nothing(self) -> None:
        """Some members take the debts over, others speak, and all leave, again and again."""
        said = 0
        for round in range(100):
            now = NOW + round / 5
            members = [self.joined(now) for _ in range(5) if self.may_join(now)]
            said += sum(self.said(member, now) for member in members)
            for member in members:
                self.pace.left(member, now)
        self.assertLess(said, 5 * BURST + 20 * RATE)

    def test_a_member_that_said_too_much_locks_nobody_out(self) -> None:
        alice = self.joined(NOW)
        self.said(alice, NOW)
        self.pace.left(alice, NOW)
        bob = self.joined(NOW)
        self.assertEqual((self.said(bob, NOW), self.said(bob, NOW + 1)), (0, RATE))

    def told(self, now: float, host: str = "10.0.0.1") -> int:
        """Return how much guests may say at once."""
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

    def test_guests_only_slow_down_those_who_join(self) -> None:
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

    def test_a_check_takes_no_token(self) -> None:
        alice = self.joined(NOW)
        for _ in range(2 * BURST):
            self.pace.check(alice, NOW)
            self.pace.check_guest("10.0.0.1", NOW)
        self.assertEqual((self.said(alice, NOW), self.told(NOW)), (BURST, BURST))
        self.assertRaises(NotNow, self.pace.check, alice, NOW)
        self.pace.check(alice, NOW + 1)

    def test_hosts_have_separate_debts(self) -> None:
        alice = self.joined(NOW)
        self.said(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual(self.said(self.joined(NOW, "10.0.0.2"), NOW), BURST)

    def test_paid_debts_are_forgotten(self) -> None:
        for host in range(100):
            alice = self.joined(NOW, f"10.0.1.{host}")
            self.pace.take(alice, NOW)
            self.pace.left(alice, NOW)
        self.pace.forget(NOW)
        self.assertEqual(len(self.pace._debts), 100)
        self.pace.forget(NOW + 1)
        self.assertEqual(self.pace._debts, {})

    def test_without_a_limit_no_debt_is_kept(self) -> None:
        self.pace = Pace(0)
        alice = self.joined(NOW)
        self.assertEqual((self.said(alice, NOW), self.told(NOW)), (10 * BURST, 10 * BURST))
        self.pace.check(alice, NOW)
        self.pace.left(alice, NOW)
        self.assertEqual(self.pace._debts, {})
