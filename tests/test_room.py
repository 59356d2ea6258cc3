"""The seats of a group: what forged joins over UDP cannot take from others."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core import room
from groupchat.core.commands import LEAVE, Say
from groupchat.core.events import Joined
from groupchat.core.group import MANY, Group, Member
from groupchat.core.limits import JOIN_BURST, Settings
from groupchat.core.room import Room
from groupchat.log.memory import MemoryLog, Store
from tests.connections import Connection
from tests.logs import LateLog
from tests.node import Node
from tests.test_restart import Directory
from tests.test_snapshots import FirstVersionTests

ILLEGAL = "Illegal message"


def forged() -> Iterator[tuple[int, str]]:
    """Return ports and hosts that nobody has."""
    return ((number, f"198.18.{number // 250}.{number % 250}") for number in range(10_000))


def names(node: Node) -> list[str]:
    return [member.name for member in node.service.group.members.values()]


class FloodTests(SynchronousTestCase):
    """Datagrams with forged addresses ask for more seats than there are."""

    def setUp(self) -> None:
        self.node = Node(max_members=40)

    def flood(self, count: int, node: Node | None = None) -> None:
        for (port, host), number in zip(forged(), range(count), strict=False):
            (node or self.node).send(port, f"1 n{number}", host)
            (node or self.node).clock.advance(0)

    def test_udp_members_hold_three_quarters_of_the_seats(self) -> None:
        self.flood(100)
        self.assertEqual(len(names(self.node)), 30)
        self.assertEqual(names(self.node), [f"n{number}" for number in range(70, 100)])

    def test_the_other_seats_are_for_connections(self) -> None:
        self.flood(100)
        others = [Connection(self.node.service) for _ in range(11)]
        for number, other in enumerate(others):
            other.join(f"other {number}")
            self.node.clock.advance(0)
        self.assertEqual([other.words() for other in others], [["answered"]] * 10 + [["refused"]])
        self.assertEqual(others[10].why, ["The group is full."])
        self.assertEqual(len(names(self.node)), 40)
        self.assertEqual(self.node.ask(1, "1 Zoe"), ", ".join(reversed(names(self.node)[:-1])))
        others[0].ask(Say("hi"), LEAVE)
        self.node.clock.advance(0)
        self.assertEqual(others[0].words(), ["answered"] * 2)

    def test_connections_may_take_all_seats(self) -> None:
        for number in range(40):
            Connection(self.node.service).join(f"other {number}")
        self.node.clock.advance(0)
        self.assertEqual(self.node.ask(1, "1 Zoe"), ILLEGAL)
        self.assertEqual(len(names(self.node)), 40)

    def test_nobody_is_moved_while_there_is_room(self) -> None:
        self.node.join([f"m{number}" for number in range(30)])
        self.assertEqual(self.node.ask(1, "4"), "close")
        self.node.ask(99, "1 Zoe")
        self.assertEqual(names(self.node), [*(f"m{number}" for number in range(1, 30)), "Zoe"])

    def test_who_was_heard_in_more_minutes_stays(self) -> None:
        self.node.ask(1, "1 Alice")
        self.node.pass_time(60)
        self.node.ask(1, "5")
        self.node.pass_time(600)
        self.flood(200)
        self.assertEqual(len(names(self.node)), 30)
        self.assertIn("Alice", names(self.node))
        self.assertEqual(self.node.ask(1, "2 still here")[:19], "n0 has joined\nn1 ha")  # type: ignore[index]

    def test_of_equals_the_longest_silent_one_goes(self) -> None:
        self.node.join([f"m{number}" for number in range(30)])
        for who in (3, 1):
            self.node.clock.advance(1)
            self.node.ask(who, "5")
        self.node.clock.advance(1)
        self.flood(29)
        left = [name for name in names(self.node) if name.startswith("m")]
        self.assertEqual(left, ["m0"])

    def test_the_moved_one_is_told_to_have_left(self) -> None:
        node = Node(max_members=2)
        phone = Connection(node.service)
        phone.join("Phone")
        node.ask(1, "1 Alice")
        phone.listen()
        node.clock.advance(0)
        node.ask(2, "1 Bob", host="10.0.0.2")
        node.clock.advance(0)
        self.assertEqual(phone.lines[-1], "Alice has left the group\nBob has joined\n")
        self.assertEqual(node.ask(1, "5"), ILLEGAL)
        self.assertEqual(node.ask(1, "1 Alice"), "Phone")

    def test_joins_under_way_hold_seats_and_move_nobody_twice(self) -> None:
        clock = Clock()
        node = Node(LateLog(Store(), clock, 0.5), clock, max_members=8)
        node.send(1, "1 Alice")
        clock.pump([0.5] * 125)
        node.send(1, "5")
        for number in range(2, 11):
            node.send(number, f"1 n{number}")
        clock.pump([0.5] * 3)
        self.assertEqual(names(node), ["Alice", *(f"n{number}" for number in range(2, 7))])
        node.replies()
        for number in range(11, 31):
            node.send(number, f"1 n{number}")
        clock.pump([0.5] * 3)
        self.assertEqual(names(node), ["Alice", *(f"n{number}" for number in range(11, 16))])
        self.assertEqual(len(node.replies()), 5)
        self.assertEqual(node.service._rules.room._leaving, set())
        self.assertEqual((node.service._rules.room._joins, node.service._rules.room._joins_over_udp), (0, 0))

    def test_one_that_leaves_while_it_is_moved_counts_once(self) -> None:
        clock = Clock()
        node = Node(LateLog(Store(), clock, 1.0), clock, max_members=8)
        for who in range(6):
            node.send(who, f"1 m{who}")
            clock.pump([0, 1.0])
        node.send(0, "4")
        clock.pump([0, 0.5])
        for who in range(1, 6):
            node.send(who, "5")
        node.send(6, "1 m6")
        clock.pump([0, 0.5])
        self.assertEqual(names(node), ["m1", "m2", "m3", "m4", "m5"])
        node.send(7, "1 m7")
        clock.pump([0.5] * 4)
        self.assertEqual(names(node), ["m2", "m3", "m4", "m5", "m6", "m7"])

    def test_lowered_seats_are_for_all(self) -> None:
        store = Store()
        before = Node(MemoryLog(store), max_members=100)
        self.flood(50, before)
        node = Node(MemoryLog(store), before.clock, max_members=40)
        phone = Connection(node.service)
        phone.join("Phone")
        node.clock.advance(0)
        self.assertEqual(phone.words(), ["answered"])
        self.assertEqual(names(node), [*(f"n{number}" for number in range(1, 50)), "Phone"])
        other = Connection(node.service)
        other.join("Other")
        node.clock.advance(0)
        self.assertEqual(len(names(node)), 50)

    def test_one_seat_can_be_had_over_udp(self) -> None:
        node = Node(max_members=1)
        self.assertEqual([node.ask(who, f"1 m{who}") for who in (1, 2)], ["", ""])
        self.assertEqual(names(node), ["m2"])


class JoinRateTests(SynchronousTestCase):
    def test_joins_over_udp_are_limited_for_all_hosts(self) -> None:
        node = Node(max_per_host=0, join_rate=1)
        for port, host in forged():
            node.send(port, f"1 n{port}", host)
            node.clock.advance(0)
        self.assertEqual(len(names(node)), JOIN_BURST)
        self.assertEqual((len(node.replies()), node.udp.drops), (JOIN_BURST, 10_000 - JOIN_BURST))
        self.assertIsNone(node.ask(1, "1 Alice"))
        node.clock.advance(1)
        self.assertTrue(node.ask(1, "1 Alice"))
        self.assertIsNone(node.ask(2, "1 Bob"))
        node.pass_time(10)
        self.assertEqual(sum(node.ask(who, f"1 m{who}") is not None for who in range(2, 50)), 10)

    def test_connections_join_at_any_rate(self) -> None:
        node = Node(join_rate=1)
        for port, host in forged():
            node.send(port, f"1 n{port}", host)
        phone = Connection(node.service)
        phone.join("Phone")
        node.clock.advance(0)
        self.assertEqual(phone.words(), ["answered"])

    def test_refused_and_repeated_joins_are_not_counted(self) -> None:
        node = Node(join_rate=1)
        node.ask(1, "1 Alice")
        for _ in range(2 * JOIN_BURST):
            node.send(2, "1 Alice")
            node.send(1, "1 Alice")
        self.assertEqual(node.ask(3, "1 Bob"), "Alice")

    def test_join_rate_0_is_no_limit(self) -> None:
        node = Node(max_per_host=0, join_rate=0)
        for number in range(2 * JOIN_BURST):
            node.send(number, f"1 n{number}")
        node.clock.advance(0)
        self.assertEqual(len(names(node)), 2 * JOIN_BURST)


class MinutesTests(Directory):
    """In how many different minutes a member was heard is recorded."""

    def heard(self, node: Node) -> dict[str, int]:
        return {member.name: member.heard() for member in node.service.group.members.values()}

    def test_each_minute_counts_once_whatever_came_in_it(self) -> None:
        node = Node()
        node.clock.advance(60)
        node.join(["Poller", "Talker", "Silent"])
        for _ in range(5):
            for _ in range(10):
                node.ask(1, "5")
                node.ask(2, "2 hi")
                node.clock.advance(2)
            node.pass_time(40)
        node.pass_time(60)
        self.assertEqual(self.heard(node), {"Poller": 5, "Talker": 5, "Silent": 1})
        members = node.service.group.members.values()
        self.assertEqual([member.minutes for member in members], [5, 5, 1])

    def test_minutes_survive_a_kill_and_a_stop(self) -> None:
        node = self.node(max_members=4)
        node.ask(1, "1 Alice")
        node.ask(2, "1 Bob")
        for _ in range(3):
            node.pass_time(60)
            node.ask(1, "5")
        for _ in range(60):
            node.clock.advance(1)
            node.settle()
        killed = self.after_a_kill(node, max_members=4)
        self.assertEqual(self.heard(killed), {"Alice": 4, "Bob": 1})
        node.stop()
        stopped = self.node(clock=node.clock, max_members=4)
        self.assertEqual(self.heard(stopped), {"Alice": 4, "Bob": 1})
        for number in range(6):
            stopped.ask(10 + number, f"1 n{number}", host="10.0.0.9")
        self.assertEqual(names(stopped), ["Alice", "n4", "n5"])

    def test_members_of_older_files_were_heard_in_many(self) -> None:
        group = FirstVersionTests().loaded().group
        self.assertEqual([member.minutes for member in group.members.values()], [MANY] * 2)


class SearchTests(SynchronousTestCase):
    """The member who loses a seat is the one that sorting all would find, but few are looked at."""

    def setUp(self) -> None:
        self.group = Group(10)
        self.dice = random.Random(1)
        self.patch(room, "AT_ONCE", 4)

    def join(self, number: int, at: float) -> None:
        self.group.apply(Joined(number, f"n{number}", f"n{number}", at, "10.0.0.1", number))
        self.group.members[number].contact = at

    def test_it_is_always_the_least_of_all(self) -> None:
        seats = Room(self.group, Settings(max_members=40, join_rate=0))
        for number in range(30):
            self.join(number, float(number))
        for number in range(30, 1000):
            now = 10.0 * number
            for member in self.dice.sample(list(self.group.members.values()), self.dice.choice([0, 1, 5, 20])):
                member.contact = now + self.dice.random()
            for member in self.dice.sample(list(self.group.members.values()), self.dice.choice([0, 1, 5])):
                member.minute, member.minutes = int(member.contact // 60), member.heard()
            moved = seats.admit("10.0.0.2", over_udp=True, leaving=0, now=now)
            self.assertIs(moved, min(self.group.members.values(), key=self.rank), number)
            assert moved is not None
            del self.group.members[moved.id], self.group.by_key[moved.key], self.group.by_address["10.0.0.1", moved.id]
            self.join(number, now + 5)

    @staticmethod
    def rank(member: Member) -> tuple[int, float, int]:
        return member.heard(), max(member.contact, member.logged), member.joined

    def test_all_members_are_looked_at_seldom(self) -> None:
        self.patch(room, "AT_ONCE", 64)
        seats = Room(self.group, Settings(max_members=8666, max_per_host=0, join_rate=0))
        for number in range(7500):
            self.join(number, float(number))
        looked = 0
        search = Room._search

        def counted(self: Room) -> None:
            nonlocal looked
            looked += 1
            search(self)

        self.patch(Room, "_search", counted)
        began = time.perf_counter()
        for number in range(1000):
            moved = seats.admit("10.0.0.2", over_udp=True, leaving=0, now=0.0)
            assert moved is not None
            self.assertEqual(moved.id, number)
            del self.group.members[moved.id], self.group.by_address["10.0.0.1", moved.id]
        self.assertEqual(looked, -(-1000 // 64))
        self.assertLess(time.perf_counter() - began, 5)
