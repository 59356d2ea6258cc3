"""Live lines: the greeting, the password, the name and the conversation."""

from __future__ import annotations

import re

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from zope.interface.verify import verifyObject

from groupchat.core.limits import (
    BURST,
    GREETING_LINES,
    MAX_LINE,
    MAX_NAMES,
    NAME_ATTEMPTS,
    PASSWORD_ATTEMPTS,
    PASSWORD_CHECKS,
    Limits,
)
from groupchat.frontends.lines.dialogue import ILinesConnection
from groupchat.frontends.lines.protocol import QUIET_SECONDS
from groupchat.service.seats import IConnection
from groupchat.service.subscriptions import IReader
from groupchat.wire.lines import HELP
from tests.lobby import ASKED, WELCOME, Lobby, LobbyTestCase, late_lobby


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
        heard = alice.heard()
        for lines in (self.script[:1], self.script[1:]):
            alice.send(*lines)
            heard += alice.heard()
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
        for line in ["Bob", "bob", "*", "/users", "/numbered", "  ", "x" * 33, "close"]:
            caller = self.lobby.call()
            caller.heard()
            (heard,) = caller.ask(line)
            self.assertRegex(heard, r"\A\* [A-Z].*\. What is your name\?\Z", line)
        caller.send_bytes(b"\xff\xe9\n")
        self.assertEqual(caller.heard(), ["* That is not UTF-8. What is your name?"])
        self.assertEqual(caller.ask("", ""), [])
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice")])

    def test_three_refused_names_close_the_connection(self) -> None:
        caller = self.lobby.call()
        for _ in range(NAME_ATTEMPTS - 1):
            self.assertEqual(caller.ask("Bob")[-1], f"* The name Bob is in use. {ASKED[2:]}")
            self.assertFalse(caller.is_closing)
        self.assertEqual(caller.ask("bob"), ["* The name Bob is in use. Connect again to try another name."])
        self.assertTrue(caller.is_closing)
        caller.send("Alice", "hi")
        caller.lose()
        self.assertEqual((self.lobby.watch(), self.lobby.registry.connections), ([], {}))

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
        second.send("ALICE")
        self.assertEqual(second.heard(), [f"* Somebody else was first. {ASKED[2:]}"])
        self.assertEqual(second.ask("Alicia", "hi"), [WELCOME.format("Alicia"), "Alice has joined"])
        self.assertEqual(first.heard(), [WELCOME.format("Alice"), "Alicia has joined", "Alicia: hi"])


class StrangerTests(LobbyTestCase):
    """Connections that do not mean this server, or that send more than they were asked for."""

    NO_WEB = ["* This is no web server."]
    body = b"\nEvil\nhello\n/quit\n"

    def told(self, *pieces: bytes, step: int = 0) -> list[str]:
        """Connect and send this. Return what was heard after the greeting; the connection must be closing."""
        caller = self.lobby.call(step=step)
        caller.heard()
        for piece in pieces:
            caller.send_bytes(piece)
        heard = caller.heard()
        self.assertTrue(caller.is_closing, pieces)
        self.assertEqual(self.lobby.watch(), [], pieces)
        return heard

    def test_no_web_page_speaks_in_the_group(self) -> None:
        long = b"a" * 5000
        rest = b"\r\nHost: localhost:12345\r\nContent-Type: text/plain\r\n\r\n" + self.body
        for method in [b"POST", b"GET", b"PUT", b"OPTIONS", b"PATCH", b"patch", b"M-SEARCH", b"/numbered GET"]:
            for target in [b"/", b"/chat?name=Bob", b"*", b"http://localhost/", b"localhost:80"]:
                for version in [b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b" HTTP/3"]:
                    for step in (0, 1, 7):
                        heard = self.told(method + b" " + target + version + rest, step=step)
                        self.assertEqual(heard, ["* This is no web server."], (method, target, version))
        too_long = [f"* That line is longer than {MAX_LINE} bytes."]
        for step in (0, 1000, 1):
            self.assertIn(self.told(b"POST /" + long + b" HTTP/1.1" + rest, step=step), [too_long, self.NO_WEB])
            self.assertEqual(self.told(long + b" HTTP/1.1" + rest, step=step), too_long)

    def test_other_requests_in_lines_say_nothing_either(self) -> None:
        for first in [
            b"GET /",
            b"\r\n\nGET / HTTP/1.1",
            b"\r\0\r\0GET / HTTP/1.1",
            b"\xef\xbb\xbfGET / HTTP/1.1",
            b"\xef\xbb\xbf\r\nGET / HTTP/1.1",
            b"\n" * 5000 + b"GET / HTTP/1.1",
            b"OPTIONS rtsp://localhost/ RTSP/1.0",
            b"REGISTER sip:localhost SIP/2.0",
        ]:
            self.assertEqual(self.told(first + b"\r\n", self.body), self.NO_WEB, first)
        self.assertEqual(self.told(b"GET / HTTP/1.1"), self.NO_WEB)  # its line has no end

    def test_other_protocols_close_the_connection(self) -> None:
        for first in [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"\x00\x03\x00\x08\x21\x12\xa4\x42",  # STUN and TURN, which web pages can use
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL
            b"\x05\x01\x00",  # SOCKS
            b"\x03\x00\x00\x13\x0e\xe0",  # RDP
            b"\r\n\r\n\x00\r\nQUIT\n!",  # HAProxy
            b"\x13BitTorrent protocol",
            b"SSH-2.0-OpenSSH_9.2",
            b"EHLO localhost",
            b"CAP LS 302",
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2",
        ]:
            for step in (0, 1):
                (heard,) = self.told(first + self.body, step=step)
                self.assertRegex(heard, r"\A\* This server speaks another protocol", first)

    def test_telnet_in_character_mode_can_join(self) -> None:
        """It sends each key at once, and CR NUL for Enter."""
        for before in (b"", b"\r\0", b"\xef\xbb\xbf"):
            self.open(Lobby())
            caller = self.lobby.call(step=1)
            caller.send_bytes(before + b"Alice\r\0" + b"hello\r\0" * 1000)
            caller.settle()
            self.assertEqual(self.lobby.watch(), ["Alice has joined", *["Alice: hello"] * 1000])

    def test_a_first_line_that_is_too_long_closes(self) -> None:
        for end in (b"", b"\n", b"\r\n"):
            for step in (0, 1000, 1):
                (heard,) = self.told(b"x" * (MAX_LINE + 2) + end, step=step)
                self.assertEqual(heard, f"* That line is longer than {MAX_LINE} bytes.")

    def test_names_with_signs_of_protocols_are_fine(self) -> None:
        names = ["Get it", "HTTP fan", "AC/DC", "USB/3", "Ehlo", "TLS 1/3", "\u16a0", "Post / it"]
        for number, name in enumerate(names):
            self.assertEqual(self.lobby.call(f"10.0.1.{number}").ask(name)[-1], WELCOME.format(name))

    def test_a_member_may_talk_about_http(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.ask("GET / HTTP/1.1", "\x16\x03\x01")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: GET / HTTP/1.1"])

    def test_what_came_before_a_refusal_is_no_name(self) -> None:
        for step in (0, 1, 7):
            for pieces in [(b"Bob\nbackup done\n",), (b"Bob\nbackup", b" done\n"), (b"Bob\n", b"backup done")]:
                caller = self.lobby.call(step=step)
                caller.heard()
                for piece in pieces:
                    caller.send_bytes(piece)
                caller.half_close()
                self.assertEqual(caller.heard(), [f"* The name Bob is in use. {ASKED[2:]}"])
                self.assertTrue(caller.is_closing)
                self.assertEqual(self.lobby.watch(), [], (step, pieces))

    def test_it_is_discarded_if_the_connection_is_lost(self) -> None:
        caller = self.lobby.call()
        caller.send("Bob", "backup done", "and this")
        caller.lose()
        self.lobby.settle()
        self.assertEqual((self.lobby.registry.connections, self.lobby.watch()), ({}, []))

    def test_what_comes_until_it_is_quiet_is_discarded(self) -> None:
        """Input that a script sends at once may come in several pieces, or still be in the kernel."""
        caller = self.lobby.call()
        caller.heard()
        caller.send("Bob")
        for piece in [b"Evil\r\n", b"hello\r\n", b"more", b"\r\nAlice\r\nand half a"]:
            self.lobby.clock.advance(0.9 * QUIET_SECONDS)
            self.assertEqual(caller.transport.value(), b"")
            caller.send_bytes(piece)
        self.assertEqual(caller.heard(), [f"* The name Bob is in use. {ASKED[2:]}"])
        self.assertEqual(caller.ask(" and more of that line"), [])
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice")])
        self.assertEqual(self.lobby.watch(), ["Alice has joined"])

    def test_who_never_stops_sending_is_closed_in_time(self) -> None:
        self.open(Lobby(limits=Limits(name_within=10)))
        caller = self.lobby.call()
        caller.heard()
        caller.send("Bob")
        for _ in range(130):
            caller.send("Evil")
            self.lobby.clock.advance(0.09)
        self.assertTrue(caller.transport.disconnecting)
        self.assertEqual(caller.heard(), ["* You gave no name. Come back when you have one."])
        caller.lose()
        self.assertEqual(self.lobby.watch(), [])

    def test_a_name_that_is_refused_late_is_answered_late(self) -> None:
        lobby = late_lobby(1.0)
        first, second = lobby.call(), lobby.call()
        first.send("Cron")
        second.send("Cron", "backup done")
        second.half_close()
        lobby.settle()
        lobby.clock.advance(1.0)
        self.assertEqual(second.heard()[-1:], [f"* Somebody else was first. {ASKED[2:]}"])
        self.assertTrue(second.is_closing)
        self.assertEqual(len(lobby.service.group.members), 1)

    def test_ctrl_d_behind_a_refused_name_ends_the_input(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        caller.send_bytes(b"Bob\n\x04")
        self.assertEqual(caller.heard(), [f"* The name Bob is in use. {ASKED[2:]}"])
        self.assertTrue(caller.is_closing)


class Guesser:
    """A connection that gives a password."""

    way = "tcp"


class PasswordTests(LobbyTestCase):
    WRONG = "* That is not the password. What is it?"

    def setUp(self) -> None:
        self.open(Lobby(limits=Limits(password="sésame".encode(), name_within=60)))

    def exhaust(self, host: str = "10.0.0.9") -> None:
        """Give as many wrong passwords as a host may at once."""
        for _ in range(PASSWORD_CHECKS[0]):
            check = self.lobby.registry.passwords.check(host, Guesser(), b"wrong")
            self.assertFalse(self.successResultOf(check))

    def test_nothing_is_shown_before_the_password(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.heard(), ["* What is the password?"])
        for line in ["/help", "Bob", ""]:
            self.assertEqual(self.lobby.call().ask(line), [self.WRONG])

    def test_the_right_password_is_accepted(self) -> None:
        caller = self.lobby.call()
        heard = caller.ask("sésame", "Alice", "hi")
        self.assertEqual((heard[0], heard[-2:]), ("* This is lobby, a group chat.", [ASKED, WELCOME.format("Alice")]))
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: hi"])

    def test_what_came_before_a_refusal_is_no_password(self) -> None:
        caller = self.lobby.call()
        self.assertEqual(caller.ask("sesame", "sésame", "Alice", "hi"), [self.WRONG])
        self.assertEqual((caller.is_closing, caller.transport.producerState), (False, "producing"))
        self.assertEqual(caller.ask("sésame")[-1], ASKED)
        self.assertEqual(self.lobby.watch(), [])

    def test_too_many_wrong_passwords_close_the_connection(self) -> None:
        caller = self.lobby.call()
        caller.heard()
        for _ in range(PASSWORD_ATTEMPTS - 1):
            self.assertEqual(caller.ask("wrong"), [self.WRONG])
            self.assertFalse(caller.is_closing)
        heard = caller.ask("wrong", "sésame", "Alice")
        self.assertEqual(heard, ["* That is not the password. Ask whoever runs this group for it."])
        self.assertTrue(caller.is_closing)
        self.assertEqual(self.lobby.watch(), [])

    def test_wrong_passwords_leave_all_names_to_try(self) -> None:
        caller = self.lobby.call()
        caller.ask("wrong")
        caller.ask("wrong")
        caller.ask("sésame")
        for _ in range(NAME_ATTEMPTS - 1):
            caller.ask("*")
        self.assertEqual(caller.ask("Alice"), [WELCOME.format("Alice")])

    def test_the_right_password_has_its_turn_beside_guessers(self) -> None:
        self.exhaust()
        guessers = [self.lobby.call() for _ in range(5)]
        for guesser in guessers:
            guesser.ask("wrong")
        caller = self.lobby.call()
        self.assertEqual(caller.ask("sésame"), [])
        for second in range(1, 6):
            self.assertEqual(caller.heard(), [], second)
            self.lobby.pass_time(1)
        self.assertEqual([guesser.heard() for guesser in guessers], [[self.WRONG]] * 5)
        self.lobby.pass_time(1)
        self.assertEqual(caller.heard()[-1], ASKED)

    def test_others_do_not_wait_for_the_guessers_of_a_host(self) -> None:
        self.exhaust()
        self.assertEqual(self.lobby.call("10.0.0.9").ask("sésame"), [])
        self.assertEqual(self.lobby.call("10.0.0.10").ask("sésame")[-1], ASKED)

    def test_who_waits_in_the_queue_is_not_closed_for_that(self) -> None:
        self.exhaust()
        for _ in range(69):
            self.lobby.registry.passwords.check("10.0.0.9", Guesser(), b"wrong")
        caller = self.lobby.call()
        caller.ask("sésame")
        self.lobby.clock.pump([1] * 69)
        self.assertEqual((caller.heard(), caller.is_closing), ([], False))
        self.lobby.pass_time(1)
        self.assertEqual(caller.heard()[-1], ASKED)
        self.lobby.pass_time(59)
        self.assertFalse(caller.is_closing)
        self.lobby.pass_time(1)
        self.assertTrue(caller.is_closing)

    def test_refusal_is_sent_after_a_half_close(self) -> None:
        self.exhaust()
        for sign in (b"", b"\x04"):
            caller = self.lobby.call()
            caller.heard()
            caller.send_bytes(b"wrong\n" + sign)
            if not sign:
                caller.half_close()
            self.assertFalse(caller.is_closing)
            self.lobby.pass_time(1)
            self.assertEqual(caller.heard(), [self.WRONG])
            self.assertTrue(caller.is_closing)

    def test_a_lost_connection_waits_no_longer(self) -> None:
        self.exhaust()
        for lost in range(5):
            caller = self.lobby.call()
            caller.ask("wrong", "Alice")
            caller.lose(reset=lost % 2 > 0)
        self.assertEqual((self.lobby.registry.connections, self.lobby.watch()), ({}, []))
        caller = self.lobby.call()
        caller.ask("sésame")
        self.lobby.pass_time(1)
        self.assertEqual(caller.heard()[-1], ASKED)

    def test_what_was_sent_is_done_if_the_connection_ends(self) -> None:
        caller = self.lobby.call()
        caller.send("sésame", "Alice", "hi")
        caller.lose()
        self.lobby.settle()
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice: hi", "Alice has left the group"])
