"""Whole conversations with a real daemon over real UDP, byte for byte."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.daemon import Daemon, UDPMember
from tests.programs import need

ILLEGAL = "Illegal message"


class DaemonTestCase(TestCase):
    """A test with a daemon of its own."""

    def start(self, *options: str) -> Daemon:
        daemon = Daemon(*options)
        self.addCleanup(daemon.stop)
        return daemon

    def member(self, daemon: Daemon, host: str = "127.0.0.1") -> UDPMember:
        member = UDPMember(daemon.port, host)
        self.addCleanup(member.close)
        return member


class CourseTests(DaemonTestCase):
    """The conversation of the course that this protocol comes from."""

    def test_it(self) -> None:
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
    def test_what_is_sent_without_waiting_is_answered_in_order(self) -> None:
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

    def test_on_one_interface_only(self) -> None:
        daemon = self.start("--interface", "127.0.0.2")
        self.assertEqual(self.member(daemon, "127.0.0.2").ask("1 Alice"), "")
        with self.assertRaises(OSError):
            self.member(daemon, "127.0.0.1").ask("1 Bob")

    def test_the_longest_text_the_longest_reply_and_a_small_one(self) -> None:
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

    def test_max_reply(self) -> None:
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

    def test_a_crowd_on_one_port_each(self) -> None:
        daemon = self.start("--max-members", "300", "--max-per-host", "250")
        members = [self.member(daemon) for _ in range(251)]
        for number, member in enumerate(members[:250]):
            names = [f"member{other}" for other in reversed(range(number))]
            self.assertEqual(member.ask(f"1 member{number}"), ", ".join(names))
        self.assertEqual(members[250].ask("1 one too many"), ILLEGAL)
        members[0].ask("5")
        members[1].ask("2 hello")
        for member in members[2:250]:
            self.assertTrue(member.ask("5").endswith("member1: hello"))


class GarbageTests(DaemonTestCase):
    def test_random_datagrams_leave_it_as_it_was(self) -> None:
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
        """Datagrams that are no message, every tenth of them from a member; each is refused."""
        for number in range(count):
            size = dice.choice([0, 1, 2, 3, 10, 100, 1400, dice.randrange(65_500)])
            head = dice.choice([b"", b"1", b"2", b"3", b"4 ", b"5 ", b"2 \x1b", b"1 :", b"\xff"])
            datagram = head + dice.randbytes(size)
            if datagram[:1] in (b"1", b"2", b"3", b"4", b"5"):
                datagram += b"\xff"  # or else chance might make a message of it
            self.assertEqual((member if number % 10 == 0 else stranger).ask(datagram), ILLEGAL, datagram)

    def resident(self, daemon: Daemon) -> int:
        """What the daemon holds in memory, in bytes."""
        pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class ProgramTests(DaemonTestCase):
    def test_a_conversation_with_netcat(self) -> None:
        nc = need("nc", "netcat-openbsd")
        daemon = self.start()
        bob = self.member(daemon)
        bob.ask("1 Bob")
        alice = subprocess.Popen(
            [nc, "-u", "127.0.0.1", str(daemon.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.addCleanup(alice.wait)
        self.addCleanup(alice.kill)
        assert alice.stdin is not None
        assert alice.stdout is not None
        self.addCleanup(alice.stdin.close)
        self.addCleanup(alice.stdout.close)
        alice.stdin.write(b"1 Alice\n")
        self.assertEqual(alice.stdout.read(100), b"Bob")
        self.assertEqual(bob.ask("2 hi there"), "Alice has joined")
        alice.stdin.write(b"2 hello\n")
        self.assertEqual(alice.stdout.read(100), b"Bob: hi there")
        self.assertEqual(bob.ask("5"), "Alice: hello")

    def test_a_conversation_with_socat_in_which_replies_are_empty(self) -> None:
        socat = need("socat", "socat")
        daemon = self.start()
        alice = subprocess.Popen(
            [socat, "-", f"UDP-DATAGRAM:127.0.0.1:{daemon.port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.addCleanup(alice.wait)
        self.addCleanup(alice.kill)
        assert alice.stdin is not None
        assert alice.stdout is not None
        self.addCleanup(alice.stdin.close)
        self.addCleanup(alice.stdout.close)
        bob = self.member(daemon)
        bob.ask("1 Bob")
        for request, reply in [
            (b"1 Alice\n", b"Bob"),
            (b"5\n", b""),
            (b"345ft\n", b"Illegal message"),
            (b"2 hello\n", b""),
            (b"4\n", b"close"),
        ]:
            alice.stdin.write(request)
            if reply:
                self.assertEqual(alice.stdout.read(100), reply)
            else:
                time.sleep(0.5)  # socat would send what it reads at once as one datagram
        self.assertEqual(bob.ask("5"), "Alice has joined\nAlice: hello\nAlice has left the group")
