"""The arguments of the command `groupchat`, and what it says to wrong ones."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Sequence
from unittest.mock import patch

from groupchat.client.cli import make_parser
from tests.daemon import running
from tests.terminals import Terminal
from tests.test_client import ENVIRONMENT, ProcessCase, run, run_here

NAMED = ["--name", "Zoe"]
WRONG: Sequence[Sequence[str]] = [
    ["ftp://localhost", *NAMED],
    ["://localhost", *NAMED],
    ["localhost", *NAMED],
    ["tcp://", *NAMED],
    ["tcp://:12345", *NAMED],
    ["tcp://localhost:", "7", *NAMED],
    ["tcp://localhost:0", *NAMED],
    ["tcp://localhost:65536", *NAMED],
    ["tcp://localhost:x", *NAMED],
    ["tcp://localhost:12345/room", *NAMED],
    ["tcp://Zoe@localhost", *NAMED],
    ["tcp://::1:12345", *NAMED],
    ["tcp://[::1", *NAMED],
    ["tcp://[::1]7", *NAMED],
    ["tcp://a\nb\x1b[2J", *NAMED],
    ["tcp://localhost", "tcp://localhost", *NAMED],
    ["tcp://localhost", "7", "8", *NAMED],
    ["tcp://localhost"],
    ["tls://localhost"],
    ["udp://localhost", "--json"],
    ["udp://localhost", "--plain"],
    ["localhost", "7", "--json"],
    ["tcp://localhost", "--name"],
    ["tcp://localhost", "--name", ""],
    ["tcp://localhost", "--name", " "],
    ["tcp://localhost", "--name", "Zoe\n1 hello"],
    ["tcp://localhost", "--name", "Zo\x1b[2Je"],
    ["tcp://localhost", "--name", "Zo\udcff"],
    ["udp://localhost", "--poll", "0", *NAMED],
    ["tcp://localhost", "--new-seat", *NAMED],
    ["udp://localhost", "--poll", "nan", *NAMED],
    ["udp://localhost", "--poll", "often", *NAMED],
    ["udp://localhost", "--ca", "/dev/null"],
    ["localhost", "7", "--trust-new"],
    ["tcp://localhost", "--quic-port", "0", *NAMED],
    ["tcp://localhost", "--nonsense", *NAMED],
    ["tcp://localhost", "--non\nsense\x1b[2J", *NAMED],
    ["tcp://localhost", "--pass", "x", *NAMED],
    ["tcp://localhost", "--json=yes", *NAMED],
]


class UsageTest(ProcessCase):
    def test_each_mistake_is_one_line(self) -> None:
        for arguments in WRONG:
            status, output, told = run_here(*arguments)
            self.assertEqual((status, output), (2, ""), arguments)
            self.assertRegex(told, r"\Agroupchat chat: [^\n\x1b]+ \(see groupchat chat --help\)\n\Z", arguments)

    def test_each_mistake_is_named(self) -> None:
        for arguments, words in (
            (["ftp://localhost"], "a URL begins with udp://, tcp://, tls:// or quic://"),
            (["tcp://localhost:x"], "a port is a number from 1 to 65535"),
            (["tcp://::1:7"], "an IPv6 address stands in brackets: [::1]:12345"),
            (["tcp://localhost"], "--name is needed where nobody types"),
            (["udp://localhost", "--poll", "0"], "seconds are a number from 0.1 to 3600"),
        ):
            self.assertIn(words, run_here(*arguments)[2])

    def help_of(self, *words: str) -> str:
        """Return the help of a command. It must fit a terminal."""
        with patch.dict(os.environ, {"COLUMNS": "80"}):
            status, told, errors = run_here(*words, "--help")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual([line for line in told.splitlines() if len(line) > 80], [])
        return told

    def test_help_lists_the_commands_and_the_short_forms(self) -> None:
        told = self.help_of()
        for words in ("groupchat URL", "groupchat HOST PORT", *(f"    {command}  " for command in make_parser()[1])):
            self.assertIn(words, told)

    def test_help_of_each_command_names_its_options(self) -> None:
        for command, parser in make_parser()[1].items():
            told = self.help_of(command)
            self.assertIn("usage: groupchat", told)
            options = {option for action in parser._actions for option in action.option_strings}
            for option in options:
                self.assertRegex(told, rf"(?m)^  (-h, )?{option}\b")
            self.assertEqual(set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", told)) - options, set())

    def test_help_of_chat_has_each_kind_of_url(self) -> None:
        told = self.help_of("chat")
        for words in ("tcp://HOST:PORT", "tls://HOST:PORT", "udp://HOST:PORT", "HOST PORT", "12345"):
            self.assertIn(words, told)

    def test_a_command_is_required(self) -> None:
        status, output, errors = run_here()
        self.assertEqual((status, output), (2, ""))
        self.assertRegex(errors, r"\Agroupchat: [^\n]*required: COMMAND[^\n]* \(see groupchat --help\)\n\Z")

    def test_version_and_help_import_nothing_heavy(self) -> None:
        for option in ("--version", "--help"):
            done = run(option, command=[sys.executable, "-X", "importtime", "-m", "groupchat"])
            self.assertEqual(done.returncode, 0)
            imported = done.stderr.decode()
            self.assertIn("groupchat.client.cli", imported)
            for package in ("twisted", "prompt_toolkit", "OpenSSL", "cryptography", "asyncio"):
                self.assertNotRegex(imported, rf"\|\s+{package}\b")


WITHOUT = """
import sys
for name in sys.argv.pop(1).split(): sys.modules[name] = None
from groupchat.client.cli import main
main()
"""


def without(packages: str) -> list[str]:
    """Return the command `groupchat` with an import blocker for these packages."""
    return [sys.executable, "-c", WITHOUT, packages]


class ExtrasTest(ProcessCase):
    def test_what_is_missing_is_said_in_one_line_with_its_extra(self) -> None:
        for package, arguments in {
            "OpenSSL": ["chat", "tls://127.0.0.1:1", *NAMED],
            "service_identity": ["tls://127.0.0.1:1", *NAMED],
            "aioquic": ["quic://127.0.0.1:1", *NAMED],
            "aioquic OpenSSL": ["get", "quic://127.0.0.1:1", "file"],
        }.items():
            done = run(*arguments, typed=b"hello\n", command=without(package))
            self.assertEqual((done.returncode, done.stdout), (1, b""), package)
            extra = "tls" if "tls" in str(arguments) else "quic"
            self.assertRegex(done.stderr.decode(), rf"\Agroupchat: [^\n]*pip install 'groupchat\[{extra}\]'\n\Z")

    def test_a_pipe_needs_no_extra(self) -> None:
        with running("--tcp", "0", "--db", ":memory:") as daemon:
            everything = without("prompt_toolkit OpenSSL service_identity aioquic cryptography precis_i18n")
            done = run(f"tcp://127.0.0.1:{daemon.tcp[0]}", *NAMED, typed=b"hello\n", command=everything)
            self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_terminal_without_prompt_toolkit_has_plain_lines(self) -> None:
        with running("--tcp", "0", "--db", ":memory:") as daemon:
            url = f"tcp://127.0.0.1:{daemon.tcp[0]}"
            terminal = Terminal([*without("prompt_toolkit"), url, *NAMED], ENVIRONMENT)
            self.addCleanup(terminal.close)
            terminal.see("groupchat: You are Zoe. /help tells what you can do.")
            self.assertIn(b"pip install 'groupchat[client]'\r\n", terminal.screen)
            terminal.type("/history\n")
            terminal.wait(lambda: b"* 1 Zoe has joined\r\n" in terminal.screen, "the history")
            terminal.type("\x04")
            self.assertEqual(terminal.end(), 0)


class URLTest(ProcessCase):
    def come_and_go(self, *where: str) -> None:
        done = run(*where, "--name", "Zoe", typed=b"hello\n")
        self.assertEqual((done.returncode, done.stderr), (0, b""), where)

    def test_of_ipv4(self) -> None:
        with running("--tcp", "0", "--db", ":memory:") as daemon:
            tcp, udp = daemon.tcp[0], daemon.port
            self.come_and_go("chat", f"tcp://127.0.0.1:{tcp}")
            self.come_and_go(f"TCP://LOCALHOST:{tcp}/")
            self.come_and_go(f"Udp://localhost:{udp}/")
            self.come_and_go("127.0.0.1", str(udp))

    def test_of_ipv6(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest(f"this machine has no IPv6: {error}")
        with running("--tcp", "0", "--db", ":memory:", "--interface", "::1") as daemon:
            self.come_and_go(f"tcp://[::1]:{daemon.tcp[0]}")
            self.come_and_go(f"udp://[::1]:{daemon.port}")
            self.come_and_go("[::1]", str(daemon.port))
