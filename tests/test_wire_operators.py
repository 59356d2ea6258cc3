"""What operators type: how a line is split into a name, a time and a reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.commands import Ban, Demote, Erase, Mute, Remove, SetTopic, Unban, Unmute
from groupchat.core.errors import IllegalMessage
from groupchat.wire import lines
from groupchat.wire.operators import VERBS, GivePassword, OperatorLine, ShowTopic, command

MEMBERS = {"Tina", "Tina Turner", "Bob"}
MANY = "9" * 4_301


def asked(line: str) -> object:
    parsed = lines.parse(line, 7)
    assert isinstance(parsed, OperatorLine), parsed
    return command(parsed, MEMBERS.__contains__)


class CommandTests(SynchronousTestCase):
    def refused(self, *typed: str) -> None:
        for line in typed:
            self.assertRaises(IllegalMessage, asked, line)

    def test_a_name_is_the_longest_that_a_member_has(self) -> None:
        self.assertEqual(asked("/remove Tina"), Remove("Tina", id=7))
        self.assertEqual(asked("/remove Tina spam"), Remove("Tina", id=7, why="spam"))
        self.assertEqual(asked("/remove Tina Turner sings"), Remove("Tina Turner", id=7, why="sings"))
        self.assertEqual(asked("/MUTE  Tina Turner "), Mute("Tina Turner", id=7))

    def test_a_name_may_end_before_a_colon(self) -> None:
        self.assertEqual(asked("/mute Ann Lee: too: loud"), Mute("Ann Lee", id=7, why="too: loud"))
        self.assertEqual(asked("/remove Tina: Turner"), Remove("Tina", id=7, why="Turner"))

    def test_one_word_is_a_name_even_if_nobody_has_it(self) -> None:
        self.assertEqual(asked("/remove Ann"), Remove("Ann", id=7))
        self.refused("/remove Ann spam", "/mute Ann Lee", "/ban Ann Lee")

    def test_a_ban_has_a_time_and_a_reason(self) -> None:
        self.assertEqual(asked("/ban Tina"), Ban("Tina", id=7))
        self.assertEqual(asked("/ban Tina 1d"), Ban("Tina", 86_400, id=7))
        self.assertEqual(asked("/ban Tina 90m spam and 2h"), Ban("Tina", 5_400, id=7, why="spam and 2h"))
        self.assertEqual(asked("/ban Tina spam"), Ban("Tina", id=7, why="spam"))
        self.assertEqual(asked("/ban Ann Lee 2w spam"), Ban("Ann Lee", 14 * 86_400, id=7, why="spam"))
        self.assertEqual(asked("/ban Ann Lee: 30s"), Ban("Ann Lee", 30, id=7))
        self.refused("/ban Tina 0d", "/ban Tina 3651d", "/ban Tina 999999999w")

    def test_an_address_or_a_network_is_one_word(self) -> None:
        for whom in ("192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1"):
            self.assertEqual(asked(f"/ban {whom} 1h why not"), Ban(whom, 3_600, id=7, why="why not"))
            self.assertEqual(asked(f"/ban {whom}"), Ban(whom, id=7))
            self.assertEqual(asked(f"/unban {whom}"), Unban(whom, id=7))

    def test_an_address_may_end_before_a_colon(self) -> None:
        for whom in ("192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "::1", "2001:db8::"):
            self.assertEqual(asked(f"/ban {whom}: 1h spam"), Ban(whom, 3_600, id=7, why="spam"))
            self.assertEqual(asked(f"/ban {whom}: spam"), Ban(whom, id=7, why="spam"))
            self.assertEqual(asked(f"/ban {whom}:"), Ban(whom, id=7))

    def test_a_line_or_a_range_is_erased(self) -> None:
        self.assertEqual(asked("/erase 307"), Erase(307, 307, id=7))
        self.assertEqual(asked("/erase 307 - 310"), Erase(307, 310, id=7))
        self.refused("/erase 0", "/erase 3-2", "/erase -3", "/erase 1-", "/erase x", "/erase \u0661", f"/erase {MANY}")

    def test_other_commands_take_all_words(self) -> None:
        self.assertEqual(asked("/unmute Ann Lee"), Unmute("Ann Lee", id=7))
        self.assertEqual(asked("/topic  Cats: only "), SetTopic("Cats: only", id=7))
        self.assertEqual(asked("/topic OFF"), SetTopic("", id=7))
        self.assertEqual(asked("/topic"), ShowTopic())
        self.assertEqual(asked("/operator open: sesame"), GivePassword(b"open: sesame"))
        self.assertEqual(asked("/operator off"), Demote(7))

    def test_a_command_without_words_says_how_it_is_written(self) -> None:
        for verb in set(VERBS) - {"/topic"}:
            self.assertIn(verb, str(self.assertRaises(IllegalMessage, asked, f"{verb} ")))

    def test_a_password_is_in_no_repr(self) -> None:
        parsed = lines.parse("/operator sesame", 7)
        self.assertNotIn("sesame", repr(parsed) + repr(asked("/operator sesame")))

    @given(st.sampled_from(VERBS), st.text())
    def test_any_words_are_understood_or_refused(self, verb: str, words: str) -> None:
        try:
            command(OperatorLine(verb, words), MEMBERS.__contains__)
        except IllegalMessage as why:
            self.assertTrue(str(why))
