"""The work of each reactor turn at full history: bounded, whatever clients ask, and the rest is done in later turns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import groupchat.service.subscriptions as subscriptions_module
from groupchat.core.events import Address, Joined, Said, Seen, Whispered
from groupchat.core.group import Group
from groupchat.core.limits import MAX_HISTORY, QUEUE, Limits
from groupchat.frontends.turn_budget import CLOSING, LISTING, REQUEST, WORK, TurnBudget
from groupchat.frontends.web.channel import Channel
from groupchat.frontends.web.chunk_reader import EACH
from groupchat.log.memory import MemoryLog, Store
from groupchat.service import entry_queue, upkeep
from groupchat.service.appender import MOST_WORK
from groupchat.service.command_queue import BEGUN_AT_ONCE
from groupchat.service.snapshots import SLICE, Snapshots
from groupchat.service.subscriptions import Subscriptions
from groupchat.wire.lines import with_numbers
from tests.lobby import KEY, Caller, Lobby, LobbyTestCase
from tests.logs import LateLog
from tests.node import Node
from tests.readers import Reader
from tests.web import KEY as WEB_KEY
from tests.web import WebTestCase
from tests.work import turn, turns, work

LINES = 100_000
MOST = 100_000
"""The most lines of code that a turn may execute: some milliseconds. The walks of before took millions."""

MOST_CHANGES = (entry_queue.WORK + MOST_WORK) // entry_queue.OTHER
"""The most members that join or leave in one turn."""

MOST_UPKEEP = 20_000


def join(group: Group, first: int, count: int) -> None:
    for member in range(first, first + count):
        group.apply(Joined(member, f"M{member}", f"m{member}", 0.0, "h", None, f"{member}"))


def whisper(group: Group, count: int, public: int = 0) -> None:
    """M1 whispers to M2; every `public`th line is for everybody."""
    for number in range(count):
        if public and not number % public:
            group.apply(Said(1, "M1", "x", 0.0))
        else:
            group.apply(Whispered(1, "M1", 2, "M2", "x", 0.0))


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.group = Clock(), Group(LINES)
        self.subscriptions = Subscriptions(self.group, self.clock, self.fail)
        join(self.group, 1, 2)

    def open(self, count: int, numbered: bool = False) -> list[Reader]:
        """Let so many more members join and read along."""
        first = max(self.group.members) + 1
        join(self.group, first, count)
        readers = []
        for member in range(first, first + count):
            reader = Reader()
            one = self.group.members[member]
            place = self.group.place(one, self.group.history.head)
            self.subscriptions.open(one, place, reader, with_numbers if numbered else None)
            readers.append(reader)
        turns(self.clock)
        return readers

    def test_idle_readers_pass_whispers_at_once(self) -> None:
        readers = self.open(980)
        whisper(self.group, LINES - 2000)
        self.subscriptions.wake()
        found = turns(self.clock)
        self.assertLess(max(found), MOST)
        self.assertEqual(len(found), 1)
        self.assertEqual({member.cursor for member in self.group.members.values()} - {1, 2}, {self.group.history.head})
        self.assertEqual(sum(len(reader.pieces) for reader in readers), 0)

    def test_many_readers_share_several_turns(self) -> None:
        readers = self.open(2500)
        self.group.apply(Said(1, "M1", "one", 0.0))
        self.subscriptions.wake()
        turn(self.clock)
        self.assertEqual(sum(len(reader.pieces) for reader in readers), subscriptions_module.READERS)
        self.group.apply(Said(1, "M1", "two", 0.0))
        self.subscriptions.wake()
        self.assertLess(max(turns(self.clock)), MOST)
        for reader in readers:
            self.assertEqual(reader.lines(), ["M1: one", "M1: two"])

    def test_readers_far_behind_share_several_turns(self) -> None:
        for public in (1, 2, 70):
            self.setUp()
            whisper(self.group, 12_000, public)
            wanted = [f"{n + 3} M1: x" for n in range(0, 12_000, public)][-10:]
            first, readers = self.group.history.head, list[Reader]()
            join(self.group, 3, 8)
            for member in range(3, 11):
                readers.append(Reader())
                place = self.group.place(self.group.members[member], member * 1000)
                self.subscriptions.open(self.group.members[member], place, readers[-1], with_numbers)
            self.assertLess(max(turns(self.clock)), MOST, public)
            for reader in readers:
                lines = reader.lines()
                said = [line for line in lines if int(line.split()[0]) <= first]
                self.assertEqual(said[-len(wanted) :], wanted)
                self.assertEqual(len(lines), len(set(lines)))

    def test_long_lines_to_many_readers_share_several_turns(self) -> None:
        readers = self.open(500)
        for _ in range(8):
            self.group.apply(Said(1, "M1", "x" * 4096, 0.0))
        self.subscriptions.wake()
        given, most = 0, 0
        while given < 500 * 8 * 4096:
            turn(self.clock)
            before, given = given, sum(len(piece) for reader in readers for piece in reader.pieces)
            most = max(most, given - before)
        self.assertLess(most, subscriptions_module.WORK * subscriptions_module.CHUNK + subscriptions_module.AT_ONCE)
        self.assertEqual({len(reader.lines()) for reader in readers}, {8})

    def test_stalled_readers_are_dropped_some_at_a_time(self) -> None:
        readers = self.open(600)
        for subscription in list(self.subscriptions._awake):
            subscription.pauseProducing()
        self.clock.rightNow += 60
        for dropped in (subscriptions_module.DROPPED, 2 * subscriptions_module.DROPPED, 600):
            self.subscriptions.drop_stalled(60)
            self.assertEqual(sum(reader.drops for reader in readers), dropped)


class LinesTests(LobbyTestCase):
    def fill(self, public: int = 0) -> None:
        """Fill the history with whispers of a member that the others are not shown."""
        group = self.lobby.service.group
        join(group, 1, 2)
        whisper(group, LINES, public)

    def test_a_session_resumed_from_its_beginning(self) -> None:
        alice = self.lobby.program("Alice")
        alice.lose()
        self.fill()
        again = self.lobby.call()
        again.heard()
        found = [work(lambda: again.send(f"/resume {KEY} 0")), *turns(self.lobby.clock)]
        self.assertLess(max(found), MOST)
        self.assertEqual(len(again.heard()), 2)

    def test_one_long_answer_in_a_turn_on_each_connection(self) -> None:
        alice = self.lobby.enter("Alice")
        self.fill(public=130)
        alice.heard()
        begun = work(lambda: alice.send(*[f"/history {MAX_HISTORY}"] * 10))
        self.assertEqual(alice.transport.value().count(b"\n"), MAX_HISTORY)
        for count in range(2, 11):
            begun = max(begun, work(lambda: turn(self.lobby.clock)))
            self.assertEqual(alice.transport.value().count(b"\n"), count * MAX_HISTORY)
        self.assertLess(begun, MOST)

    def test_few_long_answers_in_a_turn_on_all_connections(self) -> None:
        callers = [self.lobby.enter(f"N{number}") for number in range(20)]
        for caller in callers:
            caller.heard()
        for caller in callers:
            caller.send("/users")
        answered = [bool(caller.transport.value()) for caller in callers]
        self.assertEqual(sum(answered), -(-WORK // (LISTING + 1)))
        while not all(answered):
            turn(self.lobby.clock)
            before, answered = sum(answered), [bool(caller.transport.value()) for caller in callers]
            self.assertLessEqual(sum(answered) - before, -(-WORK // (LISTING + 1)))
            self.assertEqual(answered, sorted(answered, reverse=True))  # first come, first served

    def test_silent_connections_are_closed_some_in_a_turn(self) -> None:
        callers = [self.lobby.call(f"10.0.{number % 10}.1") for number in range(600)]
        named = self.lobby.enter("Alice")
        turns(self.lobby.clock)
        self.lobby.clock.rightNow += Limits().name_within
        closed = 0
        while closed < len(callers):
            turn(self.lobby.clock)
            before, closed = closed, sum(caller.transport.disconnecting for caller in callers)
            self.assertLessEqual(closed - before, WORK // CLOSING)
            self.assertGreater(closed, before)
        self.assertFalse(named.is_closing)

    def test_who_gives_a_name_before_its_turn_is_not_closed(self) -> None:
        callers = [self.lobby.call(f"10.0.{number % 10}.1") for number in range(600)]
        self.lobby.clock.rightNow += Limits().name_within
        turn(self.lobby.clock)
        callers[-1].send("Alice")
        turns(self.lobby.clock)
        self.assertEqual([caller.transport.disconnecting for caller in callers].count(False), 1)
        self.assertFalse(callers[-1].transport.disconnecting)

    def test_a_bug_in_one_turn_hurts_nobody_else(self) -> None:
        survived, done = list[str](), list[str]()
        budget = TurnBudget(self.lobby.clock, survived.append)
        budget.wait(lambda: 1 // 0)  # type: ignore[arg-type]
        budget.wait(lambda: done.append("done"))
        budget.spread(CLOSING, [lambda: 1 // 0, lambda: done.append("spread")])  # type: ignore[list-item]
        turns(self.lobby.clock)
        self.assertEqual((len(survived), sorted(done)), (2, ["done", "spread"]))


class CommitTests(SynchronousTestCase):
    """What a slow commit gives back at once is applied in several turns."""

    def setUp(self) -> None:
        self.clock, self.store = Clock(), Store(retain=1000)
        self.lobby = Lobby(LateLog(self.store, self.clock, 1.0), self.clock, max_per_host=0)
        self.group = self.lobby.service.group

    def enter(self, count: int) -> list[Caller]:
        """Let so many connections give a name each."""
        callers = [self.lobby.call(f"10.0.{number % 200}.1") for number in range(count)]
        for number, caller in enumerate(callers):
            caller.send(f"N{number}")
        turns(self.clock)
        return callers

    def committed(self) -> list[int]:
        """Let the commit end. Return how many members there are after each turn, whose work is bounded."""
        self.clock.rightNow += 1
        counts = [len(self.group.members)]
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.calls):
            self.assertLess(work(lambda: turn(self.clock)), MOST)
            counts.append(len(self.group.members))
        return counts

    def test_few_joins_and_leaves_in_a_turn(self) -> None:
        callers = self.enter(600)
        for change in (1, -1):
            counts = self.committed()
            self.assertEqual(abs(counts[-1] - counts[0]), 600)
            self.assertLessEqual(max(change * (b - a) for a, b in pairwise(counts)), MOST_CHANGES)
            while callers:
                callers.pop().lose()
            turns(self.clock)

    def test_the_texts_of_each_member_keep_their_order(self) -> None:
        callers = self.enter(5)
        self.committed()
        for caller in callers:
            caller.transport.clear()
        for number in range(1000):
            callers[number % 5].send(f"text {number}")
        for _ in range(1000 // 5 // QUEUE + 2):
            turns(self.clock)
            self.committed()
        for index, caller in enumerate(callers):
            heard = caller.heard()
            for other in set(range(5)) - {index}:
                said = [line for line in heard if line.startswith(f"N{other}: text")]
                self.assertEqual(said, [f"N{other}: text {number}" for number in range(other, 1000, 5)])

    def test_stopping_waits_for_what_a_later_turn_applies(self) -> None:
        self.enter(600)
        drained = self.lobby.service.drain()
        self.clock.rightNow += 1
        turn(self.clock)
        self.assertNoResult(drained)
        turns(self.clock)
        self.assertTrue(self.successResultOf(drained))
        self.assertEqual(len(self.group.members), 600)

    def test_a_start_applies_all_entries_at_once(self) -> None:
        self.enter(600)
        self.committed()
        started = Node(MemoryLog(self.store))
        self.successResultOf(started.started)
        self.assertGreaterEqual(started.service.group.history.head, 600)


class SnapshotTests(SynchronousTestCase):
    """A snapshot is made in slices, while the group goes on."""

    def setUp(self) -> None:
        self.clock, self.store = Clock(), Store(retain=20_000)
        self.node = Node(MemoryLog(self.store), self.clock, max_per_host=0)
        self.node.ask(20_000, "1 Eve")
        self.group = self.node.service.group
        join(self.group, 1, 10_000)
        turns(self.clock)

    def loaded(self) -> Group:
        group = Group(LINES)
        assert self.store.snapshot is not None
        Snapshots(group).load(self.store.snapshot)
        return group

    def test_a_turn_makes_a_slice_and_texts_are_answered(self) -> None:
        eve = self.group.by_key["eve"]
        found = [work(self.node.service._saver.save)]
        while self.store.snapshot is None:
            self.node.send(20_000, "2 hi")
            found.append(work(lambda: turn(self.clock)))
        self.assertGreater(len(found), 10_000 // SLICE)
        self.assertLess(max(found), 20_000)  # at the beginning; all at once took five times as much
        self.assertGreaterEqual(eve.own, 10_000 // SLICE)
        loaded = self.loaded()
        self.assertEqual(len(loaded.members), 10_001)
        self.assertEqual(loaded.by_key["eve"].own, 0)

    def test_stopping_saves_what_came_after_the_slices(self) -> None:
        self.node.service._saver.save()
        turn(self.clock)
        self.node.ask(20_000, "2 hi")
        stopped = self.node.service.stopService()
        self.assertNoResult(stopped)
        turns(self.clock)
        self.successResultOf(stopped)
        self.assertEqual(self.loaded().by_key["eve"].own, 1)


class UpkeepTests(SynchronousTestCase):
    """What is done every second and every minute looks at some members, and then at the others."""

    def setUp(self) -> None:
        self.clock, self.store = Clock(), Store(retain=1000)
        self.node = Node(LateLog(self.store, self.clock, 0.1), self.clock, keep_days=0)
        self.group = self.node.service.group
        join(self.group, 1, 10_000)
        turns(self.clock)

    def second(self) -> int:
        """Let a second pass. Return the most work of a turn."""
        most = 0
        for _ in range(10):
            self.clock.rightNow += 0.1
            most = max(most, *turns(self.clock), 0)
        return most

    def recorded(self) -> list[int]:
        """Return the number of members in each record."""
        events = [event for entry in self.store.read(0, 1000) for event in entry.events]
        return [len(event.places) for event in events if isinstance(event, Seen)]

    def test_a_record_has_some_members(self) -> None:
        self.group.apply(Said(1, "M1", "x", 0.0))
        for member in self.group.members.values():
            self.group.advance(member, *self.group.place(member, self.group.history.head))
        self.assertLess(max(self.second() for _ in range(3)), MOST_UPKEEP)
        self.assertLessEqual(max(self.recorded()), upkeep.RECORDED)
        self.assertGreaterEqual(sum(self.recorded()), 9_999)
        self.assertEqual(self.group.moved, set())

    def test_a_minute_looks_at_some_members_each_second(self) -> None:
        self.clock.rightNow += 30
        for member in self.group.members.values():
            member.contact = 60.0
        self.assertLess(max(self.second() for _ in range(50)), MOST_UPKEEP)
        self.assertLessEqual(max(self.recorded()), upkeep.RECORDED)
        self.assertEqual({member.minute for member in self.group.members.values()}, {1})

    def test_the_silent_leave_some_at_a_time(self) -> None:
        self.node.service._rules.is_silent = lambda member, now: True  # type: ignore[method-assign]
        self.clock.rightNow += 30
        for _ in range(140):
            before = len(self.group.members)
            self.assertLess(self.second(), MOST_UPKEEP)
            self.assertLessEqual(before - len(self.group.members), upkeep.AT_ONCE)
        self.assertEqual(len(self.group.members), 0)

    def test_stopping_records_all_members(self) -> None:
        for member in self.group.members.values():
            member.contact = 60.0
        stopped = self.node.service.stopService()
        self.second()
        self.successResultOf(stopped)
        self.assertEqual(sum(self.recorded()), 10_000)


class WebTests(WebTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.group = self.site.group
        self.group.history._keep = LINES
        join(self.group, 1, 2)
        whisper(self.group, LINES - 10)

    def pipelined(self, target: str, count: int = 20) -> bytes:
        return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: groupchat={WEB_KEY}\r\n\r\n".encode() * count

    def test_one_pipelined_request_in_a_turn(self) -> None:
        head = self.group.history.head
        for target in (f"/history?after={head}&limit=1", "/history?after=0&limit=200", "/history", "/members"):
            line = self.line()
            found = [work(lambda line=line, target=target: line.send(self.pipelined(target)))]  # type: ignore[misc]
            for count in range(1, 21):
                self.assertEqual(line.transport.value().count(b"HTTP/1.1 200"), count, target)
                found.append(work(lambda: turn(self.lobby.clock)))
            self.assertLess(max(found), MOST, target)
            self.assertEqual(line.heard().count(b"HTTP/1.1 200"), 20)

    def test_few_requests_in_a_turn_on_all_connections(self) -> None:
        lines = [self.line() for _ in range(100)]
        self.lobby.settle()
        for line in lines:
            line.send(self.pipelined("/me", 1))
        answered = 0
        while answered < 100:
            before = answered
            answered = sum(bool(line.transport.value()) for line in lines)
            self.assertLessEqual(answered - before, -(-WORK // REQUEST))
            self.assertGreater(answered, before)
            turn(self.lobby.clock)

    def test_few_chunks_in_a_turn_on_all_connections(self) -> None:
        counts = Counter[Channel]()
        received = Channel.chunk_received

        def count(channel: Channel, data: bytes) -> None:
            counts[channel] += 1
            received(channel, data)

        self.patch(Channel, "chunk_received", count)
        lines = [self.line() for _ in range(20)]
        for line in lines:
            line.send(b"POST /messages?name=cron HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.lobby.settle()
        for line in lines:
            line.send(b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
            self.assertEqual(line.transport.producerState, "paused")
        found, total = list[int](), 0
        while counts:
            self.assertLessEqual(counts.total(), WORK)
            self.assertLessEqual(max(counts.values()), EACH)
            total += counts.total()
            counts.clear()
            found.append(work(lambda: turn(self.lobby.clock)))
        self.assertLess(max(found), MOST)
        self.assertEqual(total, 20 * 1000)
        self.lobby.settle()
        for line in lines:
            self.assertEqual((line.heard()[:13], line.transport.producerState), (b"HTTP/1.1 200 ", "producing"))

    def test_idle_connections_are_closed_some_in_a_turn(self) -> None:
        lines = [self.line() for _ in range(400)]
        self.lobby.clock.rightNow += 60
        closed = 0
        while closed < len(lines):
            turn(self.lobby.clock)
            before, closed = closed, sum(line.transport.disconnecting for line in lines)
            self.assertLessEqual(closed - before, WORK // CLOSING)
            self.assertGreater(closed, before)

    def test_a_request_whose_client_is_gone_takes_no_turn(self) -> None:
        line = self.line()
        line.send(self.pipelined("/me", 2))
        line.lose()
        self.lobby.settle()
        self.assertEqual(line.transport.value().count(b"HTTP/1.1 200"), 1)

    def test_a_stream_behind_whispers_is_at_the_end_at_once(self) -> None:
        line = self.line()
        found = [work(lambda: line.send(self.pipelined("/events?after=0", 1))), *turns(self.lobby.clock)]
        self.assertLess(max(found), MOST)
        self.assertLess(len(found), 10)
        self.assertEqual(self.group.by_secret[next(iter(self.site.sessions._sessions))].cursor, self.group.history.head)


class QueueTests(SynchronousTestCase):
    def start(self) -> tuple[Node, list[Address]]:
        """Let 50 members say something, which is stored a second later, and poll ten times without waiting."""
        clock = Clock()
        node = Node(LateLog(Store(), clock, 1.0), clock)
        addresses = [("10.0.0.1", port) for port in range(1, 51)]
        for address in addresses:
            node.send(address[1], f"1 N{address[1]}")
        node.clock.pump([0, 1, 0, 1, 0])
        node.port.sent.clear()
        for address in addresses:
            for request in ("2 hi", *["5"] * 10):
                node.send(address[1], request)
        turns(clock)
        self.assertEqual(node.port.sent, [])
        return node, addresses

    def check(self, node: Node, addresses: list[Address]) -> None:
        for address in addresses:
            self.assertEqual(len([1 for _, to in node.port.sent if to == address]), 11)

    def test_commands_that_a_commit_releases_share_turns(self) -> None:
        node, addresses = self.start()
        node.clock.rightNow += 1
        sent, most = 0, len(addresses) + BEGUN_AT_ONCE
        for _ in range(20):
            turn(node.clock)
            self.assertLessEqual(len(node.port.sent) - sent, most)
            sent, most = len(node.port.sent), BEGUN_AT_ONCE
        self.check(node, addresses)

    def test_stopping_waits_for_released_commands(self) -> None:
        node, addresses = self.start()
        drained = node.service.drain()
        node.clock.pump([1.0, 0, 1.0, 0])
        self.assertTrue(self.successResultOf(drained))
        self.check(node, addresses)
