"""The completions: what the parsers say, in each shell itself."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from groupchat.daemon.options import GROUPS
from tests.programs import need
from tests.terminals import Terminal
from tools.completions import WHERE, completions, daemon, programs

SECONDS = 60.0


class CompletionTestCase(TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="groupchat-test-completions-")
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        Path(self.directory, "a group.sqlite").touch()

    def output(self, *command: str) -> list[str]:
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, check=False, timeout=SECONDS, env=self.env()
        )
        return done.stdout.splitlines()

    def env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": self.directory, "TERM": "dumb", "LC_ALL": "C.UTF-8"}


class FileTests(TestCase):
    def test_they_are_what_the_tool_makes(self) -> None:
        found = {str(path.relative_to(WHERE)): path.read_text() for path in WHERE.rglob("*") if path.is_file()}
        self.assertEqual(found, completions(), "run python -m tools.completions")

    def test_each_option_of_the_daemon_is_there(self) -> None:
        names = daemon().commands["groupchat"].names()
        self.assertEqual(
            [name for options in GROUPS.values() for each in options if (name := f"--{each.name}") not in names], []
        )

    def test_each_command_is_there(self) -> None:
        chat, operator = programs()
        self.assertEqual(list(chat.commands), ["chat", "files", "get", "send"])
        self.assertLess({"backup", "restore", "check", "who", "ban"}, set(operator.commands))


class BashTests(CompletionTestCase):
    def complete(self, *words: str) -> list[str]:
        """Return what bash offers for the last word."""
        script = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            '_${1//-/_} 2> /dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return self.output(need("bash", "bash"), "-c", script, "bash", str(WHERE / "bash" / words[0]), *words)

    def test_commands_and_options_are_offered(self) -> None:
        self.assertEqual(self.complete("groupchat-admin", "ba"), ["ban", "bans", "backup"])
        self.assertEqual(self.complete("groupchat-admin", "--db", "ban", "backup", "--k"), ["--keep"])
        self.assertEqual(self.complete("groupchat", "--quic"), ["--quic-port"])
        self.assertEqual(self.complete("groupchat", "tcp://localhost", "--na"), ["--name"])
        self.assertEqual(self.complete("groupchat", "send", "--na"), ["--name"])
        self.assertEqual(self.complete("groupchat", "get", "--na"), [""])

    def test_files_are_offered_only_where_they_belong(self) -> None:
        self.assertEqual(self.complete("groupchat-admin", "check", "a"), ["a group.sqlite"])
        self.assertEqual(self.complete("groupchat-admin", "--db", "="), ["a group.sqlite"])
        self.assertEqual(self.complete("groupchat-admin", "--db", "=", "a"), ["a group.sqlite"])
        self.assertEqual(self.complete("groupchat-admin", "ban", "a"), [""])
        self.assertEqual(self.complete("groupchat-admin", "ban", "--why", ""), [""])

    def test_the_daemon_is_offered_its_options_only(self) -> None:
        self.assertEqual(
            self.complete("twistd", "--nodaemon", "groupchat", "--keep-"),
            ["--keep-lines", "--keep-days", "--keep-free"],
        )
        self.assertEqual(self.complete("twistd", "groupchat", "--durability", ""), ["full", "normal"])
        self.assertEqual(self.complete("twistd", "groupchat", "--db", ""), ["a group.sqlite"])
        self.assertEqual(self.complete("twistd", "--pid"), [""])
        self.assertEqual(self.complete("twistd", "web", "--p"), [""])


class FishTests(CompletionTestCase):
    def complete(self, line: str) -> list[str]:
        """Return what fish offers for the last word, without the descriptions."""
        script = f"source '{WHERE / 'fish' / line.split(maxsplit=1)[0]}.fish'; complete -C '{line}'"
        return [found.split("\t")[0] for found in self.output(need("fish", "fish"), "--no-config", "-c", script)]

    def test_commands_and_options_are_offered(self) -> None:
        self.assertEqual(sorted(self.complete("groupchat-admin ba")), ["backup", "ban", "bans"])
        self.assertEqual(self.complete("groupchat-admin --db x backup --k"), ["--keep"])
        self.assertEqual(self.complete("groupchat tcp://localhost --na"), ["--name"])
        self.assertEqual(self.complete("groupchat get --na"), [])
        self.assertEqual(sorted(self.complete("twistd groupchat --durability ")), ["full", "normal"])

    def test_files_are_offered_only_where_they_belong(self) -> None:
        self.assertEqual(self.complete("groupchat-admin check a"), ["a group.sqlite"])
        self.assertEqual(self.complete("twistd groupchat --db a"), ["a group.sqlite"])
        self.assertEqual(self.complete("groupchat-admin ban a"), [])
        self.assertEqual(self.complete("groupchat-admin ban --why a"), [])


class ZshTests(CompletionTestCase):
    def setUp(self) -> None:
        super().setUp()
        need("zsh", "zsh")
        self.terminal = Terminal(["/bin/sh", "-c", 'cd "$HOME"; exec zsh -f -i'], self.env())
        self.addCleanup(self.terminal.close)
        # The single quotes keep the prompt from being seen in the echo.
        self.terminal.type(f"fpath=('{WHERE / 'zsh'}' $fpath); autoload -U compinit; compinit -u -D; PS1='ready''> '\n")
        self.terminal.wait(lambda: b"ready> " in self.terminal.screen, "prompt")

    def complete(self, line: str) -> str:
        """Return what a line is after somebody pressed the tabulator key at its end."""
        self.terminal.type(f"{line}\t\x01echo '['\x05']'\n")  # Ctrl-A and Ctrl-E go to both ends of the line
        self.terminal.wait(lambda: re.search(rb"\n\[.*\]\r", self.terminal.screen) is not None, "line")
        (found,) = re.findall(r"\n\[(.*)\]\r", self.terminal.screen.decode())
        self.terminal.screen = b""
        return str(found).strip()

    def test_commands_and_options_are_completed(self) -> None:
        self.assertEqual(self.complete("groupchat-admin back"), "groupchat-admin backup")
        self.assertEqual(self.complete("groupchat-admin --db x backup --k"), "groupchat-admin --db x backup --keep")
        self.assertEqual(self.complete("groupchat udp://localhost --na"), "groupchat udp://localhost --name")
        self.assertEqual(self.complete("groupchat get x --na"), "groupchat get x --na")
