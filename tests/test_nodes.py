"""Two nodes that share one log, whose tail reaches each of them late: only the log decides the order."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.log.memory import MemoryLog, Store
from groupchat.service.appender import MOST_WORK
from tests.connections import Connection
from tests.lobby import Lobby
from tests.logs import LateLog
from tests.node import Node

ILLEGAL = "Illegal message"


class TwoNodesTests(SynchronousTestCase):
    """New entries of the log reach `east` after 0.3 seconds, and `west` after 0.5."""

    def setUp(self) -> None:
        self.start()

    def start(self, **settings: Any) -> None:
        self.clock = Clock()
        store = Store()
        self.east = Node(LateLog(store, self.clock, 0.3), self.clock, **settings)
        self.west = Node(LateLog(store, self.clock, 0.5), self.clock, **settings)
        self.nodes = (self.east, self.west)

    def pass_time(self) -> None:
        """Let both nodes receive everything, but not so long that cursors are recorded."""
        self.clock.pump([0, 0.3, 0, 0.2, 0])

    def ask(self, node: Node, who: int, request: str) -> list[str]:
        node.send(who, request)
        self.pass_time()
        return node.replies(who)

    def states(self) -> list[object]:
        """Return what both must agree on: the members in order, and every line with its number."""
        return [
            (
                [(m.id, m.name, m.key, m.address) for m in node.service.group.members.values()],
                (node.service.group.history.first, node.service.group.history.head),
                bytes(node.service.group.history.read(0, node.service.group.history.head, 1 << 30)[0]),
            )
            for node in self.nodes
        ]

    def assertTheSame(self) -> None:
        east, west = self.states()
        self.assertEqual(east, west)

    def test_one_of_two_concurrent_joins_under_one_name_wins(self) -> None:
        self.east.send(1, "1 Alice")
        self.west.send(2, "1 alice")
        self.pass_time()
        answers = [self.east.replies(), self.west.replies()]
        self.assertEqual(sorted(answers), [[""], [ILLEGAL]])
        self.assertEqual(len(self.east.service.group.members), 1)
        self.assertTheSame()

    def test_one_of_two_concurrent_renames_to_one_name_wins(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.west, 2, "1 Bob")
        self.ask(self.east, 1, "5")
        self.east.send(1, "3 Eve")
        self.west.send(2, "3 EVE")
        self.pass_time()
        self.assertEqual(sorted([self.east.replies(), self.west.replies()]), [[""], [ILLEGAL]])
        self.assertTheSame()

    def test_the_loser_of_a_join_can_join_again(self) -> None:
        self.test_one_of_two_concurrent_joins_under_one_name_wins()
        loser, who = (self.west, 2) if ("10.0.0.1", 1) in self.east.service.group.by_address else (self.east, 1)
        self.assertEqual(self.ask(loser, who, "5"), [ILLEGAL])
        self.assertNotEqual(self.ask(loser, who, "1 Bob"), [ILLEGAL])
        self.assertEqual(self.ask(loser, who, "2 here I am"), [""])
        self.assertTheSame()

    def test_both_see_the_same_order_and_numbers(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.west, 2, "1 Bob")
        for number in range(50):
            self.east.send(1, f"2 east {number}")
            self.west.send(2, f"2 west {number}")
            self.clock.pump([0, 0.07] if number % 3 else [0, *[0.9] * 5])
        for _ in range(20):
            self.pass_time()
        self.assertEqual((self.east.udp.drops, self.west.udp.drops), (0, 0))
        self.assertTheSame()
        self.assertEqual(self.east.service.group.history.head, 102)
        given = "\n".join(filter(None, self.east.replies(1) + self.ask(self.east, 1, "5")))
        self.assertEqual(given.split("\n"), ["Bob has joined", *(f"Bob: west {number}" for number in range(50))])

    def test_a_member_that_changes_nodes_misses_nothing(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.west, 2, "1 Bob")
        given: list[tuple[float, str]] = []
        for number in range(40):
            self.west.send(2, f"2 {number}")
            node = self.nodes[number // 10 % 2]
            for reply in self.ask(node, 1, "5"):
                given += [(self.clock.seconds(), line) for line in reply.split("\n") if line]
        given += [(self.clock.seconds(), line) for line in self.ask(self.east, 1, "5")[0].split("\n")]
        self.assertEqual(
            list(dict.fromkeys(line for _, line in given)), ["Bob has joined", *(f"Bob: {n}" for n in range(40))]
        )
        first_time = {line: at for at, line in reversed(given)}
        again = [at - first_time[line] for at, line in given if at != first_time[line]]
        # A record is appended once a second, and reaches the other node half a second later.
        self.assertTrue(all(seconds <= 2.0 for seconds in again), again)
        self.assertTheSame()

    def test_nothing_comes_again_after_the_cursor_was_recorded(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.west, 2, "1 Bob")
        self.ask(self.west, 2, "2 hi")
        self.assertEqual(self.ask(self.east, 1, "5"), ["Bob has joined\nBob: hi"])
        self.clock.pump([1.0, 0.5])
        self.assertEqual(self.ask(self.west, 1, "5"), [""])
        self.ask(self.west, 2, "2 ho")
        self.assertEqual(self.ask(self.west, 1, "5"), ["Bob: ho"])

    def test_leaving_on_one_node_is_leaving_on_the_other(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.assertEqual(self.ask(self.west, 1, "2 from here"), [""])
        self.assertEqual(self.ask(self.east, 1, "4"), ["close"])
        self.assertEqual(self.ask(self.west, 1, "2 still here?"), [ILLEGAL])
        for node in self.nodes:
            self.assertEqual(node.service.seats.at, {})

    def test_a_text_under_way_is_refused_if_its_author_has_left(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.east, 2, "1 Bob")
        self.east.send(1, "4")
        self.clock.advance(0)
        self.west.send(1, "2 too late")
        self.pass_time()
        self.assertEqual((self.east.replies(1), self.west.replies(1)), (["close"], [ILLEGAL]))
        self.assertEqual(self.ask(self.west, 2, "5"), ["Alice has left the group"])
        self.assertTheSame()

    def test_a_text_under_a_name_that_changed_hands_is_refused(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.east, 1, "3 Al")
        self.ask(self.east, 1, "3 Alice")
        self.east.send(1, "3 Al")
        self.east.send(2, "1 Bob")
        self.clock.pump([0, 0.3])
        self.east.send(2, "3 Alice")
        self.clock.advance(0)
        # Neither rename has reached west yet: there member 1 is still Alice.
        self.west.send(1, "2 I am the first Alice")
        self.pass_time()
        self.assertEqual(self.west.replies(1), [ILLEGAL])
        self.assertTheSame()

    def test_a_name_in_use_on_another_node_is_not_released(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        for _ in range(300):
            self.assertEqual(self.ask(self.east, 1, "5"), [""])
            self.assertEqual(self.ask(self.west, 7, "1 Alice"), [ILLEGAL])
        for _ in range(240):
            self.clock.advance(1)
        self.assertEqual(self.ask(self.west, 7, "1 Alice"), [""])

    def test_a_silent_member_leaves_once_with_two_nodes(self) -> None:
        self.start(idle=2)
        self.ask(self.east, 1, "1 Alice")
        self.ask(self.east, 2, "1 Bob")
        for _ in range(3 * 24 * 120):
            self.clock.advance(30)
            if len(self.east.service.group.members) == 1:
                break
            self.east.send(2, "5")
        self.pass_time()
        for node in self.nodes:
            self.assertEqual([member.name for member in node.service.group.members.values()], ["Bob"])
        self.assertTheSame()

    def test_commands_queued_behind_an_expiry_are_refused(self) -> None:
        self.ask(self.east, 1, "1 Alice")
        alice = self.west.service.group.by_key["alice"]
        self.west.service._upkeep._unchecked.append(alice)
        self.west.service._rules.is_silent = lambda member, now: True  # type: ignore[method-assign]
        self.clock.pump([1.0, 0])
        self.west.send(1, "5")
        self.west.send(1, "2 am I here?")
        self.assertEqual(self.west.replies(), [])
        self.pass_time()
        self.assertEqual(self.west.replies(), [ILLEGAL, ILLEGAL])
        self.assertEqual(self.west.service.seats.at, {})


class LiveTests(SynchronousTestCase):
    def test_a_connection_is_told_if_another_node_ended_its_member(self) -> None:
        clock, store = Clock(), Store()
        lobby = Lobby(LateLog(store, clock, 0.0), clock)
        alice = lobby.enter("Alice")
        other = Node(LateLog(store, clock, 0.0), clock)  # a node that starts ends all connections
        self.assertEqual(alice.heard(), ["* You are no longer in the group: join again."])
        self.assertTrue(alice.is_closing)
        self.assertEqual(other.ask(1, "1 Bob"), "")
        other.ask(1, "2 hi")
        self.assertEqual(alice.heard(), [])
        alice.lose()
        self.assertEqual((lobby.service.seats.live, lobby.service.seats.held), ({}, {}))


class LateStarterTests(SynchronousTestCase):
    def test_a_start_can_make_any_number_of_members_leave(self) -> None:
        clock, store = Clock(), Store(retain=1000)
        first = Node(MemoryLog(store), clock)
        for number in range(MOST_WORK + 1):
            Connection(first.service).join(f"Member{number}")
        clock.advance(0)
        second = Node(MemoryLog(store), clock)
        self.successResultOf(second.started)
        clock.advance(0)
        self.assertEqual((len(first.service.group.members), len(second.service.group.members)), (0, 0))

    def test_a_node_that_starts_later_has_the_same_state(self) -> None:
        clock, store = Clock(), Store()
        first = Node(LateLog(store, clock, 0.0), clock)
        first.join(["Alice", "Bob"])
        first.ask(2, "2 hi")
        second = Node(LateLog(store, clock, 0.0), clock)
        self.assertEqual(second.ask(1, "5"), "Bob has joined\nBob: hi")
        clock.advance(1)
        self.assertEqual(first.ask(1, "5"), "")
