"""The command `groupchat` on a pseudo-terminal, and against a real daemon."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.daemon import UDPMember, running
from tests.test_client import ENVIRONMENT, SECONDS, ProcessCase, echo, run, serving, wait_until

# The terminal becomes the child's own, so that Ctrl-C typed into it is a signal, as in life.
ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "groupchat", *sys.argv[1:]])
"""


class Terminal:
    """The client on a pseudo-terminal: `type` keys, `see` what comes on the screen, the echo included."""

    def __init__(self, *arguments: str | int) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-c", ON_A_TERMINAL, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=ENVIRONMENT, start_new_session=True
        )
        os.close(theirs)
        self.screen = ""

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def see(self, pattern: str) -> None:
        """Wait until the whole screen so far matches. Raises AssertionError after a while."""
        wait_until(lambda: self._read() or re.search(pattern, self.screen) is not None, lambda: self.screen)

    def end(self) -> int:
        """The exit status, once it has ended by itself."""
        wait_until(lambda: self._read() or self.process.poll() is not None, lambda: self.screen)
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """The window is closed: the client gets SIGHUP, and nothing to read from or write to."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 0.05)
        if ready:
            try:
                self.screen += os.read(self._ours, 65_536).decode().replace("\r\n", "\n")
            except OSError:  # Linux's word for: the other side is closed
                time.sleep(0.05)
        return False


@contextmanager
def terminal(*arguments: str | int) -> Iterator[Terminal]:
    opened = Terminal(*arguments)
    try:
        yield opened
    finally:
        opened.close()


class TerminalTest(ProcessCase):
    def test_a_conversation(self) -> None:
        def hostile(request: bytes) -> list[bytes]:
            return [b"Bob: \x1b[2Jhello"] if request == b"5" else echo(request)

        with serving(hostile) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 Zoe\n")
            client.see("1 Zoe\n1 Zoe\n")
            client.type("5\n")
            client.see(r"5\nBob: \[2Jhello\n")
            client.type("4\n")
            client.see("4\nclose\n")
            self.assertEqual(client.end(), 0)

    def test_ctrl_c_leaves(self) -> None:
        with serving(echo) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 A\n")
            client.see("1 A\n1 A\n")
            client.type("half a line\x03")
            self.assertEqual(client.end(), 130)
            self.assertEqual(server.requests, [b"1 A", b"4"])

    def test_ctrl_d_leaves(self) -> None:
        with serving(echo) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 A\n")
            client.see("1 A\n1 A\n")
            client.type("\x04")
            self.assertEqual(client.end(), 0)
            self.assertEqual(server.requests, [b"1 A", b"4"])

    def test_ctrl_c_ends_a_wait_for_nobody(self) -> None:
        with serving(lambda request: []) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 A\n")
            client.see('no answer to "1 A" within 2 seconds; asking again')
            client.type("\x03")
            wait_until(lambda: b"4" in server.requests)
            client.type("\x03")
            self.assertEqual(client.end(), 130)

    def test_a_terminal_that_goes_away_leaves(self) -> None:
        with serving(echo) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 A\n")
            client.see("1 A\n1 A\n")
            client.hang_up()
            self.assertEqual(client.process.wait(SECONDS), 129)
            self.assertEqual(server.requests, [b"1 A", b"4"])


class DaemonTest(ProcessCase):
    """Against the real thing."""

    def test_a_piped_session(self) -> None:
        with running() as daemon:
            bob = UDPMember(daemon.port)
            self.addCleanup(bob.close)
            bob.ask("1 Bob")
            done = run("127.0.0.1", daemon.port, typed="1 Zoë\n2 hi\n\n2 \x1b[2J\n5".encode())
            self.assertEqual(done.stdout.decode(), "Bob\nIllegal message\nIllegal message\nclose\n")
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(bob.ask("5"), "Zoë has joined\nZoë: hi\nZoë has left the group")

    def test_a_session_on_a_terminal(self) -> None:
        with running() as daemon, terminal("localhost", daemon.port) as client:
            bob = UDPMember(daemon.port)
            self.addCleanup(bob.close)
            bob.ask("1 Bob")
            client.type("1 Zoe\n")
            client.see("1 Zoe\nBob\n")
            self.assertEqual(bob.ask("2 hello"), "Zoe has joined")
            client.type("3 Zoë\n")
            client.see("3 Zoë\nBob: hello\n")
            client.type("\x03")
            self.assertEqual(client.end(), 130)
            self.assertEqual(bob.ask("5"), "Zoe changed his name to Zoë\nZoë has left the group")

    def test_two_clients_talk(self) -> None:
        with running() as daemon, terminal("127.0.0.1", daemon.port) as ada, terminal("127.0.0.1", daemon.port) as bob:
            ada.type("1 Ada\n2 anybody?\n7\n")
            ada.see("Illegal message\n")
            bob.type("1 Bob\n")
            bob.see("1 Bob\nAda\n")
            bob.type("2 me\n7\n")
            bob.see("Illegal message\n")
            ada.type("5\n")
            ada.see("Bob has joined\nBob: me\n")
            ada.type("4\n")
            self.assertEqual(ada.end(), 0)
            bob.type("5\n")
            bob.see("Ada has left the group\n")
