"""Numbered sessions on live lines: programs can resume them on another connection."""

from __future__ import annotations

import re

from groupchat.core.errors import Unavailable
from groupchat.core.limits import MAX_LINE, QUEUE
from groupchat.frontends.lines.protocol import State
from groupchat.wire.lines import HELP
from tests.lobby import CANNOT, KEY, OTHER_KEY, Caller, Lobby, LobbyTestCase, late_lobby
from tests.logs import FailingLog


class NumberedTests(LobbyTestCase):
    def test_a_session(self) -> None:
        lobby = self.lobby
        caller = lobby.call()
        self.assertEqual(caller.ask(f"/numbered {KEY} Robot"), ["session 2 0 Robot"])
        lobby.ask(1, "2 hi")
        self.assertEqual(caller.heard(), ["3 Bob: hi"])
        self.assertEqual(caller.ask("1 hello", "2 //x", "3 /msg Bob: psst"), ["ok 1", "ok 2", "ok 3"])
        lobby.ask(1, "2 again")
        self.assertEqual(caller.heard(), ["7 Bob: again"])
        self.assertEqual(caller.ask("4 /name Bot"), ["ok 4"])
        self.assertEqual(
            caller.ask("5 /history 3"),
            ["= 6 Robot (private): psst", "= 7 Bob: again", "= 8 Robot changed his name to Bot", "ok 5"],
        )
        self.assertEqual(
            [re.sub(r",.*", "", line) for line in caller.ask("6 /users")],
            ["= 2 here:", "= Bob  polling", "= Bot  live", "ok 6"],
        )
        self.assertEqual(caller.ask("7 /help"), [*[f"= {line}" for line in HELP], "ok 7"])
        self.assertEqual(caller.ask("8 /quit"), ["ok 8"])
        self.assertTrue(caller.is_closing)
        caller.lose()
        said = ["Robot: hello", "Robot: /x", "Robot (private): psst", "Robot changed his name to Bot"]
        self.assertEqual(lobby.watch(), [said[3], "Bot has left the group"])
        self.assertEqual(
            [line.removeprefix("*   ") for line in lobby.call().heard()[2:-2] if "Robot" in line],
            ["Robot has joined", said[0], said[1], said[3]],
        )

    def test_refusals_have_the_id_of_the_command(self) -> None:
        program = self.lobby.program("Robot")
        for line, answer in [
            ("hello", "no 0 In a numbered"),
            ("0 hello", "no 0 In a numbered"),
            ("1 /nonsense", "no 1 There is no such command"),
            ("2 ", "no 2 There is nothing"),
            ("2", "no 2 There is nothing"),
            ("3 /msg Nobody: hi", "no 3 Nobody here is called Nobody."),
            ("4 /name Bob", "no 4 The name Bob is in use"),
            ("5 /history x", "no 5 Write /history"),
        ]:
            (heard,) = program.ask(line)
            self.assertTrue(heard.startswith(answer), (line, heard))
        self.assertEqual(program.ask("", "6 hi"), ["ok 6"])
        self.assertEqual(self.lobby.watch(), ["Robot has joined", "Robot: hi"])

    def test_malformed_openings_are_refused_as_programs_read_it(self) -> None:
        for line in [
            "/numbered x Robot",
            "/numbered ",
            "/resume ",
            f"/resume {KEY} x",
            "/resume x 0",
            f"/RESUME {KEY} 1",
        ]:
            caller = self.lobby.call()
            caller.heard()
            (heard,) = caller.ask(line)
            self.assertTrue(heard.startswith("no 0 "), (line, heard))
            (heard,) = caller.ask("1 said too early")
            self.assertTrue(heard.startswith("no 0 "), heard)
        self.assertEqual(self.lobby.watch(), [])

    def test_repeated_commands_take_effect_once(self) -> None:
        program = self.lobby.program("Robot")
        self.assertEqual(program.ask("1 hi", "1 hi"), ["ok 1", "ok 1"])
        self.assertEqual(
            program.ask("1 hi", "2 /name Bot", "2 /name Bot", "3 /msg Bob: x", "3 /msg Bob: x"),
            ["ok 1", "ok 2", "ok 2", "ok 3", "ok 3"],
        )
        self.assertEqual(
            self.lobby.watch(),
            ["Robot has joined", "Robot: hi", "Robot changed his name to Bot", "Bot (private): x"],
        )

    def test_resume_from_any_number_gives_each_line_once(self) -> None:
        program = self.lobby.program("Robot")
        self.lobby.ask(1, "2 one")
        program.send("1 own")
        self.lobby.ask(1, "2 two")
        self.lobby.ask(2, "1 Carol")
        lines = ["3 Bob: one", "5 Bob: two", "6 Carol has joined"]
        heard = program.heard()
        self.assertEqual([line for line in heard if line != "ok 1"], lines)
        for number in range(10):
            caller = self.lobby.call()
            place = min(max(number, 2), 6)
            after = [line for line in lines if int(line.split()[0]) > place]
            self.assertEqual(
                caller.ask(f"/resume {KEY} {number}"), [f"session {place} {len(after)} Robot", *after], number
            )
            self.assertEqual(program.heard(), ["* This session goes on on another connection."])
            self.assertTrue(program.is_closing)
            program.lose()
            program = caller
        self.lobby.settle()
        self.assertEqual(len(self.lobby.registry.connections), 1)
        self.assertEqual(self.lobby.watch()[-1], "Carol has joined")

    def test_a_session_is_held_however_its_connection_ends(self) -> None:
        for end in [Caller.lose, Caller.half_close, lambda program: program.send_bytes(b"\x04")]:
            self.open(Lobby(hold=100))
            program = self.lobby.program("Robot")
            end(program)
            if program.lines.state is not State.CLOSED:
                self.assertTrue(program.is_closing)
                program.lose()
            self.lobby.settle()
            self.assertEqual(self.lobby.ask(1, "2 hi"), "Robot has joined")
            self.lobby.pass_time(90)
            caller = self.lobby.call()
            self.assertEqual(caller.ask(f"/resume {KEY} 2"), ["session 2 1 Robot", "3 Bob: hi"])
            caller.lose()
            self.lobby.pass_time(90)
            self.assertEqual(self.lobby.watch(), [])
            self.lobby.pass_time(30)
            self.assertEqual(self.lobby.watch(), ["Robot has left the group"])
            caller = self.lobby.call()
            (heard,) = caller.ask(f"/resume {KEY} 2")
            self.assertTrue(heard.startswith("no 0 There is no such session"), heard)
            self.assertEqual(caller.ask(f"/numbered {KEY} Robot")[0][:8], "session ")

    def test_malformed_and_unknown_keys_are_refused(self) -> None:
        self.lobby.program("Robot")
        caller = self.lobby.call()
        for line in [f"/resume {OTHER_KEY} 2", f"/resume {KEY[:-1]}e 2"]:
            (heard,) = caller.ask(line)
            self.assertTrue(heard.startswith("no 0 There is no such session"), heard)
        caller = self.lobby.call()
        caller.heard()
        (heard,) = caller.ask(f"/numbered {OTHER_KEY} Robot")
        self.assertEqual(heard, "no 0 The name Robot is in use.")
        for line in ["/resume 12 2", "1 hi", "Alice", "2 hi", "/help me"]:
            (heard, *_) = caller.ask(line)
            self.assertTrue(heard.startswith(("no 0 ", "* Write your name")), heard)
        self.assertEqual(caller.ask(f"/numbered {OTHER_KEY} Alice", "1 hi"), ["session 3 0 Alice", "ok 1"])

    def test_three_refused_sessions_close_the_connection(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        for line in [f"/resume {KEY} 1", f"/numbered {KEY} Bob"]:
            self.assertTrue(caller.ask(line)[0].startswith("no 0 "))
            self.assertFalse(caller.is_closing)
        self.assertEqual(
            caller.ask(f"/numbered {KEY} bob"),
            ["no 0 The name Bob is in use.", "* Connect again to try another name."],
        )
        self.assertTrue(caller.is_closing)

    def test_openings_sent_at_once_are_all_answered(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        heard = caller.ask(f"/resume {OTHER_KEY} 1", "1 hi", f"/numbered {OTHER_KEY} Robot", "2 hi")
        self.assertEqual([line[:8] for line in heard], ["no 0 The", "no 0 Ask", "session ", "ok 2"])

    def test_joining_again_with_the_same_key_resumes(self) -> None:
        program = self.lobby.program("Robot")
        self.lobby.ask(1, "2 hi")
        program.lose()
        caller = self.lobby.call()
        self.assertEqual(caller.ask(f"/numbered {KEY} Robot"), ["session 2 1 Robot", "3 Bob: hi"])
        self.assertEqual(self.lobby.watch(), [])

    def test_joining_again_before_the_first_join_is_answered(self) -> None:
        first, second = self.lobby.call(), self.lobby.call()
        first.heard()
        second.heard()
        first.send(f"/numbered {KEY} Robot")
        first.lose()
        second.send(f"/numbered {KEY} Robot", "1 hi")
        self.assertEqual(second.heard(), ["session 2 0 Robot", "ok 1"])
        self.assertEqual(self.lobby.watch(), ["Robot has joined", "Robot: hi"])

    def test_a_closed_connection_takes_over_no_session(self) -> None:
        self.lobby = late_lobby()
        first, second = self.lobby.call(), self.lobby.call()
        for caller in (first, second):
            caller.send(f"/numbered {KEY} Robot")
            caller.heard()
        second.lines.close("Enough.")
        self.lobby.pass_time(2)
        self.assertEqual(first.heard(), ["session 1 0 Robot"])
        self.assertFalse(first.is_closing)

    def test_unread_lines_of_a_lost_session_have_no_effect(self) -> None:
        """The program sends the lines again. Even a line that would begin a session is not read."""
        program = self.lobby.program("Robot")
        program.send(*[f"{number} {number}" for number in range(1, 100)], f"/numbered {OTHER_KEY} Ghost")
        program.send_bytes(b"200 half a li")
        program.lose()
        self.lobby.settle()
        self.assertEqual(set(self.lobby.service.group.by_key), {"bob", "robot"})
        self.assertFalse({"Robot: 99", "Robot: half a li"} & set(self.lobby.watch()))
        self.assertEqual(self.lobby.service.seats.live[next(iter(self.lobby.service.seats.live))].client, None)

    def test_unread_resume_of_a_lost_session_has_no_effect(self) -> None:
        program = self.lobby.program("Robot")
        program.send(*["1 /help"] * 64, f"/resume {KEY} 0", *["1 /help"] * 64)
        program.lose()
        self.lobby.settle()
        self.assertFalse(self.lobby.service.seats.is_connected(self.lobby.service.group.by_key["robot"]))

    def test_commands_of_a_displaced_connection_are_answered(self) -> None:
        """The answers go to the new connection, which may send the same commands again."""
        program = self.lobby.program("Robot")
        lines = [f"{number} text {number}" for number in range(1, 2 * QUEUE)]
        program.send(*lines)
        caller = self.lobby.call()
        caller.send(f"/resume {KEY} 2", *lines)
        answers = caller.heard()[-5 * QUEUE :]
        self.assertEqual(program.heard(), ["* This session goes on on another connection."])
        for _ in range(3):
            refused = [line.split()[1] for line in answers if line.startswith("no ")]
            answers += caller.ask(*[lines[int(number) - 1] for number in refused])
        self.assertEqual({line for line in answers if line.startswith("ok ")}, {f"ok {n}" for n in range(1, 2 * QUEUE)})
        texts = [line for line in self.lobby.watch() if line != "Robot has joined"]
        self.assertEqual(sorted(texts), sorted(f"Robot: text {number}" for number in range(1, 2 * QUEUE)))

    def test_busy_asks_to_send_a_command_again(self) -> None:
        log = FailingLog([])
        self.open(Lobby(log))
        program = self.lobby.program("Robot")
        log.failures = [Unavailable("full")]
        self.assertEqual(program.ask("1 hi"), [f"busy 1 {CANNOT}"])
        self.assertEqual(program.ask("1 hi"), ["ok 1"])
        self.assertEqual(self.lobby.watch(), ["Robot has joined", "Robot: hi"])

    def test_resume_tells_how_many_lines_are_no_longer_kept(self) -> None:
        self.open(Lobby(keep=10))
        program = self.lobby.program("Robot")
        program.lose()
        for number in range(20):
            self.lobby.ask(1, f"2 {number}")
        caller = self.lobby.call()
        heard = caller.ask(f"/resume {KEY} 2")
        self.assertEqual(heard[:3], ["session 2 20 Robot", "* 10 lines are no longer kept", "13 Bob: 10"])
        self.assertEqual(len(heard), 12)


class UnreadableTests(LobbyTestCase):
    def test_a_line_that_cannot_be_read_is_refused_by_its_id(self) -> None:
        alice = self.lobby.program("Alice")
        long = f"That line is longer than {MAX_LINE} bytes."
        self.assertEqual(alice.ask(f"7 {'x' * 5000}"), [f"no 7 {long}"])
        self.assertEqual(alice.ask("x" * 5000), [f"no 0 {long}"])
        self.assertEqual(alice.ask(f"{'9' * 30} {'x' * 5000}"), [f"no 0 {long}"])
        alice.send_bytes(b"8 \xff\n")
        self.assertEqual(alice.heard(), ["no 8 That is not UTF-8."])
        self.assertEqual(alice.ask("9 hi"), ["ok 9"])
