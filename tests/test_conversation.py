"""Whole conversations with a real daemon over real UDP, byte for byte."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import subprocess
import termios
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from groupchat.wire.datagrams import list_of_names
from tests.daemon import ILLEGAL, SECONDS, Daemon, DaemonTestCase, UDPMember
from tests.programs import need


class CourseTests(DaemonTestCase):
    """The conversation of the course for which this protocol was made."""

    def test_the_conversation_of_the_course(self) -> None:
        daemon = self.start()
        alice, bob, charlie = (self.member(daemon) for _ in range(3))
        for who, request, reply in [
            (alice, "1 Alice", ""),
            (bob, "1 Bob", "Alice"),
            (bob, "2 Hi Alice", ""),
            (charlie, "1 Charlie", "Bob, Alice"),
            (charlie, "2 Hiii", ""),
            (charlie, "2 Whatsupp?", ""),
            (alice, "5", "Bob has joined\nBob: Hi Alice\nCharlie has joined\nCharlie: Hiii\nCharlie: Whatsupp?"),
            (alice, "2 welcome", ""),
            (alice, "345ft", "Illegal message"),
            (charlie, "3 Chari", "Alice: welcome"),
            (charlie, "2 Yoooo", ""),
            (charlie, "4", "close"),
            (
                bob,
                "2 :)",
                "Charlie has joined\nCharlie: Hiii\nCharlie: Whatsupp?\nAlice: welcome\n"
                "Charlie changed his name to Chari\nChari: Yoooo\nChari has left the group",
            ),
            (alice, "5", "Charlie changed his name to Chari\nChari: Yoooo\nChari has left the group\nBob: :)"),
        ]:
            self.assertEqual(who.ask(request), reply, request)
        self.assertIn("14 datagrams in, 13 replies, 1 refused, 0 dropped", daemon.stop())


class WireTests(DaemonTestCase):
    def test_requests_sent_without_waiting_are_answered_in_order(self) -> None:
        daemon = self.start()
        alice, bob = self.member(daemon), self.member(daemon)
        bob.ask("1 Bob")
        for request in ["1 Alice", "2 one\n", "5\r\n", "3 Al", "2 two", "4"]:
            alice.send(request)
        self.assertEqual([alice.receive() for _ in range(6)], ["Bob", "", "", "", "", "close"])
        self.assertEqual(
            bob.ask("5"), "Alice has joined\nAlice: one\nAlice changed his name to Al\nAl: two\nAl has left the group"
        )

    def test_over_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"this machine has no IPv6: {error}")
        daemon = self.start()
        six, four = self.member(daemon, "::1"), self.member(daemon)
        self.assertEqual(six.ask("1 Six"), "")
        self.assertEqual(four.ask("1 Four"), "Six")
        self.assertEqual(four.ask("2 hi"), "")
        self.assertEqual(six.ask("5"), "Four has joined\nFour: hi")

    def test_interface_limits_where_it_listens(self) -> None:
        daemon = self.start("--interface", "127.0.0.2", "--tcp", "0")
        self.assertEqual(self.member(daemon, "127.0.0.2").ask("1 Alice"), "")
        socket.create_connection(("127.0.0.2", daemon.tcp[0]), SECONDS).close()
        with self.assertRaises(OSError):
            self.member(daemon, "127.0.0.1").ask("1 Bob")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", daemon.tcp[0]), SECONDS)

    def test_longest_texts_fill_replies_to_the_limit(self) -> None:
        daemon = self.start()
        alice, bob = self.member(daemon), self.member(daemon)
        alice.ask("1 Alice")
        bob.ask("1 Bob")
        for number in range(20):
            self.assertEqual(bob.ask("2 " + chr(ord("a") + number) * 4096), "")
        first, second, third = alice.ask("5"), alice.ask("5"), alice.ask("5")
        self.assertLessEqual(len(first), 65_507)
        lines = ["Bob has joined", *("Bob: " + chr(ord("a") + number) * 4096 for number in range(20))]
        self.assertEqual("\n".join([first, second]).split("\n"), lines)
        self.assertEqual(third, "")

    def test_max_reply_bounds_each_reply(self) -> None:
        daemon = self.start("--max-reply", "1024")
        alice, bob = self.member(daemon), self.member(daemon)
        alice.ask("1 Alice")
        bob.ask("1 Bob")
        for number in range(100):
            bob.ask(f"2 {number:030}")
        replies = [alice.ask("5")]
        while replies[-1]:
            self.assertLessEqual(len(replies[-1]), 1024)
            replies.append(alice.ask("5"))
        self.assertEqual(
            "\n".join(replies[:-1]).split("\n"), ["Bob has joined", *(f"Bob: {number:030}" for number in range(100))]
        )

    def test_many_members_of_one_host(self) -> None:
        daemon = self.start("--max-members", "400", "--max-per-host", "250")
        members = [self.member(daemon) for _ in range(251)]
        for number, member in enumerate(members[:250]):
            names = [f"member{other}" for other in reversed(range(number))]
            self.assertEqual(member.ask(f"1 member{number}"), list_of_names(names, number, 1024).decode())
        self.assertEqual(members[250].ask("1 one too many"), ILLEGAL)
        members[0].ask("5")
        members[1].ask("2 hello")
        for member in members[2:250]:
            self.assertTrue(member.ask("5").endswith("member1: hello"))


class GarbageTests(DaemonTestCase):
    def test_random_datagrams_change_nothing(self) -> None:
        daemon = self.start()
        alice, bob, garbage = (self.member(daemon) for _ in range(3))
        alice.ask("1 Alice")
        bob.ask("1 Bob")
        dice = random.Random(12345)
        self.throw(garbage, bob, dice, 2_000)
        before = self.resident(daemon)
        self.throw(garbage, bob, dice, 20_000)
        self.assertLess(self.resident(daemon) - before, 8 * 1024 * 1024)
        self.assertEqual(alice.ask("5"), "Bob has joined")
        self.assertEqual(alice.ask("2 still here"), "")
        output = daemon.stop()
        self.assertIn("lobby closes: 2 members, 3 lines", output)
        self.assertLess(len(output.splitlines()), 30)

    def throw(self, stranger: UDPMember, member: UDPMember, dice: random.Random, count: int) -> None:
        """Send datagrams that are no message, each tenth of them from a member, and expect each to be refused."""
        for number in range(count):
            size = dice.choice([0, 1, 2, 3, 10, 100, 1400, dice.randrange(65_500)])
            head = dice.choice([b"", b"1", b"2", b"3", b"4 ", b"5 ", b"2 \x1b", b"1 :", b"\xff"])
            datagram = head + dice.randbytes(size)
            if datagram[:1] in (b"1", b"2", b"3", b"4", b"5"):
                datagram += b"\xff"  # makes sure that it is no message
            self.assertEqual((member if number % 10 == 0 else stranger).ask(datagram), ILLEGAL, datagram)

    def resident(self, daemon: Daemon) -> int:
        """Return the resident memory of the daemon, in bytes."""
        pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class ProgramTests(DaemonTestCase):
    def open(self, *command: str) -> Program:
        program = Program(command)
        self.addCleanup(program.close)
        return program

    def test_netcat(self) -> None:
        nc = need("nc", "netcat-openbsd")
        daemon = self.start()
        bob = self.member(daemon)
        bob.ask("1 Bob")
        alice = self.open(nc, "-u", "127.0.0.1", str(daemon.port))
        alice.write(b"1 Alice\n")
        self.assertEqual(alice.read(), b"Bob")
        self.assertEqual(bob.ask("2 hi there"), "Alice has joined")
        alice.write(b"2 hello\n")
        self.assertEqual(alice.read(), b"Bob: hi there")
        self.assertEqual(bob.ask("5"), "Alice: hello")

    def test_socat_with_empty_replies(self) -> None:
        socat = need("socat", "socat")
        daemon = self.start()
        alice = self.open(socat, "-", f"UDP-DATAGRAM:127.0.0.1:{daemon.port}")
        bob = self.member(daemon)
        bob.ask("1 Bob")
        for request, reply in [
            (b"1 Alice\n", b"Bob"),
            (b"5\n", b""),
            (b"345ft\n", b"Illegal message"),
            (b"2 hello\n", b""),
            (b"4\n", b"close"),
        ]:
            alice.write(request)
            if reply:
                self.assertEqual(alice.read(), reply)
            else:
                alice.wait_until_taken()  # socat sends all that it reads at once as one datagram
        self.assertEqual(bob.ask("5"), "Alice has joined\nAlice: hello\nAlice has left the group")


class Program:
    """A program between two pipes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def write(self, data: bytes) -> None:
        self._input.write(data)

    def read(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(100)

    def wait_until_taken(self) -> None:
        """Wait until the program has read all that was written."""
        deadline = time.monotonic() + SECONDS
        left = array("i", [1])
        while left[0]:
            assert time.monotonic() < deadline, "the program does not read its input"
            time.sleep(0.01)
            fcntl.ioctl(self._input, termios.FIONREAD, left)

    def close(self) -> None:
        self._process.kill()
        with self._process:  # closes the pipes, and waits
            pass
