"""Stalled live readers: they cost no memory, lose no lines, and are dropped in the end."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.certificates import make_certificate
from tests.daemon import SECONDS, Daemon, DaemonTestCase, LineMember
from tests.members import LAST_OF_HELP
from tests.sessions import Session

READERS = 100
TEXTS = 50_000
MOST_MEMORY = 120 * 1024  # in KiB
SMALL = 4096


class StalledTests(DaemonTestCase):
    def lines(self, daemon: Daemon, buffer: int = 0) -> LineMember:
        member = LineMember(daemon.tcp[0], buffer=buffer)
        self.addCleanup(member.close)
        return member

    def session(self, daemon: Daemon, name: str, buffer: int = 0) -> Session:
        session = Session(daemon.tcp[0], name, buffer)
        self.addCleanup(session.close)
        session.connect()
        session.settle()
        return session

    def say(self, talker: LineMember, count: int) -> list[str]:
        """Say `count` texts, and wait until all of them are said."""
        texts = [f"{number} {'x' * (number % 200)}" for number in range(count)]
        talker.send(*texts, "/help")
        talker.receive_until(LAST_OF_HELP)
        return texts

    def stall(self, daemon: Daemon, readers: Sequence[LineMember]) -> list[str]:
        """Say much that these do not read, check the memory of the daemon, and let one of them read it all."""
        for number, reader in enumerate(readers):
            self.addCleanup(reader.close)
            reader.join(f"reader {number}")
        talker = self.lines(daemon)
        talker.join("Talker")
        expected = [f"Talker: {text}" for text in self.say(talker, TEXTS)]
        self.assertLess(self.most_memory(daemon), MOST_MEMORY)
        readers[7].receive_until("Talker has joined")
        self.assertEqual([readers[7].receive() for _ in expected], expected)
        return expected

    def test_a_hundred_stalled_readers_cost_no_memory(self) -> None:
        daemon = self.start("--tcp", "0", "--db", ":memory:", "--rate", "0", "--stall", "3600")
        sessions = [self.session(daemon, f"session {number}", SMALL) for number in range(READERS // 2)]
        expected = self.stall(daemon, [LineMember(daemon.tcp[0], buffer=SMALL) for _ in range(READERS // 2)])
        sessions[7].read_until(lambda: sessions[7].lines()[-1:] == expected[-1:])
        self.assertEqual(sessions[7].lines()[-TEXTS:], expected)
        self.assertLess(self.most_memory(daemon), MOST_MEMORY)

    def test_a_hundred_stalled_readers_over_tls(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-tls-")
        self.addCleanup(directory.cleanup)
        key, certificate = make_certificate(Path(directory.name))
        tls = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        daemon = self.start("--tcp", "0", "--tcp", tls, "--db", ":memory:", "--rate", "0", "--stall", "3600")
        self.stall(daemon, [LineMember(daemon.tcp[1], trust=str(certificate), buffer=SMALL) for _ in range(READERS)])

    def most_memory(self, daemon: Daemon) -> int:
        """Return the peak memory of the daemon, in KiB."""
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found, status
        return int(found[1])

    def test_a_dropped_session_can_be_resumed(self) -> None:
        daemon = self.start("--tcp", "0", "--db", ":memory:", "--rate", "0", "--stall", "1")
        session = self.session(daemon, "Reader", SMALL)
        talker = self.lines(daemon)
        talker.join("Talker")
        expected = [f"Talker: {text}" for text in self.say(talker, 20_000)]
        self.wait_for(talker, "* Reader  away")
        session.cut(reset=True)
        session.connect()
        session.read_until(lambda: session.lines()[-1:] == expected[-1:])
        self.assertEqual(session.lines(), ["Talker has joined", *expected])
        session.ask("I am back")
        session.settle()
        self.assertEqual(talker.receive(), "Reader: I am back")

    def test_a_dropped_plain_connection_leaves(self) -> None:
        daemon = self.start("--tcp", "0", "--db", ":memory:", "--rate", "0", "--stall", "1")
        reader, talker = self.lines(daemon, SMALL), self.lines(daemon)
        reader.join("Reader")
        talker.join("Talker")
        self.say(talker, 20_000)
        self.assertEqual(talker.receive(), "Reader has left the group")
        with self.assertRaises(ConnectionResetError):
            reader.receive_all()

    def wait_for(self, member: LineMember, user: str) -> None:
        """Wait until a line of /users begins with `user`."""
        until = time.monotonic() + SECONDS
        shown: list[str] = []
        while not any(line.startswith(user) for line in shown):
            if time.monotonic() > until:
                raise AssertionError(shown)
            member.send("/users", "/help")
            shown = member.receive_until(LAST_OF_HELP)
            time.sleep(0.05)
