"""Hostile inputs from grammars, through every door, in memory. See tests/fuzz/.

The inputs are the same in every run. `python -m tests.fuzz` makes others, for a real daemon.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase, TestCase

from groupchat.core import rules
from groupchat.frontends.connections import ConnectionRegistry, IConnected
from groupchat.frontends.quic import Quic
from groupchat.frontends.web import request
from groupchat.log import tables
from groupchat.service.snapshots import Snapshots
from tests.fuzz import http, storage
from tests.fuzz.doors import DOORS
from tests.fuzz.grammar import Dice
from tests.fuzz.world import INPUTS, Fault, check_line
from tests.slow import slow

ROUNDS = 10
"""Rounds for each door, of INPUTS inputs each."""

SEED = "suite"


class FuzzTestCase(SynchronousTestCase):
    def tearDown(self) -> None:
        self.flushLoggedErrors()  # a fault has told of them


class FuzzTests(FuzzTestCase):
    def check(self, door: str) -> None:
        for number in range(ROUNDS):
            DOORS[door](f"{SEED}/{door}/{number}", INPUTS)

    def test_datagrams(self) -> None:
        self.check("udp")

    def test_lines(self) -> None:
        self.check("lines")

    def test_http(self) -> None:
        self.check("http")

    def test_quic(self) -> None:
        self.check("quic")

    def test_damaged_files(self) -> None:
        self.check("file")

    def test_damaged_wals(self) -> None:
        self.check("wal")

    def test_changed_snapshots(self) -> None:
        self.check("snapshot")


class OracleTests(FuzzTestCase):
    """The fuzzer finds faults that are planted, and names the round and the input."""

    def found(self, door: str, inputs: int = INPUTS) -> str:
        with self.assertRaises(Fault) as caught:
            DOORS[door](f"planted/{door}/0", inputs)
        self.assertRegex(str(caught.exception), f"^planted/{door}/0, (input [0-9]+|after the last input): ")
        return str(caught.exception)

    def test_an_exception_that_is_survived_is_found(self) -> None:
        self.patch(request, "number", lambda text, default: int(text or default))
        self.assertIn("ValueError", self.found("http", 3 * INPUTS))

    def test_a_text_that_forges_a_line_is_found(self) -> None:
        self.patch(rules, "check_text", lambda text: text)
        self.assertIn("control characters", self.found("udp"))

    def test_a_connection_that_is_left_behind_is_found(self) -> None:
        closed = ConnectionRegistry.closed

        def forget_one(registry: ConnectionRegistry, connection: IConnected) -> None:
            closed(registry, connection)
            registry.connections[connection] = None

        self.patch(ConnectionRegistry, "closed", forget_one)
        self.assertIn("left behind: {'connections': 5", self.found("lines", 5))

    def test_an_amplification_is_found(self) -> None:
        self.patch(Quic, "_retry_packet", lambda *arguments: bytes(5000))
        self.assertIn("to an address without proof", self.found("quic"))

    def test_a_snapshot_that_does_harm_is_found(self) -> None:
        self.patch(Snapshots, "_add", lambda snapshots, member: snapshots._group.add(member))
        self.assertIn("Error", self.found("snapshot"))

    def test_damage_that_is_served_is_found(self) -> None:
        self.patch(tables, "crc32", lambda *arguments: 0)
        storage.sound.cache_clear()  # its checksums are of no use now
        self.addCleanup(storage.sound.cache_clear)
        self.assertIn("damage is served", self.found("file"))

    def test_a_round_is_repeated_by_its_name(self) -> None:
        self.patch(request, "number", lambda text, default: int(text or default))
        self.assertEqual(*(self.found("http", 3 * INPUTS).partition("Traceback")[0] for _ in range(2)))
        one, two, other = (http.connection(Dice(name)) for name in ("1", "1", "2"))
        self.assertEqual((one == two, one == other), (True, False))

    def test_only_lines_of_the_protocol_are_lines(self) -> None:
        for line in ["* 3 lines are no longer kept", "Al: hi: there", "Al (private): hi", "Al has joined"]:
            check_line(line)
        for line in ["hi", "", "Al\u202e: hi", "Al : hi", "A,l has joined", "Al: \x1b[2J", "close has joined"]:
            with self.assertRaises(Fault, msg=line):
                check_line(line)


@slow
class LiveTests(TestCase):
    def test_a_real_daemon_has_no_fault(self) -> None:
        for options in (["--minutes", "0.1", "--seed", SEED], ["--repeat", f"{SEED}/lines/0"]):
            program = [sys.executable, "-m", "tests.fuzz", *options]
            ran = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
            self.assertEqual((ran.returncode, ran.stderr), (0, ""), ran.stdout)
            if "--minutes" in options:
                self.assertRegex(ran.stdout, r"\nudp +[0-9]{3,} (.*\n)*memory [0-9]+ MB before")
