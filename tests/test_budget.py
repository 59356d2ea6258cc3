"""The budget of plain datagrams to a host that may never have asked: a forged address is no cannon."""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.budget import FREE, HEADERS, Budget
from groupchat.core.limits import BUDGET, BUDGET_FACTOR, BUDGET_RATE
from tests.node import Node

VICTIM = "198.51.100.1"
TEXT = "x" * 1000


class Victim:
    """A host whose address is forged: what was sent in its name, and what it was sent, headers included."""

    def __init__(self, node: Node, host: str = VICTIM) -> None:
        self.node = node
        self.host = host
        self.forged = self.requests = self.sent = self.replies = 0

    def ask(self, request: str, port: int = 1) -> str | None:
        reply = self.node.ask(port, request, self.host)
        self.requests += 1
        self.forged += len(request.encode()) + HEADERS
        if reply is not None:
            self.replies += 1
            self.sent += len(reply.encode()) + HEADERS
        return reply

    def most(self, seconds: float) -> float:
        """Return the most bytes that it may have been sent in this time."""
        return BUDGET + BUDGET_RATE * seconds + BUDGET_FACTOR * self.forged


class VictimTestCase(SynchronousTestCase):
    """A test with a member that talks, on another host."""

    def setUp(self) -> None:
        self.node = Node(max_per_host=0)
        self.victim = Victim(self.node)

    def talk(self, lines: int, text: str = TEXT) -> None:
        for _ in range(lines):
            self.node.send(9, f"2 {text}", "10.0.0.9")
        self.node.clock.advance(0)
        self.node.replies()

    def backlog(self, lines: int, text: str = TEXT) -> None:
        """Let the victim join, and lines wait for it."""
        self.victim.ask("1 q")
        self.node.ask(9, "1 Talker", "10.0.0.9")
        for _ in range(lines // 10):
            self.talk(10, text)


class ForgedTests(VictimTestCase):
    def for_a_minute(self, ask: Callable[[], object], per_second: int) -> None:
        for _ in range(60 * per_second):
            ask()
            self.node.clock.advance(1 / per_second)

    def test_polls_for_a_backlog_stay_within_the_budget(self) -> None:
        self.backlog(20_000)
        for per_second in (1, 10):
            self.victim.forged = self.victim.sent = 0
            self.for_a_minute(lambda: self.victim.ask("5"), per_second)
            self.assertLessEqual(self.victim.sent, self.victim.most(60))
            self.assertGreater(self.victim.sent, 0.9 * (self.victim.most(60) - BUDGET))
        self.assertEqual(self.victim.replies, self.victim.requests)

    def test_joins_and_leaves_in_turn_stay_within_the_budget(self) -> None:
        self.node.join([f"member {number}" for number in range(300)])
        self.for_a_minute(lambda: (self.victim.ask("1 q"), self.victim.ask("4")), 25)
        self.assertLessEqual(self.victim.sent, self.victim.most(60))
        self.assertEqual(self.victim.replies, self.victim.requests)

    def test_repeated_joins_stay_within_the_budget(self) -> None:
        self.node.join([f"member {number}" for number in range(300)])
        for port in range(50):
            self.victim.ask(f"1 q{port}", port)
        self.victim.replies = self.victim.requests = 0
        self.for_a_minute(lambda: [self.victim.ask(f"1 q{port}", port) for port in range(50)], 1)
        self.assertLessEqual(self.victim.sent, self.victim.most(60))
        self.assertGreater(self.victim.replies, 0.98 * self.victim.requests)  # faster repeats get no answer

    def test_what_no_member_sends_earns_no_large_replies(self) -> None:
        self.node.join([f"member {number}" for number in range(300)])
        for request in ("", "5", "2 hi", "1 member 1", "nonsense", "1 " + "x" * 40):
            self.assertEqual(self.victim.ask(request), "Illegal message")
        self.assertNotIn(VICTIM, self.node.udp._spent)

    def test_any_traffic_of_any_length_stays_within_the_budget(self) -> None:
        dice = random.Random(7)
        for _ in range(5):
            self.setUp()
            self.backlog(500)
            began = self.node.clock.seconds()
            for _ in range(1500):
                request = dice.choice(["5", "5", "5", "4", "1 q", "1 q", "3 q" + str(dice.random()), "", "7"])
                self.victim.ask(dice.choice([request, "2 " + "t" * dice.randrange(1, 4096)]), dice.randrange(1, 4))
                if dice.random() < 0.2:
                    self.talk(dice.randrange(20))
                if dice.random() < 0.1:
                    self.node.clock.advance(dice.choice([0.01, 1, 30]))
                self.assertLessEqual(self.victim.sent, self.victim.most(self.node.clock.seconds() - began))


class ListTests(VictimTestCase):
    def test_a_list_is_short_at_first_and_repeated(self) -> None:
        self.node.join([f"member {number}" for number in range(300)])
        for _ in range(2):
            reply = self.victim.ask("1 q")
            assert reply is not None
            self.assertTrue(1000 < len(reply.encode()) <= 1024, len(reply))
            *names, more = reply.split(", ")
            self.assertEqual(names, [f"member {number}" for number in range(299, 299 - len(names), -1)])
            self.assertEqual(more, f"({300 - len(names)} more)")

    def test_a_list_is_never_empty_if_the_budget_is_spent(self) -> None:
        self.backlog(1000)
        self.node.join([f"member {number}" for number in range(300)])
        while self.victim.ask("5"):
            pass
        reply = self.victim.ask("1 q2", 2)
        assert reply is not None
        self.assertRegex(reply, r"^member 299, .* more\)$")


class WaitingTests(VictimTestCase):
    def test_lines_beyond_the_budget_wait_and_none_is_lost(self) -> None:
        self.backlog(300)
        for number in range(20):
            self.talk(1, f"line {number}")
        seen: list[str] = []
        polls = 0
        while seen[-1:] != ["Talker: line 19"]:
            reply = self.victim.ask("5")
            assert reply is not None
            seen += reply.split("\n") if reply else []
            polls += 1
            self.node.clock.advance(1)
        self.assertEqual(
            seen, ["Talker has joined", *[f"Talker: {TEXT}"] * 300, *(f"Talker: line {number}" for number in range(20))]
        )
        self.assertTrue(50 < polls < 70, polls)

    def test_a_long_line_waits_until_there_is_room_for_it(self) -> None:
        self.backlog(30, "y" * 4096)
        while self.victim.ask("5"):
            pass
        waiting = self.node.service.group.behind(self.node.service.group.by_key["q"])
        self.assertEqual(self.victim.ask("5"), "")
        self.assertEqual(self.node.service.group.behind(self.node.service.group.by_key["q"]), waiting)
        self.node.clock.advance(1)
        self.assertEqual(self.victim.ask("5"), "Talker: " + "y" * 4096)

    def test_saying_earns_more_than_polling(self) -> None:
        self.backlog(1000)
        while self.victim.ask("5"):
            pass
        reply = self.victim.ask("2 " + "z" * 2000)
        assert reply is not None
        self.assertTrue(31_000 < len(reply) < 34_000, len(reply))

    def test_a_class_behind_one_address_notices_nothing(self) -> None:
        host, size = "10.1.0.1", 40
        group = self.node.service.group
        for port in range(1, size + 1):
            self.assertLess(len(self.node.ask(port, f"1 pupil {port}", host) or ""), 1024)
        dice = random.Random(40)
        for second in range(120):
            for port in range(1, size + 1):
                says = dice.random() < 0.1
                text = "answer " * dice.randrange(1, 12)
                self.node.ask(port, f"2 {text}" if says else "5", host)
                waiting = group.behind(group.by_address[host, port])
                self.assertEqual(waiting, 0, (second, port))
                self.node.clock.advance(1 / size)


class HostTests(VictimTestCase):
    """The addresses whose bytes are counted together."""

    def received(self, *hosts: str) -> list[int]:
        """Return how many bytes of lines each host can get at once."""
        self.node = Node(max_per_host=0)
        for port, host in enumerate(hosts, 100):
            self.node.ask(port, f"1 m{port}", host)
        self.node.ask(9, "1 Talker", "10.0.0.9")
        for _ in range(40):
            self.talk(10)
        counts = []
        for port, host in enumerate(hosts, 100):
            counts.append(0)
            while reply := self.node.ask(port, "5", host):
                counts[-1] += len(reply)
        return counts

    def test_each_ipv4_address_has_a_budget(self) -> None:
        one, again, other = self.received(VICTIM, VICTIM, "198.51.100.2")
        self.assertTrue(min(one, other) > 65_000 and again < 2000, (one, again, other))

    def test_an_ipv6_network_of_64_bits_has_one_budget(self) -> None:
        one, same, other = self.received("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
        self.assertTrue(min(one, other) > 65_000 and same < 2000, (one, same, other))

    def test_loopback_is_exempt(self) -> None:
        for counts in (self.received("127.0.0.1", "127.9.9.9", "::1"), self.received("::1", "::1")):
            self.assertGreater(min(counts), 400_000)
        self.assertEqual(self.node.udp._spent, {})

    def test_a_name_that_begins_like_loopback_is_not(self) -> None:
        self.assertLess(self.received("12.7.0.1", "::1:1")[1], 70_000)


class MemoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1_700_000_000.0
        self.budget = Budget(lambda: self.now)

    def test_a_full_budget_takes_no_memory(self) -> None:
        for sent, received in [(FREE, 0), (FREE + 160, 10)]:
            self.budget.pay(VICTIM, sent)
            self.assertEqual(self.budget.room(VICTIM, received), FREE + BUDGET)
            self.assertEqual(self.budget.spent, {})
        self.budget.pay(VICTIM, FREE + 160)
        self.budget.pay(VICTIM, FREE - 160)
        self.assertEqual(self.budget.spent, {})

    def test_hosts_that_are_gone_are_forgotten(self) -> None:
        for number in range(10_000):
            self.budget.pay(f"10.0.{number // 250}.{number % 250}", 1000)
            self.now += 0.01
        self.assertLess(len(self.budget.spent), 200)

    def test_a_clock_set_back_gives_and_takes_nothing(self) -> None:
        self.budget.pay(VICTIM, 10_000)
        room = self.budget.room(VICTIM, 0)
        self.now -= 3600
        self.assertEqual(self.budget.room(VICTIM, 0), room)
        self.now += 1
        self.assertEqual(self.budget.room(VICTIM, 0), room + BUDGET_RATE)
