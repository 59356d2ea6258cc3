"""The contract of ILog: one suite, run once for each log."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from groupchat.core.errors import Trimmed, Unavailable
from groupchat.core.events import Event, GuestSaid, Joined, Left, Raised, Renamed, Said, Seen, Shared, Whispered
from groupchat.log import Entry, ILog, Snapshot, sqlite
from groupchat.log.database import Database
from groupchat.log.memory import MemoryLog, Store
from groupchat.log.sqlite import SqliteLog
from tests.durable import ThreadReactor
from tests.logs import FailingLog, LateLog

if TYPE_CHECKING:
    Suite = SynchronousTestCase
else:
    Suite = object

EVENTS: list[Event] = [
    Joined(1, "Alice", "alice", 1700000000.25, "127.0.0.1", 40000),
    Joined(2**63 - 1, "Zoë 🦊", "zoë 🦊", 1.5, "10.0.0.1", None, "0f" * 32),
    Said(1, "Alice", "Hi\tthere, \u200dfriends: 👋", 2.0),
    Said(1, "Alice", "and again", 2.25, 2**63 - 1),
    Whispered(1, "Alice", 2**63 - 1, "Zoë 🦊", "psst", 2.5, 7),
    Whispered(2**63 - 1, "Zoë 🦊", 1, "Alice", "yes?", 2.75),
    Renamed(1, "Alice", "ALICE", "alice", 3.0),
    Renamed(1, "ALICE", "Al", "al", 3.5, 9),
    Seen(4.0, ((1, 3, 0, 28333333, 2**31 - 1), (2**63 - 1, 2, 5, -1, 0))),
    Left(1, "ALICE", 5.0),
    Shared(1, "Alice", "", "Ein Lied, ¡olé! 🦊.tar.gz", 2**63 - 1, 6.0),
    Shared(0, "Zoë 🦊", "zoë 🦊", "empty", 0, 6.5),
    GuestSaid("Türklingel", "türklingel", "ding: dong", 7.0),
    Raised(8.0, 2**53 - 1),
]


class LogContract(Suite):
    """The tests that every log must pass."""

    def log(self) -> ILog:
        """Return a log without entries."""
        raise NotImplementedError

    def another(self, log: ILog) -> ILog | None:
        """Return the same log as another node sees it; None if it cannot be shared."""
        return None

    def settle(self) -> None:
        """Wait until everything appended has come back."""

    def result(self, deferred: Deferred[Any]) -> Any:
        """Wait for a Deferred, and return its result."""
        return self.successResultOf(deferred)

    def failure(self, deferred: Deferred[Any], kind: type[Exception]) -> None:
        """See that a Deferred fails with this exception."""
        self.failureResultOf(deferred, kind)

    def setUp(self) -> None:
        self.one = self.log()
        self.entries: list[Entry] = []
        self.lost: list[Failure] = []
        self.result(self.one.open(self.lost.append))

    def append(self, *events: Event, entry_id: str) -> None:
        self.result(self.one.append(events, entry_id))

    def fill(self, count: int) -> None:
        for number in range(1, count + 1):
            self.append(Said(1, "Alice", str(number), 0.0), entry_id=f"e{number}")
        self.settle()

    def read(self, after: int, limit: int) -> list[Entry]:
        entries: list[Entry] = self.result(self.one.read(after, limit))
        return entries

    def positions(self, entries: Sequence[Entry]) -> list[int]:
        return [entry.position for entry in entries]

    def test_it_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(ILog, self.one))

    def test_it_begins_empty(self) -> None:
        self.assertEqual(self.result(self.one.head()), 0)
        self.assertEqual(self.read(0, 10), [])
        self.assertIsNone(self.result(self.one.load_snapshot()))

    def test_every_event_comes_back_as_it_was(self) -> None:
        self.append(*EVENTS, entry_id="one")
        self.append(EVENTS[0], entry_id="two")
        one, two = self.read(0, 10)
        self.assertEqual((one.position, one.entry_id, list(one.events)), (1, "one", EVENTS))
        self.assertEqual((two.position, two.entry_id, list(two.events)), (2, "two", EVENTS[:1]))
        self.assertEqual(self.result(self.one.head()), 2)

    def test_the_same_id_stores_nothing_twice(self) -> None:
        for _ in range(3):
            self.append(EVENTS[2], entry_id="same")
        self.assertEqual(self.result(self.one.head()), 1)

    def test_read_starts_after_the_given_position(self) -> None:
        self.fill(5)
        self.assertEqual(self.positions(self.read(0, 2)), [1, 2])
        self.assertEqual(self.positions(self.read(3, 9)), [4, 5])
        self.assertEqual(self.positions(self.read(5, 9)), [])

    def test_a_tail_gives_old_and_new_entries(self) -> None:
        self.fill(2)
        self.result(self.one.tail(0, self.entries.append))
        self.assertEqual(self.positions(self.entries), [1, 2])
        self.append(EVENTS[0], entry_id="new")
        self.settle()
        self.assertEqual(self.positions(self.entries), [1, 2, 3])
        self.assertEqual(self.entries[-1], Entry(3, "new", self.entries[-1].events))

    def test_a_tail_starts_after_its_position_and_can_be_stopped(self) -> None:
        self.fill(3)
        stop = self.result(self.one.tail(2, self.entries.append))
        stop()
        self.append(EVENTS[0], entry_id="new")
        self.settle()
        self.assertEqual(self.positions(self.entries), [3])

    def test_entries_appended_by_a_tail_come_after(self) -> None:
        def echo(entry: Entry) -> None:
            if entry.position < 3:
                self.one.append([EVENTS[0]], f"echo{entry.position}")
            self.entries.append(entry)

        self.result(self.one.tail(0, echo))
        self.append(EVENTS[0], entry_id="first")
        for _ in range(3):
            self.settle()
        self.assertEqual([entry.entry_id for entry in self.entries], ["first", "echo1", "echo2"])

    def test_two_tails_are_given_the_same(self) -> None:
        others: list[Entry] = []
        self.result(self.one.tail(0, self.entries.append))
        self.result(self.one.tail(0, others.append))
        self.fill(20)
        self.assertEqual(self.positions(self.entries), list(range(1, 21)))
        self.assertEqual(self.entries, others)

    def test_two_nodes_are_given_the_same(self) -> None:
        other = self.another(self.one)
        if other is None:
            return
        self.result(other.open(self.lost.append))
        others: list[Entry] = []
        self.result(self.one.tail(0, self.entries.append))
        self.result(other.tail(0, others.append))
        for number in range(10):
            node = (self.one, other)[number % 2]
            self.result(node.append([EVENTS[2]], f"e{number}"))
        self.settle()
        self.assertEqual([entry.entry_id for entry in self.entries], [f"e{number}" for number in range(10)])
        self.assertEqual(self.entries, others)
        self.result(other.close())
        self.append(EVENTS[2], entry_id="after")
        self.settle()
        self.assertEqual((len(self.entries), len(others)), (11, 10))

    def test_trimmed_entries_are_gone_and_others_stay(self) -> None:
        self.fill(5)
        self.result(self.one.trim(4, 4))
        self.assertEqual(self.result(self.one.head()), 5)
        self.assertEqual(self.positions(self.read(3, 9)), [4, 5])
        self.failure(self.one.read(2, 9), Trimmed)
        self.failure(self.one.tail(2, self.entries.append), Trimmed)
        self.result(self.one.trim(9, 9))
        self.assertEqual(self.positions(self.read(5, 9)), [])
        self.append(EVENTS[0], entry_id="new")
        self.assertEqual(self.positions(self.read(5, 9)), [6])

    def test_seen_events_may_be_deleted_sooner(self) -> None:
        for number in range(1, 5):
            self.append(EVENTS[2], Seen(float(number), ((1, 2, 3, 4, 5),)), entry_id=f"e{number}")
        self.result(self.one.trim(2, 4))
        entries = self.read(1, 9)
        self.assertEqual(self.positions(entries), [2, 3, 4])
        for entry in entries:
            self.assertEqual(entry.events[0], EVENTS[2])
        self.assertEqual(len(entries[-1].events), 2)

    def test_the_last_snapshot_replaces_the_others(self) -> None:
        self.fill(2)
        for position, state in [(1, b"old"), (2, b"\x00new\xff")]:
            self.result(self.one.save_snapshot(position, 7, state))
        self.assertEqual(self.result(self.one.load_snapshot()), Snapshot(2, 7, b"\x00new\xff"))

    def test_nothing_is_appended_to_a_closed_log(self) -> None:
        self.result(self.one.tail(0, self.entries.append))
        self.fill(1)
        self.result(self.one.close())
        self.failure(self.one.append([EVENTS[0]], "late"), Unavailable)
        self.settle()
        self.assertEqual(self.positions(self.entries), [1])

    def tearDown(self) -> None:
        self.result(self.one.close())
        self.assertEqual(self.lost, [])


class MemoryLogTests(LogContract, SynchronousTestCase):
    def log(self) -> ILog:
        return MemoryLog()

    def test_a_store_retains_a_number_of_entries(self) -> None:
        self.one = MemoryLog(Store(retain=3))
        self.result(self.one.tail(0, self.entries.append))
        self.fill(5)
        self.assertEqual(self.positions(self.entries), [1, 2, 3, 4, 5])
        self.assertEqual(self.positions(self.read(2, 9)), [3, 4, 5])
        self.failure(self.one.read(1, 9), Trimmed)


class SharedLogTests(LogContract, SynchronousTestCase):
    def log(self) -> ILog:
        self.store = Store()
        return MemoryLog(self.store)

    def another(self, log: ILog) -> ILog:
        return MemoryLog(self.store)


class LateLogTests(SharedLogTests):
    def log(self) -> ILog:
        self.store = Store()
        self.clock = Clock()
        return LateLog(self.store, self.clock, 0.5)

    def another(self, log: ILog) -> ILog:
        return LateLog(self.store, self.clock, 2.0)

    def settle(self) -> None:
        self.clock.pump([0.5] * 5)

    def test_its_tail_is_late(self) -> None:
        self.result(self.one.tail(0, self.entries.append))
        self.append(EVENTS[0], entry_id="one")
        self.clock.advance(0.4)
        self.assertEqual(self.entries, [])
        self.clock.advance(0.1)
        self.assertEqual(self.positions(self.entries), [1])


class FailingLogTests(LogContract, SynchronousTestCase):
    """Without failures to come, it is a log like any other."""

    def log(self) -> ILog:
        return FailingLog([])


class SqliteLogTests(LogContract, SynchronousTestCase):
    def log(self) -> ILog:
        self.reactor = ThreadReactor()
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-log-"))
        self.addCleanup(shutil.rmtree, self.directory)
        return self.file_log()

    def file_log(self) -> SqliteLog:
        return SqliteLog(self.directory / "group.sqlite", self.reactor)  # type: ignore[arg-type]  # all it needs of a reactor

    def result(self, deferred: Deferred[Any]) -> Any:
        self.reactor.wait(deferred)
        return super().result(deferred)

    def failure(self, deferred: Deferred[Any], kind: type[Exception]) -> None:
        deferred.addErrback(lambda failure: failure.trap(kind))
        self.assertIs(self.result(deferred), kind)

    def settle(self) -> None:
        self.result(self.one.head().addErrback(lambda failure: failure.trap(Unavailable)))

    def again(self) -> None:
        """Close the log, and open the file again."""
        self.result(self.one.close())
        self.one = self.file_log()
        self.result(self.one.open(self.lost.append))

    def test_everything_is_there_after_opening_again(self) -> None:
        self.append(*EVENTS, entry_id="one")
        self.fill(3)
        self.result(self.one.save_snapshot(2, 7, b"state"))
        self.again()
        self.assertEqual(list(self.read(0, 9)[0].events), EVENTS)
        self.assertEqual(self.positions(self.read(0, 9)), [1, 2, 3, 4])
        self.assertEqual(self.result(self.one.load_snapshot()), Snapshot(2, 7, b"state"))
        self.append(EVENTS[0], entry_id="one")
        self.assertEqual(self.result(self.one.head()), 4)

    def test_positions_continue_after_trimming_everything(self) -> None:
        self.fill(3)
        self.result(self.one.trim(4, 4))
        self.again()
        self.assertEqual(self.result(self.one.head()), 3)
        self.append(EVENTS[0], entry_id="next")
        self.assertEqual(self.positions(self.read(3, 9)), [4])

    def test_a_tail_misses_nothing_appended_while_it_catches_up(self) -> None:
        self.patch(sqlite, "READ_AT_ONCE", 7)
        self.fill(50)
        caught_up = self.one.tail(0, self.entries.append)
        appended = [self.one.append([EVENTS[2]], f"more{number}") for number in range(50)]
        self.result(caught_up)
        for deferred in appended:
            self.result(deferred)
        self.assertEqual(self.positions(self.entries), list(range(1, 101)))

    def test_waiting_appends_are_committed_together(self) -> None:
        commits: list[int] = []
        append = Database.append

        def counted(database: Database, batch: Sequence[tuple[str, Sequence[Event]]]) -> list[Entry | None]:
            commits.append(len(batch))
            return append(database, batch)

        self.patch(Database, "append", counted)
        for deferred in [self.one.append([EVENTS[2]], f"e{number}") for number in range(1_000)]:
            self.result(deferred)
        self.assertEqual(sum(commits), 1_000)
        self.assertLess(len(commits), 500)
        self.assertLessEqual(max(commits), sqlite.MOST_EVENTS)

    def test_the_end_of_the_thread_is_reported(self) -> None:
        self.patch(Database, "append", lambda *_: 1 / 0)
        self.one.append([EVENTS[2]], "e")
        while not self.lost:
            self.reactor.call()
        self.assertIsInstance(self.lost.pop().value, ZeroDivisionError)
        self.failure(self.one.append([EVENTS[2]], "f"), Unavailable)
