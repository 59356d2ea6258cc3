"""Signals to a real daemon: rotated logs, terminals that close, and a second signal. Nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import tempfile
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from groupchat.daemon.log_file import LogFile
from groupchat.daemon.signals import Signals
from tests.background import LOG_FILE, BackgroundCase, runs
from tests.daemon import TWISTD, Daemon, LineMember, UDPMember
from tests.lobby import STOPPING
from tests.terminals import Terminal

REOPENED = "The log file was reopened"


class RotationTests(BackgroundCase):
    """The log file of a daemon in the background, as logrotate and people rotate it."""

    def member(self, name: str = "UDP") -> UDPMember:
        member = UDPMember(self.port(name))
        self.addCleanup(member.close)
        return member

    def signal(self, pid: int, number: int = signal.SIGHUP) -> None:
        """Send a signal, and wait until the log file was opened anew."""
        before = self.logged().count(REOPENED)
        os.kill(pid, number)
        self.wait(lambda: self.logged().count(REOPENED) > before, "opening anew")

    def end(self, pid: int) -> str:
        """Stop the daemon in order, and return its log since the last rotation."""
        os.kill(pid, signal.SIGTERM)
        self.wait(lambda: "Server Shut Down." in self.logged(), "end in the log")
        self.wait_for_end(pid)
        self.assertFalse(self.pid_file.exists())
        return self.logged()

    def test_rename_and_sighup(self) -> None:
        pid = self.start()
        alice = self.member()
        self.assertEqual(alice.ask("1 Alice"), "")
        for number in range(1, 4):
            older = self.directory / f"{LOG_FILE}.{number}"
            whole = self.log.read_text()
            self.log.rename(older)
            self.signal(pid)
            self.assertEqual(older.read_text(), whole, "nothing is written to the old file any more")
            self.assertEqual(self.logged().count("\n"), 1, self.logged())
            self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o600)
            self.assertEqual(alice.ask(f"2 text {number}"), "")
        self.assertIn("lobby closes: 1 members, 4 lines", self.end(pid))

    def test_copytruncate(self) -> None:
        pid = self.start()
        alice = self.member()
        self.assertEqual(alice.ask("1 Alice"), "")
        for number in range(1, 4):
            shutil.copy(self.log, self.directory / f"{LOG_FILE}.{number}")
            os.truncate(self.log, 0)
            if number > 1:  # logrotate sends none, but people may
                self.signal(pid)
        log = self.end(pid)
        self.assertNotIn("\0", log)
        self.assertRegex(log, r"\A\d{4}-\d\d-\d\dT")
        self.assertIn("lobby closes: 1 members, 1 lines", log)

    def test_json_is_rotated_in_both_ways(self) -> None:
        pid = self.start("--log-json")
        alice = self.member()
        self.assertEqual(alice.ask("1 Alice"), "")
        older = [self.directory / f"{LOG_FILE}.{number}" for number in (1, 2)]
        self.log.rename(older[0])
        self.signal(pid, signal.SIGUSR1)
        self.assertEqual(alice.ask("3 Al"), "")
        shutil.copy(self.log, older[1])
        os.truncate(self.log, 0)
        self.assertEqual(alice.ask("4"), "close")
        self.end(pid)
        texts = [[json.loads(line)["text"] for line in path.read_text().splitlines()] for path in (*older, self.log)]
        self.assertIn("127.0.0.1 (udp): Alice joined", texts[0])
        self.assertEqual(texts[1], [REOPENED, "127.0.0.1 (udp): Alice is called Al now"])
        self.assertEqual(texts[2][0], "127.0.0.1 (udp): Al left")

    def test_sigusr1_reopens_as_well(self) -> None:
        pid = self.start("--db", ":memory:")
        self.log.rename(self.directory / "old")
        self.signal(pid, signal.SIGUSR1)
        self.end(pid)

    def test_many_signals_at_once(self) -> None:
        pid = self.start("--db", ":memory:")
        for _ in range(100):
            os.kill(pid, signal.SIGHUP)
            os.kill(pid, signal.SIGUSR1)
        self.signal(pid)
        self.assertEqual(self.member().ask("1 Alice"), "")
        self.end(pid)

    def test_a_file_that_the_rotation_made_is_used_as_it_is(self) -> None:
        pid = self.start("--db", ":memory:")
        self.log.rename(self.directory / "old")
        self.log.touch()
        self.log.chmod(0o640)
        self.signal(pid)
        self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o640)
        self.end(pid)

    def test_a_log_that_cannot_be_opened_anew_is_written_on(self) -> None:
        (self.directory / "logs").mkdir()
        self.log = self.directory / "logs" / LOG_FILE
        pid = self.start("--db", ":memory:", twistd=("--logfile", f"logs/{LOG_FILE}"))
        moved = (self.directory / "logs").rename(self.directory / "moved") / LOG_FILE
        os.kill(pid, signal.SIGHUP)
        self.wait(lambda: "cannot be reopened" in moved.read_text(), "complaint")
        self.assertEqual(self.member_of(moved).ask("1 Alice"), "")
        self.assertNotIn("Traceback", moved.read_text())
        (self.directory / "logs").mkdir()
        self.signal(pid)
        self.end(pid)

    def member_of(self, log: Path) -> UDPMember:
        self.log, kept = log, self.log
        try:
            return self.member()
        finally:
            self.log = kept


class HangUpTests(BackgroundCase):
    """SIGHUP in the foreground, with and without a terminal."""

    def test_sighup_without_a_terminal_ends_nothing(self) -> None:
        daemon = Daemon("--db", ":memory:")
        self.addCleanup(daemon.stop)
        member = UDPMember(daemon.port)
        self.addCleanup(member.close)
        self.assertEqual(member.ask("1 Alice"), "")
        for number in (signal.SIGHUP, signal.SIGUSR1):
            daemon.process.send_signal(number)
            self.assertEqual(member.ask(f"2 after signal {number}"), "")
        self.wait(lambda: daemon.output.count("There is no log file to reopen") == 2, "two lines in the log")
        self.assertIn("lobby closes: 1 members, 3 lines", daemon.stop())

    def on_terminal(self, before: str = "", twistd: str = "") -> Terminal:
        """Start a daemon on a terminal, in a shell that runs `before`."""
        command = " ".join(f"'{word}'" for word in TWISTD)
        options = f"--nodaemon --pidfile= {twistd} --rundir '{self.directory}' groupchat --port 0 --tcp 0"
        terminal = Terminal(["/bin/sh", "-c", f"{before}exec {command} {options}"])
        self.addCleanup(terminal.close)
        terminal.wait(lambda: "Ways to join" in terminal.screen.decode() + self.logged(), "start")
        self.tcp = int(re.findall(r"TCP port (\d+)", terminal.screen.decode() + self.logged())[0])
        return terminal

    def connected(self, name: str) -> LineMember:
        """Return a new member, whose first text was stored."""
        member = LineMember(self.tcp)
        self.addCleanup(member.close)
        member.join(name)
        member.send(f"said by {name}", "/users")
        member.receive_until("here:")
        return member

    def test_sighup_on_a_terminal_that_is_open_ends_nothing(self) -> None:
        terminal = self.on_terminal()
        terminal.process.send_signal(signal.SIGHUP)
        terminal.wait(lambda: b"There is no log file to reopen" in terminal.screen, "log line")
        self.connected("Alice")
        terminal.process.send_signal(signal.SIGINT)
        self.assertEqual(terminal.end(), -signal.SIGINT)

    def test_a_terminal_that_closes_stops_the_daemon_in_order(self) -> None:
        terminal = self.on_terminal()
        alice = self.connected("Alice")
        terminal.hang_up()
        self.assertEqual(alice.receive_all()[-1], STOPPING)
        self.assertEqual(terminal.process.wait(60), -signal.SIGTERM)
        self.assertEqual(self.kept()[:2], ["Alice has joined", "Alice: said by Alice"])

    def test_under_nohup_the_daemon_goes_on(self) -> None:
        for twistd in ("", f"--logfile '{self.log}'"):  # without a log file, it logs to a terminal that is gone
            terminal = self.on_terminal("trap '' HUP; ", twistd)
            self.connected("Alice")
            terminal.hang_up()
            terminal.process.send_signal(signal.SIGHUP)
            if twistd:
                self.wait(lambda: REOPENED in self.logged(), "opening anew")
                self.assertNotIn("shutting down", self.logged())
            self.connected("Bob")
            terminal.process.send_signal(signal.SIGTERM)
            self.assertEqual(terminal.process.wait(60), -signal.SIGTERM)
        self.assertEqual(self.kept().count("Bob: said by Bob"), 2)


class SecondSignalTests(BackgroundCase):
    """A daemon that waits for a reader who does not read, and gets a second signal."""

    def stuck(self, port: int) -> LineMember:
        """Fill a connection that reads nothing. Return the member who spoke; all that it said was acknowledged."""
        reader = LineMember(port, buffer=4096)
        self.addCleanup(reader.close)
        reader.join("reader")
        speaker = LineMember(port)
        self.addCleanup(speaker.close)
        speaker.send(f"/numbered {'0' * 32} Speaker", *(f"{number} {'x' * 4_000}" for number in range(1, 1_001)))
        speaker.receive_until("ok 1000")
        return speaker

    def end_with(self, first: int, second: int) -> None:
        pid = self.start("--tcp", "0", "--rate", "0")
        self.stuck(self.port("TCP"))
        os.kill(pid, first)
        self.wait(lambda: "shutting down" in self.logged(), "the first signal in the log")
        self.assertTrue(runs(pid))
        os.kill(pid, second)
        self.wait_for_end(pid)
        log = self.logged()
        self.assertIn("Received a second signal: ending at once", log)
        self.assertNotIn("lobby closes", log)
        self.assertNotIn("Traceback", log)
        self.assertFalse(self.pid_file.exists())
        texts = [line for line in self.kept() if line.startswith("Speaker: ")]
        self.assertEqual(len(texts), 1_000)

    def test_a_second_sigterm(self) -> None:
        self.end_with(signal.SIGTERM, signal.SIGTERM)

    def test_sigint_after_sigterm(self) -> None:
        self.end_with(signal.SIGTERM, signal.SIGINT)

    def test_in_the_foreground_the_status_is_that_of_the_second(self) -> None:
        daemon = Daemon("--tcp", "0", "--rate", "0")
        self.addCleanup(daemon.stop)
        self.stuck(daemon.tcp[0])
        daemon.process.send_signal(signal.SIGINT)
        self.wait(lambda: "shutting down" in daemon.output, "the first signal in the log")
        daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.process.wait(60), -signal.SIGTERM)
        self.assertNotIn("Traceback", daemon.stop())


class LogFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="groupchat-log-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "log"

    def open(self) -> LogFile:
        log = LogFile(self.path)
        self.addCleanup(log.file.close)
        return log

    def write(self, log: LogFile, text: str) -> None:
        log.file.write(text)
        log.file.flush()

    def test_it_appends_to_what_is_there(self) -> None:
        self.path.write_text("before\n")
        self.write(self.open(), "after \udce9\n")
        self.assertEqual(self.path.read_text(), "before\nafter \\udce9\n")

    def test_a_pipe_without_a_reader_is_refused_at_once(self) -> None:
        os.mkfifo(self.path)
        self.assertRaises(OSError, LogFile, self.path)

    def test_reopening_keeps_one_handle(self) -> None:
        log = self.open()
        before = log.file.fileno()
        for number in range(50):
            self.path.rename(self.directory / f"{number}")
            log.reopen()
            self.write(log, f"{number}\n")
        self.assertEqual(log.file.fileno(), before)
        self.assertEqual(self.path.read_text(), "49\n")
        self.assertFalse(os.get_inheritable(before))

    def test_a_log_that_cannot_be_reopened_goes_on(self) -> None:
        log = self.open()
        moved = self.path.rename(self.directory / "moved")
        self.path.mkdir()
        self.assertRaises(IsADirectoryError, log.reopen)
        self.write(log, "on\n")
        self.assertEqual(moved.read_text(), "on\n")


class HandlerTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def test_a_signal_that_is_ignored_stays_ignored(self) -> None:
        """As SIGINT is for a job that a script started with `&`."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stopped: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
        signals = Signals(MemoryReactorClock(), None, "", in_foreground=False)
        signals.install()
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(stopped, [signal.SIGTERM])
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
