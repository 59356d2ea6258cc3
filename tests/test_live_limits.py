"""The limits of live lines, how they stop, and where they listen: with a real daemon and real sockets."""

from __future__ import annotations

import secrets
import socket
import tempfile
from pathlib import Path

from tests.daemon import ILLEGAL, Daemon, DaemonTestCase, LineMember, UDPMember
from tests.lobby import STOPPING
from tests.members import FIRST_WORDS


class LinesCase(DaemonTestCase):
    def start_lines(self, *options: str) -> Daemon:
        return self.start("--db", ":memory:", "--tcp", "0", *options)

    def lines(self, daemon: Daemon, host: str = "127.0.0.1", which: int = 0, source: str = "") -> LineMember:
        member = LineMember(daemon.tcp[which], host, source=source)
        self.addCleanup(member.close)
        return member


class LimitsTests(LinesCase):
    def test_long_lines_are_refused_and_endless_ones_closed(self) -> None:
        daemon = self.start_lines()
        endless = self.lines(daemon)
        endless.join("Endless")
        endless.write(b"x" * 70_000)
        self.assertEqual(endless.receive(), "* That line has no end.")
        with self.assertRaises((EOFError, ConnectionResetError)):
            endless.receive()
        member = self.lines(daemon)
        member.receive_until("Endless has left the group")
        member.join("Member")
        member.send("x" * 5_000, "/name Long")
        self.assertRegex(member.receive(), r"\A\* That line is longer than \d+ bytes\.\Z")
        self.assertEqual(member.receive(), "* You are Long now.")

    def test_max_per_host(self) -> None:
        daemon = self.start_lines("--max-per-host", "3")
        members = [self.lines(daemon) for _ in range(3)]
        for member in members:
            member.receive_until(FIRST_WORDS)
        self.assertEqual(self.lines(daemon).receive_all(), ["* There are too many connections from your address."])
        self.lines(daemon, source="127.0.0.2").receive_until(FIRST_WORDS)
        members[0].send("/quit")
        members[0].receive_all()
        self.lines(daemon).receive_until(FIRST_WORDS)
        self.assertIn("Connections close: 5 connections, 1 refused", daemon.stop())

    def test_max_connections(self) -> None:
        daemon = self.start_lines("--max-connections", "3")
        members = [self.lines(daemon, source=f"127.0.0.{number}") for number in (1, 2, 3)]
        for member in members:
            member.receive_until(FIRST_WORDS)
        self.assertEqual(
            self.lines(daemon, source="127.0.0.4").receive_all(), ["* There are too many connections: try again later."]
        )

    def test_name_within(self) -> None:
        daemon = self.start_lines("--name-within", "1")
        quick, slow = self.lines(daemon), self.lines(daemon)
        quick.join("Quick")
        self.assertEqual(slow.receive_all()[-1], "* You gave no name. Come back when you have one.")
        quick.send("/name Still here")
        self.assertEqual(quick.receive(), "* You are Still here now.")

    def test_rate(self) -> None:
        daemon = self.start_lines("--rate", "1")
        fast, other = self.lines(daemon), self.lines(daemon)
        fast.join("Fast")
        other.join("Other")
        self.assertEqual(fast.receive(), "Other has joined")
        fast.send(*(f"text {number}" for number in range(110)))
        self.assertEqual(fast.receive(), "* Slow down: you say too much at once.")
        other.receive_until("Fast: text 0")
        self.assertEqual([other.receive() for _ in range(99)], [f"Fast: text {number}" for number in range(1, 100)])
        other.send("I may")
        fast.receive_until("Other: I may")


class PasswordTests(LinesCase):
    def password(self) -> str:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-password-")
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "password")
        path.write_text("s\u00e9cret\n")
        return str(path)

    def test_nothing_is_shown_before_the_password(self) -> None:
        daemon = self.start_lines("--password-file", self.password())
        stranger, member = self.lines(daemon), self.lines(daemon)
        self.assertEqual(member.receive(), "* What is the password?")
        member.send("s\u00e9cret")
        self.assertEqual(member.receive_until(FIRST_WORDS)[0], "* This is lobby, a group chat.")
        member.join("Member")
        member.send("hello")
        self.assertEqual(stranger.receive(), "* What is the password?")
        stranger.send("wrong")
        self.assertEqual(stranger.receive(), "* That is not the password. What is it?")
        member.send("/users")
        self.assertEqual(member.receive(), "* Only you are here:")

    def test_a_password_closes_udp(self) -> None:
        daemon = self.start_lines("--password-file", self.password())
        for request in ["1 Alice", "2 s\u00e9cret", "5"]:
            self.assertEqual(self.member(daemon).ask(request), ILLEGAL)

    def test_a_password_and_allow_open_udp_to_these_networks(self) -> None:
        daemon = self.start_lines("--password-file", self.password(), "--allow", "127.0.0.2/32,::1/128")
        member = self.lines(daemon)
        member.send("s\u00e9cret")
        member.join("Member")
        allowed = UDPMember(daemon.port)
        self.addCleanup(allowed.close)
        self.assertEqual(allowed.ask("1 Alice"), ILLEGAL)
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.settimeout(20)
        other.bind(("127.0.0.2", 0))
        other.sendto(b"1 Alice", ("127.0.0.1", daemon.port))
        self.assertEqual(other.recv(100), b"Member")
        self.assertEqual(member.receive(), "Alice has joined")

    def test_allow_without_a_password(self) -> None:
        daemon = self.start_lines("--allow", "127.0.0.0/8")
        self.assertEqual(self.member(daemon).ask("1 Alice"), "")
        daemon = self.start_lines("--allow", "10.0.0.0/8")
        self.assertEqual(self.member(daemon).ask("1 Alice"), ILLEGAL)


class StopTests(LinesCase):
    def test_everybody_is_told_after_the_last_line(self) -> None:
        daemon = self.start_lines("--rate", "0")
        readers = [self.lines(daemon) for _ in range(5)]
        for number, reader in enumerate(readers):
            reader.join(f"reader {number}")
        unnamed, talker = self.lines(daemon), self.lines(daemon)
        unnamed.receive_until(FIRST_WORDS)
        texts = [f"Talker: {number}" for number in range(1, 20_001)]
        talker.send(f"/numbered {secrets.token_hex(16)} Talker", *(f"{number} {number}" for number in range(1, 20_001)))
        readers[0].receive_until(texts[0])
        output = daemon.stop()
        self.assertEqual(daemon.process.returncode, -15)
        self.assertEqual(unnamed.receive_all()[-1], STOPPING)
        answered = self.count_answers(talker)
        self.assertGreater(answered, 0)
        for reader in readers[1:]:
            told = reader.receive_all()
            self.assertEqual(told[-1], STOPPING)
            heard = [line for line in told if line.startswith("Talker: ")]
            self.assertGreaterEqual(len(heard), answered)
            self.assertEqual(heard, texts[: len(heard)])
        self.assertRegex(output, r"lobby closes: 1 members, \d+ lines, \d+ cursor records")
        self.assertIn("Connections close: 7 connections, 0 refused", output)
        self.assertNotIn("Traceback", output)

    def count_answers(self, talker: LineMember) -> int:
        """Count the answers that a connection gets, which may end with a reset, as it is still sending."""
        count = 0
        try:
            while True:
                count += talker.receive().startswith("ok ")
        except (EOFError, ConnectionResetError):
            return count


class ListenTests(LinesCase):
    def setUp(self) -> None:
        if not socket.has_dualstack_ipv6():
            self.skipTest("this machine has no IPv6")

    def test_a_port_number_listens_on_all_addresses(self) -> None:
        daemon = self.start_lines()
        six, four = self.lines(daemon, "::1"), self.lines(daemon)
        six.join("Six")
        four.join("Four")
        self.assertEqual(six.receive(), "Four has joined")

    def test_several_endpoints(self) -> None:
        daemon = self.start_lines(
            "--tcp", "tcp:0:interface=127.0.0.1", "--tcp", "tcp:0:interface=\\:\\:1", "--tcp", "0"
        )
        self.assertEqual(len(set(daemon.tcp)), 4)
        for which, host in enumerate(["::1", "127.0.0.1", "::1", "127.0.0.1"]):
            self.lines(daemon, host, which).join(f"member {which}")
        for which, host in [(1, "::1"), (2, "127.0.0.1")]:  # each listens on the other address
            with self.assertRaises(ConnectionRefusedError):
                self.lines(daemon, host, which)

    def test_ipv4_on_a_dual_stack_socket_counts_as_ipv4(self) -> None:
        """On a socket that accepts both, an IPv4 address looks like an IPv6 address."""
        daemon = self.start_lines("--max-per-host", "1")
        self.assertEqual(self.member(daemon).ask("1 Alice"), "")
        four, six = self.lines(daemon), self.lines(daemon, "::1")
        four.receive_until(FIRST_WORDS)
        four.send("Bob")
        self.assertEqual(four.receive(), "* Too many members have your address. What is your name?")
        six.join("Bob")
