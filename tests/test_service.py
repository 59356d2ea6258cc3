"""GroupService behind its UDP front end, in memory: the rules of the five messages, and failures around them."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ISystemHandle, IUDPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import groupchat.service.command_queue as command_queue_module
from groupchat.core.errors import Broken, LogError, Misplaced, Unavailable, Unknown
from groupchat.core.events import Event, Left, Seen
from groupchat.core.group import Group
from groupchat.core.limits import QUEUE, Settings
from groupchat.log.memory import Store
from groupchat.service.group_service import GroupService
from groupchat.service.seats import IClient
from tests.logs import FailingLog, LateLog
from tests.node import FakePort, Node

ILLEGAL = "Illegal message"
DAY = 86_400.0


class FakesTests(SynchronousTestCase):
    def test_the_fake_port_provides_its_interfaces(self) -> None:
        self.assertTrue(verifyObject(IUDPTransport, FakePort()))
        self.assertTrue(verifyObject(ISystemHandle, FakePort()))

    def test_the_front_end_is_a_client_of_the_service(self) -> None:
        self.assertTrue(verifyObject(IClient, Node().udp))


class RulesTests(SynchronousTestCase):
    """The table of the five messages in docs/protocol.md, and the rules below it."""

    def setUp(self) -> None:
        self.node = Node()
        self.ask = self.node.ask

    def head(self) -> int:
        return self.successResultOf(self.node.log.head())

    def test_a_join_is_answered_with_the_names_of_the_others(self) -> None:
        self.assertEqual(self.ask(1, "1 Alice"), "")
        self.assertEqual(self.ask(2, "1 Bob"), "Alice")
        self.assertEqual(self.ask(3, "1 Chloé"), "Bob, Alice")

    def test_a_stranger_may_only_join(self) -> None:
        for request in ["2 hi", "3 Alice", "4", "5", "hello", ""]:
            self.assertEqual(self.ask(1, request), ILLEGAL, request)
        self.assertEqual((self.head(), self.node.service.seats.at), (0, {}))

    def test_refused_messages_are_not_in_the_log(self) -> None:
        self.node.join(["Alice", "Bob"])
        before = self.head()
        for request in [
            "",
            "345ft",
            "1 Eve",
            "1 alice",
            "2 ",
            "2 \x1b[2J",
            "3 Alice",
            "3 BOB",
            "3 5",
            "4 x",
            "5 x",
            "2 " + "x" * 4097,
        ]:
            self.assertEqual(self.ask(1, request), ILLEGAL, request)
        for request in ["1 ALICE", "1 close", "1 a:b", "1", "1 "]:
            self.assertEqual(self.ask(9, request), ILLEGAL, request)
        self.assertEqual(self.head(), before)
        self.assertEqual(self.ask(2, "5"), "")

    def test_a_rename_answers_what_waits_and_tells_the_others(self) -> None:
        self.node.join(["Alice", "Bob"])
        self.ask(2, "2 hi")
        self.assertEqual(self.ask(1, "3 Al"), "Bob: hi")
        self.assertEqual(self.ask(1, "3 AL"), "")
        self.assertEqual(self.ask(2, "5"), "Alice changed his name to Al\nAl changed his name to AL")
        self.assertEqual(self.ask(3, "1 Alice"), "Bob, AL")

    def test_a_member_that_left_is_a_stranger_and_may_rejoin(self) -> None:
        self.node.join(["Alice", "Bob"])
        self.ask(2, "2 missed")
        self.assertEqual(self.ask(1, "4"), "close")
        self.assertEqual(self.ask(1, "5"), ILLEGAL)
        self.assertEqual(self.ask(1, "4"), ILLEGAL)
        self.assertEqual(self.ask(1, "1 Alice"), "Bob")
        self.assertEqual(self.ask(1, "5"), "")
        self.assertEqual(self.ask(2, "5"), "Alice has left the group\nAlice has joined")

    def test_a_long_backlog_comes_in_whole_lines(self) -> None:
        node = Node(max_reply=20)
        node.join(["Alice", "Bob"])
        for text in ["one", "two", "three", "x" * 30]:
            node.ask(2, f"2 {text}")
        self.assertEqual(node.ask(1, "5"), "Bob: one\nBob: two")
        self.assertEqual(node.ask(1, "2 hm"), "Bob: three")
        self.assertEqual(node.ask(1, "5"), "Bob: " + "x" * 30)
        self.assertEqual(node.ask(1, "5"), "")

    def test_a_list_of_names_is_shortened_to_max_reply(self) -> None:
        node = Node(max_reply=20)
        node.join(["Alice", "Bob", "Charlie", "Dora"])
        self.assertEqual(node.ask(9, "1 Eve"), "Dora, (3 more)")

    def test_a_join_may_be_repeated_letter_for_letter_once_a_second(self) -> None:
        self.node.join(["Alice", "Bob"])
        before = self.head()
        self.assertEqual(self.ask(1, "1 Alice"), "Bob")
        self.assertIsNone(self.ask(1, "1 Alice"))
        self.node.clock.advance(0.9)
        self.assertIsNone(self.ask(1, "1 Alice"))
        self.assertEqual(self.ask(2, "1 Bob"), "Alice")
        self.assertEqual(self.head(), before)
        self.node.clock.advance(0.2)
        self.assertEqual(self.ask(1, "1 Alice"), "Bob")
        self.assertEqual(self.ask(1, "1 alice"), ILLEGAL)
        self.assertEqual(self.node.udp.drops, 2)

    def test_a_repeated_join_gives_no_waiting_lines(self) -> None:
        self.node.join(["Alice", "Bob"])
        self.ask(2, "2 hi")
        self.assertEqual(self.ask(1, "1 Alice"), "Bob")
        self.assertEqual(self.ask(1, "5"), "Bob: hi")

    def test_two_servers_cannot_be_made_to_answer_each_other(self) -> None:
        self.node.join(["Alice"])
        for who in (1, 9):
            self.assertIsNone(self.ask(who, ILLEGAL))
        self.assertEqual(self.node.udp.drops, 2)


class ReleaseTests(SynchronousTestCase):
    """A client that was restarted has another port, and asks for its name again."""

    def setUp(self) -> None:
        self.node = Node()
        self.node.join(["Alice", "Bob"])
        self.node.ask(2, "2 missed")

    def quiet(self, seconds: float, node: Node | None = None) -> None:
        (node or self.node).pass_time(seconds)

    def test_a_silent_name_is_released_to_another_port_of_the_host(self) -> None:
        self.quiet(59)
        self.assertEqual(self.node.ask(7, "1 Alice"), ILLEGAL)
        self.quiet(1)
        self.assertEqual(self.node.ask(7, "1 alice"), "Bob")
        self.assertEqual(self.node.ask(7, "5"), "")
        self.assertEqual(self.node.ask(1, "5"), ILLEGAL)
        self.assertEqual(self.node.ask(2, "5"), "Alice has left the group\nalice has joined")

    def test_a_name_is_not_released_to_another_host(self) -> None:
        self.quiet(1000)
        self.assertEqual(self.node.ask(7, "1 Alice", host="10.0.0.2"), ILLEGAL)

    def test_any_datagram_from_the_holder_prevents_a_release(self) -> None:
        for request in ["5", "2 hi", "3 Alice", "1 Bob", "garbage", ""]:
            self.quiet(59)
            self.node.ask(1, request)
            self.quiet(59)
            self.assertEqual(self.node.ask(7, "1 Alice"), ILLEGAL, request)

    def test_release_0_never_releases_a_name(self) -> None:
        node = Node(release=0)
        node.join(["Alice"])
        self.quiet(10_000, node)
        self.assertEqual(node.ask(7, "1 Alice"), ILLEGAL)

    def test_a_full_group_still_releases_names(self) -> None:
        node = Node(max_members=3, max_per_host=2)
        node.join(["Alice", "Bob"])
        self.quiet(60, node)
        self.assertEqual(node.ask(7, "1 Eve"), ILLEGAL)
        self.assertEqual(node.ask(7, "1 Alice"), "Bob")
        self.assertEqual(node.ask(2, "5"), "Alice has left the group\nAlice has joined")


class LimitsTests(SynchronousTestCase):
    def test_the_number_of_members_of_one_host_is_limited(self) -> None:
        node = Node(max_per_host=1)
        node.join(["Alice"])
        self.assertEqual(node.ask(2, "1 Bob"), ILLEGAL)
        self.assertEqual(node.ask(2, "1 Bob", host="10.0.0.2"), "Alice")
        node.ask(1, "4")
        self.assertEqual(node.ask(3, "1 Eve"), "Bob")

    def test_joins_under_way_count_as_members(self) -> None:
        node = Node(max_per_host=2)
        for who in range(1, 6):
            node.send(who, f"1 member{who}")
        node.send(6, "1 member6", host="10.0.0.2")
        self.assertEqual(node.replies(), [ILLEGAL] * 3)
        node.clock.advance(0)
        self.assertEqual(len(node.service.group.members), 3)
        self.assertEqual(node.ask(1, "4"), "close")
        self.assertEqual(node.ask(3, "1 member3"), "member6, member2")

    def test_max_per_host_0_is_no_limit(self) -> None:
        node = Node(max_per_host=0)
        node.join([f"member{number}" for number in range(1500)])
        self.assertEqual(len(node.service.group.members), 1500)


class OrderTests(SynchronousTestCase):
    """Commands that one source sends without waiting take effect in order."""

    def test_commands_of_one_source_are_answered_in_order(self) -> None:
        node = Node()
        node.join(["Bob"])
        for request in ["1 Alice", "2 one", "5", "3 Al", "2 two", "4", "5", "1 Alice"]:
            node.send(7, request)
        node.clock.advance(0)
        self.assertEqual(node.replies(7), ["Bob", "", "", "", "", "close", ILLEGAL, "Bob"])
        self.assertEqual(
            node.ask(1, "5"),
            "Alice has joined\nAlice: one\nAlice changed his name to Al\n"
            "Al: two\nAl has left the group\nAlice has joined",
        )

    def test_a_poll_behind_a_text_waits_for_it(self) -> None:
        clock = Clock()
        node = Node(LateLog(Store(), clock, 0.5), clock)
        node.send(1, "1 Alice")
        node.send(2, "1 Bob")
        clock.pump([0, 0.5])
        node.send(1, "2 hi")
        node.send(1, "5")
        node.send(1, "4")
        clock.advance(0)
        node.replies()
        clock.advance(0.5)
        self.assertEqual(node.replies(), ["Bob has joined", ""])
        clock.advance(0.5)
        self.assertEqual(node.replies(), ["close"])

    def test_nothing_is_shown_before_the_log_gives_it_back(self) -> None:
        clock = Clock()
        node = Node(LateLog(Store(), clock, 0.5), clock)
        node.send(1, "1 Alice")
        clock.pump([0, 0.25])
        node.send(2, "1 Bob")
        clock.advance(0)
        self.assertEqual(node.replies(), [])
        clock.advance(0.25)
        self.assertEqual(node.replies(), [""])
        clock.advance(0.25)
        self.assertEqual(node.replies(), ["Alice"])
        node.send(2, "2 not stored yet")
        self.assertEqual(node.ask(1, "5"), "Bob has joined")
        self.assertEqual(node.ask(1, "5"), "")
        clock.advance(1)
        self.assertEqual(node.ask(1, "5"), "Bob: not stored yet")

    def test_the_number_of_queued_commands_is_limited(self) -> None:
        clock = Clock()
        self.patch(command_queue_module, "QUEUED", 100)
        node = Node(LateLog(Store(), clock, 5.0), clock)
        for who in range(50):
            for request in (f"1 member{who}", "5", "5", "5"):
                node.send(who, request)
        self.assertEqual(node.udp.drops, 50)
        clock.pump([0, 5.0])
        self.assertEqual(len(node.replies()), 150)
        node.send(1, "2 hi")
        node.send(1, "5")
        self.assertEqual(node.udp.drops, 50)

    def test_a_command_that_finds_the_queue_full_is_dropped(self) -> None:
        node = Node()
        node.join(["Alice", "Bob"])
        # Texts share an entry and do not wait, but these come after a poll, which waits for the first text.
        for request in ["2 0", "5", *(f"2 {number}" for number in range(1, QUEUE + 4))]:
            node.send(1, request)
        self.assertEqual(node.udp.drops, 4)
        node.clock.pump([0, 0])
        self.assertEqual(len(node.replies(1)), QUEUE + 1)
        self.assertEqual(node.ask(2, "5"), "\n".join(f"Alice: {number}" for number in range(QUEUE)))

    def test_texts_of_one_turn_share_an_entry_and_no_queue(self) -> None:
        node = Node()
        node.join(["Alice", "Bob"])
        before = self.successResultOf(node.log.head())
        for number in range(100):
            node.send(1, f"2 {number}")
        node.clock.advance(0)
        self.assertEqual((node.udp.drops, node.replies(1)), (0, [""] * 100))
        self.assertEqual(self.successResultOf(node.log.head()), before + 1)
        self.assertEqual(node.ask(2, "5"), "\n".join(f"Alice: {number}" for number in range(100)))

    def test_garbage_is_refused_at_once(self) -> None:
        node = Node()
        node.send(1, "1 Alice")
        node.send(1, "garbage")
        self.assertEqual(node.replies(), [ILLEGAL])
        node.clock.advance(0)
        self.assertEqual(node.replies(), [""])


class CursorTests(SynchronousTestCase):
    def test_a_cursor_moves_only_if_the_send_succeeded(self) -> None:
        node = Node()
        node.join(["Alice", "Bob"])
        node.ask(2, "2 hi")
        node.port.full = True
        self.assertIsNone(node.ask(1, "5"))
        self.assertIsNone(node.ask(1, "2 mine"))
        self.assertEqual(node.udp.drops, 2)
        node.port.full = False
        self.assertEqual(node.ask(1, "5"), "Bob: hi")
        self.assertEqual(node.ask(2, "5"), "Alice: mine")


class SeenTests(SynchronousTestCase):
    """Cursors are recorded once a second at most, and only if one of them moved."""

    def setUp(self) -> None:
        self.store = Store()
        self.clock = Clock()
        self.node = Node(LateLog(self.store, self.clock, 0.0), self.clock)
        self.node.join(["Alice", "Bob"])
        self.clock.advance(1)
        self.seen()

    def seen(self) -> list[Seen]:
        """Return the records since the last call."""
        records = [event for entry in self.store.read(0, 1000) for event in entry.events if isinstance(event, Seen)]
        new = records[getattr(self, "count", 0) :]
        self.count = len(records)
        return new

    def test_only_visible_lines_move_a_recorded_cursor(self) -> None:
        self.node.ask(2, "2 hi")
        self.node.ask(1, "2 own")
        self.clock.advance(1)
        alice = self.node.service.group.by_key["alice"]
        self.assertEqual([place[0] for record in self.seen() for place in record.places], [alice.id])
        for _ in range(10):
            self.node.ask(1, "2 own")
            self.node.ask(1, "5")
            self.clock.advance(1)
        self.assertEqual(self.seen(), [])

    def test_cursors_are_recorded_once_a_second_at_most(self) -> None:
        for number in range(30):
            self.node.ask(2, f"2 {number}")
            self.node.ask(1, "5")
            self.node.ask(1, f"2 {number}")
            self.clock.advance(0.1)
        records = self.seen()
        self.assertLessEqual(len(records), 3)
        self.assertEqual({len(record.places) for record in records}, {2})

    def test_last_contacts_are_recorded_once_a_minute(self) -> None:
        self.clock.pump([1.0] * 57)
        self.assertEqual(self.seen(), [])
        self.node.ask(1, "5")
        self.clock.pump([1.0] * 61)
        alice = self.node.service.group.by_key["alice"]
        self.assertEqual((self.seen(), self.node.service.dropped), ([], 0))
        self.node.ask(1, "5")
        self.clock.pump([1.0] * 60)
        (record,) = self.seen()
        self.assertEqual([(place[0], place[3]) for place in record.places], [(alice.id, 1)])

    def test_cursor_records_are_no_lines(self) -> None:
        head = self.node.service.group.history.head
        self.node.ask(2, "2 hi")
        self.node.ask(1, "5")
        self.clock.advance(1)
        self.assertEqual(len(self.seen()), 1)
        self.assertEqual(self.node.service.group.history.head, head + 1)


class TimeTests(SynchronousTestCase):
    def test_a_member_that_is_silent_for_days_leaves(self) -> None:
        node = Node(idle=2)
        node.join(["Alice", "Bob"])
        node.pass_time(DAY)
        node.ask(2, "5")
        node.pass_time(DAY + 61)
        self.assertEqual(node.ask(2, "5"), "Alice has left the group")
        self.assertEqual(node.ask(1, "5"), ILLEGAL)
        self.assertEqual(list(node.service.seats.at), [("10.0.0.1", 2)])

    def test_silent_members_leave_a_few_at_a_time(self) -> None:
        node = Node(idle=1)
        node.join([f"member{number}" for number in range(250)])
        node.pass_time(DAY)
        while len(node.service.group.members) == 250:
            node.clock.advance(1)
        self.assertEqual(len(node.service.group.members), 150)
        node.clock.pump([1.0, 1.0, 1.0])
        self.assertEqual(node.service.group.members, {})

    def test_idle_0_never_makes_a_member_leave(self) -> None:
        node = Node(idle=0, keep_days=0)
        node.join(["Alice"])
        node.pass_time(10 * DAY)
        self.assertEqual(node.ask(1, "5"), "")

    def test_lines_are_kept_for_keep_days(self) -> None:
        node = Node(keep_days=1, idle=0)
        node.join(["Alice", "Bob"])
        node.ask(2, "2 old")
        node.pass_time(DAY / 2)
        node.ask(2, "2 new")
        node.pass_time(DAY / 2 + 60)
        self.assertEqual(node.ask(1, "5"), "* 1 line is no longer kept\nBob: new")

    def test_no_more_than_keep_lines_are_kept(self) -> None:
        node = Node(keep=3)
        node.join(["Alice", "Bob"])
        for number in range(5):
            node.ask(2, f"2 {number}")
        self.assertEqual(node.ask(1, "5"), "* 2 lines are no longer kept\nBob: 2\nBob: 3\nBob: 4")


class ClockTests(SynchronousTestCase):
    """A clock that is set. That of a small machine starts in 1970 and is set later; others are set back."""

    def test_a_clock_that_is_set_makes_nobody_silent(self) -> None:
        for step in (50 * 365 * DAY, -DAY):
            node = Node(clock=Clock(), idle=1, keep_days=1)
            node.pass_time(2 * DAY)
            node.join(["Alice", "Bob"])
            node.ask(2, "2 hi")
            node.clock.advance(step)
            node.pass_time(59)
            self.assertEqual(node.ask(7, "1 Alice"), ILLEGAL)
            self.assertEqual(node.ask(1, "5"), "Bob: hi")
            node.pass_time(3500)
            self.assertEqual(node.ask(2, "5"), "")

    def test_a_member_silent_after_the_clock_was_set_leaves(self) -> None:
        node = Node(idle=1)
        node.join(["Alice", "Bob"])
        node.clock.advance(1000 * DAY)
        node.ask(2, "5")
        node.pass_time(3700)
        self.assertEqual(node.ask(2, "5"), "Alice has left the group")


class FaultTests(SynchronousTestCase):
    def observe(self) -> EventLoggingObserver:
        """Return an observer of what is logged from now on."""
        events = EventLoggingObserver()
        globalLogPublisher.addObserver(events)
        self.addCleanup(globalLogPublisher.removeObserver, events)
        return events

    def test_a_command_that_was_not_stored_gets_no_answer(self) -> None:
        log = FailingLog([Unavailable("the disk is full")])
        node = Node(log)
        self.assertIsNone(node.ask(1, "1 Alice"))
        self.assertEqual((node.udp.drops, node.service.seats.at), (1, {}))
        self.assertEqual(node.ask(1, "1 Alice"), "")
        log.failures = [Unavailable("the disk is full")] * 2
        # Each poll is answered, and the commands behind it go on.
        for request in ["2 lost", "2 lost with it", "5", "2 lost too", "5", "2 stored", "2 stored with it"]:
            node.send(1, request)
        node.clock.pump([0, 0])
        self.assertEqual((node.replies(), node.udp.drops), ([""] * 4, 4))
        self.assertEqual(self.successResultOf(log.head()), 2)
        (entry,) = self.successResultOf(log.read(1, 9))
        self.assertEqual([getattr(event, "text", None) for event in entry.events], ["stored", "stored with it"])

    def test_an_uncertain_append_is_retried_until_it_is_certain(self) -> None:
        log = FailingLog([Unknown("timed out")] * 3)
        node = Node(log)
        self.assertIsNone(node.ask(1, "1 Alice"))
        node.clock.pump([0.1, 0.2, 0.4])
        self.assertEqual(node.replies(), [""])
        self.assertEqual((len(log.appended), len(set(log.appended))), (4, 1))
        self.assertEqual(self.successResultOf(log.head()), 1)

    def test_an_unavailable_retry_gives_up_no_uncertain_entry(self) -> None:
        log = FailingLog([Unknown("timed out"), Unavailable("no leader"), Unavailable("no leader")])
        node = Node(log)
        self.assertIsNone(node.ask(1, "1 Alice"))
        node.clock.pump([0.1, 0.2, 0.4])
        self.assertEqual((node.replies(), node.udp.drops), ([""], 0))
        self.assertEqual((len(log.appended), len(set(log.appended))), (4, 1))

    def test_an_unexpected_failure_of_the_log_stops_the_daemon(self) -> None:
        node = Node(FailingLog([ZeroDivisionError()]))
        node.ask(1, "1 Alice")
        self.assertEqual((node.fatal, len(self.flushLoggedErrors(ZeroDivisionError))), (1, 1))
        self.assertIsNone(node.ask(2, "1 Bob"))
        self.successResultOf(node.service.stopService())

    def test_a_failing_log_does_not_flood_the_daemon_log(self) -> None:
        events = self.observe()
        log = FailingLog([])
        node = Node(log)
        node.ask(1, "1 Alice")
        for _ in range(1000):
            log.failures = [Unavailable("the disk is full")]
            node.ask(1, "2 hi")
            node.ask(1, "2 ho")
        self.assertLessEqual(len(events), 2)

    def test_a_recovery_is_logged_after_ten_seconds_without_failure(self) -> None:
        """A full disk has room for a short entry now and then."""
        events = self.observe()
        log = FailingLog([])
        node = Node(log)
        node.ask(1, "1 Alice")
        logged = []
        steps = [(0, True), (1, False), (8, False), (1, True), (9, False), (9.9, False), (0.2, False), (30, False)]
        for seconds, fails in steps:
            node.clock.advance(seconds)
            log.failures = [Unavailable("the disk is full")] * fails
            node.ask(1, "2 hi")
            self.assertEqual(node.service.is_well(), not fails)
            logged.append(len([event for event in events if "again" in event.get("log_format", "")]))
        self.assertEqual(logged, [0, 0, 0, 0, 0, 0, 1, 1])

    def test_a_file_that_is_gone_is_logged_once_and_probed_in_vain(self) -> None:
        log = FailingLog([])
        node = Node(log)
        node.ask(1, "1 Alice")
        events = self.observe()
        self.patch(log, "check", lambda: fail(Misplaced("the file is gone")))
        node.clock.advance(1)
        self.patch(log, "check", lambda: succeed(""))
        self.assertFalse(node.service.is_well())
        for _ in range(30):
            log.failures = [Misplaced("the file is gone")] * 2
            self.assertIsNone(node.ask(1, "2 hi"))
            self.assertEqual(node.ask(1, "5"), "")
            self.successResultOf(node.service.probe())
            self.assertFalse(node.service.is_well())
            node.clock.advance(1)
        self.assertEqual([event["why"] for event in events if "why" in event], ["the file is gone"])
        self.assertEqual(len(events), 1)

    def test_a_broken_log_ends_the_daemon_with_one_line(self) -> None:
        events = self.observe()
        node = Node(FailingLog([Broken("group.sqlite is damaged")]))
        node.ask(1, "1 Alice")
        (event,) = events
        self.assertEqual(eventAsText(event, includeTimestamp=False, includeSystem=False).count("\n"), 0)
        self.assertEqual((event["why"], "log_failure" in event, node.fatal), ("group.sqlite is damaged", False, 1))

    def test_each_failed_append_means_that_the_log_fails(self) -> None:
        log = FailingLog([])
        node = Node(log)
        node.ask(1, "1 Alice")
        for _ in range(3):
            log.failures = [Unavailable("the disk is full")]
            node.ask(1, "2 hi")
            self.assertFalse(node.service.is_well())
            node.ask(1, "2 ho")
            self.assertTrue(node.service.is_well())

    def test_a_log_that_fails_is_probed_with_a_write(self) -> None:
        log = FailingLog([Unavailable("the disk is full")] * 3)
        node = Node(log)
        self.assertIsNone(node.ask(1, "1 Alice"))
        appended = [len(log.appended)]
        for seconds in (0, 0, 4.9, 0.2, 4.9, 0.2, 10, 10):
            node.clock.advance(seconds)
            self.successResultOf(node.service.probe())
            appended.append(len(log.appended))
        self.assertEqual(appended, [1, 2, 2, 2, 3, 3, 4, 4, 4])
        self.assertTrue(node.service.is_well())
        self.assertEqual((node.service.group.history.head, len(node.service.group.members)), (0, 0))

    def test_a_probe_that_hangs_is_the_only_one(self) -> None:
        log = FailingLog([Unavailable("the disk is full")])
        node = Node(log)
        node.ask(1, "1 Alice")
        hanging = Deferred[None]()
        self.patch(log, "append", lambda events, entry_id: hanging)
        probe = node.service.probe()
        for _ in range(3):
            node.clock.advance(10)
            self.successResultOf(node.service.probe())
        self.assertNoResult(probe)
        self.assertFalse(node.service.is_well())
        hanging.callback(None)
        self.successResultOf(probe)
        self.assertTrue(node.service.is_well())

    def test_a_log_that_works_is_not_probed(self) -> None:
        node = Node(log := FailingLog([]))
        node.ask(1, "1 Alice")
        self.successResultOf(node.service.probe())
        self.assertEqual(len(log.appended), 1)
        self.successResultOf(node.service.stopService())
        log.failures = [Unavailable("closed")]
        self.successResultOf(node.service.probe())
        self.assertFalse(node.service.is_well())

    def test_an_uncertain_append_that_was_stored_is_answered_once(self) -> None:
        log = FailingLog([Unknown("the connection broke")] * 2, stores=True)
        node = Node(log)
        self.assertEqual(node.ask(1, "1 Alice"), "")
        node.clock.pump([0.1, 0.2, 0.4])
        self.assertEqual(node.replies(), [])
        self.assertEqual(self.successResultOf(log.head()), 1)

    def test_cursors_that_were_not_stored_are_recorded_later(self) -> None:
        log = FailingLog([])
        node = Node(log)
        node.join(["Alice", "Bob"])
        node.clock.advance(1)
        node.ask(2, "2 hi")
        node.ask(1, "5")
        log.failures = [Unavailable("the disk is full")]
        before = self.successResultOf(log.head())
        node.clock.advance(1)
        self.assertEqual(self.successResultOf(log.head()), before)
        node.clock.advance(1)
        (entry,) = self.successResultOf(log.read(before, 9))
        self.assertEqual([type(event) for event in entry.events], [Seen])

    def test_a_bug_while_handling_a_datagram_is_logged_and_survived(self) -> None:
        node = Node()
        node.join(["Alice", "Bob"])
        self.patch(node.service.group, "waiting", lambda *_: 1 / 0)
        for _ in range(5):
            self.assertIsNone(node.ask(1, "5"))
            self.assertIsNone(node.ask(1, "2 heard all the same"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        node.clock.advance(2)
        self.assertIsNone(node.ask(1, "5"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del node.service.group.waiting
        self.assertEqual(node.ask(2, "5"), "\n".join(["Alice: heard all the same"] * 5))

    def test_a_bug_in_the_upkeep_is_logged_and_survived(self) -> None:
        node = Node()
        node.join(["Alice", "Bob"])
        self.patch(node.service._upkeep, "tick", lambda now: 1 / 0)
        node.clock.pump([1.0, 1.0])
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        del node.service._upkeep.tick
        before = self.successResultOf(node.log.head())
        node.ask(2, "2 hi")
        node.ask(1, "5")
        node.clock.advance(1)
        self.assertEqual(self.successResultOf(node.log.head()), before + 2)

    def test_an_event_that_cannot_be_applied_stops_the_daemon(self) -> None:
        node = Node()
        node.join(["Alice", "Bob"])

        def broken(event: Event) -> None:
            raise KeyError(event)

        self.patch(node.service.group, "apply", broken)
        node.send(1, "2 hi")
        node.send(2, "2 ho")
        node.clock.advance(0)
        node.send(2, "2 anybody?")
        node.clock.advance(0)
        self.assertIsNone(node.ask(2, "5"))
        self.assertEqual((node.fatal, node.replies()), (1, []))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        before = self.successResultOf(node.log.head())
        self.successResultOf(node.service.stopService())
        self.assertEqual(self.successResultOf(node.log.head()), before)

    def test_a_log_that_cannot_be_folded_is_not_served(self) -> None:
        store, clock = Store(), Clock()
        Node(LateLog(store, clock, 0.0), clock).join(["Alice"])
        self.patch(Group, "apply", lambda *_: 1 / 0)
        fatal: list[bool] = []
        service = GroupService(Settings(), LateLog(store, clock, 0.0), clock, lambda: fatal.append(True))
        self.failureResultOf(service.startService(), LogError)
        self.assertEqual((fatal, len(self.flushLoggedErrors(ZeroDivisionError))), ([True], 1))


class StopTests(SynchronousTestCase):
    def test_a_stop_answers_commands_and_records_cursors(self) -> None:
        clock, store = Clock(), Store()
        node = Node(LateLog(store, clock, 0.5), clock)
        for who, request in [(1, "1 Alice"), (2, "1 Bob"), (2, "2 hi")]:
            node.send(who, request)
            clock.pump([0, 0.5])
        clock.advance(90)
        node.ask(2, "5")
        node.send(1, "2 last words")
        stopped = node.service.stopService()
        self.assertNoResult(stopped)
        node.replies()
        clock.pump([0, 0.5, 0, 0.5])
        self.successResultOf(stopped)
        self.assertEqual(node.replies(), ["Bob has joined\nBob: hi"])
        *_, seen = [event for entry in store.read(0, 99) for event in entry.events]
        assert isinstance(seen, Seen)
        alice, bob = node.service.group.members.values()
        self.assertEqual(sorted(seen.places), sorted([(alice.id, 4, 1, 1, 2), (bob.id, 3, 1, 1, 2)]))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_stop_does_not_wait_for_ever(self) -> None:
        clock = Clock()
        node = Node(LateLog(Store(), clock, 1e9), clock)
        node.send(1, "1 Alice")
        stopped = node.service.stopService()
        clock.pump([1.0] * 30)
        self.successResultOf(stopped)


class ReleasedEntryTests(SynchronousTestCase):
    def test_a_released_name_is_two_events_of_one_entry(self) -> None:
        store, clock = Store(), Clock()
        node = Node(LateLog(store, clock, 0.0), clock)
        node.join(["Alice"])
        clock.advance(60)
        node.ask(7, "1 Alice")
        *_, entry = [entry for entry in store.read(0, 99) if not isinstance(entry.events[0], Seen)]
        self.assertEqual([type(event).__name__ for event in entry.events], ["Left", "Joined"])
        assert isinstance(entry.events[0], Left)
