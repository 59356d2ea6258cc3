"""Live lines with netcat and telnet, in pipes and on terminals."""

from __future__ import annotations

import re
import signal
import subprocess

from tests.daemon import Daemon, DaemonTestCase
from tests.members import Polling
from tests.programs import need
from tests.terminals import Terminal

GREETING = ["* This is lobby, a group chat.", "* Said last:", "*   Bob has joined", "* Here now: Bob."]
WELCOME = "* You are Alice. What you type goes to all; /help tells more, and Ctrl-D leaves."
CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH, ESCAPE = "\x03", "\x04", "\x1a", "\x1c", "\x1d"


class ProgramCase(DaemonTestCase):
    """Bob is here, over UDP, and Alice uses a program."""

    program = "nc"
    package = "netcat-openbsd"

    def setUp(self) -> None:
        self.path = need(self.program, self.package)
        self.daemon: Daemon = self.start("--tcp", "0", "--db", ":memory:")
        self.bob = Polling(self.daemon.port)
        self.addCleanup(self.bob.close)
        self.bob.join("Bob")

    def bob_sees(self, *lines: str) -> None:
        self.assertEqual(self.bob.sees(len(lines)), list(lines))

    def open(self) -> Terminal:
        terminal = Terminal([self.path, "127.0.0.1", str(self.daemon.tcp[0])])
        self.addCleanup(terminal.close)
        return terminal

    def open_as_alice(self) -> Terminal:
        terminal = self.open()
        for line in [*GREETING, "* What is your name?"]:
            terminal.see(line)
        terminal.type("Alice\n")
        terminal.see(WELCOME)
        self.bob_sees("Alice has joined")
        return terminal

    def converse(self, terminal: Terminal) -> None:
        for number in range(5):
            terminal.type(f"h\u00e9llo {number}\n")
            self.bob_sees(f"Alice: h\u00e9llo {number}")
            self.bob.say(f"\u4e16\u754c {number}")
            terminal.see(f"Bob: \u4e16\u754c {number}")
        terminal.type("/msg Bob: psst\n")
        terminal.see("* Only Bob will see that.")
        self.bob_sees("Alice (private): psst")

    def check_screen(self, terminal: Terminal) -> None:
        """Check that each line begins at the left, and that no control characters are shown."""
        self.assertNotRegex(terminal.screen, rb"(?<!\r)\n|\r(?!\r*\n)|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f]|\xff")
        terminal.screen.decode()


class NetcatTests(ProgramCase):
    def test_end_of_a_pipe_leaves(self) -> None:
        said = subprocess.run(
            [self.path, "-N", "127.0.0.1", str(self.daemon.tcp[0])],
            input="Alice\nhello\n/users\nand goodbye",
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        self.bob_sees("Alice has joined", "Alice: hello", "Alice: and goodbye", "Alice has left the group")
        shown = said.stdout.splitlines()
        self.assertEqual(shown[:6], [*GREETING, "* What is your name?", WELCOME])
        self.assertEqual(shown[6], "* 2 here:")
        self.assertRegex(shown[7], r"\A\* Bob  polling\b")
        self.assertRegex(shown[8], r"\A\* Alice  live\b")
        self.assertEqual(shown[9:], ["* You have left the group."])

    def test_on_a_terminal(self) -> None:
        terminal = self.open_as_alice()
        self.converse(terminal)
        self.check_screen(terminal)
        terminal.process.send_signal(signal.SIGINT)
        terminal.end()
        self.bob_sees("Alice has left the group")

    def test_netcat_ends_when_the_server_stops(self) -> None:
        terminal = self.open_as_alice()
        self.daemon.stop()
        terminal.see("* The server is stopping. What was said is kept: come back in a while.")
        terminal.type("\n")  # netcat notices the end when it next reads its input
        terminal.end()


class TelnetTests(ProgramCase):
    program = "telnet"
    package = "inetutils-telnet"

    def test_a_conversation(self) -> None:
        terminal = self.open_as_alice()
        self.converse(terminal)
        terminal.type("/quit\n")
        terminal.see("* You have left the group.")
        terminal.end()
        self.check_screen(terminal)
        self.bob_sees("Alice has left the group")

    def test_ctrl_d_leaves(self) -> None:
        terminal = self.open_as_alice()
        terminal.type(CTRL_D)
        terminal.see("* You have left the group.")
        terminal.end()
        self.check_screen(terminal)
        self.bob_sees("Alice has left the group")

    def test_ctrl_d_in_a_line_sends_it_and_a_second_one_leaves(self) -> None:
        terminal = self.open_as_alice()
        terminal.type(f"half{CTRL_D}")
        self.bob.say("go on")
        terminal.type(CTRL_D)
        terminal.end()
        self.bob_sees("Alice: half", "Alice has left the group")

    def test_ctrl_d_before_joining(self) -> None:
        terminal = self.open()
        terminal.see("* What is your name?")
        terminal.type(CTRL_D)
        terminal.end()
        self.check_screen(terminal)

    def test_ctrl_c_leaves_without_saying_the_unfinished_line(self) -> None:
        terminal = self.open_as_alice()
        terminal.type("hello\nhal")
        self.bob_sees("Alice: hello")
        terminal.type(CTRL_C)
        terminal.end()
        self.assertIn(b"* You have left the group.\r\n", terminal.screen)
        self.bob_sees("Alice has left the group")

    def test_other_control_keys_do_not_stop_the_output(self) -> None:
        """After these keys telnet shows nothing until the server answers its timing mark."""
        terminal = self.open_as_alice()
        for number, key in enumerate([CTRL_Z, CTRL_BACKSLASH] * 2):
            terminal.type(key)
            terminal.type(f"{number}\n")
            self.bob_sees(f"Alice: {number}")
            self.bob.say(f"do you hear {number}")
            self.see_at_the_end(terminal, f"Bob: do you hear {number}")

    def test_quit_of_telnet_leaves(self) -> None:
        terminal = self.open_as_alice()
        terminal.type(f"{ESCAPE}")
        terminal.type("quit\n")
        terminal.end()
        self.bob_sees("Alice has left the group")

    def test_closing_the_window_leaves(self) -> None:
        self.open_as_alice().close()
        self.bob_sees("Alice has left the group")

    def test_invalid_utf_8_is_refused(self) -> None:
        terminal = self.open_as_alice()
        terminal.write(b"\xff\xe9\n")
        terminal.see("* That is not UTF-8.")

    def see_at_the_end(self, terminal: Terminal, line: str) -> None:
        """Wait until a line is the last on the screen. The echo of a control key may be before it."""
        terminal.wait(lambda: re.search(re.escape(line.encode()) + rb"\r\n\Z", terminal.screen) is not None, line)
