"""Files between real clients and a real daemon: in pipes, with one-shot commands, and on a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

from tests.daemon import Daemon
from tests.screens import CTRL_D, ENTER, TAB, ScreenTerminal
from tests.slow import slow
from tests.test_client import CLIENT, ENVIRONMENT, SECONDS, ProcessCase, run, run_here, wait_until, wait_until_full

try:
    import aioquic  # noqa: F401 - whether it is there
except ImportError as error:
    raise SkipTest("aioquic is not installed") from error

SMALL = b"some bytes\n" * 1000
LARGE = 30_000_000


class FilesCase(ProcessCase):
    """A daemon with a shelf, and a directory for the client."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.shelf = Path(folder.name) / "shelf"
        self.here = Path(folder.name) / "here"
        self.shelf.mkdir()
        self.here.mkdir()
        self.environment = {**ENVIRONMENT, "XDG_DATA_HOME": str(Path(folder.name) / "data"), "LC_ALL": "C.UTF-8"}
        self.daemon = self.start()

    def start(self, *options: str) -> Daemon:
        daemon = Daemon("--tcp", "0", "--quic", "--files", str(self.shelf), *options)
        self.addCleanup(daemon.stop)
        return daemon

    @property
    def url(self) -> str:
        return f"quic://127.0.0.1:{self.daemon.port}"

    def chat_urls(self) -> list[list[str]]:
        quic_port = ["--quic-port", str(self.daemon.port)]
        return [
            [f"tcp://127.0.0.1:{self.daemon.tcp[0]}", *quic_port],
            [f"udp://127.0.0.1:{self.daemon.port}", "--poll", "0.2"],
            [self.url],
        ]

    def run_client(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[bytes]:
        words = [*arguments, "--trust-new"]
        return run(*words, typed=typed.encode(), environment=self.environment, directory=self.here)

    @contextmanager
    def running_client(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        pipe = subprocess.PIPE
        command = [*CLIENT, *arguments, "--trust-new"]
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=self.here, env=self.environment
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def wait_for_part(self) -> None:
        """Wait until some of a file has come."""
        wait_until(lambda: any(part.stat().st_size > 100_000 for part in self.parts()), lambda: "there is no part")

    def parts(self) -> list[Path]:
        return list(self.here.glob("*.part"))

    def put(self, name: str, size: int = 0) -> bytes:
        data = os.urandom(1 << 16) * (size >> 16) if size else SMALL
        (self.shelf / name).write_bytes(data)
        return data


class OneShotTest(FilesCase):
    def test_a_list(self) -> None:
        self.assertEqual(self.run_client("files", self.url).stdout, b"")
        self.put("one two.txt")
        done = self.run_client("files", self.url)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertRegex(done.stdout.decode(), r"\A 11\.0 kB  \d{4}-\d\d-\d\d \d\d:\d\d  one two\.txt\n\Z")
        [listed] = map(json.loads, self.run_client("files", self.url, "--json").stdout.splitlines())
        self.assertEqual((listed["name"], listed["size"]), ("one two.txt", len(SMALL)))

    def test_there_and_back(self) -> None:
        (self.here / "mine.txt").write_bytes(SMALL)
        done = self.run_client("send", self.url, "mine.txt", "--name", "bot")
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.assertRegex(done.stderr.decode(), r"\Agroupchat: mine\.txt: 11\.0 kB in \d+ s, shared as mine\.txt\n\Z")
        self.assertEqual((self.shelf / "mine.txt").read_bytes(), SMALL)
        done = self.run_client("get", self.url, "mine.txt", "copy.txt")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.here / "copy.txt").read_bytes(), SMALL)

    def test_several_files_are_sent_in_turn(self) -> None:
        for number in range(3):
            (self.here / f"{number}.txt").write_bytes(SMALL)
        done = self.run_client("send", self.url, "0.txt", "nothing", "1.txt", "2.txt", "--name", "bot")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        words = [line.split(": ")[1:] for line in done.stderr.decode().splitlines()]
        self.assertEqual([line[0] for line in words], ["0.txt", "nothing", "1.txt", "2.txt"])
        self.assertEqual(words[1][-1], "No such file or directory")
        for number in range(3):
            self.assertEqual((self.shelf / f"{number}.txt").read_bytes(), SMALL)

    @slow
    def test_send_goes_on_after_ctrl_c_and_a_kill_of_the_daemon(self) -> None:
        data = os.urandom(1 << 16) * (LARGE >> 16)
        (self.here / "big").write_bytes(data)
        folder = self.shelf / ".groupchat"

        def received() -> int:
            return sum(part.stat().st_size for part in folder.glob("*.part"))

        def comes(more: int) -> None:
            wait_until(lambda: received() > more, lambda: f"{received()} of {more} bytes came")

        with self.running_client("send", self.url, "big", "--name", "bot") as process:
            comes(1_000_000)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(SECONDS), 130)
        before = received()
        with self.running_client("send", self.url, "big", "--name", "bot") as process:
            comes(before + 1_000_000)
            self.daemon.kill()
            self.assertGreater(received(), before)
            again = self.daemon.again("--tcp", "0", "--quic", "--files", str(self.shelf))
            self.addCleanup(again.stop)
            _, errors = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("trying again", errors.decode())
        self.assertEqual((self.shelf / "big").read_bytes(), data)

    def test_to_standard_output(self) -> None:
        data = self.put("big", 3_000_000)
        done = self.run_client("get", self.url, "big", "-")
        self.assertEqual((done.returncode, done.stdout), (0, data))

    def test_options_may_stand_anywhere(self) -> None:
        data = self.put("big")
        done = self.run_client("get", self.url, "big", "--trust-new", "-")
        self.assertEqual((done.returncode, done.stdout), (0, data), done.stderr)

    def test_an_interrupt_ends_get_while_its_output_is_blocked(self) -> None:
        self.put("big", LARGE)
        with self.running_client("get", self.url, "big", "-") as process:
            assert process.stdout is not None
            process.stdout.read(1)
            wait_until_full(process)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(SECONDS), 130)

    def test_each_failure_is_one_line_and_a_status(self) -> None:
        self.put("there")
        (self.here / "taken").write_text("mine")
        for arguments, words in [
            (["get", self.url, "nothing"], "There is no file nothing"),
            (["get", self.url, "there", "taken"], "taken exists already"),
            (["get", self.url, "there", "nowhere/x"], "there is no directory nowhere"),
            (["get", "quic://127.0.0.1:1", "there"], "nothing "),
            (["send", self.url, "nothing", "--name", "bot"], "No such file"),
            (["send", self.url, "\udcff/x", "--name", "bot"], "No such file"),
        ]:
            done = self.run_client(*arguments)
            self.assertEqual((done.returncode, done.stdout), (1, b""), arguments)
            self.assertIn(words, done.stderr.decode(), arguments)
            self.assertRegex(done.stderr.decode(), r"\Agroupchat[^\n\x1b]*\n\Z")
        self.assertEqual((self.here / "taken").read_text(), "mine")

    def test_each_wrong_argument_is_one_line(self) -> None:
        url = "quic://127.0.0.1:1"
        for arguments, words in [
            (["send", url, ".", "--name", "bot"], "needs a name"),
            (["send", url, "taken", "--name", "#bot"], "no name for a member"),
            (["get", url, "there\nX", "x"], "one line of text"),
            (["get", url, "\udcff", "x"], "one line of text"),
            (["get", url], "required"),
            (["get"], "usage: groupchat get"),
            (["get", "there"], "usage: groupchat get"),
            (["get", "127.0.0.1:1", "there"], "usage: groupchat get"),
            (["get", "tcp://127.0.0.1:1", "x"], "quic://127.0.0.1:1"),
            (["files", "quic://"], "a host and a port"),
        ]:
            status, output, errors = run_here(*arguments)
            self.assertEqual((status, output), (2, ""), arguments)
            self.assertIn(words, errors, arguments)
            self.assertRegex(errors, r"\Agroupchat[^\n\x1b]*\n\Z")

    def test_a_missing_password_names_the_option(self) -> None:
        path = self.here / "password"
        path.write_text("open sesame")
        self.daemon.stop()
        self.daemon = self.start("--password-file", str(path))
        self.assertIn(b"--password-file", self.run_client("files", self.url).stderr)

    def test_a_new_server_is_not_trusted_without_asking(self) -> None:
        done = run("files", self.url, environment=self.environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"--trust-new", done.stderr)

    def test_ca_may_name_the_certificate_of_the_server_itself(self) -> None:
        own = Path(self.daemon.directory.name) / "groupchat.sqlite.pem"
        done = self.run_client("files", self.url, "--ca", str(own))
        self.assertEqual(done.returncode, 0, done.stderr)
        other = self.start("--db", "other.sqlite", "--files", str(self.here / "shelf"))
        wrong = Path(other.directory.name) / "other.sqlite.pem"
        done = self.run_client("files", self.url, "--ca", str(wrong))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"does not vouch", done.stderr)

    def test_interrupted_it_keeps_its_part_and_the_next_goes_on(self) -> None:
        data = self.put("large", LARGE)
        with self.running_client("get", self.url, "large") as process:
            self.wait_for_part()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 130, told)
        self.assertRegex(told.decode(), r"large: stopped \(.* of it are kept in \./large\.[0-9a-f]{16}\.part")
        done = self.run_client("get", self.url, "large")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.here / "large").read_bytes(), data)
        self.assertEqual(self.parts(), [])

    @slow  # the client takes some seconds to see that the connection is gone
    def test_get_goes_on_after_the_server_is_killed_and_restarted(self) -> None:
        data = self.put("large", LARGE)
        with self.running_client("get", self.url, "large") as process:
            self.wait_for_part()
            self.daemon.kill()
            again = self.daemon.again("--tcp", "0", "--quic", "--files", str(self.shelf))
            self.addCleanup(again.stop)
            _, told = process.communicate(timeout=3 * SECONDS)
        self.assertEqual(process.returncode, 0, told)
        self.assertIn(b"trying again", told)
        self.assertEqual((self.here / "large").read_bytes(), data)


class PipeTest(FilesCase):
    def test_each_kind_of_session_sends_and_fetches_before_it_ends(self) -> None:
        for number, url in enumerate(self.chat_urls()):
            (self.here / f"mine {number}.txt").write_bytes(SMALL)
            typed = f"/send mine {number}.txt\n/get mine {number}.txt copy {number}\n"
            done = self.run_client(*url, "--name", f"Zoe{number}", typed=typed.partition("\n")[0])
            told = done.stderr.decode()
            self.assertEqual(done.returncode, 0, (url, told))
            self.assertIn(f"mine {number}.txt: 11.0 kB in 1 s, shared as mine {number}.txt", told)
            done = self.run_client(*url, "--name", f"Zoe{number}x", typed=typed.split("\n")[1])
            self.assertEqual(done.returncode, 0, (url, done.stderr))
            self.assertEqual((self.here / f"copy {number}").read_bytes(), SMALL)
        done = self.run_client(*self.chat_urls()[0], "--name", "Yan", typed="/history 200\n")
        for number in range(3):
            self.assertIn(f"Zoe{number} shared mine {number}.txt (11.0 kB)", done.stdout.decode())

    def test_as_objects(self) -> None:
        self.put("there.txt")
        with self.running_client(*self.chat_urls()[0], "--name", "Bob", "--json") as bob:
            assert bob.stdout is not None
            while json.loads(bob.stdout.readline())["text"] != "Nobody is here yet.":
                pass
            (self.here / "a b.txt").write_bytes(SMALL)
            done = self.run_client(
                *self.chat_urls()[0], "--name", "Zoe", "--json", typed="/send a b.txt\n/get there.txt\n/get nothing\n"
            )
            found = [json.loads(line) for line in done.stdout.splitlines()]
            files = [(each["direction"], each["file"], each["state"]) for each in found if each["kind"] == "file"]
            both = [("send", "a b.txt", "began"), ("send", "a b.txt", "done")]
            both += [("get", "there.txt", "began"), ("get", "there.txt", "done")]
            both += [("get", "nothing", "began"), ("get", "nothing", "failed")]
            self.assertEqual(sorted(files), sorted(both))
            self.assertEqual(done.returncode, 1)
            heard = json.loads(bob.stdout.readline())
            while heard["kind"] != "shared":
                heard = json.loads(bob.stdout.readline())
            self.assertEqual((heard["name"], heard["text"], heard["size"]), ("Zoe", "a b.txt", "11.0 kB"))

    def test_the_password_of_the_session_is_that_of_the_files(self) -> None:
        self.daemon.stop()
        (self.here / "password").write_text("open sesame\n")
        self.daemon = self.start("--password-file", str(self.here / "password"))
        self.put("there.txt")
        for url in [*self.chat_urls()[::2]]:
            done = self.run_client(*url, "--name", "Zoe", "--password-file", "password", typed="/get there.txt\n")
            self.assertEqual(done.returncode, 0, (url, done.stderr))
            (self.here / "there.txt").unlink()
        self.assertEqual(self.run_client("get", self.url, "there.txt").returncode, 1)
        self.assertEqual(self.run_client("get", self.url, "there.txt", "--password-file", "password").returncode, 0)


class TerminalTest(FilesCase):
    def chat(self, url: list[str]) -> ScreenTerminal:
        os.chdir(self.here)
        environment = {**self.environment, "NO_COLOR": "1", "TERM": "xterm-256color"}
        client = ScreenTerminal([*CLIENT, *url, "--name", "Alice", "--no-times"], environment, 100)
        self.addCleanup(client.close)
        client.wait(lambda: "-- You are Alice. /help tells" in client.text(), "You are Alice")
        client.types("Alice>")
        return client

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())

    def test_a_certificate_is_a_question_and_names_are_completed(self) -> None:
        self.put("a long name.txt")
        alice = self.chat(self.chat_urls()[0])
        alice.type(f"/files{ENTER}")
        alice.types("Trust it from now on (yes, no)?")
        alice.type(f"yes{ENTER}")
        alice.matches(r"-- 1 file:")
        alice.matches(r"-- +11\.0 kB  .*  a long name\.txt")
        alice.types("Alice>")
        alice.type(f"/get a l{TAB}")
        alice.types("Alice> /get a long name.txt")
        alice.type(ENTER)
        alice.matches(r"-- a long name\.txt: 11\.0 kB in 1 s, saved as \./a long name\.txt")
        (self.here / "unlike others.txt").write_bytes(SMALL)
        alice.type(f"/send unl{TAB}{ENTER}")
        alice.matches(r"-- unlike others\.txt: 11\.0 kB in 1 s, shared as unlike others\.txt")
        alice.type(CTRL_D)
        self.assertEqual(alice.end(), 0)
        self.assertEqual(alice.modes(), alice.modes_before)

    def test_progress_is_shown_below_the_prompt_until_the_end(self) -> None:
        self.put("file 1")
        with (self.shelf / "file 0").open("wb") as file:
            file.truncate(1_000_000_000)
        self.run_client("files", self.url)  # from here on it is trusted
        alice = self.chat([self.url])
        alice.type(f"/get file 0{ENTER}")
        alice.matches(r"file 0  getting  \[#*-*\]  .* of 1\.0 GB.*")
        self.daemon.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.daemon.process.send_signal, signal.SIGCONT)
        alice.type("half a li")
        alice.wait(lambda: "Alice> half a li" in alice.rows(), "what is typed")
        alice.type("\x15")
        alice.type(f"/cancel{ENTER}")
        alice.matches(r"-- file 0: stopped.*")
        alice.wait(lambda: alice.rows()[-1].startswith("Alice>"), "nothing below")
        self.daemon.process.send_signal(signal.SIGCONT)
        alice.type(f"/get file 1{ENTER}")
        alice.matches(r"-- file 1: 11\.0 kB in 1 s, saved as \./file 1")
        alice.type(f"/get file 0{ENTER}")
        alice.matches(r"file 0  (waits|checking|getting) .*")
        alice.type(f"/quit{ENTER}")
        self.assertEqual(alice.end(), 0)
        alice.matches(r"-- file 0: stopped.*")
