"""Sessions of a node that restarts, and of one whose clock is set."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock

from groupchat.core.commands import Rename, Say, Whisper
from groupchat.core.errors import Unavailable
from groupchat.log.memory import MemoryLog
from tests.connections import KEY, SessionTestCase
from tests.durable import DurableNode
from tests.logs import FailingLog
from tests.node import Node

if TYPE_CHECKING:
    Suite = SessionTestCase
else:
    Suite = object


class RestartContract(Suite):
    """The state of a node that starts on the log of another. Each kind of log has its own `restart`."""

    def restart(self, kill: bool) -> None:
        raise NotImplementedError

    def test_numbered_sessions_are_held_and_others_leave(self) -> None:
        for kill in (True, False):
            self.start()
            self.check_who_is_there(kill)

    def test_commands_repeated_after_a_restart_take_effect_once(self) -> None:
        for kill in (True, False):
            self.start()
            self.check_it_goes_on(kill)

    def check_who_is_there(self, kill: bool) -> None:
        self.connection("Plain")
        self.connection("Nia", KEY)
        self.assertEqual(self.node.ask(1, "1 Una"), "Nia, Plain")
        self.restart(kill)
        self.settle()
        self.assertEqual(self.names(), ["Nia", "Una"])
        self.assertEqual(self.lines()[3:], ["Plain has left the group"])
        self.node.pass_time(299)
        self.settle()
        self.assertEqual(self.names(), ["Nia", "Una"])
        self.node.pass_time(2)
        self.settle()
        self.assertEqual(self.names(), ["Una"])
        self.assertNoTrace()

    def check_it_goes_on(self, kill: bool) -> None:
        alice = self.connection("Alice", KEY)
        self.connection("Bob", "f0" * 32)
        alice.ask(Say("one", 1), Whisper("Bob: two", 2), Rename("Al", 3))
        self.settle()
        before = self.lines()
        self.restart(kill)
        again = self.connection()
        again.resume(KEY)
        self.settle()
        self.assertEqual((again.member.name, self.lines()), ("Al", before))
        again.ask(Say("one", 1), Whisper("Bob: two", 2), Rename("Al", 3), Say("four", 4), Say("four", 4))
        self.settle()
        self.assertEqual(again.words(), ["answered"] * 5)
        self.assertEqual(self.lines(), [*before, "Al: four"])
        self.node.pass_time(1_000)
        self.settle()
        self.assertEqual(self.names(), ["Al"])


class MemoryRestartTests(RestartContract, SessionTestCase):
    def restart(self, kill: bool) -> None:
        if kill:
            for tail in tuple(self.store.wakers):
                self.store.wakers.remove(tail)
            self.node.service._ticker.stop()
        else:
            stopped = self.node.service.stopService()
            self.settle()
            self.successResultOf(stopped)
        self.use(Node(MemoryLog(self.store), self.clock))


class SqliteRestartTests(RestartContract, SessionTestCase):
    node: DurableNode

    def start(self, **settings: Any) -> None:
        directory = Path(tempfile.mkdtemp(prefix="groupchat-sessions-"))
        self.addCleanup(shutil.rmtree, directory)
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.directory = directory
        self.use(DurableNode(directory / "group.sqlite", self.clock, **settings))

    def settle(self) -> None:
        for _ in range(3):
            self.node.settle()

    def restart(self, kill: bool) -> None:
        if kill:
            path = self.node.cut_off(self.directory / "after")
            self.node.service._ticker.stop()
        else:
            self.node.stop()
            path = self.node.path
        self.use(DurableNode(path, self.clock))


class ClockTests(SessionTestCase):
    """No session ends early because a clock is set or a machine slept."""

    def test_a_clock_set_forward_ends_no_hold_at_once(self) -> None:
        self.hold_alice(300)
        self.node.pass_time(100)
        self.clock.advance(1_000_000)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(298)
        self.assertEqual(self.names(), ["Alice"])
        self.node.pass_time(3)
        self.assertEqual(self.names(), [])

    def test_a_clock_set_back_makes_no_hold_longer(self) -> None:
        self.hold_alice(300)
        self.node.pass_time(100)
        self.clock.rightNow -= 1_000_000
        for call in self.clock.getDelayedCalls():
            call.reset(1.0)
        self.clock.advance(1)
        self.node.pass_time(301)
        self.assertEqual(self.names(), [])

    def test_a_clock_set_forward_holds_no_plain_connection(self) -> None:
        log = FailingLog([])
        self.use(Node(log, self.clock))
        alice = self.connection("Alice")
        log.failures = [Unavailable("the disk is full")]
        alice.hang_up(hold=False)
        self.clock.advance(0)
        self.assertEqual(self.names(), ["Alice"])
        self.clock.advance(1_000_000)
        self.clock.advance(1)
        self.assertEqual(self.names(), [])
