"""Operators on live lines: their password, their commands, and what becomes of those who are removed."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail

from groupchat.core.commands import Ban, OperatorCommand, Remove, SetTopic
from groupchat.core.limits import PASSWORD_CHECKS, Limits
from groupchat.wire.lines import HELP
from groupchat.wire.operators import HELP as FOR_OPERATORS
from tests.lobby import CANNOT, KEY, OTHER_KEY, Caller, Lobby, LobbyTestCase

PASSWORDS = (b":sesame", b"bob:open")
NOW_ONE = "* You are an operator now: /help lists what you can do."
WRONG = "* That is not the password of an operator."
NO_OPERATOR = "* Only an operator can do that: become one with /operator PASSWORD."
SLIP = "That text begins with /operator: it would tell everybody a password."
REMOVED = ["no 0 removed", "* You were removed: spam"]


class OperatorLinesCase(LobbyTestCase):
    """A lobby with operators, and Bob, who polls."""

    def setUp(self) -> None:
        self.open(Lobby(limits=Limits(operators=PASSWORDS)))

    def operator(self, name: str = "Alice") -> Caller:
        caller = self.lobby.enter(name)
        self.assertEqual(caller.ask("/operator sesame"), [NOW_ONE])
        return caller

    def operate(self, command: OperatorCommand) -> None:
        command.by = "root"
        self.lobby.service.operate(command)
        self.lobby.settle()


class PasswordTests(OperatorLinesCase):
    def test_a_password_makes_an_operator(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/remove Bob"), [NO_OPERATOR])
        self.assertEqual(alice.ask("/operator nonsense", "/remove Bob"), [WRONG, NO_OPERATOR])
        self.assertEqual(alice.ask("/operator sesame ", "/remove Bob"), [NOW_ONE, "* Bob was removed"])

    def test_it_ends_with_off_and_with_the_seat(self) -> None:
        alice = self.operator()
        self.assertEqual(alice.ask("/operator OFF", "/remove Bob"), ["* You are no operator now.", NO_OPERATOR])
        alice.ask("/operator sesame", "/quit")
        self.assertEqual(self.lobby.enter("Alice").ask("/remove Bob"), [NO_OPERATOR])

    def test_a_password_with_a_name_is_for_that_member(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/operator open"), [WRONG])
        self.assertEqual(alice.ask("/operator bob:open"), [WRONG])
        self.lobby.ask(1, "4")
        self.assertEqual(alice.ask("/name BOB", "/operator open")[-1], NOW_ONE)

    def test_without_passwords_nobody_becomes_one(self) -> None:
        self.open(Lobby())
        alice = self.lobby.enter("Alice")
        answer = ["* No password makes anybody an operator here."]
        self.assertEqual(alice.ask("/operator "), ["* Write /operator PASSWORD, or /operator off."])
        self.assertEqual(alice.ask("/operator x"), answer)
        self.assertEqual(alice.ask("/operator :"), answer)

    def test_guesses_are_limited_for_a_host(self) -> None:
        alice = self.lobby.enter("Alice", host="10.0.0.7")
        guesses = [f"/operator {number}" for number in range(PASSWORD_CHECKS[0])]
        self.assertEqual(alice.ask(*guesses), [WRONG] * len(guesses))
        self.assertEqual(alice.ask("/operator sesame", "hello"), [])
        self.assertEqual(self.lobby.enter("Eve", host="10.0.0.8").ask("/operator sesame"), [NOW_ONE])
        self.lobby.clock.advance(1)
        self.assertIn(NOW_ONE, alice.heard())
        self.assertEqual(self.lobby.watch()[-1], "Alice: hello")

    def test_a_check_ends_with_its_connection(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.ask(*[f"/operator {number}" for number in range(PASSWORD_CHECKS[0] + 1)])
        alice.lose()
        self.lobby.clock.advance(1)
        self.lobby.settle()
        self.assertEqual([*self.lobby.service.group.names()], ["Bob"])

    def test_who_is_removed_meanwhile_is_not_told_of_the_password(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.ask(*[f"/operator {number}" for number in range(PASSWORD_CHECKS[0] + 1)])
        self.operate(Remove("Alice", why="spam"))
        self.assertEqual(alice.heard(), ["* You were removed: spam"])

    def test_a_program_becomes_one_too(self) -> None:
        robot = self.lobby.program("Robot")
        no = "no 2 That is not the password of an operator."
        self.assertEqual(robot.ask("1 /remove Bob", "2 /operator x"), [f"no 1 {NO_OPERATOR[2:]}", no])
        self.assertEqual(robot.ask("3 /operator sesame", "4 /remove Bob"), [f"= {NOW_ONE[2:]}", "ok 3", *robot_saw()])
        robot.lose()
        again = self.lobby.call()
        again.ask(f"/resume {KEY} 9")
        self.assertEqual(again.ask("3 /operator sesame")[-1], "ok 3")


def robot_saw() -> list[str]:
    return ["ok 4", "3 * Bob was removed"]


class SlipTests(OperatorLinesCase):
    def test_no_text_begins_with_operator(self) -> None:
        alice, robot = self.lobby.enter("Alice"), self.lobby.program("Robot")
        for slip in (" /operator sesame", "//operator sesame", "\t/OPERATOR x", "\u200b /operator x", " /operator"):
            self.assertEqual(alice.ask(slip), [f"* {SLIP}"], repr(slip))
            self.assertEqual(robot.ask(f"1 {slip}"), [f"no 1 {SLIP}"], repr(slip))
            self.assertEqual(alice.ask(f"/msg Bob: {slip}"), [f"* {SLIP}"], repr(slip))
        for slip in ("2  /operator x", "2 /operator x"):
            self.assertEqual(self.lobby.ask(1, slip), "Illegal message")
        self.assertEqual(alice.heard() + robot.heard() + self.lobby.watch()[2:], [])

    def test_other_texts_may_name_it(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("say /operator x", "//operators", " /msg Bob: hi"), [])
        self.assertEqual(
            self.lobby.watch()[1:], ["Alice: say /operator x", "Alice: /operators", "Alice:  /msg Bob: hi"]
        )


class CommandTests(OperatorLinesCase):
    def test_help_lists_commands_of_operators_for_them_only(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/help"), [f"* {line}" for line in HELP])
        alice.ask("/operator sesame")
        self.assertEqual(alice.ask("/help"), [f"* {line}" for line in [*HELP[:-1], *FOR_OPERATORS, HELP[-1]]])

    def test_users_marks_operators(self) -> None:
        self.operator()
        self.assertIn("* Alice  operator, live, joined 12:00, 0 behind", self.lobby.enter("Eve").ask("/users"))

    def test_topic_is_shown_to_all_and_set_by_operators(self) -> None:
        eve = self.lobby.enter("Eve")
        self.assertEqual(eve.ask("/topic", "/topic Cats"), ["* There is no topic.", NO_OPERATOR])
        alice = self.operator()
        eve.heard()
        self.assertEqual(alice.ask("/topic Cats"), ["* The topic is: Cats"])
        self.assertEqual(eve.heard(), ["* The topic is: Cats"])
        self.assertEqual(self.lobby.call().heard()[:2], ["* This is lobby, a group chat.", "* The topic is: Cats"])
        self.assertEqual(eve.ask("/topic"), ["* The topic is: Cats"])
        self.assertEqual(alice.ask("/topic off"), ["* There is no topic any more"])
        self.assertEqual(self.lobby.program("Robot").ask("1 /topic"), ["= There is no topic.", "ok 1"])

    def test_a_muted_member_is_told_why(self) -> None:
        alice, eve = self.operator(), self.lobby.enter("Eve", host="10.0.0.7")
        alice.heard()
        self.assertEqual(alice.ask("/mute eve too loud"), ["* eve may only read now, until /unmute eve."])
        self.assertEqual(eve.ask("hello"), ["* You are muted: you may read, and not write: too loud"])
        self.assertEqual(alice.ask("/unmute Eve"), ["* Eve may write again."])
        self.assertEqual(eve.ask("hello"), [])

    def test_erase_answers_when_no_file_has_the_text(self) -> None:
        alice = self.operator()
        self.lobby.ask(1, "2 secret")
        alice.ask("mine")
        self.assertEqual(alice.ask("/history 2"), ["*   3  Bob: secret", "*   4  Alice: mine"])
        self.assertEqual(alice.ask("/erase 3"), ["* Erased: 1 text. The daemon has no file with it any more."])
        self.assertEqual(alice.ask("/history 2"), ["*   3  * a line was removed", "*   4  Alice: mine"])
        self.assertEqual(alice.ask("/erase 1-1000000"), ["* Erased: 1 text. The daemon has no file with it any more."])
        self.assertEqual(alice.ask("/erase 3"), ["* There is no text, and no file, to erase."])
        self.assertEqual(alice.ask("/erase 99"), ["* There is no such line: 1 to 4 are kept."])
        self.assertEqual(self.lobby.enter("Eve").ask("/erase 4"), [NO_OPERATOR])

    def test_erase_is_answered_once_the_files_are_clean(self) -> None:
        alice = self.operator()
        self.lobby.ask(1, "2 secret")
        alice.heard()
        clean: Deferred[None] = Deferred()
        self.patch(self.lobby.service.eraser, "done", lambda: clean)
        self.patch(self.lobby.service.audit, "backups", lambda: ["copy"])
        self.assertEqual(alice.ask("/erase 3", "/topic"), [])
        clean.callback(None)
        erased = "* Erased: 1 text. The daemon has no file with it any more."
        more = "* Backups that were made before may have it: ask whoever runs this group."
        self.assertEqual(alice.heard(), [erased, more, "* There is no topic."])

    def test_an_erasure_tells_of_what_a_restore_kept(self) -> None:
        alice = self.operator()
        self.lobby.ask(1, "2 secret")
        alice.heard()
        self.patch(self.lobby.service.audit, "kept_aside", lambda: ["copy"])
        self.assertIn(
            "* Backups that were made before may have it: ask whoever runs this group.", alice.ask("/erase 3")
        )

    def test_a_bug_in_an_erasure_is_logged_and_answered(self) -> None:
        alice = self.operator()
        self.lobby.ask(1, "2 secret")
        alice.heard()
        self.patch(self.lobby.service.eraser, "done", lambda: fail(ZeroDivisionError()))
        answers = [f"* {CANNOT}", "* There is no topic."]
        self.assertEqual(alice.ask("/erase 3", "/topic")[-2:], answers)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_erase_goes_on_beyond_one_portion(self) -> None:
        alice = self.operator()
        for number in range(1_500):
            self.lobby.ask(1, f"2 secret {number}")
            self.lobby.clock.advance(1)
        alice.heard()
        self.assertEqual(
            alice.ask("/erase 1-9000", "/history 1"),
            [
                "* Erased: 1500 texts. The daemon has no file with it any more.",
                "*   1502  * a line was removed",
            ],
        )

    def test_a_ban_ends_the_seat_and_can_be_ended(self) -> None:
        alice = self.operator()
        self.lobby.ask(1, "4")
        self.assertEqual(self.lobby.ask(1, "1 Bob"), "Alice")
        self.assertIn("* Bob is banned, until /unban Bob or the time is over.", alice.ask("/ban Bob 1d spam"))
        self.lobby.clock.advance(1)
        self.lobby.settle()
        self.assertEqual(self.lobby.ask(1, "5"), "Illegal message")
        self.assertEqual(self.lobby.call().ask("bob")[0].partition(" for ")[0], "* The name bob is banned")
        self.assertIn("* Bob is no longer banned.", alice.ask("/unban Bob"))
        self.assertIn("* You are bob.", self.lobby.call("10.0.0.5").ask("bob")[-1][:14])


class RemovedTests(OperatorLinesCase):
    def test_a_person_is_told_why_and_disconnected(self) -> None:
        eve = self.lobby.enter("Eve")
        self.operate(Remove("Eve", why="spam"))
        self.assertEqual((eve.heard(), eve.is_closing), (["* You were removed: spam"], True))

    def test_a_program_is_told_not_to_come_back(self) -> None:
        robot = self.lobby.program("Robot")
        self.operate(Remove("Robot", why="spam"))
        self.assertEqual((robot.heard(), robot.is_closing), (REMOVED, True))

    def test_a_program_that_was_away_learns_it_when_it_resumes(self) -> None:
        self.lobby.program("Robot").lose()
        self.operate(Remove("Robot", why="spam"))
        for opening in (f"/resume {KEY} 3", f"/numbered {KEY} Robot"):
            again = self.lobby.call()
            heard = again.ask(opening)
            self.assertEqual(heard[-2:], ["no 0 removed", "* You may not be in this group for 10 minutes more: spam"])
            self.assertTrue(again.is_closing)
        self.assertEqual(self.lobby.program("Robot", OTHER_KEY).heard(), [])

    def test_a_banned_address_is_not_shown_the_conversation(self) -> None:
        self.lobby.ask(1, "2 a secret")
        self.operate(SetTopic("the plan"))
        self.operate(Ban("10.0.0.9"))
        self.assertEqual(self.lobby.call().heard(), ["* This is lobby, a group chat.", "* What is your name?"])
        self.assertIn("*   Bob: a secret", self.lobby.call("10.0.0.8").heard())

    def test_a_banned_address_is_told_why_and_not_asked_again(self) -> None:
        self.operate(Ban("10.0.0.9", why="spam"))
        caller = self.lobby.call()
        self.assertEqual(caller.ask("Alice")[-1], "* You may not be in this group: spam")
        self.assertTrue(caller.is_closing)
