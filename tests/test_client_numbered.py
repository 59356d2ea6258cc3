"""A numbered session against a scripted server, over connections that break."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from groupchat.client.commands import SessionCommand
from groupchat.client.greeting import MAX_PASSWORDS
from groupchat.client.line_connection import MAX_LINE
from groupchat.client.numbered import BUSY_SECONDS, GREETING_SECONDS, LAST_TRIES, NumberedSession
from groupchat.client.outbox import AT_ONCE
from groupchat.client.reconnector import FIRST_PAUSE, LONGEST_PAUSE
from groupchat.client.trust import UntrustedError
from groupchat.core.commands import Recall, Rename, Say, Users, Whisper
from tests.chatting import FakeEndpoint, Peer, Witness

GREETING = ["* Welcome.", "* Here now: Bob."]
ASKS_NAME = "* What is your name?"
ASKS_PASSWORD = "* What is the password?"
WRONG = "* That is not the password. What is it?"
NO_SESSION = "no 0 There is no such session."


class NumberedCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint()
        self.witness = Witness()
        self.passwords: list[Callable[[str], None]] = []
        self.session = NumberedSession(self.clock, self.endpoint, self.witness, self.passwords.append)

    def greet(self) -> Peer:
        """Return a new connection, up to the question for a name."""
        peer = self.endpoint.accept()
        peer.send(*GREETING, ASKS_NAME)
        return peer

    def enter(self, number: int = 7) -> Peer:
        """Join as Zoe. Return the server's side of the connection."""
        self.session.join("Zoe")
        peer = self.greet()
        [first] = peer.sent()
        self.key = first.split(" ")[1]
        self.assertEqual(first, f"/numbered {self.key} Zoe")
        peer.send(f"session {number} 0 Zoe")
        self.assertEqual(self.witness.news(), [("joined", "Zoe", ["Welcome.", "Here now: Bob."])])
        return peer

    def lose(self, peer: Peer) -> None:
        peer.lose()
        self.assertEqual(self.witness.news(), [("lost", "the connection ended")])

    def call_again(self) -> Peer:
        """Let the pause pass, and return the next connection."""
        self.clock.advance(LONGEST_PAUSE)
        return self.greet()

    def resume(self, number: int, waiting: int = 0) -> Peer:
        peer = self.call_again()
        self.assertEqual(peer.sent(), [f"/resume {self.key} {number}"])
        peer.send(f"session {number} {waiting} Zoe")
        self.assertEqual(self.witness.news(), [("back", waiting)])
        return peer

    def ask(self, *texts: str) -> list[SessionCommand]:
        asks: list[SessionCommand] = [Say(text) for text in texts]
        for ask in asks:
            self.session.ask(ask)
        return asks


class ComingInTest(NumberedCase):
    def test_greeting_name_and_session(self) -> None:
        self.enter()
        self.assertRegex(self.key, "^[0-9a-f]{32}$")

    def test_it_comes_byte_by_byte(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        for byte in f"* Welcom\u00e9.\r\n{ASKS_NAME}\r\nsession 1 0 Zo\u00e9\r\n2 Bob: h\u00e9\r\n".encode():
            peer.send_bytes(bytes([byte]))
        self.assertEqual(self.witness.news(), [("joined", "Zo\u00e9", ["Welcom\u00e9."])])
        self.assertEqual(self.witness.lines, [(2, "Bob: h\u00e9")])

    def test_commands_before_joining_are_sent_after_it(self) -> None:
        self.ask("early")
        self.session.join("Zoe")
        self.ask("too early")
        peer = self.greet()
        self.assertEqual(len(peer.sent()), 1)
        peer.send("session 7 0 Zoe")
        self.assertEqual(peer.sent(), ["1 early", "2 too early"])

    def test_the_password_comes_first(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        peer.send(ASKS_PASSWORD)
        self.assertEqual(peer.sent(), [])
        self.passwords.pop()("sesame")
        self.assertEqual(peer.sent(), ["sesame"])
        peer.send(ASKS_NAME)
        self.assertEqual(len(peer.sent()), 1)

    def test_a_late_password_is_not_sent_as_a_name(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        peer.send(ASKS_PASSWORD)
        peer.lose()
        self.passwords.pop()("sesame")
        self.assertEqual([told[0] for told in self.witness.told], ["ended"])

    def test_a_wrong_password_is_asked_for_again(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        peer.send(ASKS_PASSWORD)
        self.passwords.pop()("open")
        peer.send(WRONG)
        self.passwords.pop()("sesame")
        self.assertEqual(peer.sent(), ["open", "sesame"])
        peer.send(ASKS_NAME)
        self.assertEqual((len(peer.sent()), self.witness.news()), (1, []))

    def test_wrong_passwords_are_bounded(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        peer.send(ASKS_PASSWORD)
        for _ in range(MAX_PASSWORDS):
            self.passwords.pop()("open")
            peer.send(WRONG)
        self.assertEqual((self.passwords, peer.is_closed), ([], True))
        self.assertEqual(self.witness.news(), [("ended", "that is not the password")])
        self.assertTrue(peer.is_closed)

    def test_after_a_refused_name_another_is_accepted(self) -> None:
        self.session.join("Bob")
        peer = self.greet()
        key = peer.sent()[0].split(" ")[1]
        peer.send("no 0 That name is in use.")
        self.assertEqual(self.witness.news(), [("not_joined", "That name is in use.")])
        self.session.join("Zoe")
        self.assertEqual(peer.sent(), [f"/numbered {key} Zoe"])
        peer.send("session 1 0 Zoe")
        self.assertEqual(self.witness.news(), [("joined", "Zoe", ["Welcome.", "Here now: Bob."])])

    def test_a_connection_lost_at_the_name_question_is_made_anew(self) -> None:
        self.session.join("Bob")
        peer = self.greet()
        peer.send("no 0 That name is in use.")
        peer.lose()
        again = self.call_again()
        self.assertEqual(again.sent(), [])
        again.lose()
        self.session.join("Zoe")
        self.clock.advance(LONGEST_PAUSE)
        self.assertEqual(self.endpoint.count, 3)
        again = self.greet()
        self.assertEqual(again.sent()[0].split(" ")[2], "Zoe")

    def test_a_join_whose_answer_was_lost_is_repeated(self) -> None:
        self.session.join("Zoe")
        peer = self.greet()
        first = peer.sent()
        peer.lose()
        self.assertEqual(self.witness.news(), [])
        again = self.call_again()
        self.assertEqual(again.sent(), first)
        again.send("session 3 0 Zoe")
        self.assertEqual([told[0] for told in self.witness.news()], ["joined"])

    def test_a_join_is_repeated_after_each_broken_connection(self) -> None:
        self.session.join("Zoe")
        peer = self.greet()
        first = peer.sent()
        peer.lose()
        self.clock.advance(LONGEST_PAUSE)
        self.endpoint.accept().lose()
        again = self.call_again()
        self.assertEqual((again.sent(), self.witness.news()), (first, []))

    def test_joining_a_busy_server_is_retried(self) -> None:
        self.session.join("Zoe")
        peer = self.greet()
        first = peer.sent()
        peer.send("busy 0 The server cannot take that now: send it again.")
        self.assertEqual((self.witness.news(), peer.sent()), ([], []))
        self.clock.advance(BUSY_SECONDS)
        self.assertEqual(peer.sent(), first)

    def test_nobody_listens(self) -> None:
        for error, why in [
            (ConnectionRefusedError(), "nothing is listening there"),
            (DNSLookupError(), "unknown host; check its spelling, or give its address"),
        ]:
            self.setUp()
            self.session.join("Zoe")
            self.endpoint.refuse(error)
            self.clock.advance(100)
            self.assertEqual(self.witness.news(), [("ended", why)])
            self.assertEqual(self.endpoint.count, 1)

    def test_the_server_says_why_it_closes(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        peer.send("* The group is full.")
        peer.lose()
        self.assertEqual(self.witness.news(), [("ended", "The group is full.")])

    def test_a_greeting_that_never_comes(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        peer.send("HTTP/1.1 400 Bad Request")
        self.clock.advance(GREETING_SECONDS - 1)
        self.assertEqual(self.witness.news(), [])
        self.clock.advance(1)
        [(kind, why)] = self.witness.news()
        self.assertEqual(kind, "ended")
        self.assertIn("is it a groupchat server", str(why))
        self.assertTrue(peer.is_closed)

    def test_no_timeout_while_the_user_is_asked_for_a_password(self) -> None:
        self.session.join("Zoe")
        self.endpoint.accept().send(ASKS_PASSWORD)
        self.clock.advance(10 * GREETING_SECONDS)
        self.assertEqual(self.witness.news(), [])

    def test_an_untrusted_server_is_tried_again_on_join(self) -> None:
        self.session.join("Zoe")
        peer = self.endpoint.accept()
        why = UntrustedError("It is new.")
        peer.lose(why)
        self.clock.advance(100)
        self.assertEqual((self.witness.told, self.endpoint.count), ([("untrusted", str(why))], 1))
        self.session.join("Zoe")
        self.witness.news()
        peer = self.greet()
        peer.send("session 1 0 Zoe")
        self.assertEqual([told[0] for told in self.witness.news()], ["joined"])

    def test_a_certificate_that_changes_meanwhile_is_reported(self) -> None:
        peer = self.enter()
        self.lose(peer)
        self.clock.advance(LONGEST_PAUSE)
        self.endpoint.accept().lose(UntrustedError("It has changed."))
        self.clock.advance(1000)
        self.assertEqual(self.witness.news(), [("untrusted", "It has changed.")])
        self.assertEqual(self.endpoint.count, 2)

    def test_an_untrusted_endpoint_is_tried_again_on_join(self) -> None:
        self.session.join("Zoe")
        self.endpoint.refuse(UntrustedError("It is new."))
        self.assertEqual(self.witness.news(), [("untrusted", "It is new.")])
        self.session.join("Zoe")  # it is trusted by now
        self.endpoint.accept().send("* What is your name?")

    def test_a_session_has_a_proof_only_with_a_seat(self) -> None:
        self.assertEqual(self.session.proof, "")
        self.enter()
        self.assertRegex(self.session.proof, r"\AKEY [0-9a-f]{32}\Z")


class AskingTest(NumberedCase):
    def test_each_has_its_number_and_its_line(self) -> None:
        peer = self.enter()
        for ask in (Say("hi"), Say("/slash"), Whisper("Bob: psst"), Rename("Yan"), Users(), Recall(20), Recall(3)):
            self.session.ask(ask)
        lines = ["hi", "//slash", "/msg Bob: psst", "/name Yan", "/users", "/history 20", "/history 3"]
        self.assertEqual(peer.sent(), [f"{number} {line}" for number, line in enumerate(lines, 1)])

    def test_each_is_answered_once(self) -> None:
        peer = self.enter()
        one, two, three = self.ask("one", "two", "three")
        peer.send("ok 2", "no 1 You may not.", "ok 2", "ok 1", "ok 99", "ok 3")
        answers = [("answered", two, []), ("refused", one, "You may not."), ("answered", three, [])]
        self.assertEqual(self.witness.news(), answers)

    def test_a_result_may_come_between_lines(self) -> None:
        peer = self.enter()
        self.session.ask(Users())
        self.ask("hi")
        peer.send("= Bob", "8 Bob: hello", "= 2 members", "ok 1", "ok 2")
        self.assertEqual(
            self.witness.news(), [("answered", Users(), ["Bob", "2 members"]), ("answered", Say("hi"), [])]
        )
        self.assertEqual(self.witness.lines, [(8, "Bob: hello")])

    def test_no_more_are_asked_at_once_than_the_server_remembers(self) -> None:
        peer = self.enter()
        asks = self.ask(*map(str, range(3 * AT_ONCE)))
        self.assertEqual(len(peer.sent()), AT_ONCE)
        peer.send("ok 5", "ok 6")
        self.assertEqual(peer.sent(), [f"{AT_ONCE + 1} {AT_ONCE}", f"{AT_ONCE + 2} {AT_ONCE + 1}"])
        peer.send(*[f"ok {number}" for number in range(1, len(asks) + 1)])
        self.assertEqual([told[1] for told in self.witness.news()], [*asks[4:6], *asks[:4], *asks[6:]])

    def test_busy_commands_are_sent_again_in_order(self) -> None:
        peer = self.enter()
        self.ask("one", "two")
        peer.sent()
        peer.send("busy 1 Slow down.", "busy 2 Slow down.")
        self.ask("three")
        self.assertEqual((peer.sent(), self.witness.news()), ([], []))
        self.clock.advance(BUSY_SECONDS)
        self.assertEqual(peer.sent(), ["1 one", "2 two", "3 three"])
        peer.send("busy 1 Slow down.")
        self.clock.advance(BUSY_SECONDS)
        self.assertEqual(peer.sent(), ["1 one", "2 two", "3 three"])
        peer.send("ok 1", "ok 2", "ok 3")
        self.assertEqual([told[0] for told in self.witness.news()], ["answered"] * 3)

    def test_a_pause_holds_for_the_next_connection_too(self) -> None:
        peer = self.enter()
        self.session.pause()
        self.assertEqual(peer.transport.producerState, "paused")
        self.lose(peer)
        again = self.call_again()
        self.assertEqual(again.transport.producerState, "paused")
        self.session.resume()
        self.assertEqual(again.transport.producerState, "producing")


class LostTest(NumberedCase):
    def test_it_resumes_with_its_key_and_last_line(self) -> None:
        peer = self.enter()
        peer.send("9 Bob: hi", "12 Bob: there")
        self.lose(peer)
        again = self.resume(12, 3)
        again.send("13 Bob: more", "14 Bob: and more")
        self.assertEqual([number for number, _ in self.witness.lines], [9, 12, 13, 14])

    def test_an_unfinished_line_is_not_received(self) -> None:
        peer = self.enter()
        peer.send_bytes(b"9 Bob: hi\n10 Bob: hal")
        self.lose(peer)
        self.resume(9, 1).send("10 Bob: half")
        self.assertEqual(self.witness.lines, [(9, "Bob: hi"), (10, "Bob: half")])

    def test_unanswered_commands_are_sent_again_first_with_their_ids(self) -> None:
        peer = self.enter()
        asks = self.ask("one", "two", "three")
        peer.send("ok 2")
        self.lose_quietly(peer)
        asks += self.ask("four")
        again = self.resume(7)
        self.assertEqual(again.sent(), ["1 one", "3 three", "4 four"])
        again.send("ok 1", "ok 3", "ok 4")
        self.assertEqual(self.witness.news(), [("answered", ask, []) for ask in (asks[0], asks[2], asks[3])])

    def lose_quietly(self, peer: Peer) -> None:
        peer.lose()
        self.witness.news()

    def test_half_an_answer_is_forgotten(self) -> None:
        peer = self.enter()
        self.session.ask(Users())
        peer.send("= Bob")
        self.lose(peer)
        again = self.resume(7)
        self.assertEqual(again.sent(), ["1 /users"])
        again.send("= Bob", "= Zoe", "ok 1")
        self.assertEqual(self.witness.news(), [("answered", Users(), ["Bob", "Zoe"])])

    def test_a_lost_connection_is_reported_once(self) -> None:
        peer = self.enter()
        self.lose(peer)
        for _ in range(3):
            self.clock.advance(LONGEST_PAUSE)
            self.endpoint.refuse(ConnectionRefusedError())
        self.call_again().lose()
        self.assertEqual(self.witness.news(), [])
        self.resume(7)

    def test_pauses_between_connections_grow_up_to_a_limit(self) -> None:
        peer = self.enter()
        self.lose(peer)
        pauses = [self.pause_before_the_next() for _ in range(30)]
        expected = FIRST_PAUSE
        for pause in pauses:
            self.assertTrue(expected / 2 - 0.01 <= pause <= expected + 0.01, pauses)
            expected = min(LONGEST_PAUSE, expected * 1.5)
        self.assertEqual(expected, LONGEST_PAUSE)
        self.assertGreater(len(set(pauses[-10:])), 1, "all clients would come back at once")
        self.resume(7).lose()
        self.assertLessEqual(self.pause_before_the_next(), FIRST_PAUSE + 0.01)

    def pause_before_the_next(self) -> float:
        pause = 0.0
        while not self.endpoint.attempts:
            self.clock.advance(0.01)
            pause += 0.01
        self.endpoint.refuse(ConnectionRefusedError())
        return pause

    def test_a_silent_connection_after_the_first_is_retried(self) -> None:
        peer = self.enter()
        self.lose(peer)
        self.clock.advance(LONGEST_PAUSE)
        silent = self.endpoint.accept()
        self.clock.advance(GREETING_SECONDS)
        self.assertTrue(silent.is_closed)
        silent.lose()
        self.resume(7)

    def test_lines_of_an_old_connection_are_ignored(self) -> None:
        peer = self.enter()
        self.lose(peer)
        self.resume(7)
        peer.send("8 Bob: late", "ok 1")
        peer.lose()
        self.assertEqual((self.witness.lines, self.witness.news()), ([], []))

    def test_the_password_is_asked_for_once(self) -> None:
        self.session.join("Zoe")
        for expected in ("/numbered", "/resume", "/resume"):
            peer = self.endpoint.accept()
            peer.send(ASKS_PASSWORD)
            while self.passwords:
                self.passwords.pop()("sesame")
                self.assertEqual(expected, "/numbered")
            peer.send(ASKS_NAME)
            password, first = peer.sent()
            self.assertEqual((password, first.split(" ")[0]), ("sesame", expected))
            peer.send("session 1 0 Zoe")
            peer.lose()
            self.clock.advance(LONGEST_PAUSE)

    def test_a_connection_may_break_while_the_server_is_busy(self) -> None:
        peer = self.enter()
        self.ask("one")
        peer.send("busy 1 Slow down.")
        self.lose(peer)
        again = self.resume(7)
        self.assertEqual(again.sent(), ["1 one"])
        again.send("ok 1")
        self.clock.advance(10 * BUSY_SECONDS)
        self.assertEqual(again.sent(), [])


class GoneTest(NumberedCase):
    """The server no longer knows the session."""

    def setUp(self) -> None:
        super().setUp()
        peer = self.enter(700)
        self.asks = self.ask("one", "two")
        self.lose(peer)
        self.asks += self.ask("three")
        self.peer = self.call_again()
        self.assertEqual(self.peer.sent(), [f"/resume {self.key} 700"])

    def refuse(self) -> None:
        self.peer.send(NO_SESSION)
        self.assertEqual(self.witness.news(), [("unconfirmed", ask) for ask in self.asks[:2]])
        self.assertEqual(self.peer.sent(), [f"/numbered {self.key} Zoe"])

    def join_anew(self, number: int, name: str = "Zoe") -> None:
        """Join with the key, after the line with this number: the client resumes at once on another connection."""
        self.peer.send(f"session {number} 0 {name}")
        self.assertEqual(self.witness.news(), [])
        self.peer = self.greet()
        self.assertEqual(self.peer.sent(), [f"/resume {self.key} 700"])

    def test_the_key_gives_its_place_back_and_what_was_missed(self) -> None:
        for place in (690, 700, 703):  # less than what came, since the server may not know; or more was written
            self.setUp()
            self.refuse()
            self.join_anew(place)
            self.peer.send("session 700 2 Zoe", "702 Bob: one", "705 Bob: two")
            self.assertEqual(self.witness.news(), [("regained", "Zoe"), ("back", 2)])
            self.assertEqual(self.witness.lines, [(702, "Bob: one"), (705, "Bob: two")])
            self.assertEqual(self.peer.sent(), ["3 three"])

    def test_a_group_that_began_anew_is_reported(self) -> None:
        self.refuse()
        self.join_anew(3)
        self.peer.send("session 3 0 Zoe")
        self.assertEqual(self.witness.news(), [("regained", "Zoe"), ("began_anew",), ("back", 0)])

    def test_a_seat_that_goes_again_meanwhile_is_joined_again(self) -> None:
        self.refuse()
        self.join_anew(703)
        self.peer.lose()
        self.peer = self.call_again()
        self.assertEqual(self.peer.sent(), [f"/resume {self.key} 700"])
        self.peer.send(NO_SESSION)
        self.assertEqual(self.peer.sent(), [f"/numbered {self.key} Zoe"])
        self.join_anew(703)
        self.peer.send("session 700 0 Zoe")
        self.assertEqual(self.witness.news(), [("regained", "Zoe"), ("back", 0)])

    def test_after_rejoining_only_unsent_commands_are_sent(self) -> None:
        self.refuse()
        self.join_anew(803)
        self.peer.send("session 803 0 Zoe")
        self.assertEqual(self.witness.news(), [("rejoined", "Zoe")])
        self.assertEqual(self.peer.sent(), ["3 three"])
        self.peer.send("804 Bob: hi", "ok 3")
        self.assertEqual(self.witness.news(), [("answered", self.asks[2], [])])
        self.lose(self.peer)
        self.resume(804)

    def test_rejoining_under_a_taken_name_is_refused(self) -> None:
        self.refuse()
        self.peer.send("no 0 That name is in use.")
        self.assertEqual(self.witness.news(), [("not_joined", "That name is in use.")])
        self.session.join("Yan")
        self.assertEqual(self.peer.sent(), [f"/numbered {self.key} Yan"])
        self.join_anew(803, "Yan")
        self.peer.send("session 803 0 Yan")
        self.assertEqual(self.witness.news(), [("rejoined", "Yan")])

    def test_busy_while_resuming_keeps_the_seat(self) -> None:
        self.peer.send("busy 0 Not now.")
        self.assertEqual(self.witness.news(), [])
        self.clock.advance(BUSY_SECONDS)
        self.assertEqual(self.peer.sent(), [f"/resume {self.key} 700"])


class RenamedTest(NumberedCase):
    def test_it_rejoins_under_its_last_name(self) -> None:
        peer = self.enter()
        self.session.ask(Rename("Yan"))
        peer.send("ok 1")
        self.witness.news()
        self.lose(peer)
        again = self.call_again()
        again.sent()
        again.send(NO_SESSION)
        self.assertEqual(again.sent()[0].split(" ")[2], "Yan")


class LeavingTest(NumberedCase):
    def test_after_all_that_was_asked(self) -> None:
        peer = self.enter()
        self.ask("one")
        self.session.leave()
        self.assertEqual(peer.sent(), ["1 one"])
        peer.send("ok 1")
        self.assertEqual(peer.sent(), ["2 /quit"])
        peer.send("ok 2")
        self.assertEqual(self.witness.news()[-1], ("ended", ""))
        self.assertTrue(peer.is_closed)
        peer.lose()
        self.clock.advance(100)
        self.assertEqual((self.endpoint.count, self.witness.news()), (1, []))

    def test_before_it_was_anywhere(self) -> None:
        self.session.leave()
        self.assertEqual(self.witness.news(), [("ended", "")])

    def test_while_it_connects(self) -> None:
        self.session.join("Zoe")
        self.session.leave()
        self.assertEqual((self.witness.news(), self.endpoint.cancelled), ([("ended", "")], 1))

    def test_leaving_while_connecting_sends_what_waits(self) -> None:
        self.session.join("Zoe")
        self.ask("one")
        self.session.leave()
        peer = self.greet()
        peer.sent()
        peer.send("session 1 0 Zoe")
        self.assertEqual(peer.sent(), ["1 one"])
        peer.send("ok 1")
        self.assertEqual(peer.sent(), ["2 /quit"])

    def test_leaving_during_the_join_sends_quit_after_it(self) -> None:
        self.session.join("Zoe")
        peer = self.greet()
        peer.sent()
        self.session.leave()
        self.assertEqual(self.witness.news(), [])
        peer.send("session 1 0 Zoe")
        self.assertEqual(peer.sent(), ["1 /quit"])

    def test_while_it_has_no_name(self) -> None:
        self.session.join("Bob")
        peer = self.greet()
        self.ask("one")
        peer.send("no 0 That name is in use.")
        self.witness.news()
        self.session.leave()
        self.assertEqual(self.witness.news(), [("ended", "")])
        self.assertTrue(peer.is_closed)

    def test_a_quit_whose_answer_was_lost_is_done(self) -> None:
        peer = self.enter()
        self.session.leave()
        self.assertEqual(peer.sent(), ["1 /quit"])
        self.lose(peer)
        again = self.call_again()
        self.assertEqual(again.sent(), [f"/resume {self.key} 7"])
        again.send(NO_SESSION)
        self.assertEqual(self.witness.news(), [("ended", "")])
        self.assertTrue(again.is_closed)

    def test_a_lost_quit_is_sent_again_with_its_id(self) -> None:
        peer = self.enter()
        self.session.leave()
        self.lose(peer)
        again = self.resume(7)
        self.assertEqual(set(again.sent()), {"1 /quit"})
        again.send("busy 1 Not now.")
        self.clock.advance(BUSY_SECONDS)
        self.assertEqual(set(again.sent()), {"1 /quit"})
        again.send("ok 1")
        self.assertEqual(self.witness.news(), [("ended", "")])

    def test_while_there_is_no_connection(self) -> None:
        peer = self.enter()
        self.lose(peer)
        self.ask("one")
        self.session.leave()
        self.assertEqual(self.witness.news(), [])
        again = self.resume(7)
        self.assertEqual(again.sent(), ["1 one"])
        again.send("ok 1")
        self.assertEqual(again.sent(), ["2 /quit"])

    def test_leaving_gives_up_when_the_server_does_not_come_back(self) -> None:
        peer = self.enter()
        [one] = self.ask("one")
        self.lose(peer)
        [two] = self.ask("two")
        self.session.leave()
        for _ in range(2 * LAST_TRIES):
            self.clock.advance(LONGEST_PAUSE)
            if self.endpoint.attempts:
                self.endpoint.refuse(ConnectionRefusedError())
        self.assertEqual(
            self.witness.news(),
            [
                ("unconfirmed", one),
                ("refused", two, "there was no way to the server"),
                ("ended", "the server did not come back"),
            ],
        )
        self.assertLessEqual(self.endpoint.count, LAST_TRIES + 1)

    def test_after_stop_nothing_follows(self) -> None:
        for when in ("connecting", "connected", "lost", "busy"):
            self.setUp()
            self.session.join("Zoe")
            if when != "connecting":
                peer = self.greet()
                peer.send("session 1 0 Zoe")
                self.ask("one")
                if when == "lost":
                    peer.lose()
                if when == "busy":
                    peer.send("busy 1 Not now.")
            count = self.endpoint.count
            self.witness.news()
            self.session.stop()
            if when in ("connected", "busy"):
                self.assertTrue(peer.is_closed)
                peer.send("8 Bob: late", "ok 1")
                peer.lose()
            self.clock.advance(1000)
            self.assertEqual((self.witness.news(), self.witness.lines, self.endpoint.count), ([], [], count), when)
            self.assertEqual(self.clock.getDelayedCalls(), [], when)


class HostileTest(NumberedCase):
    """A server that sends anything: nothing raises, and memory is bounded."""

    def test_a_line_without_an_end(self) -> None:
        peer = self.enter()
        for _ in range(MAX_LINE // 1024 + 2):
            if not peer.is_closed:
                peer.send_bytes(b"x" * 1024)
        self.assertTrue(peer.is_closed)
        self.lose(peer)

    def test_a_session_without_sense(self) -> None:
        for rest in ("", " ", " x", " 1", " 1 x", " -1 0 Zoe", " 1 -1 Zoe", " \u0661 0 Zoe", f" {'9' * 5000} 0 Zoe"):
            self.setUp()
            self.session.join("Zoe")
            self.greet().send(f"session{rest}")
            self.assertEqual(self.witness.news(), [("ended", "the server speaks another protocol")], rest)

    def test_unknown_verbs_and_numbers_are_ignored(self) -> None:
        peer = self.enter()
        [one] = self.ask("one")
        nines = "9" * 5000
        peer.send(
            "", " ", "what", "ok", "ok ", "ok one", "ok -1", f"ok {nines}", f"no {nines} why", f"{nines} line", "no 0 x"
        )
        peer.send("-1 Bob: hi", "+1 Bob: hi", "\u0661 Bob: hi", "1_0 Bob: hi")
        self.assertEqual((self.witness.news(), self.witness.lines), ([], []))
        peer.send("ok 1")
        self.assertEqual(self.witness.news(), [("answered", one, [])])

    def test_control_characters_are_removed(self) -> None:
        peer = self.enter()
        self.session.ask(Users())
        self.ask("one")
        peer.send("8 Bob: \x1b[2Jhi\x07", "* \x1b]0;x\x07bye", "= \x1b[31mred", "ok 1", "no 2 \x9bwhy")
        self.assertEqual(self.witness.lines, [(8, "Bob: [2Jhi"), (0, "* ]0;xbye")])
        self.assertEqual(self.witness.news(), [("answered", Users(), ["[31mred"]), ("refused", Say("one"), "why")])

    def test_a_second_session_line_is_harmless(self) -> None:
        peer = self.enter()
        peer.send("session 3 0 Yan", "9 Bob: hi")
        self.assertEqual(self.witness.lines, [(9, "Bob: hi")])
        self.lose_and_expect(peer, 9)

    def lose_and_expect(self, peer: Peer, number: int) -> None:
        peer.lose()
        self.assertEqual(self.call_again().sent()[0], f"/resume {self.key} {number}")

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from(
                    [b"\n", b"session 1 0 Zoe\n", b"ok 1\n", b"no 0 x\n", b"busy 1 x\n", b"busy 0 x\n", b"= \n"]
                ),
                st.sampled_from([ASKS_NAME.encode() + b"\n", ASKS_PASSWORD.encode() + b"\n", b"1 x\n", b"ok 2\n"]),
            )
        )
    )
    def test_whatever_comes(self, pieces: list[bytes]) -> None:
        self.setUp()
        self.session.join("Zoe")
        self.ask("one", "two")
        peer = self.endpoint.accept()
        for piece in pieces:
            if not peer.is_closed:
                peer.send_bytes(piece)
                self.clock.advance(0.5)
        self.session.stop()
        told = [str(told[1]) for told in self.witness.told if told[0] in ("answered", "refused", "unconfirmed")]
        self.assertEqual(len(told), len(set(told)), "nothing is answered twice")


class OlderServerTest(NumberedCase):
    """The server has an older state than the session saw, and did not raise its numbers."""

    def test_the_session_starts_over_and_says_so(self) -> None:
        peer = self.enter(7)
        peer.send("313 Bob: seen")
        self.lose(peer)
        peer = self.call_again()
        self.assertEqual(peer.sent(), [f"/resume {self.key} 313"])
        peer.send("session 308 1 Zoe", "309 Bob: new")
        self.assertEqual(self.witness.news(), [("began_anew",), ("back", 1)])
        self.assertEqual(self.witness.lines[-1], (309, "Bob: new"))
        self.lose(peer)
        self.resume(309)

    def test_a_higher_number_is_taken_in_silence(self) -> None:
        peer = self.enter(7)
        self.lose(peer)
        peer = self.call_again()
        peer.send("session 1000000 0 Zoe")
        self.assertEqual(self.witness.news(), [("back", 0)])
        self.lose(peer)
        self.resume(1_000_000)


class RemovedTest(NumberedCase):
    def test_it_ends_with_the_reason_and_never_comes_back(self) -> None:
        peer = self.enter()
        peer.send("no 0 removed")
        self.assertEqual(self.witness.news(), [])
        peer.send("* You were removed: spam")
        peer.lose()
        self.clock.pump([1] * 100)
        self.assertEqual(self.witness.news(), [("ended", "You were removed: spam")])
        self.assertEqual(self.endpoint.attempts, [])

    def test_it_ends_without_a_reason_too(self) -> None:
        peer = self.enter()
        peer.send("no 0 removed")
        peer.lose()
        self.clock.pump([1] * 100)
        self.assertEqual(self.witness.news(), [("ended", "You were removed.")])

    def test_it_ends_if_it_was_removed_while_it_was_away(self) -> None:
        self.lose(self.enter())
        peer = self.call_again()
        peer.send(*GREETING, ASKS_NAME, "no 0 removed", "* You may not be in this group: spam")
        self.clock.pump([1] * 100)
        self.assertEqual(self.witness.news(), [("ended", "You may not be in this group: spam")])
