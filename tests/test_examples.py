"""The clients and bots of examples/, against a real daemon."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Empty, Queue

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import Daemon, UDPMember
from tests.programs import need

EXAMPLES = Path(__file__).parent.parent / "examples"
SECONDS = 30.0
COMPILE_SECONDS = 240.0
MAX_LINES = 40


class Example:
    """A running example: its lines are read as they come."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "no_proxy": "*"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_for(self, line: str) -> None:
        """Wait until it prints this line."""
        deadline = time.monotonic() + SECONDS
        while line not in self.printed:
            try:
                self.printed.append(self._lines.get(timeout=max(0.0, deadline - time.monotonic())))
            except Empty:
                raise AssertionError(f"no {line!r} in {self.printed}") from None

    def wait(self) -> int:
        """Return its exit status."""
        return self.process.wait(SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(SECONDS)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


class Witness(UDPMember):
    """A member that polls until it has seen a line."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(port, seconds=SECONDS)
        self.seen: list[str] = []
        self.ask(f"1 {name}")

    def say(self, text: str) -> None:
        self.seen += self.ask(f"2 {text}").splitlines()

    def wait_for(self, line: str) -> None:
        self.wait_for_match(re.escape(line))

    def wait_for_match(self, pattern: str, *, times: int = 1) -> None:
        deadline = time.monotonic() + SECONDS
        while sum(bool(re.fullmatch(pattern, line)) for line in self.seen) < times:
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.seen}"
            self.seen += self.ask("5").splitlines()
            time.sleep(0.02)


class ExampleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon("--tcp", "0", "--web", "0")
        self.addCleanup(self.daemon.stop)

    def witness(self) -> Witness:
        witness = Witness(self.daemon.port, "Bob")
        self.addCleanup(witness.close)
        return witness

    def start(self, *command: str) -> Example:
        example = Example(*command)
        self.addCleanup(example.close)
        return example

    def build(self, *command: str, source: str) -> str:
        """Compile an example, and return the path of the program."""
        directory = tempfile.TemporaryDirectory(prefix="groupchat-example-")
        self.addCleanup(directory.cleanup)
        program = f"{directory.name}/five"
        subprocess.run([*command, "-o", program, EXAMPLES / source], check=True, timeout=COMPILE_SECONDS)
        return program

    def check_client(self, *command: str) -> None:
        """Run a client for the five messages: it refuses a used name; it joins, says, hears another, and leaves."""
        bob = self.witness()
        refused = self.start(*command, "127.0.0.1", str(self.daemon.port), "Bob")
        self.assertNotEqual(refused.wait(), 0)
        example = self.start(*command, "127.0.0.1", str(self.daemon.port), "Alice")
        bob.wait_for("Alice has joined")
        example.type("hi Bob\n")
        bob.wait_for("Alice: hi Bob")
        example.type("¿qué tal?\n")
        bob.wait_for("Alice: ¿qué tal?")
        bob.say("hi Alice")
        example.wait_for("Bob: hi Alice")
        self.assertIn("Bob", example.printed[0])
        example.end_input()
        bob.wait_for("Alice has left the group")
        example.wait_for("close")
        self.assertEqual(example.wait(), 0)

    def check_bot(self, script: str, *where: str) -> None:
        """Run a bot: it joins, answers others but not itself, and leaves when it is ended."""
        bob = self.witness()
        bot = self.start(sys.executable, str(EXAMPLES / script), *where, "Clock")
        bot.wait_for("listening")
        bob.wait_for("Clock has joined")
        for text in ("!time", "what about !time", "!time"):
            bob.say(text)
        bob.wait_for_match(r"Clock: It is \d\d:\d\d\.", times=2)
        bot.process.terminate()
        bob.wait_for("Clock has left the group")
        self.assertEqual(bot.wait(), 0)

    def test_python(self) -> None:
        self.check_client(sys.executable, str(EXAMPLES / "five.py"))

    def test_c(self) -> None:
        self.check_client(self.build(need("gcc", "gcc"), "-Wall", "-Wextra", "-Werror", source="five.c"))

    def test_javascript(self) -> None:
        self.check_client(need("node", "nodejs"), str(EXAMPLES / "five.mjs"))

    def test_go(self) -> None:
        self.check_client(self.build(need("go", "golang-go"), "build", source="five.go"))

    def test_bash(self) -> None:
        self.check_client(need("bash", "bash"), str(EXAMPLES / "five.sh"))

    def test_micropython(self) -> None:
        """Without MicroPython, Python runs the example: it keeps to what both have."""
        self.check_client(shutil.which("micropython") or sys.executable, str(EXAMPLES / "five_micropython.py"))

    def test_bot_over_http(self) -> None:
        self.check_bot("bot_http.py", f"http://127.0.0.1:{self.daemon.web[0]}")

    def test_bot_in_a_numbered_session(self) -> None:
        self.check_bot("bot_session.py", "127.0.0.1", str(self.daemon.tcp[0]))

    def test_bots_continue_after_the_daemon_is_killed(self) -> None:
        tcp, web = self.daemon.tcp[0], self.daemon.web[0]
        bots = {
            "Clock": self.start(sys.executable, str(EXAMPLES / "bot_session.py"), "127.0.0.1", str(tcp), "Clock"),
            "Watch": self.start(sys.executable, str(EXAMPLES / "bot_http.py"), f"http://127.0.0.1:{web}", "Watch"),
        }
        for bot in bots.values():
            bot.wait_for("listening")
        bob = self.witness()
        self.daemon.kill()
        again = self.daemon.again("--tcp", str(tcp), "--web", str(web))
        self.addCleanup(again.stop)
        bob.say("!time")
        for name in bots:
            bob.wait_for_match(rf"{name}: It is \d\d:\d\d\.")
        self.assertEqual(len(bob.seen), 2, bob.seen)


class SizeTests(SynchronousTestCase):
    def test_clients_are_short(self) -> None:
        for path in EXAMPLES.glob("five*"):
            lines = [line.strip() for line in path.read_text().splitlines()]
            code = [line for line in lines if line and not line.startswith(("#", "//", "/*"))]
            self.assertLessEqual(len(code), MAX_LINES, path.name)
