"""Commands that may be typed in a chat."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.client.commands import COMMANDS, Cancel, Get, ListTransfers, Send, SessionCommand, as_typed, parse
from groupchat.core.commands import Files, Leave, Poll, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.wire.lines import Help

UNKNOWN = "There is no such command: see /help. To say a line that begins with /, write two."


class ParseTest(TestCase):
    def test_a_text_is_said_as_it_was_typed(self) -> None:
        for line in ("hi", "  two spaces in front, one behind ", "a / b", "1 Alice", "* star", "\ttab"):
            self.assertEqual(parse(line), Say(line))

    def test_of_two_slashes_one_is_said(self) -> None:
        self.assertEqual(parse("//quit now"), Say("/quit now"))
        self.assertEqual(parse("//"), Say("/"))
        self.assertEqual(parse("///"), Say("//"))

    def test_each_command(self) -> None:
        for line, asked in {
            "/msg Bob: hi": Whisper("Bob: hi"),
            "/msg  Bob  hi there ": Whisper("Bob  hi there"),
            "/users": Users(),
            "/name New Name": Rename("New Name"),
            "/history": Recall(20),
            "/history 20": Recall(20),
            "/files": Files(),
            "/get a name": Get("a name"),
            "/send ~/a path": Send("~/a path"),
            "/transfers": ListTransfers(),
            "/cancel": Cancel(""),
            "/cancel a name": Cancel("a name"),
            "/poll": Poll(),
            "/help": Help(),
            "/quit": Leave(),
        }.items():
            self.assertEqual(parse(line), asked, line)

    def test_each_session_command_is_written_as_it_was_typed(self) -> None:
        for line in ("hi", "//quit", "/msg Bob: hi", "/users", "/name New Name", "/history 20", "/poll"):
            ask = parse(line)
            assert isinstance(ask, SessionCommand)
            self.assertEqual(as_typed(ask), line)

    def test_case_and_trailing_spaces_of_a_command_do_not_matter(self) -> None:
        self.assertEqual(parse("/QUIT"), Leave())
        self.assertEqual(parse("/Users  "), Users())
        self.assertEqual(parse("/Msg Bob: Hi"), Whisper("Bob: Hi"))

    def test_an_unknown_command_is_not_said(self) -> None:
        for line in ("/", "/ ", "/nick Bob", "/quitnow", "/quit\tnow", "/home/bob"):
            self.assertEqual(self.why_not(line), UNKNOWN, line)

    def test_a_missing_argument_is_explained(self) -> None:
        for line in ("/msg", "/msg  "):
            self.assertEqual(self.why_not(line), "Write /msg Name: text.")
        for line in ("/history some", "/history 0", "/history 1000"):
            self.assertEqual(self.why_not(line), "Write /history and a number from 1 to 200.")
        for line in ("/name", "/name  "):
            self.assertEqual(self.why_not(line), "Write /name and your new name.")
        self.assertEqual(self.why_not("/get"), "Write /get and the name of a file: see /files.")
        self.assertEqual(self.why_not("/send "), "Write /send and the path of a file.")

    def test_a_command_without_arguments_refuses_one(self) -> None:
        for command in ("/users", "/poll", "/help", "/quit"):
            self.assertEqual(self.why_not(f"{command} now"), f"{command} has nothing after it.")

    def test_each_command_of_the_help_is_known(self) -> None:
        self.assertEqual(len(COMMANDS), 20)
        for command in COMMANDS:
            try:
                self.assertNotIsInstance(parse(command), Say)
            except IllegalMessage as why:
                self.assertNotEqual(str(why), UNKNOWN, command)

    @given(st.text(min_size=1))
    def test_any_line_asks_for_something_or_is_refused(self, line: str) -> None:
        try:
            asked = parse(line)
        except IllegalMessage as why:
            self.assertTrue(str(why))
            self.assertTrue(line.startswith("/"))
        else:
            self.assertEqual(isinstance(asked, Say), not line.startswith("/") or line.startswith("//"))

    def why_not(self, line: str) -> str:
        return str(self.assertRaises(IllegalMessage, parse, line))
