"""The filter of contrib/fail2ban: it finds wrong passwords with their address, and nothing that a member can write."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from configparser import ConfigParser, RawConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import SECONDS, Daemon, LineMember
from tests.programs import need
from tests.slow import slow

CONTRIB = Path(__file__).resolve().parent.parent / "contrib" / "fail2ban"
FILTER = CONTRIB / "filter.d" / "groupchat.conf"

WRONG = [
    ("192.0.2.7", "2026-11-28T03:40:02+0000 [info] 192.0.2.7 (tcp): wrong password"),
    ("2001:db8::7", "2026-11-28T03:40:03+0000 [info] 2001:db8::7 (quic): wrong password of an operator"),
    ("192.0.2.9", "2026-11-28T03:40:03+0000 [info] 192.0.2.9 (web): wrong password"),
]
OTHERS = [
    "2026-11-28T03:40:04+0000 [info] local (tcp): wrong password",  # of a Unix socket
    "2026-11-28T03:40:04+0000 [info] 192.0.2.9 (tcp): 192.0.2.8 (tcp): wrong password joined",
    "2026-11-28T03:40:04+0000 [info] 192.0.2.9 (tcp): Al is called 192.0.2.8 (tcp): wrong password",
    "2026-11-28T03:40:04+0000 [info] Banned by root: x: 192.0.2.8 (tcp): wrong password",
    "\t2026-11-28T03:40:04+0000 [info] 192.0.2.8 (tcp): wrong password",
    "2026-11-28T03:40:04+0000 [warn] 192.0.2.8 (tcp): wrong password",
]
JOURNAL = "chat twistd[123]: "


class RegexTests(SynchronousTestCase):
    def setUp(self) -> None:
        parser = RawConfigParser()
        parser.read(FILTER)
        self.regex = re.compile(parser["Definition"]["failregex"].replace("<ADDR>", r"(?P<ip>[0-9a-f:.]+)"))

    def found(self, line: str) -> str | None:
        match = self.regex.search(line)
        return match and match["ip"]

    def test_it_finds_the_address(self) -> None:
        for address, line in WRONG:
            self.assertEqual(self.found(line), address)
            self.assertEqual(self.found(JOURNAL + line), address)

    def test_it_finds_nothing_that_a_member_writes(self) -> None:
        for line in OTHERS:
            self.assertIsNone(self.found(line), line)
            self.assertIsNone(self.found(JOURNAL + line), line)

    def test_the_jail_uses_the_filter(self) -> None:
        parser = ConfigParser(interpolation=None)
        parser.read(CONTRIB / "jail.d" / "groupchat.conf")
        self.assertEqual(parser["groupchat"]["filter"], FILTER.stem)

    def test_it_finds_what_a_daemon_logs(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-")
        self.addCleanup(directory.cleanup)
        password = Path(directory.name, "password")
        password.write_text("sesame")
        daemon = Daemon("--db", ":memory:", "--tcp", "0", "--password-file", str(password))
        self.addCleanup(daemon.stop)
        member = LineMember(daemon.tcp[0])
        self.addCleanup(member.close)
        member.receive_until("What is the password?")
        member.send("guess")
        member.receive_until("That is not the password.")
        self.assertEqual([self.found(line) for line in daemon.stop().splitlines() if self.found(line)], ["127.0.0.1"])


class ProgramTests(SynchronousTestCase):
    @slow
    def test_fail2ban_finds_the_same(self) -> None:
        program = need("fail2ban-regex", "fail2ban")
        directory = Path(tempfile.mkdtemp(prefix="groupchat-test-"))
        self.addCleanup(shutil.rmtree, directory)
        log = directory / "chat.log"
        log.write_text("\n".join([line for _, line in WRONG] + OTHERS) + "\n")
        command = [program, "--out", "<ip>", str(log), str(FILTER)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(result.stdout.split(), [address for address, _ in WRONG], result.stderr)
