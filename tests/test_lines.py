"""Live lines: the greeting, the password, the name and the conversation."""

from __future__ import annotations

import re

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from zope.interface.verify import verifyObject

from groupchat.core.limits import BURST, GREETING_LINES, MAX_NAMES, PASSWORD_ATTEMPTS, PASSWORD_PAUSE, Limits
from groupchat.frontends.lines.dialogue import ILinesConnection
from groupchat.service.seats import IConnection
from groupchat.service.subscriptions import IReader
from groupchat.wire.lines import HELP
from tests.lobby import ASKED, WELCOME, Lobby, LobbyTestCase


class InterfaceTests(LobbyTestCase):
    def test_connection_and_dialogue_provide_their_interfaces(self) -> None:
        connection = self.lobby.call().lines
        for interface in (ILinesConnection, IReader, IHalfCloseableProtocol, IPushProducer):
            self.assertTrue(verifyObject(interface, connection))
        self.assertTrue(verifyObject(IConnection, connection.dialogue))


class ConversationTests(LobbyTestCase):
    script = (
        "alice:b",
        "",
        "Alice",
        "Hi, I am Alice",
        "//users",
        "/users",
        "/msg Bob: psst",
        "/name Al",
        "/nonsense",
        "/history 3",
        "😀 é",
        "/help",
        "/quit",
        "is not said",
    )

    def talk(self, step: int) -> tuple[list[str], list[str], list[str]]:
        """Play the script as Alice. Return the lines that Alice, Carol and Bob receive."""
        self.open(Lobby())
        carol, alice = self.lobby.enter("Carol"), self.lobby.call(step=step)
        alice.send(*self.script)
        heard = alice.heard()
        self.assertTrue(alice.transport.disconnecting)
        alice.lose()
        return heard, carol.heard(), self.lobby.watch()

    def test_pieces_of_any_size_give_the_same_conversation(self) -> None:
        said = [
            "Alice has joined",
            "Alice: Hi, I am Alice",
            "Alice: /users",
            "Alice (private): psst",
            "Alice changed his name to Al",
            "Al: 😀 é",
            "Al has left the group",
        ]
        for step in (0, 1, 7):
            alice, carol, bob = self.talk(step)
            self.assertEqual(bob, ["Carol has joined", *said], step)
            self.assertEqual(carol, [line for line in said if "private" not in line], step)
            self.assertEqual(
                [re.sub(r"joined \d\d:\d\d, \d behind", "joined then", line) for line in alice],
                [
                    "* This is lobby, a group chat.",
                    "* Said last:",
                    "*   Bob has joined",
                    "*   Carol has joined",
                    "* Here now: Carol, Bob.",
                    ASKED,
                    f"* A name has no : , ( or ) in it, and does not begin with / # @ or *. {ASKED[2:]}",
                    WELCOME.format("Alice"),
                    "* 3 here:",
                    "* Bob  polling, joined then",
                    "* Carol  live, joined then",
                    "* Alice  live, joined then",
                    "* Only Bob will see that.",
                    "* You are Al now.",
                    "* There is no such command: see /help. To say a line that begins with /, write two.",
                    "*   Alice: /users",
                    "*   Alice (private): psst",
                    "*   Alice changed his name to Al",
                    *[f"* {line}" for line in HELP],
                    "* You have left the group.",
                ],
                step,
            )

    def test_texts_go_to_all_others_and_are_not_echoed(self) -> None:
        alice, carol = self.lobby.enter("Alice"), self.lobby.enter("Carol")
        self.assertEqual(alice.heard(), ["Carol has joined"])
        alice.send("one", "two")
        self.assertEqual((alice.heard(), carol.heard()), ([], ["Alice: one", "Alice: two"]))
        carol.send("three")
        self.assertEqual((alice.heard(), carol.heard()), (["Carol: three"], []))

    def test_udp_and_live_members_see_the_same_lines(self) -> None:
        lobby = self.lobby
        alice = lobby.enter("Alice")
        self.assertEqual(lobby.watch(), ["Alice has joined"])
        lobby.ask(1, "2 hi")
        lobby.ask(1, "3 Bobby")
        lobby.ask(2, "1 Dora")
        lobby.ask(2, "4")
        self.assertEqual(
            alice.heard(),
            ["Bob: hi", "Bob changed his name to Bobby", "Dora has joined", "Dora has left the group"],
        )
        self.assertEqual(lobby.watch(), ["Dora has joined", "Dora has left the group"])
        alice.send("hello", "/msg bobby psst", "/name Al", "/quit")
        alice.heard()
        self.assertEqual(
            lobby.watch(),
            ["Alice: hello", "Alice (private): psst", "Alice changed his name to Al", "Al has left the group"],
        )

    def test_a_whisper_is_seen_by_one_member_only(self) -> None:
        alice, carol, dora = (self.lobby.enter(name) for name in ("Alice", "Carol", "Dora"))
        for caller in (alice, carol, dora):
            caller.heard()
        self.assertEqual(alice.ask("/msg Carol: psst"), ["* Only Carol will see that."])
        self.assertEqual((carol.heard(), dora.heard()), (["Alice (private): psst"], []))
        self.assertEqual(self.lobby.watch()[-1], "Dora has joined")
        self.assertEqual(dora.ask("/history"), [f"*   {name} has joined" for name in ("Bob", "Alice", "Carol", "Dora")])
        self.assertEqual(carol.ask("/history 1"), ["*   Alice (private): psst"])

    def test_each_line_over_the_rate_is_refused(self) -> None:
        self.open(Lobby(rate=1))
        carol, alice = self.lobby.enter("Carol"), self.lobby.enter("Alice")
        carol.heard()
        heard = alice.ask(*[f"text {number}" for number in range(BURST + 3)])
        self.assertEqual(heard, ["* Slow down: you say too much at once."] * 3)
        self.assertEqual(carol.heard(), [f"Alice: text {number}" for number in range(BURST)])
        self.lobby.pass_time(1)
        self.assertEqual(alice.ask("again", "and again"), ["* Slow down: you say too much at once."])
        self.assertEqual(carol.heard(), ["Alice: again"])

    def test_a_thousand_lines_sent_at_once_are_said_in_order(self) -> None:
        carol, alice = self.lobby.enter("Carol"), self.lobby.enter("Alice")
        carol.heard()
        numbers = [str(number) for number in range(1000)]
        self.assertEqual(alice.ask(*numbers), [])
        self.assertEqual(carol.heard(), [f"Alice: {number}" for number in numbers])


class GreetingTests(LobbyTestCase):
    def test_greeting_in_an_empty_group(self) -> None:
        lobby = Lobby()
        self.assertEqual(lobby.call().heard(), ["* This is lobby, a group chat.", "* Nobody is here yet.", ASKED])

    def test_greeting_shows_the_last_lines_but_no_whispers(self) -> None:
        alice = self.lobby.enter("Alice")
        for number in range(GREETING_LINES):
            alice.ask(f"text {number}", f"/msg Bob: secret {number}")
        self.lobby.ask(1, "2 hi")
        lines = [f"*   Alice: text {number}" for number in range(1, GREETING_LINES)]
        self.assertEqual(
            self.lobby.call().heard(),
            ["* This is lobby, a group chat.", "* Said last:", *lines, "*   Bob: hi", "* Here now: Alice, Bob.", ASKED],
        )

    def test_names_in_the_greeting_are_bounded(self) -> None:
        for number in range(100):
            self.lobby.ask(2 + number, f"1 member {number:03} of a long list")
        (names,) = [line for line in self.lobby.call().heard() if line.startswith("* Here now: ")]
        self.assertLess(len(names), MAX_NAMES + 20)
        self.assertRegex(names, r"\A\* Here now: member 099.*, \(\d+ more\)\.\Z")

    def test_another_name_is_asked_for_after_a_refusal(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        for line in ["Bob", "bob", "*", "/users", "/numbered", "  ", "x" * 33, "close"]:
            (heard,) = caller.ask(line)
            self.assertRegex(heard, r"\A\* [A-Z].*\. What is your name\?\Z", line)
        caller.send_bytes(b"\xff\xe9\n")
        self.assertEqual(caller.heard(), ["* That is not UTF-8. What is your name?"])
        self.assertEqual(caller.ask("", ""), [])
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice")])

    def test_http_requests_say_nothing_in_the_group(self) -> None:
        for first in ["POST / HTTP/1.1", "GET /chat?name=Bob HTTP/1.0", "/numbered GET / HTTP/1.1"]:
            caller = self.lobby.call()
            caller.heard()
            heard = caller.ask(first, "Host: localhost", "", "Evil", "buy my things")
            self.assertEqual(heard, ["* This is no web server."])
            self.assertTrue(caller.is_closing)
        self.assertEqual(self.lobby.watch(), [])

    def test_help_and_quit_before_joining(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.ask("/help")[1:], [f"* {line}" for line in HELP])
        self.assertEqual(caller.ask("/quit"), ["* Bye."])
        self.assertTrue(caller.is_closing)
        self.assertEqual(self.lobby.watch(), [])

    def test_lines_between_greeting_and_join_come_once(self) -> None:
        caller = self.lobby.call()
        self.assertIn("*   Bob has joined", caller.heard())
        self.lobby.ask(1, "2 before")
        self.lobby.ask(2, "1 Carol")
        self.lobby.ask(1, "2 between")
        caller.send("Alice")
        self.lobby.ask(1, "2 after")
        self.assertEqual(
            caller.heard(),
            [WELCOME.format("Alice"), "Bob: before", "Carol has joined", "Bob: between", "Bob: after"],
        )

    def test_whispers_between_greeting_and_join_are_not_shown(self) -> None:
        carol = self.lobby.enter("Carol")
        caller = self.lobby.call()
        carol.ask("/msg Bob: psst", "all")
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice"), "Carol: all"])

    def test_loser_of_a_race_for_a_name_is_asked_again(self) -> None:
        first, second = self.lobby.call(), self.lobby.call()
        first.heard()
        second.heard()
        first.send("Alice")
        second.send("ALICE", "Alicia", "hi")
        self.assertEqual(
            second.heard(),
            [f"* Somebody else was first. {ASKED[2:]}", WELCOME.format("Alicia"), "Alice has joined"],
        )
        self.assertEqual(first.heard(), [WELCOME.format("Alice"), "Alicia has joined", "Alicia: hi"])


class PasswordTests(LobbyTestCase):
    def setUp(self) -> None:
        self.open(Lobby(limits=Limits(password="sésame".encode(), name_within=60)))

    def test_nothing_is_shown_before_the_password(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.heard(), ["* What is the password?"])
        for line in ["/help", "Bob", ""]:
            caller = self.lobby.call(host=f"10.0.1.{len(line)}")
            self.assertEqual(caller.ask(line), [])
            self.lobby.pass_time(PASSWORD_PAUSE)
            self.assertEqual(caller.heard(), ["* That is not the password. What is it?"])

    def test_the_right_password_is_accepted(self) -> None:
        caller = self.lobby.call()
        heard = caller.ask("sésame", "Alice", "hi")
        self.assertEqual((heard[0], heard[-2:]), ("* This is lobby, a group chat.", [ASKED, WELCOME.format("Alice")]))
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: hi"])

    def test_lines_after_a_wrong_password_wait(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.ask("sesame", "sésame", "Alice", "hi"), [])
        self.assertEqual(caller.transport.producerState, "paused")
        self.lobby.pass_time(PASSWORD_PAUSE - 0.1)
        self.assertEqual((caller.heard(), self.lobby.watch()), ([], []))
        self.lobby.pass_time(0.2)
        heard = caller.heard()
        self.assertEqual(heard[:2], ["* That is not the password. What is it?", "* This is lobby, a group chat."])
        self.assertEqual(caller.transport.producerState, "producing")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: hi"])

    def test_too_many_wrong_passwords_close_the_connection(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        caller.send(*["wrong"] * PASSWORD_ATTEMPTS, "sésame", "Alice")
        for _ in range(PASSWORD_ATTEMPTS - 1):
            self.lobby.pass_time(PASSWORD_PAUSE)
            self.assertEqual(caller.heard(), ["* That is not the password. What is it?"])
            self.assertFalse(caller.is_closing)
        self.lobby.pass_time(PASSWORD_PAUSE)
        self.assertEqual(caller.heard(), ["* That is not the password. Ask whoever runs this group for it."])
        self.assertTrue(caller.is_closing)
        self.assertEqual(self.lobby.watch(), [])

    def test_more_connections_of_one_host_guess_no_faster(self) -> None:
        callers = [self.lobby.call() for _ in range(5)]
        for caller in callers:
            caller.ask("wrong")
        wrong = 0
        for _ in range(3):
            self.lobby.pass_time(PASSWORD_PAUSE)
            wrong += sum(len(caller.heard()) for caller in callers)
        self.assertEqual(wrong, 3)
        self.assertEqual(self.lobby.call("10.0.0.10").ask("sésame")[-1], ASKED)

    def test_refusal_is_sent_after_a_half_close(self) -> None:
        for sign in (b"", b"\x04"):
            caller = self.lobby.call()
            caller.heard()
            caller.send_bytes(b"wrong\n" + sign)
            if not sign:
                caller.half_close()
            self.assertFalse(caller.is_closing)
            self.lobby.pass_time(PASSWORD_PAUSE)
            self.assertEqual(caller.heard(), ["* That is not the password. What is it?"])
            self.assertTrue(caller.is_closing)

    def test_connection_lost_before_the_refusal(self) -> None:
        caller = self.lobby.call()
        caller.ask("wrong", "wrong", "wrong", "sésame", "Alice")
        caller.lose()
        self.lobby.pass_time(10 * PASSWORD_PAUSE)
        self.assertEqual((self.lobby.registry.connections, self.lobby.watch()), ({}, []))
