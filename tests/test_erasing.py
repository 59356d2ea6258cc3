"""Erasing lines: in memory, in the log, and in every file of it."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.commands import Erase, Say, SayAsGuest, Share, Whisper
from groupchat.core.errors import NotNow, Unavailable
from groupchat.core.events import GuestSaid, Said, Shared
from groupchat.core.history import BLOCK, History
from groupchat.core.limits import MAX_ERASED
from groupchat.core.notices import ERASED
from groupchat.log.memory import MemoryLog, Store
from groupchat.service.eraser import RETRY_SECONDS
from tests.connections import KEY, Connection
from tests.durable import DurableNode
from tests.logs import FailingLog
from tests.node import Node
from tests.test_moderation import OperatorTestCase


class HistoryTests(SynchronousTestCase):
    """Lines in memory, against a list."""

    def check(self, history: History, lines: list[str]) -> None:
        first = history.first
        for after in range(first - 1, history.head, max(1, len(lines) // 50)):
            text, upto = history.read(after, history.head, 1 << 40)
            self.assertEqual((bytes(text).decode(), upto), ("\n".join(lines[after - first + 1 :]), history.head))
            one, _ = history.read(after, after + 1, 1)
            self.assertEqual(bytes(one).decode(), lines[after - first + 1])
            fit = history.fit(after, history.head, 1000)
            some = "\n".join(lines[after - first + 1 : fit - first + 1]).encode()
            self.assertLessEqual(len(some), 1000)
            if fit < history.head:
                self.assertGreater(len(some) + 1 + len(lines[fit - first + 1].encode()), 1000)

    def test_any_lines_can_be_erased(self) -> None:
        for seed in range(30):
            random = Random(seed)
            history, lines = History(10_000), list[str]()
            for number in range(random.choice([1, 5, 300, 1500])):
                line = f"{number}: {'x' * random.choice([1, 20, 900, 4000])}"
                lines.append(line)
                history.append(1, line, 0.0)
            for _ in range(3):
                some = sorted(random.sample(range(len(lines)), random.randint(1, min(len(lines), 200))))
                history.erase([index + 1 for index in some], ERASED)
                for index in some:
                    lines[index] = ERASED
                self.check(history, lines)
                lines.append("another")
                history.append(2, "another", 0.0)
                self.check(history, lines)
            self.assertEqual(b"".join([*history._blocks, history._text]).count(b"\n"), len(lines))

    def test_lines_after_forgotten_ones_can_be_erased(self) -> None:
        history = History(100)
        for number in range(5000):
            history.append(1, f"{number}: {'y' * 400}", 0.0)
        lines = [f"{number}: {'y' * 400}" for number in range(4900, 5000)]
        self.assertGreater(5000 * 400, 4 * BLOCK)
        history.erase([4901, 4950, 5000], ERASED)
        lines[0] = lines[49] = lines[99] = ERASED
        self.check(history, lines)


class GroupTests(OperatorTestCase):
    def erase(self, first: int, last: int = 0, member: str = "") -> tuple[str, int]:
        """Return why lines are not erased, and how many are."""
        command = Erase(first, last or first, member)
        return self.operate(command), command.count

    def told(self, *texts: str) -> None:
        for text in texts:
            self.node.ask(1, f"2 {text}")
        self.settle()

    def test_a_line_becomes_a_notice(self) -> None:
        alice = self.connection("Alice", KEY)
        self.told("one", "secret", "three")
        self.assertEqual(self.lines()[2:], ["Bob: one", "Bob: secret", "Bob: three"])
        self.assertEqual(self.erase(4), ("", 1))
        self.assertEqual(self.lines()[2:], ["Bob: one", ERASED, "Bob: three"])
        alice.listen()
        self.settle()
        self.assertEqual("".join(alice.given()), f"Bob: one\n{ERASED}\nBob: three\n")
        stored = [event for entry in self.store.read(0, 1000) for event in entry.events if isinstance(event, Said)]
        self.assertEqual([event.text for event in stored], ["one", "", "three"])

    def test_a_range_and_all_of_a_member(self) -> None:
        alice = self.connection("Alice", KEY)
        self.told("one", "two", "three")
        self.assertEqual(self.erase(1, 100), ("", 3))
        self.assertEqual(self.lines(), ["Bob has joined", "Alice has joined", ERASED, ERASED, ERASED])
        self.told("four")
        alice.hang_up(hold=False)
        self.settle()
        self.told("five")
        self.assertEqual(self.erase(1, 100, "Bob"), ("", 2))
        self.assertEqual([line for line in self.lines() if "Bob:" in line], [])

    def test_a_member_who_left_is_found_by_its_lines(self) -> None:
        self.told("one")
        self.node.ask(1, "4")
        self.settle()
        self.assertEqual(self.erase(1, 10, "Bob"), ("", 1))
        self.assertEqual(self.lines(), ["Bob has joined", ERASED, "Bob has left the group"])
        self.assertEqual(self.erase(1, 10, "Nobody"), ("No line that is kept is by Nobody.", 0))

    def test_what_is_not_there_is_said(self) -> None:
        self.told("one")
        for first, last in [(3, 3), (0, 0), (9, 12), (5, 4)]:
            self.assertEqual(self.erase(first, last), ("There is no such line: 1 to 2 are kept.", 0), (first, last))
        self.assertEqual(self.erase(1), ("There is no text, and no file, to erase.", 0))
        self.erase(2)
        self.assertEqual(self.erase(2), ("There is no text, and no file, to erase.", 0))

    def test_only_so_many_lines_are_looked_at_in_a_turn(self) -> None:
        for _ in range((MAX_ERASED + 500) // 10):
            self.told(*["x"] * 10)
        command = Erase(1, 10_000)
        self.assertEqual(self.operate(command), "")
        self.assertEqual((command.count, command.upto), (MAX_ERASED - 1, MAX_ERASED))
        again = Erase(command.upto + 1, 10_000)
        self.assertEqual(self.operate(again), "")
        self.assertEqual(again.count, 501)
        self.assertEqual(set(self.lines()[1:]), {ERASED})

    def test_numbers_and_cursors_do_not_move(self) -> None:
        alice = self.connection("Alice", KEY)
        self.told("one", "two")
        head, behind = self.group.history.head, self.group.behind(alice.member)
        self.erase(3, 4)
        self.assertEqual((self.group.history.head, self.group.behind(alice.member)), (head, behind))

    def test_whispers_and_guests_lose_their_texts_too(self) -> None:
        alice = self.connection("Alice", KEY)
        alice.ask(Whisper("Bob: psst"), Share("secret.txt", 7, alice.member.id))
        Connection(self.node.service).ask(SayAsGuest("Door", "ding"))
        self.settle()
        self.assertEqual(self.erase(3, 5), ("", 3))
        self.assertEqual(self.lines()[2:], [ERASED] * 3)
        self.settle()
        for entry in self.store.read(0, 100):
            for event in entry.events:
                self.assertFalse(isinstance(event, GuestSaid) and event.text)
                self.assertFalse(isinstance(event, Shared) and event.file)
        self.assertEqual(self.polled()[-2:], [ERASED, ERASED])


class PortionTests(OperatorTestCase):
    """Erasing more lines than one command does."""

    def setUp(self) -> None:
        super().setUp()
        self.log = FailingLog([])
        self.use(Node(self.log, self.clock))
        self.node.ask(1, "1 Bob")
        self.node.service.group.history.keep(10_000)
        for _ in range(MAX_ERASED * 2):
            self.node.ask(1, "2 marker")

    def erase(self) -> tuple[list[tuple[int, int]], str]:
        """Erase all lines. Return what was yielded, and the name of the failure."""
        portions: list[tuple[int, int]] = []

        async def run() -> None:
            async for portion in self.node.service.erase(Erase(1, 2**53, by="root")):
                portions.append(portion)

        running = ensureDeferred(run())
        for _ in range(20):
            self.settle()
        failed: list[Failure] = []
        running.addErrback(failed.append)
        self.assertTrue(running.called)
        return portions, type(failed[0].value).__name__ if failed else ""

    def test_all_portions_are_erased(self) -> None:
        each = MAX_ERASED
        self.assertEqual(self.erase(), ([(each - 1, each), (2 * each - 1, 2 * each), (2 * each, 2 * each + 1)], ""))
        self.assertEqual(self.node.service.group.texts(range(1, 3 * each)), [])

    def test_a_portion_that_is_not_stored_is_no_success(self) -> None:
        self.log.failures = [Unavailable("full")]
        self.assertEqual(self.erase(), ([], "NotNow"))
        self.assertEqual(len(self.node.service.group.texts(range(1, 3 * MAX_ERASED))), 2 * MAX_ERASED)

    def test_the_work_grows_with_the_lines_and_no_faster(self) -> None:
        looked_up, place = 0, History.place

        def counted(history: History, number: int) -> tuple[int, int] | None:
            nonlocal looked_up
            looked_up += 1
            return place(history, number)

        self.patch(History, "place", counted)
        self.erase()
        self.assertLess(looked_up, 10 * MAX_ERASED)


class SlowLog(MemoryLog):
    """A log in which a test decides how each replacement of an entry ends."""

    def __init__(self) -> None:
        super().__init__()
        self.replacing: list[Deferred[None]] = []

    def replace(self, position: int, events: object) -> Deferred[None]:
        self.replacing.append(Deferred())
        return self.replacing[-1]


class SlowTests(OperatorTestCase):
    """The eraser, while a log takes its time."""

    def setUp(self) -> None:
        super().setUp()
        self.log = SlowLog()
        self.use(Node(self.log, self.clock))
        self.node.ask(1, "1 Bob")
        for text in ("one", "two"):
            self.node.ask(1, f"2 {text}")
        self.root = Connection(self.node.service)
        self.assertEqual(self.operate(Erase(2, 3)), "")
        self.done = self.node.service.eraser.done()

    def test_it_is_done_once_every_entry_is_replaced(self) -> None:
        for number in (1, 2):
            self.assertNoResult(self.done)
            self.assertEqual(len(self.log.replacing), number)
            self.log.replacing[-1].callback(None)
        self.assertIsNone(self.successResultOf(self.done))

    def test_nothing_more_begins_after_a_stop(self) -> None:
        self.node.service.eraser.stop()
        self.log.replacing[0].callback(None)
        self.assertEqual(len(self.log.replacing), 1)
        for done in (self.done, self.node.service.eraser.done()):
            self.failureResultOf(done, NotNow)

    def test_a_bug_is_logged_and_it_is_tried_again(self) -> None:
        self.log.replacing[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNoResult(self.done)
        self.clock.advance(RETRY_SECONDS)
        for number in (1, 2):
            self.log.replacing[number].callback(None)
        self.assertIsNone(self.successResultOf(self.done))

    def test_a_shared_file_is_removed_before_its_name_is_forgotten(self) -> None:
        for number in (0, 1):
            self.log.replacing[number].callback(None)
        removed: list[str] = []
        removing: Deferred[None] = Deferred()

        def remove(name: str) -> Deferred[None]:
            removed.append(name)
            return removing

        self.node.service.eraser.remove_file = remove
        alice = self.connection("Alice", KEY)
        self.assertEqual(self.refusal(alice, Share("a.txt", 3, alice.member.id)), "")
        self.assertEqual(self.operate(Erase(5, 5)), "")
        self.assertEqual((removed, len(self.log.replacing)), (["a.txt"], 2))
        removing.callback(None)
        self.assertEqual(len(self.log.replacing), 3)

    def test_an_entry_is_replaced_once_for_all_its_lines(self) -> None:
        for number in (0, 1):
            self.log.replacing[number].callback(None)
        self.connection("Alice", KEY).ask(Say("one"), Say("two"), Say("three"))
        self.settle()
        self.assertEqual(self.operate(Erase(5, 7)), "")
        done = self.node.service.eraser.done()
        self.assertEqual(len(self.log.replacing), 3)
        self.log.replacing[2].callback(None)
        self.assertIsNone(self.successResultOf(done))


class RestartTests(OperatorTestCase):
    def test_an_interrupted_erasure_is_finished_by_the_next_start(self) -> None:
        """The event is in the log, and the entry is not written anew yet."""

        class NotYet(MemoryLog):
            def replace(self, position: int, events: object) -> Deferred[None]:
                return fail(Unavailable("not now"))

        for with_snapshot in (False, True):
            store, clock = Store(retain=1000), Clock()
            clock.advance(1_700_000_000)
            node = Node(NotYet(store), clock)
            node.ask(1, "1 Bob")
            node.ask(1, "2 marker")
            root = Connection(node.service)
            root.ask(Erase(2, 2, by="root"))
            clock.pump([0.1] * 10)
            self.assertEqual(root.words(), ["answered"])
            self.assertIn(b"marker", repr(store.read(0, 100)).encode())
            if with_snapshot:
                node.service.stopService()
                clock.pump([0.1] * 50)
                self.assertIsNotNone(store.snapshot)
            again = Node(MemoryLog(store), clock)
            clock.pump([0.1] * 10)
            self.assertEqual(again.ask(2, "1 Al"), "Bob")
            history = again.service.group.history
            self.assertEqual(bytes(history.read(1, 2, 100)[0]).decode(), ERASED)
            self.assertNotIn(b"marker", repr(store.read(0, 100)).encode())
            self.assertFalse(again.service.group.erased)
            node.service.eraser.stop()


class FileTests(SynchronousTestCase):
    """Every file of a log in SQLite."""

    def test_no_file_has_an_erased_text(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-erase-")
        self.addCleanup(directory.cleanup)
        path = Path(directory.name) / "group.sqlite"
        path.with_name("group.sqlite.v3").write_bytes(b"marker of an older copy")
        node = DurableNode(path)
        node.send(1, "1 Bob")
        for number in range(10_000):
            node.send(1, f"2 marker {number} {'z' * (number % 300)}")
            if number % 200 == 0:
                node.settle()
        node.settle()
        self.assertIn(b"marker", b"".join(each.read_bytes() for each in Path(directory.name).iterdir()))
        root, first = Connection(node.service), 1
        while first <= 10_001:
            command = Erase(first, 10_001, by="root")
            root.ask(command)
            node.settle()
            self.assertEqual(root.words(), ["answered"])
            first = command.upto + 1
        node.thread_reactor.wait(node.service.eraser.done())
        found = [each.name for each in Path(directory.name).iterdir() if b"marker" in each.read_bytes()]
        self.assertEqual(found, [])
        with closing(sqlite3.connect(path)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM purge").fetchone(), (0,))
        node.stop()
