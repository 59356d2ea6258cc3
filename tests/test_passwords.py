"""The checks of the group's password: their limits, and whose turn it is."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.limits import ALL_PASSWORD_CHECKS, PASSWORD_CHECKS
from groupchat.frontends.connections.passwords import OperatorPasswords, PasswordChecks

AT_ONCE = PASSWORD_CHECKS[0]
HOST = "10.0.0.1"


class PasswordChecksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.checks = PasswordChecks(self.clock, [b"sesame"])
        self.done: list[tuple[object, bool]] = []  # the connections whose password was checked, and if it was right

    def check(self, host: str, connection: object, given: bytes = b"wrong") -> Deferred[bool]:
        def note(is_right: bool) -> bool:
            self.done.append((connection, is_right))
            return is_right

        return self.checks.check(host, connection, given).addCallback(note)

    def guess(self, host: str, count: int) -> int:
        """Guess from so many connections at once. Return how many of all guesses were checked."""
        for number in range(count):
            self.check(host, f"{host} {number} {self.clock.seconds()}")
        done, self.done = self.done, []
        return len(done)

    def order(self) -> list[object]:
        done, self.done = self.done, []
        return [connection for connection, _ in done]

    def test_forty_at_once_and_then_one_a_second(self) -> None:
        self.assertEqual(self.guess(HOST, 100), AT_ONCE)
        for _ in range(5):
            self.clock.advance(0.5)
            self.assertEqual(self.order(), [])
            self.clock.advance(0.5)
            self.assertEqual(len(self.order()), 1)

    def test_right_passwords_cost_nothing(self) -> None:
        for number in range(1000):
            self.check(HOST, number, b"sesame")
        self.assertEqual(self.done, [(number, True) for number in range(1000)])

    def test_the_right_one_waits_as_long_as_a_wrong_one(self) -> None:
        self.guess(HOST, AT_ONCE)
        self.check(HOST, "right", b"sesame")
        self.check(HOST, "wrong")
        self.assertEqual(self.done, [])
        self.clock.advance(1)
        self.assertEqual(self.done, [("right", True), ("wrong", False)])

    def test_connections_have_their_turns(self) -> None:
        self.guess(HOST, AT_ONCE)
        for _ in range(10):
            self.check(HOST, "guesser")
        self.check(HOST, "other")
        self.check(HOST, "owner", b"sesame")
        self.clock.pump([1] * 4)
        self.assertEqual(self.order(), ["guesser", "other", "owner", "guesser", "guesser"])

    def test_a_steady_guesser_does_not_keep_the_owner_out(self) -> None:
        self.guess(HOST, AT_ONCE)

        def again(_: object = None) -> None:
            self.check(HOST, "guesser").addCallback(again)

        again()
        self.clock.pump([0.1] * 100)
        self.order()
        self.check(HOST, "owner", b"sesame")
        self.clock.pump([0.1] * 20)
        self.assertIn(("owner", True), self.done)

    def test_a_network_of_ipv6_counts_as_one_host(self) -> None:
        for number in range(AT_ONCE):
            self.check(f"2001:db8::{number:x}", number)
        self.assertEqual(len(self.order()), AT_ONCE)
        self.check("2001:db8::ffff:1:2:3", "same network")
        self.check("2001:db8:0:1::1", "another network")
        self.check("::ffff:10.0.0.1", "IPv4")
        self.assertEqual(self.order(), ["another network", "IPv4"])
        self.clock.advance(1)
        self.assertEqual(self.order(), ["same network"])

    def test_all_hosts_together_have_a_limit(self) -> None:
        """250 hosts guessed 250 times in a tenth of a second."""
        checked = sum(self.guess(f"10.0.1.{host}", 1) for host in range(250))
        self.assertEqual(checked, ALL_PASSWORD_CHECKS)
        self.clock.pump([0.05] * 20)
        self.assertEqual(len(self.order()), ALL_PASSWORD_CHECKS)
        self.clock.pump([0.05] * 20)
        self.assertEqual(len(self.order()), 250 - 2 * ALL_PASSWORD_CHECKS)

    def test_hosts_have_their_turns_beyond_the_common_limit(self) -> None:
        for host in range(3):
            self.guess(f"10.0.2.{host}", AT_ONCE)
        self.guess("10.0.3.1", 30)
        self.check("10.0.0.9", "owner", b"sesame")
        self.clock.advance(0.3)
        self.assertIn(("owner", True), self.done)

    def test_a_cancelled_check_costs_nothing_and_is_false(self) -> None:
        self.guess(HOST, AT_ONCE)
        for number in range(100):
            self.check(HOST, number, b"sesame").cancel()
        self.assertEqual(self.done, [(number, False) for number in range(100)])
        self.done.clear()
        self.check(HOST, "owner", b"sesame")
        self.clock.advance(1)
        self.assertEqual(self.done, [("owner", True)])

    def test_one_of_several_may_be_cancelled(self) -> None:
        self.guess(HOST, AT_ONCE)
        checks = [self.check(HOST, "owner", given) for given in (b"a", b"b", b"sesame")]
        checks[1].cancel()
        checks[0].cancel()
        self.done.clear()
        self.clock.advance(1)
        self.assertEqual(self.done, [("owner", True)])
        checks[2].cancel()
        self.assertEqual(self.done, [("owner", True)])

    def test_a_check_may_end_others_of_its_turn(self) -> None:
        self.guess(HOST, AT_ONCE)
        second: list[Deferred[bool]] = []
        self.check(HOST, "first", b"sesame").addCallback(lambda _: second[0].cancel())
        second.append(self.check(HOST, "second", b"sesame"))
        self.clock.advance(1)
        self.assertEqual(self.done, [("first", True), ("second", False)])

    def test_old_hosts_are_forgotten(self) -> None:
        for host in range(90):
            self.guess(f"10.0.1.{host}", 1)
        self.check(HOST, "owner", b"sesame")
        self.checks.forget_old()
        self.assertEqual(len(self.checks._queues), 90)
        self.clock.advance(1)
        self.checks.forget_old()
        self.assertEqual((self.checks._queues, self.checks._plan, self.clock.getDelayedCalls()), ({}, [], []))

    def test_a_host_in_the_plan_is_not_forgotten(self) -> None:
        for host in range(ALL_PASSWORD_CHECKS):
            self.guess(f"10.0.1.{host}", 1)
        self.check(HOST, "gone", b"sesame").cancel()
        self.checks.forget_old()
        self.clock.advance(1)
        self.check(HOST, "owner", b"sesame")
        self.assertEqual(self.done[-1], ("owner", True))

    def test_nothing_is_checked_after_the_stop(self) -> None:
        self.assertEqual(self.guess(HOST, AT_ONCE + 1), AT_ONCE)
        self.checks.stop()
        self.check("10.0.0.2", "late", b"sesame")
        self.clock.advance(10)
        self.assertEqual((self.done, self.clock.getDelayedCalls()), ([], []))

    def test_a_clock_that_is_set_back_gives_no_tokens(self) -> None:
        self.guess(HOST, AT_ONCE)
        self.clock.rightNow -= 1000
        self.assertEqual(self.guess(HOST, 1), 0)


class OperatorPasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.passwords = OperatorPasswords(Clock(), (b":sesame", b"alice:open", b":a:b"))

    def is_right(self, name: str, given: bytes) -> bool:
        return self.successResultOf(self.passwords.check_of(HOST, object(), name, given))

    def test_a_password_without_a_name_is_for_all(self) -> None:
        for name in ("Alice", "Bob"):
            self.assertTrue(self.is_right(name, b"sesame"))
            self.assertTrue(self.is_right(name, b" a:b "))
            for wrong in (b"", b":", b":sesame", b"Sesame", b"a", b"alice:open", b"\xff"):
                self.assertFalse(self.is_right(name, wrong), wrong)

    def test_a_password_with_a_name_is_for_its_member(self) -> None:
        self.assertTrue(self.is_right("ALICE", b"open"))
        self.assertFalse(self.is_right("Bob", b"open"))

    def test_without_passwords_all_are_wrong(self) -> None:
        self.passwords = OperatorPasswords(Clock(), ())
        self.assertFalse(self.passwords.exist)
        self.assertFalse(self.is_right("Alice", b""))
