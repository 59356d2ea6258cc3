"""Commands on live lines: their answers, and lines that do nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

from groupchat.core.commands import Command
from groupchat.core.limits import HISTORY, MAX_ANSWER, MAX_HISTORY, MAX_LINE, MAX_USERS
from groupchat.wire import lines as wire_lines
from groupchat.wire.lines import HELP, Help
from groupchat.wire.operators import OperatorLine
from tests.lobby import Lobby, LobbyTestCase


class LookTests(LobbyTestCase):
    def test_users_shows_how_each_member_takes_part(self) -> None:
        lobby = self.lobby
        alice, program = lobby.enter("Alice"), lobby.program("Robot")
        program.lose()
        lobby.ask(1, "2 hi")
        found = [re.sub(r"joined \d\d:\d\d,", "joined TODAY,", line) for line in alice.ask("/users")]
        self.assertEqual(
            found,
            [
                "* 3 here:",
                "* Bob  polling, joined TODAY, 0 behind",
                "* Alice  live, joined TODAY, 0 behind",
                "* Robot  away, joined TODAY, 1 behind",
            ],
        )

    def test_users_shows_the_date_of_an_earlier_join(self) -> None:
        alice = self.lobby.enter("Alice")
        self.lobby.clock.rightNow += 3 * 86_400
        self.assertRegex(alice.ask("/users")[1], r"joined 1970-01-0\d \d\d:\d\d, \d behind\Z")

    def test_users_with_one_member(self) -> None:
        lobby = Lobby()
        alice = lobby.enter("Alice")
        self.assertEqual(alice.ask("/users")[0], "* Only you are here:")
        self.assertEqual(len(alice.ask("/users")), 2)

    def test_users_is_bounded(self) -> None:
        alice = self.lobby.enter("Alice")
        for number in range(2, MAX_USERS):
            self.lobby.ask(number, f"1 member {number}")
        alice.heard()
        self.assertEqual(len(alice.ask("/users")), 1 + MAX_USERS)
        self.lobby.ask(9_999, "1 one more")
        alice.heard()
        found = alice.ask("/users")
        self.assertEqual((found[0], len(found), found[-1]), (f"* {MAX_USERS + 1} here:", 2 + MAX_USERS, "* and 1 more"))

    def test_history_shows_own_lines_and_whispers(self) -> None:
        alice = self.lobby.enter("Alice")
        self.lobby.ask(1, "2 hi")
        alice.ask("hello", "/msg Bob: psst")
        lines = ["Bob has joined", "Alice has joined", "Bob: hi", "Alice: hello", "Alice (private): psst"]
        self.assertEqual(alice.ask("/history"), [f"*   {line}" for line in lines])
        self.assertEqual(alice.ask("/history 2"), [f"*   {line}" for line in lines[-2:]])

    def test_history_is_bounded_in_lines_and_bytes(self) -> None:
        alice = self.lobby.enter("Alice")
        for number in range(MAX_HISTORY + 10):
            self.lobby.ask(1, f"2 {number}")
        alice.heard()
        self.assertEqual(len(alice.ask(f"/history {MAX_HISTORY}")), MAX_HISTORY)
        self.assertEqual(len(alice.ask("/history")), HISTORY)
        for number in range(30):
            self.lobby.ask(1, f"2 {number}" + "x" * 4000)
        alice.heard()
        found = alice.ask(f"/history {MAX_HISTORY}")
        self.assertEqual(found[-1], "*   Bob: 29" + "x" * 4000)
        self.assertEqual(len(found), MAX_ANSWER // (len("Bob: 29\n") + 4000))

    def test_commands_are_answered_in_order(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(
            alice.ask("one", "/name Al", "/history 1", "two", "/nonsense", "/help", "/history 1"),
            [
                "* You are Al now.",
                "*   Alice changed his name to Al",
                "* There is no such command: see /help. To say a line that begins with /, write two.",
                *[f"* {line}" for line in HELP],
                "*   Al: two",
            ],
        )


class WrongLineTests(LobbyTestCase):
    def test_wrong_lines_are_refused_and_do_nothing(self) -> None:
        alice, carol = self.lobby.enter("Alice"), self.lobby.enter("Carol")
        head = self.successResultOf(self.lobby.log.head())
        for line in [
            "/",
            "/nonsense",
            "/msg",
            "/msg Nobody: hi",
            "/msg Carol",
            "/msg Carol:",
            "/msg Alice: me",
            "/name",
            "/name Carol",
            "/name Alice",
            "/name a:b",
            "/history x",
            "/history 0",
            f"/history {MAX_HISTORY + 1}",
            " ",
            "x" * 4097,
            "x" * (MAX_LINE + 1),
            "\x1b[2J",
        ]:
            heard = alice.ask(line)
            self.assertEqual(len(heard), 1, line)
            self.assertRegex(heard[0], r"\A\* [A-Z].*\.\Z", line)
        alice.send_bytes(b"\xe9\n")
        self.assertEqual(alice.heard(), ["* That is not UTF-8."])
        self.assertEqual((carol.heard(), self.successResultOf(self.lobby.log.head())), ([], head))

    def test_a_bug_in_reading_a_line_loses_that_line_only(self) -> None:
        alice = self.lobby.enter("Alice")
        self.patch(wire_lines, "parse", _buggy(wire_lines.parse))
        alice.send("one", "bug", "two")
        alice.heard()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: one", "Alice: two"])
        self.lobby.pass_time(2)
        alice.send("bug", "three")  # here no answer causes the next line to be read
        alice.heard()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.lobby.watch(), ["Alice: three"])


def _buggy(
    parse: Callable[[str, int], Command | Help | OperatorLine],
) -> Callable[[str, int], Command | Help | OperatorLine]:
    def parse_or_fail(line: str, client_id: int = 0) -> Command | Help | OperatorLine:
        if line == "bug":
            raise ZeroDivisionError
        return parse(line, client_id)

    return parse_or_fail
