"""The chat with a fake session and view: what is typed, what is shown, and the exit status."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from groupchat.client.chat import KEPT, WOULD_TELL, Chat
from groupchat.client.commands import HELP, HELP_OF_OPERATORS
from groupchat.client.trust import KnownServers, UnknownCertificateError, UntrustedError
from groupchat.client.view import Shown
from groupchat.core.commands import Poll, Recall, Rename, Say, Users, Whisper
from groupchat.wire.operators import OperatorLine
from tests.chatting import FakeSession, FakeView


class Doubt(UnknownCertificateError):
    """A certificate that the user may trust; `trusted` counts how often it was."""

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__(KnownServers(Path("nowhere")), "chat.example:12345", "AA", "it is self-signed")
        self.args = ("It is new.",)
        self.trusted = 0
        self.error = error

    def trust(self) -> None:
        if self.error is not None:
            raise self.error
        self.trusted += 1


class ChatCase(TestCase):
    def setUp(self) -> None:
        self.open("Zoe")

    def open(self, name: str, *, people: bool = True) -> None:
        self.view = FakeView()
        self.session = FakeSession()
        self.chat = Chat(name, self.view, people=people)
        self.chat.session = self.session

    def join(self) -> None:
        self.chat.start()
        self.chat.joined("Zoe", ["Here now: Bob."])
        self.view.news()
        self.session.told.clear()


class ComingInTest(ChatCase):
    def test_with_a_name_it_joins(self) -> None:
        self.chat.start()
        self.assertEqual(self.session.told, [("join", "Zoe")])
        self.assertEqual(self.view.questions, [])
        self.chat.joined("Zoe", ["Welcome.", "Here now: Bob, Al Fred."])
        shown = [("answer", "Welcome."), ("answer", "Here now: Bob, Al Fred.")]
        self.assertEqual(self.view.news(), [*shown, ("state", "You are Zoe. /help tells what you can do.")])
        self.assertEqual(list(self.chat.names), ["Bob", "Al Fred"])
        self.assertEqual(self.view.name, "Zoe")

    def test_the_greeting_is_shown_only_if_wanted(self) -> None:
        self.chat = Chat("Zoe", self.view, people=False, greets=False)
        self.chat.session = self.session
        self.chat.joined("Zoe", ["Welcome.", "Here now: Bob."])
        self.assertEqual((self.view.news(), list(self.chat.names)), ([], ["Bob"]))

    def test_without_one_it_asks(self) -> None:
        self.open("")
        self.chat.start()
        self.assertEqual(self.session.told, [])
        self.assertEqual(self.view.questions, ["What is your name?"])
        self.view.answer("Yan")
        self.assertEqual(self.session.told, [("join", "Yan")])

    def test_a_refused_name_asks_for_another(self) -> None:
        self.chat.start()
        self.chat.not_joined("It is in use.")
        self.assertEqual(self.view.questions, ["It is in use. What is your name?"])
        self.view.answer("Yan")
        self.assertEqual(self.session.told, [("join", "Zoe"), ("join", "Yan")])

    def test_in_a_pipe_a_refused_name_ends_the_chat(self) -> None:
        self.open("Zoe", people=False)
        self.chat.start()
        self.chat.not_joined("It is in use.")
        self.assertEqual(self.session.told[1:], [("stop",)])
        self.assertEqual(self.view.news(), [("problem", "It is in use.")])
        self.assertEqual((self.chat.status, self.view.closed), (1, 1))

    def test_the_password_question_is_secret(self) -> None:
        self.chat.start()
        given: list[str] = []
        self.chat.password_wanted(given.append)
        self.assertTrue(self.view.secret)
        self.view.answer("sesame")
        self.assertEqual(given, ["sesame"])

    def test_in_a_pipe_a_password_question_ends_the_chat(self) -> None:
        self.open("Zoe", people=False)
        self.chat.password_wanted(self.fail)
        self.assertEqual((self.chat.status, self.view.closed), (1, 1))

    def test_a_new_certificate_is_a_question(self) -> None:
        for answer, trusted in (("yes", 1), (" Y ", 1), ("no", 0), ("maybe", 0)):
            self.open("Zoe")
            doubt = Doubt()
            self.chat.untrusted(doubt)
            self.assertEqual(self.view.news(), [("problem", "It is new.")])
            self.view.answer(answer)
            self.assertEqual(doubt.trusted, trusted)
            self.assertEqual(self.session.told, [("join", "Zoe")] if trusted else [("stop",)])
            self.assertEqual((self.chat.status, self.view.closed), (0, 0) if trusted else (1, 1))

    def test_a_certificate_that_cannot_be_stored_is_not_trusted(self) -> None:
        self.chat.untrusted(Doubt(OSError("the disk is full")))
        self.view.answer("yes")
        self.assertEqual(self.session.told, [("stop",)])
        self.assertEqual(self.view.news()[-1], ("problem", "that cannot be remembered: the disk is full"))

    def test_a_certificate_that_nobody_can_accept_ends_the_chat(self) -> None:
        self.chat.untrusted(UntrustedError("It has changed."))
        self.assertEqual(self.view.news(), [("problem", "It has changed.")])
        self.assertEqual((self.view.questions, self.chat.status, self.view.closed), ([], 1, 1))
        self.open("Zoe", people=False)
        self.chat.untrusted(Doubt())
        self.assertEqual(self.view.news(), [("problem", "It is new. To trust it: --trust-new, or --ca FILE.")])
        self.assertEqual((self.view.questions, self.chat.status, self.view.closed), ([], 1, 1))


class TypingTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_typed_commands_are_sent_in_order(self) -> None:
        for line in ("hi", "/msg Bob: psst", "/name Yan", "/users", "/history 3"):
            self.chat.typed(line)
        asked = [Say("hi"), Whisper("Bob: psst"), Rename("Yan"), Users(), Recall(3)]
        self.assertEqual(self.session.told, [("ask", ask) for ask in asked])
        self.assertEqual(self.view.news(), [("own", "hi"), ("own", "(private) Bob: psst")])
        self.assertEqual(self.chat.unanswered, 5)

    def test_an_empty_line_does_nothing(self) -> None:
        for line in ("", " ", "\t"):
            self.chat.typed(line)
        self.assertEqual((self.session.told, self.view.news()), ([], []))

    def test_help_is_shown_without_a_server(self) -> None:
        self.chat.typed("/help")
        self.assertEqual(self.view.news(), [("answer", line) for line in HELP])
        self.assertEqual(self.session.told, [])

    def test_an_unknown_command_is_a_problem_and_not_said(self) -> None:
        self.chat.typed("/nick Yan")
        self.assertEqual([kind for kind, _ in self.view.news()], ["problem"])
        self.assertEqual((self.session.told, self.chat.unanswered), ([], 0))

    def test_unsupported_commands_are_explained(self) -> None:
        self.chat.typed("/poll")
        self.session.unsupported = frozenset([Whisper])
        self.chat.typed("/msg Bob: hi")
        told = [
            ("problem", "There is nothing to /poll for here: lines come by themselves."),
            ("problem", "There is no /msg over UDP: connect to tcp://HOST:PORT or tls://HOST:PORT for that."),
        ]
        self.assertEqual((self.view.news(), self.session.told), (told, []))

    def test_bytes_that_are_not_utf8_are_replaced(self) -> None:
        self.chat.typed("caf\udce9")
        self.assertEqual(self.session.told, [("ask", Say("caf\ufffd"))])
        self.open("Zo\udcc3")
        self.chat.start()
        self.chat.not_joined("No.")
        self.view.answer("Zo\udce9")
        self.assertEqual(self.session.told, [("join", "Zo\ufffd")] * 2)

    def test_quit_leaves_once_and_later_lines_are_ignored(self) -> None:
        for line in ("/quit", "/quit", "hi"):
            self.chat.typed(line)
        self.chat.leave()
        self.assertEqual(self.session.told, [("leave",)])

    def test_texts_that_wait_are_marked(self) -> None:
        self.chat.lost("no answer")
        self.chat.typed("one")
        self.chat.back(0)
        self.chat.typed("two")
        self.assertEqual([line.waits for line in self.view.shown if line.kind == "own"], [True, False])


HIDDEN = (" /msg Logger: secret", "\t/quit", "\ufeff/msg Logger: secret", "\u00a0\u200b /mgs Bob: oops")


class HiddenCommandTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_a_command_behind_a_space_is_not_said_unasked(self) -> None:
        for line in HIDDEN:
            self.chat.typed(line)
            self.assertEqual(self.session.news(), [], line)
            self.view.answer("no")
            self.assertEqual((self.session.news(), self.view.news()), ([], [("state", "Not said.")]))

    def test_it_is_said_after_yes(self) -> None:
        self.chat.typed(HIDDEN[0])
        self.view.answer("what?")
        self.assertEqual(len(self.view.questions), 2)
        self.view.answer("yes")
        self.assertEqual(self.session.news(), [("ask", Say(HIDDEN[0]))])

    def test_other_texts_are_said_unasked(self) -> None:
        for line in (" hi", "a /b", " //b", "\ufeffhi"):
            self.chat.typed(line)
        self.assertEqual((len(self.session.news()), self.view.questions), (4, []))

    def test_in_a_pipe_nobody_is_asked(self) -> None:
        self.open("Zoe", people=False)
        self.join()
        self.chat.typed(HIDDEN[0])
        self.assertEqual(self.session.news(), [("ask", Say(HIDDEN[0]))])


class PasteTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_pasted_lines_are_texts(self) -> None:
        self.chat.pasted(["one", "", "two"])
        self.assertEqual(self.session.news(), [("ask", Say("one")), ("ask", Say("two"))])

    def test_pasted_commands_are_texts_after_one_question(self) -> None:
        lines = ["/quit", "// a comment", "  /users", "hi"]
        for answer, said in (("no", []), ("yes", [("ask", Say(line)) for line in lines])):
            self.chat.pasted(lines)
            self.assertEqual(self.session.news(), [])
            self.assertIn("3 of these 4 lines begin with /", self.view.questions.pop())
            self.view.answer(answer)
            self.assertEqual((self.session.news(), self.view.questions), (said, []))

    def test_a_question_of_the_session_waits_for_an_earlier_one(self) -> None:
        self.chat.pasted(["/quit", "hi"])
        self.chat.not_joined("It is in use.")
        self.assertEqual(len(self.view.questions), 1)
        self.view.answer("yes")
        self.assertEqual(self.session.news(), [("ask", Say("/quit")), ("ask", Say("hi"))])
        self.view.answer("Yan")
        self.assertEqual(self.session.news(), [("join", "Yan")])

    def test_a_new_question_of_the_session_replaces_its_last(self) -> None:
        given: list[str] = []
        self.chat.password_wanted(self.fail)
        self.chat.password_wanted(given.append, again=True)
        self.assertEqual(self.view.questions[1:], ["That is not the password. What is it?"])
        self.view.answer("sesame")
        self.assertEqual(given, ["sesame"])


class AnswersTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()
        self.chat.unanswered = 1

    def test_an_accepted_text_shows_nothing_more(self) -> None:
        for ask in (Say("hi"), Whisper("Bob: hi"), Poll()):
            self.chat.unanswered = 1
            self.chat.answered(ask, [])
            self.assertEqual((self.view.news(), self.chat.unanswered, self.chat.status), ([], 0, 0))

    def test_results_are_shown(self) -> None:
        self.chat.answered(Users(), ["Bob", "Zoe"])
        self.chat.answered(Recall(20), [])
        self.assertEqual(self.view.news(), [("answer", "Bob"), ("answer", "Zoe"), ("answer", "There is nothing yet.")])

    def test_an_accepted_name_is_shown(self) -> None:
        self.chat.answered(Rename("Yan"), [])
        self.assertEqual((self.chat.name, self.view.name), ("Yan", "Yan"))
        self.assertEqual(self.view.news(), [("state", "You are Yan now.")])

    def test_a_refusal_is_shown(self) -> None:
        self.chat.refused(Rename("Bob"), "It is in use.")
        self.assertEqual(self.view.news(), [("problem", 'Not done: "/name Bob": It is in use.')])
        self.assertEqual((self.chat.status, self.chat.unanswered, self.chat.name), (0, 0, "Zoe"))

    def test_in_a_pipe_failures_count_for_the_status(self) -> None:
        for people in (True, False):
            self.open("Zoe", people=people)
            self.join()
            self.chat.typed("hi")
            self.chat.typed("ho")
            self.chat.refused(Say("hi"), "It is too long.")
            self.chat.unconfirmed(Say("ho"))
            self.assertEqual((self.chat.status, self.chat.unanswered), (0 if people else 1, 0))

    def test_an_unconfirmed_command_is_shown(self) -> None:
        self.chat.unconfirmed(Say("x" * 100))
        [(kind, text)] = self.view.news()
        self.assertEqual(kind, "problem")
        self.assertTrue(text.startswith(f'Not confirmed, and not sent again: "{"x" * 60}..."'), text)
        self.assertEqual((self.chat.status, self.chat.unanswered), (0, 0))

    def test_a_signals_exit_status_stays(self) -> None:
        self.chat.status = 130
        self.chat.refused(Say("hi"), "")
        self.chat.unconfirmed(Say("hi"))
        self.chat.ended("no answer")
        self.assertEqual(self.chat.status, 130)


class LinesTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.join()

    def test_lines_that_come_together_are_shown_with_their_numbers(self) -> None:
        self.chat.received([(7, "Bob: hi"), (9, "Bob (private): psst"), (0, "* The server is stopping.")])
        self.assertEqual(
            self.view.shown,
            [
                Shown("said", "hi", "Bob", 7, "Bob: hi"),
                Shown("private", "psst", "Bob", 9, "Bob (private): psst", for_me=True),
                Shown("server", "The server is stopping.", "", 0, "* The server is stopping."),
            ],
        )

    def test_a_mention_rings_the_bell(self) -> None:
        self.chat.received([(1, "Bob: hi zoe!"), (2, "Bob: hi"), (3, "Zoella has joined")])
        self.assertEqual([line.for_me for line in self.view.shown], [True, False, False])

    def test_names_are_kept_in_the_order_last_seen(self) -> None:
        self.chat.received([(1, "Al has joined"), (2, "Bob: hi"), (3, "Al changed his name to Cy")])
        self.assertEqual(list(self.chat.names), ["Bob", "Cy"])
        self.chat.received([(4, "Bob has left the group"), (5, "Nobody has left the group")])
        self.assertEqual(list(self.chat.names), ["Cy"])

    def test_changes_of_the_connection_are_shown(self) -> None:
        self.chat.lost("it ended")
        self.chat.back(1)
        self.chat.back(2)
        self.chat.back(-1)
        self.chat.began_anew()
        self.chat.rejoined("Yan")
        told = [
            "reconnecting (it ended)",
            "back, 1 line",
            "back, 2 lines",
            "back",
            "the server began anew from an older state. You may have missed something.",
            "back, but your seat was gone: joined again as Yan. You may have missed something.",
        ]
        self.assertEqual(self.view.news(), [("state", words) for words in told])
        self.assertEqual((self.chat.name, self.view.name, self.chat.status), ("Yan", "Yan", 0))


class EndTest(ChatCase):
    def test_it_ends_quietly_and_once_when_asked(self) -> None:
        self.join()
        self.chat.leave()
        self.chat.ended("")
        self.chat.ended("no answer")
        self.assertEqual((self.view.news(), self.chat.status, self.view.closed), ([], 0, 1))

    def test_the_reason_of_the_end_is_shown(self) -> None:
        self.join()
        self.chat.ended("nothing is listening there")
        self.assertEqual(self.view.news(), [("problem", "nothing is listening there")])
        self.assertEqual((self.chat.status, self.view.closed), (1, 1))

    def test_a_seat_that_can_be_kept_is_kept_unless_quit_is_typed(self) -> None:
        self.join()
        self.session.keeps_seat = True
        self.chat.leave()
        self.assertEqual(self.session.told, [("suspend",)])
        self.assertEqual(self.view.news(), [("state", KEPT)])
        self.open("Zoe")
        self.join()
        self.session.keeps_seat = True
        self.chat.typed("/quit")
        self.assertEqual((self.session.told, self.view.news()), ([("leave",)], []))

    def test_a_seat_that_cannot_be_kept_is_told_of(self) -> None:
        self.chat.not_kept("your seat cannot be kept")
        self.assertEqual(self.view.news(), [("state", "your seat cannot be kept")])

    def test_leaving_at_a_question_ends_at_once(self) -> None:
        def name() -> None:
            self.chat.not_joined("It is in use.")

        def password() -> None:
            self.chat.password_wanted(self.fail)

        def certificate() -> None:
            self.chat.untrusted(Doubt())

        for ask in (name, password, certificate):
            self.open("Zoe")
            self.chat.start()
            ask()
            self.chat.leave()
            self.assertEqual(self.session.told, [("join", "Zoe"), ("stop",)])
            self.assertEqual((self.view.closed, self.chat.status), (1, 0))

    def test_leaving_at_a_question_reports_that_nothing_was_said(self) -> None:
        self.chat.start()
        self.chat.typed("hi")
        self.chat.not_joined("It is in use.")
        self.view.news()
        self.chat.leave()
        self.assertEqual(self.view.news(), [("problem", "what was typed was not said")])
        self.assertEqual((self.view.closed, self.chat.status), (1, 1))

    def test_after_leaving_nothing_is_asked(self) -> None:
        self.chat.start()
        self.chat.typed("hi")
        self.chat.leave()
        self.chat.not_joined("It is in use.")
        self.assertEqual(self.session.told[2:], [("leave",), ("stop",)])
        self.assertEqual((self.view.questions, self.view.closed, self.chat.status), ([], 1, 1))

    def test_leaving_after_an_answered_question_leaves(self) -> None:
        self.chat.start()
        self.chat.not_joined("It is in use.")
        self.view.answer("Yan")
        self.chat.leave()
        self.assertEqual(self.session.told[-1], ("leave",))
        self.assertEqual(self.view.closed, 0)


class OperatorTest(ChatCase):
    def test_commands_go_to_the_server_and_answers_are_shown(self) -> None:
        self.join()
        self.chat.typed("/Mute Bob: loud")
        command = OperatorLine("/mute", "Bob: loud")
        self.assertEqual(self.session.told, [("ask", command)])
        self.chat.answered(command, ["Bob may only read now."])
        self.assertEqual(self.view.news(), [("answer", "Bob may only read now.")])

    def test_help_lists_them_for_operators_only(self) -> None:
        self.join()
        for words, shown in [("x", HELP_OF_OPERATORS), ("off", HELP)]:
            self.chat.typed(f"/operator {words}")
            self.chat.answered(OperatorLine("/operator", words), [])
            self.chat.typed("/help")
            self.assertEqual(self.view.news(), [("answer", line) for line in shown])

    def test_nobody_is_an_operator_in_a_new_seat(self) -> None:
        for new_seat in (self.chat.regained, self.chat.rejoined):
            self.join()
            self.chat.typed("/operator x")
            self.chat.answered(OperatorLine("/operator", "x"), [])
            new_seat("Yan")
            self.view.news()
            self.chat.typed("/help")
            self.assertEqual((self.view.news(), self.view.name), ([("answer", line) for line in HELP], "Yan"))

    def test_without_a_password_it_is_asked_for_and_hidden(self) -> None:
        self.join()
        self.chat.typed("/operator")
        self.assertEqual(self.view.questions, ["What is the password of an operator?"])
        self.view.answer("sesame")
        self.assertEqual(self.session.told, [("ask", OperatorLine("/operator", "sesame"))])

    def test_the_password_is_never_shown(self) -> None:
        self.join()
        command = OperatorLine("/operator", "sesame")
        self.chat.typed("/operator sesame")
        self.chat.refused(command, "That is not the password of an operator.")
        self.chat.unconfirmed(command)
        for slip in (" /operator sesame", "//operator sesame", "\t/OPERATOR sesame"):
            self.chat.typed(slip)
            self.chat.pasted(["hello", slip])
        news = self.view.news()
        self.assertNotIn("sesame", str(news))
        self.assertEqual(news[2:], [("problem", WOULD_TELL)] * 6)
        self.assertEqual(self.session.told, [("ask", command)])
