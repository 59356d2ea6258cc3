"""The control socket of a real daemon, what groupchat-admin does with it, and what bad use gets."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from groupchat.control import Ask, ControlFactory, ControlService
from groupchat.control.requests import Daemon, ask
from groupchat.core.commands import Whisper
from groupchat.core.errors import CannotListen
from tests.daemon import TWISTD, DaemonTestCase, LineMember
from tests.test_admin import ADMIN, Result, run
from tests.test_moderation import OperatorTestCase

ME = pwd.getpwuid(os.getuid()).pw_name
SECONDS = 30.0
reactor: Any = the_reactor


class ControlTestCase(DaemonTestCase):
    """A test with a daemon, and the file and the socket of it."""

    options: tuple[str, ...] = ("--tcp", "0")

    def setUp(self) -> None:
        self.daemon = self.start(*self.options)
        self.directory = Path(self.daemon.directory.name)
        self.file = self.directory / "groupchat.sqlite"
        self.socket = self.directory / "groupchat.sqlite.control"

    def admin(self, *arguments: str | Path, status: int = 0) -> Result:
        """Run a command on the file of the daemon. See that it ends with this status."""
        result = run("--db", self.file, *arguments)
        self.assertEqual(result.returncode, status, result)
        return result

    def refused(self, *arguments: str | Path) -> str:
        """Return why a command is refused."""
        return self.admin(*arguments, status=1).stderr.splitlines()[-1].removeprefix("groupchat-admin: ")

    def objects(self, *arguments: str | Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.admin(*arguments, "--json").stdout.splitlines()]

    def joined(self, name: str) -> LineMember:
        member = LineMember(self.daemon.tcp[0])
        self.addCleanup(member.close)
        member.join(name)
        return member

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(self.socket))
            yield connection

    def raw(self, data: bytes) -> list[dict[str, Any]]:
        """Send bytes and the end of the input. Return all that is answered."""
        with self.connected() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answers:
                return [json.loads(line) for line in answers]

    def offline(self) -> None:
        """Kill the daemon: its socket stays behind."""
        self.daemon.kill()


class SocketTests(ControlTestCase):
    def test_only_the_owner_can_use_it(self) -> None:
        mode = self.socket.lstat().st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_it_goes_with_the_daemon(self) -> None:
        self.daemon.process.terminate()
        self.daemon.process.wait(SECONDS)
        self.assertFalse(os.path.lexists(self.socket))

    def test_one_left_by_a_kill_is_replaced(self) -> None:
        self.offline()
        self.assertTrue(self.socket.exists())
        again = self.daemon.again()
        self.addCleanup(again.stop)
        self.assertIn("the daemon is asked", self.admin("who").stderr)

    def test_a_second_daemon_cannot_take_it(self) -> None:
        for options, words in [([], "groupchat.sqlite"), (["--db", "b", "--control", self.socket], "another daemon")]:
            command = [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", *map(str, options)]
            ended = subprocess.run(
                command, cwd=self.directory, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            self.assertNotEqual(ended.returncode, 0)
            self.assertIn(words, ended.stdout + ended.stderr)
        self.assertIn("the daemon is asked", self.admin("who").stderr)

    def test_wrong_requests_get_an_error_and_nothing_else(self) -> None:
        for line, words in [
            (b"garbage", "no JSON"),
            (b"[" * 60_000, "no JSON"),
            (b"\xff\xfe", "no JSON"),
            (b"[1]", "JSON object"),
            (b'{"do": "who"}', "speaks version 1"),
            (b'{"version": 2, "do": "who"}', "speaks version 1"),
            (b'{"version": 1}', "It knows: audit, ban"),
            (b'{"version": 1, "do": ["who"]}', "It knows: audit, ban"),
            (b'{"version": 1, "do": "remove"}', "remove needs name"),
            (b'{"version": 1, "do": "say", "text": "\\ud800"}', "no text"),
            (b'{"version": 1, "do": "log", "lines": "9"}', "lines must be a number"),
            (b'{"version": 1, "do": "ban", "whom": "Bob", "seconds": -1}', "more than 0 seconds"),
            (b'{"version": 1, "do": "ban", "whom": "Bob", "seconds": 1e999}', "more than 0 seconds"),
        ]:
            (answer,) = self.raw(line + b"\n")
            self.assertIn(words, answer["error"], line[:60])
        self.assertNotIn("bug", self.daemon.output)

    def test_half_a_line_gets_a_close(self) -> None:
        self.assertEqual(self.raw(b'{"version": 1, "do": "st'), [])

    def test_ten_megabytes_of_garbage_get_an_error_and_a_close(self) -> None:
        with self.connected() as connection, connection.makefile("rb") as answers:
            try:
                for _ in range(160):
                    connection.sendall(b"x" * 65_536)
            except OSError:
                pass  # it was closed
            line = answers.readline()
        self.assertIn("at most 65536 bytes", json.loads(line)["error"])
        self.admin("who")

    def test_requests_before_the_end_of_the_input_are_answered(self) -> None:
        request = b'{"version": 1, "do": "bans"}\n'
        self.assertEqual(self.raw(request * 3), [{"done": True}] * 3)

    def test_a_client_that_never_reads_stalls_nobody(self) -> None:
        alice = self.joined("Alice")
        with self.connected() as connection:
            connection.setblocking(False)
            try:
                while True:
                    connection.send(b'{"version": 1, "do": "status"}\n' * 100)
            except BlockingIOError:
                pass
            alice.send("hello")
            self.admin("say", "and more")
            self.assertEqual(alice.receive(), "* and more")

    def test_too_many_connections_are_told(self) -> None:
        held = []
        for _ in range(32):
            connection = socket.socket(socket.AF_UNIX)
            self.addCleanup(connection.close)
            connection.connect(str(self.socket))
            held.append(connection)
        self.assertEqual(self.refused("who"), "There are too many connections to the control socket.")
        held[0].close()
        until = time.monotonic() + SECONDS
        while run("--db", self.file, "who").returncode:
            self.assertLess(time.monotonic(), until)


class ListeningTests(TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-")
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "control"

    def listening(self, path: Path) -> ControlService:
        factory = ControlFactory(ask_nothing, reactor, lambda doing: None)
        service = ControlService(path, "", factory, reactor)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def test_it_is_private_from_the_first_moment(self) -> None:
        """Whatever the umask is, and before its mode is set."""
        path = self.path
        before: list[int] = []
        self.patch(os, "chmod", lambda name, mode: before.append(stat.S_IMODE(os.lstat(name).st_mode)))
        self.addCleanup(os.umask, os.umask(0))
        self.listening(path)
        self.assertEqual(before, [0o600])
        self.assertEqual(os.umask(0), 0)

    def test_what_is_no_socket_is_never_replaced(self) -> None:
        path = self.path
        path.write_text("precious")
        with self.assertRaises(CannotListen) as caught:
            self.listening(path)
        self.assertIn("no socket", str(caught.exception))
        self.assertEqual(path.read_text(), "precious")

    async def asked(self, ask: Ask) -> tuple[dict[str, Any], list[str]]:
        """Ask for something, go as soon as there is an answer, and wait until the daemon has noticed.

        Return the answer, and the bugs that were logged.
        """
        bugs: list[str] = []
        factory = ControlFactory(ask, reactor, lambda doing: bugs.append(type(Failure().value).__name__))
        service = ControlService(self.path, "", factory, reactor)
        service.startService()
        self.addCleanup(service.stopService)
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(self.path))
            connection.send(b'{"version": 1, "do": "x"}\n')
            answer = json.loads(await deferToThread(connection.recv, 65_536))
        until = time.monotonic() + SECONDS
        while factory.connections:
            self.assertLess(time.monotonic(), until)
            await deferLater(reactor, 0.1)
        return answer, bugs

    async def test_a_bug_is_logged_and_answered(self) -> None:
        found = await self.asked(ask_in_vain)
        failed = {"error": "The daemon failed to do that: its log says why."}
        self.assertEqual(found, (failed, ["ZeroDivisionError"]))

    async def test_a_client_that_goes_is_no_bug(self) -> None:
        self.assertEqual(await self.asked(ask_for_ever), ({"item": {}}, []))


class LogTests(OperatorTestCase):
    """The request `log`, in memory."""

    def test_all_lines_that_were_asked_for_are_shown(self) -> None:
        """Although they are read in portions, and one of them is not shown."""
        self.connection("Alice").ask(Whisper("Bob: psst"))
        texts = [str(number) for number in range(1_200)]
        for text in texts:
            self.node.ask(1, f"2 {text}")
        daemon = Daemon(self.node.service, self.node.service.audit, self.clock, dict, lambda: None, None)
        shown: list[str] = []

        async def run() -> None:
            async for item in ask(daemon, {"do": "log", "lines": 2_000}, "root"):
                shown.append(item["text"])

        running = ensureDeferred(run())
        self.settle()
        self.successResultOf(running)
        self.assertEqual(shown, ["Bob has joined", "Alice has joined", *(f"Bob: {text}" for text in texts)])


async def ask_in_vain(request: object, user: str) -> AsyncIterator[dict[str, Any]]:
    yield {"much": 1 // 0}


async def ask_for_ever(request: object, user: str) -> AsyncIterator[dict[str, Any]]:
    yield {}
    await Deferred()


async def ask_nothing(request: object, user: str) -> AsyncIterator[dict[str, Any]]:
    yield {}


class StartTests(DaemonTestCase):
    def why_not(self, *options: str) -> str:
        daemon = [*TWISTD, "--nodaemon", "--pidfile=", "groupchat", "--port", "0", *options]
        ended = subprocess.run(
            daemon, cwd=self.new_directory(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended)
        self.assertEqual(ended.stderr.count("\n"), 1)
        return str(ended.stderr)

    def new_directory(self) -> str:
        path = tempfile.mkdtemp(prefix="groupchat-test-")
        self.addCleanup(shutil.rmtree, path)
        return path

    def test_a_path_too_long_is_refused_in_one_line(self) -> None:
        self.assertIn("AF_UNIX path too long. See --control.", self.why_not("--db", "x" * 120))

    def test_an_unknown_group_is_refused(self) -> None:
        self.assertIn("there is no such group of users", self.why_not("--control-group", "nosuch"))

    def test_a_directory_that_is_not_there_is_refused(self) -> None:
        self.assertIn("no directory that the daemon may write to", self.why_not("--control", "no/such"))

    def test_options_that_would_do_nothing_are_refused(self) -> None:
        self.assertIn("needs --control", self.why_not("--db", ":memory:", "--control-group", "root"))
        self.assertIn("--control needs a path", self.why_not("--control", ""))

    def test_a_group_in_memory_has_one_only_if_asked(self) -> None:
        daemon = self.start("--db", ":memory:")
        self.assertEqual(os.listdir(daemon.directory.name), [])
        daemon = self.start("--db", ":memory:", "--control", "here")
        result = run("--control", Path(daemon.directory.name, "here"), "status")
        self.assertEqual(result.returncode, 0, result)

    def test_a_group_of_users_may_use_it(self) -> None:
        import grp

        group = grp.getgrgid(os.getgid())
        daemon = self.start("--control-group", group.gr_name)
        found = Path(daemon.directory.name, "groupchat.sqlite.control").stat()
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_gid), (0o660, group.gr_gid))


class ReleaseTests(ControlTestCase):
    options = ("--tcp", "0", "--hold", "1")

    def test_a_reserved_name_is_released(self) -> None:
        bob = self.joined("Bob")
        alice = LineMember(self.daemon.tcp[0])
        self.addCleanup(alice.close)
        alice.send("/numbered " + "0f" * 16 + " Alice", "1 hi")
        alice.receive_until("ok 1")
        self.assertEqual(self.refused("release", "Alice"), "The name Alice is not reserved.")
        alice.close()
        bob.receive_until("Alice has left the group")
        bob.send("/name Alice")
        self.assertIn("reserved for somebody who was here before", bob.receive())
        self.admin("release", "alice")
        bob.send("/name Alice")
        self.assertEqual(bob.receive(), "* You are Alice now.")
        (record,) = self.objects("audit")
        self.assertEqual((record["did"], record["name"], record["by"]), ("release", "Alice", ME))


class CommandTests(ControlTestCase):
    options = ("--tcp", "0", "--web", "0", "--files", "shared")

    def test_status_and_who_tell_how_it_is(self) -> None:
        self.joined("Alice").send("hello")
        bob = self.member(self.daemon)
        bob.ask("1 Bob")
        (status,) = self.objects("status")
        self.assertEqual((status["members"], status["live"], status["connections"]), (2, 1, 1))
        self.assertGreater(status["disk_free"], 0)
        alice, second = self.objects("who")
        self.assertEqual((alice["name"], alice["way"], alice["host"]), ("Alice", "tcp", "127.0.0.1"))
        self.assertEqual((second["name"], second["way"]), ("Bob", "udp"))
        self.assertEqual(second["port"], bob.socket.getsockname()[1])

    def test_the_status_counts_refusals_by_reason(self) -> None:
        bob, stranger = self.member(self.daemon), self.member(self.daemon)
        bob.ask("1 Bob")
        self.admin("mute", "Bob")
        for member, message in ((bob, "2 hi"), (bob, "3 all"), (stranger, "5"), (stranger, "1 bob"), (stranger, "x")):
            self.assertEqual(member.ask(message), "Illegal message")
        (status,) = self.objects("status")
        self.assertEqual(status["refused"], {"muted": 2, "no member": 1, "name": 1})
        self.assertEqual(status["datagrams_refused"], 5)
        self.assertRegex(self.admin("status").stdout, r"(?m)^refused +2 muted, 1 no member, 1 name$")

    def test_a_notice_and_a_topic_are_read_by_all(self) -> None:
        alice = self.joined("Alice")
        self.admin("say", "Restart", "at noon")
        self.assertEqual(alice.receive(), "* Restart at noon")
        self.admin("topic", "Books")
        self.assertEqual(alice.receive(), "* The topic is: Books")

    def test_the_one_who_is_removed_is_told_why(self) -> None:
        alice = self.joined("Alice")
        self.admin("remove", "alice", "--why", "off topic")
        self.assertEqual(alice.receive_all()[-1], "* You were removed: off topic")
        self.assertEqual(self.refused("remove", "alice"), "Nobody here is called alice.")

    def test_a_mute_holds_until_it_is_ended(self) -> None:
        alice = self.joined("Alice")
        self.admin("mute", "Alice", "--why", "flooding")
        alice.send("hello")
        self.assertIn("You are muted", alice.receive())
        self.assertEqual([item["kind"] for item in self.objects("bans")], ["mute"])
        self.admin("unmute", "Alice")
        self.assertEqual(self.objects("bans"), [])

    def test_a_ban_has_a_time_and_a_reason(self) -> None:
        self.joined("Alice")
        self.admin("ban", "Tina", "--for", "1d", "--why", "spam")
        (ban,) = self.objects("bans")
        self.assertEqual((ban["whom"], ban["kind"], ban["by"], ban["why"]), ("Tina", "name", ME, "spam"))
        self.assertLess(abs(ban["until"] - time.time() - 86_400), 60)
        self.admin("unban", "Tina")
        self.assertEqual(self.refused("unban", "Tina"), "Tina is not banned.")

    def test_a_ban_of_everybody_asks_for_yes(self) -> None:
        alice = self.joined("Alice")
        self.assertEqual(self.refused("ban", "0.0.0.0/0"), "That would ban everybody. With --yes it is done.")
        self.admin("ban", "0.0.0.0/0", "--yes")
        self.assertTrue(alice.receive_all()[-1].startswith("* You were removed"))

    def test_erased_lines_and_files_are_gone_and_backups_named(self) -> None:
        alice = self.joined("Alice")
        alice.send("a marker")
        (shown,) = [line for line in self.log_until("a marker") if "marker" in line]
        backup = self.directory / "backups"
        backup.mkdir()
        self.admin("backup", backup)
        (copy,) = backup.iterdir()
        upload = f"http://127.0.0.1:{self.daemon.web[0]}/files/f.txt?name=Guest"
        subprocess.run(["curl", "-sfT", "-", upload], input=b"data", capture_output=True, timeout=SECONDS, check=True)
        self.assertTrue((self.directory / "shared" / "f.txt").exists())
        told = self.admin("erase", shown.split()[0]).stdout
        self.assertEqual(told, f"1 line erased.\nA copy that may still have the text: {copy.resolve()}\n")
        for path in self.directory.glob("groupchat.sqlite*"):
            if not path.is_socket():
                self.assertNotIn(b"a marker", path.read_bytes(), path)
        number = next(line.split()[0] for line in self.log_until("f.txt") if "f.txt" in line)
        self.admin("erase", number)
        self.assertFalse((self.directory / "shared" / "f.txt").exists())
        self.assertIn("There is no such line", self.refused("erase", "400-500"))
        self.assertIn("No line that is kept is by Nobody", self.refused("erase", "--member", "Nobody"))
        self.assertIn("Name the lines", self.refused("erase"))

    def log_until(self, words: str) -> list[str]:
        """Return the lines of the log, once one of them contains these words."""
        until = time.monotonic() + SECONDS
        while words not in (shown := self.admin("log").stdout):
            self.assertLess(time.monotonic(), until)
        return shown.splitlines()

    def test_the_log_is_followed_line_by_line(self) -> None:
        self.admin("say", "before")
        command = [*ADMIN, "--db", str(self.file), "log", "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as following:
            assert following.stdout is not None
            self.assertTrue(following.stdout.readline().endswith("* before\n"))
            for text in ("one", "two"):
                self.admin("say", text)
                self.assertTrue(following.stdout.readline().endswith(f"* {text}\n"))
            following.terminate()

    def test_text_from_outside_cannot_drive_the_terminal(self) -> None:
        self.admin("ban", "Bob", "--why", "x")
        log = self.directory / "groupchat.sqlite.audit"
        with log.open("a") as file:
            file.write(json.dumps({"at": "\x1b[2J", "by": "\x1b]0;x\x07", "did": "say", "text": "\x9b2J"}) + "\n")
        shown = self.admin("audit").stdout
        self.assertNotRegex(shown, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")

    def test_each_action_is_in_the_audit_trail(self) -> None:
        alice = self.joined("Alice")
        self.admin("ban", "Alice", "--why", "spam")
        alice.receive_all()
        self.admin("unban", "Alice")
        self.admin("set", "post=operators")
        self.admin("backup", self.directory / "copy.sqlite")
        found = [(record["by"], record["did"]) for record in self.objects("audit")]
        for did in ("ban", "remove", "unban", "set", "backup"):
            self.assertIn((ME, did), found)
        mode = (self.directory / "groupchat.sqlite.audit").stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_stop_ends_the_daemon_with_an_answer(self) -> None:
        self.admin("stop")
        self.assertEqual(self.daemon.process.wait(SECONDS), 0)
        self.assertIn("No daemon listens", self.refused("stop"))


class OfflineTests(ControlTestCase):
    """Without the daemon, the same is done on the file."""

    def admin(self, *arguments: str | Path, status: int = 0) -> Result:
        result = run("--db", self.file, *arguments, command=[*ADMIN])
        self.assertEqual(result.returncode, status, result)
        return result

    def test_what_is_done_on_the_file_is_there_at_the_next_start(self) -> None:
        bob = self.member(self.daemon)
        bob.ask("1 Bob")
        bob.ask("2 a marker")
        self.offline()
        result = self.admin("topic", "Books")
        self.assertIn("no daemon runs", result.stderr)
        self.assertIsNone(self.objects("status")[0]["up"])
        self.assertEqual(self.admin("erase", "--member", "Bob").stdout, "1 line erased.\n")
        self.assertNotIn(b"a marker", self.file.read_bytes())
        self.assertEqual([record["did"] for record in self.objects("audit")], ["topic", "erase"])
        again = self.daemon.again("--tcp", "0")
        self.addCleanup(again.stop)
        (status,) = self.objects("status")
        self.assertEqual((status["topic"], status["members"]), ("Books", 1))
        self.assertEqual([member["name"] for member in self.objects("who")], ["Bob"])

    def test_all_lines_stay_whatever_the_daemon_would_keep(self) -> None:
        bob = self.member(self.daemon)
        bob.ask("1 Bob")
        self.offline()
        before = self.admin("log").stdout
        self.admin("say", "more")
        self.assertEqual(self.admin("log").stdout.splitlines()[:-1], before.splitlines())

    def test_what_needs_the_daemon_says_so(self) -> None:
        self.offline()
        for arguments in (["stop"], ["log", "--follow"]):
            self.assertIn("No daemon listens", self.refused(*arguments))
        result = run("--control", self.socket, "who")
        self.assertIn("No daemon listens", result.stderr)
        result = run("--db", self.directory / "none", "who")
        self.assertIn("there is no file", result.stderr)


class BackupTests(ControlTestCase):
    def test_only_the_newest_stay_of_those_that_it_made(self) -> None:
        backups = self.directory / "backups"
        backups.mkdir()
        (backups / "other.sqlite").write_bytes(b"SQLite format 3\0 of somebody else")
        for number in range(4):
            self.admin("backup", self.file, backups / f"b{number}.sqlite", "--keep", "2")
        self.assertEqual(sorted(path.name for path in backups.iterdir()), ["b2.sqlite", "b3.sqlite", "other.sqlite"])

    def test_the_audit_trail_cannot_have_other_files_removed(self) -> None:
        backups = self.directory / "backups"
        backups.mkdir()
        precious = [backups / "notes.txt", self.directory / "elsewhere.sqlite"]
        for path, content in zip(precious, (b"text", b"SQLite format 3\0"), strict=True):
            path.write_bytes(content)
        os.symlink(precious[1], backups / "link")
        with (self.directory / "groupchat.sqlite.audit").open("a") as file:
            for named in [*map(str, precious), str(backups / "link"), "\0", 7]:
                file.write(json.dumps({"did": "backup", "to": named}) + "\n")
        for number in range(2):
            self.admin("backup", backups / f"b{number}.sqlite", "--keep", "1")
        self.assertTrue(all(path.exists() for path in [*precious, backups / "link"]))
        self.assertFalse((backups / "b0.sqlite").exists())
