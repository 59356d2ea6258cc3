"""The client's UDP conversation: time-outs, repeats, late replies and refusals, on a clock of the tests' own."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from groupchat.client.conversation import Conversation, DatagramSender
from groupchat.client.udp import Demultiplexer, QUICReceiver, UDPSocket, UnreachableError
from tests.chatting import Recorder


class MemoryRoute(DatagramSender):
    """Keeps what is sent. `more` is how many further addresses there are; `broken` the reason why nothing goes out."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.more = 0
        self.broken = ""

    def send(self, datagram: bytes) -> None:
        if self.broken:
            raise UnreachableError(self.broken)
        self.sent.append(datagram)

    def use_next(self) -> bool:
        self.more -= 1
        return self.more >= 0


class Witness(Recorder):
    """A ConversationListener. The datagrams that were received are in `shown` only."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[bytes] = []

    def received(self, reply: bytes) -> None:
        self.shown.append(reply)


class ConversationCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.route = MemoryRoute()
        self.owner = Witness()
        self.talk = Conversation(self.clock, self.route, self.owner)

    def exchange(self, request: bytes, reply: bytes) -> None:
        self.talk.ask(request)
        self.talk.received(reply)

    def lose(self, request: bytes) -> None:
        """A request whose answer does not come in time."""
        self.talk.ask(request)
        self.clock.advance(2)
        self.assertEqual(self.owner.told.pop(), ("unanswered", request, 2, 1))


class AskingTest(ConversationCase):
    def test_the_answer_is_shown_and_told(self) -> None:
        self.exchange(b"1 A", b"Bob")
        self.assertEqual(self.route.sent, [b"1 A"])
        self.assertEqual(self.owner.shown, [b"Bob"])
        self.assertEqual(self.owner.told, [("answered", b"1 A", b"Bob")])

    def test_an_empty_reply_is_an_answer(self) -> None:
        self.exchange(b"5", b"")
        self.assertEqual(self.owner.told, [("answered", b"5", b"")])

    def test_an_answered_request_has_no_time_out(self) -> None:
        for request in (b"1 A", b"2 hi", b"5"):
            self.exchange(request, b"")
        self.clock.advance(100)
        self.assertEqual(len(self.route.sent), 3)
        self.assertEqual({told[0] for told in self.owner.told}, {"answered"})


class TimeOutTest(ConversationCase):
    def test_what_may_have_been_heard_is_not_repeated(self) -> None:
        for request in (b"2 hi", b"3 B", b"4", b"", b"7"):
            self.route.sent.clear()
            self.owner.told.clear()
            self.talk.ask(request)
            self.clock.advance(1.9)
            self.assertEqual(self.owner.told, [])
            self.clock.advance(0.1)
            self.assertEqual(self.owner.told, [("unanswered", request, 2, 1)])
            self.clock.advance(100)
            self.assertEqual(self.route.sent, [request])

    def test_joins_and_polls_are_repeated_with_growing_pauses_and_then_given_up(self) -> None:
        for request in (b"1 A", b"5"):
            self.route.sent.clear()
            self.owner.told.clear()
            self.talk.ask(request)
            times = []
            for second in range(1, 100):
                before = len(self.route.sent)
                self.clock.advance(1)
                times += [second] * (len(self.route.sent) - before)
            self.assertEqual(times, [2, 6, 14, 30])
            waiting = [("waiting", request, seconds) for seconds in times]
            self.assertEqual(self.owner.told, [*waiting, ("unanswered", request, 60, 5)])
            self.assertEqual(set(self.route.sent), {request})

    def test_without_a_bound_it_is_repeated_every_thirty_seconds(self) -> None:
        self.talk.tries = None
        self.talk.ask(b"5")
        self.clock.pump([1] * 3600)
        self.assertEqual(len(self.route.sent), 5 + (3600 - 30) // 30)
        self.talk.received(b"")
        self.assertEqual(self.owner.told[-1], ("answered", b"5", b""))

    def test_a_repeat_that_is_answered_is_the_last(self) -> None:
        self.talk.ask(b"1 A")
        self.clock.advance(2)
        self.talk.received(b"Bob")
        self.clock.advance(100)
        self.assertEqual(self.route.sent, [b"1 A", b"1 A"])
        self.assertEqual(self.owner.told, [("waiting", b"1 A", 2), ("answered", b"1 A", b"Bob")])

    def test_the_pauses_begin_anew_for_the_next_request(self) -> None:
        self.talk.ask(b"5")
        self.clock.pump([2, 4])
        self.talk.received(b"")
        self.lose(b"2 hi")


class LateTest(ConversationCase):
    def test_a_reply_that_nobody_waits_for_is_shown(self) -> None:
        self.lose(b"2 hi")
        self.talk.received(b"Bob: late")
        self.assertEqual(self.owner.shown, [b"Bob: late"])
        self.assertEqual(self.owner.told, [])

    def test_a_late_reply_counts_for_the_request_after_it_and_both_are_shown(self) -> None:
        self.lose(b"2 hi")
        self.talk.ask(b"2 again")
        self.talk.received(b"Bob: late")
        self.talk.received(b"Bob: in time")
        self.assertEqual(self.owner.told, [("answered", b"2 again", b"Bob: late")])
        self.assertEqual(self.owner.shown, [b"Bob: late", b"Bob: in time"])

    def test_a_leave_waits_for_close_past_the_replies_still_owed(self) -> None:
        self.lose(b"2 hi")
        self.lose(b"2 hi")
        self.talk.ask(b"4")
        for reply in (b"Bob: late", b""):
            self.talk.received(reply)
            self.assertEqual(self.owner.told, [])
        self.talk.received(b"close")
        self.assertEqual(self.owner.told, [("answered", b"4", b"close")])
        self.assertEqual(self.owner.shown, [b"Bob: late", b"", b"close"])

    def test_a_refusal_that_may_be_anothers_answers_a_leave_only_when_nothing_follows(self) -> None:
        for follows, answer in ((b"close", b"close"), (None, b"Illegal message")):
            self.lose(b"7")
            self.lose(b"7")
            self.talk.ask(b"4")
            self.talk.received(b"Illegal message")
            self.assertEqual(self.owner.told, [])
            if follows:
                self.talk.received(follows)
            self.clock.advance(2)
            self.assertEqual(self.owner.told.pop(), ("answered", b"4", answer))

    def test_with_nothing_owed_a_leave_takes_any_answer(self) -> None:
        self.exchange(b"4", b"Illegal message")
        self.exchange(b"4", b"bye")
        self.assertEqual([told[2] for told in self.owner.told], [b"Illegal message", b"bye"])

    def test_a_late_close_is_told_and_answers_nothing_else(self) -> None:
        self.exchange(b"1 A", b"")
        self.lose(b"4")
        self.talk.ask(b"5")
        self.talk.received(b"close")
        self.assertEqual(self.owner.told[1:], [("closed",)])
        self.assertFalse(self.talk.membership.possible)
        self.talk.received(b"Illegal message")
        self.assertEqual(self.owner.told[2:], [("answered", b"5", b"Illegal message")])

    def test_a_close_that_nobody_asked_for_ends_nothing(self) -> None:
        self.talk.received(b"close")
        self.assertEqual(self.owner.told, [])
        self.assertEqual(self.owner.shown, [b"close"])

    def test_a_copy_of_an_answer_to_a_repeated_join_is_shown(self) -> None:
        self.talk.ask(b"1 A")
        self.clock.advance(2)
        self.talk.received(b"Bob")
        self.talk.received(b"Bob")
        self.assertEqual(self.owner.shown, [b"Bob", b"Bob"])

    def test_a_join_refused_while_another_reply_is_owed_may_have_been_heard(self) -> None:
        self.exchange(b"1 A", b"Illegal message")
        self.assertFalse(self.talk.membership.possible)
        self.lose(b"7")
        self.exchange(b"1 A", b"Illegal message")
        self.assertTrue(self.talk.membership.possible)

    def test_an_abandoned_request_is_answered_late(self) -> None:
        self.exchange(b"1 A", b"")
        self.talk.ask(b"2 hi")
        self.talk.abandon()
        self.talk.ask(b"4")
        self.talk.received(b"Bob: hello")
        self.talk.received(b"close")
        self.clock.advance(100)
        self.assertEqual(self.owner.told[1:], [("answered", b"4", b"close")])


class RefusedTest(ConversationCase):
    def test_the_next_address_is_tried_with_the_same_request(self) -> None:
        self.route.more = 1
        self.talk.ask(b"1 A")
        self.talk.refused("nothing is listening")
        self.assertEqual(self.route.sent, [b"1 A", b"1 A"])
        self.talk.received(b"")
        self.assertEqual(self.owner.told, [("answered", b"1 A", b"")])

    def test_without_another_address_the_request_was_not_heard(self) -> None:
        for request in (b"1 A", b"2 hi"):
            self.talk.ask(request)
            self.talk.refused("nothing is listening")
            self.assertEqual(self.owner.told.pop(), ("undelivered", request, "nothing is listening"))
            self.clock.advance(100)
            self.assertEqual(self.owner.told, [])

    def test_what_cannot_be_sent_is_refused(self) -> None:
        self.route.broken = "Network is unreachable"
        self.route.more = 1
        self.talk.ask(b"1 A")
        self.assertEqual(self.owner.told, [("undelivered", b"1 A", "Network is unreachable")])
        self.assertEqual(self.route.more, -1)

    def test_a_server_that_was_there_is_waited_for_where_it_was(self) -> None:
        self.exchange(b"1 A", b"")
        self.route.more = 1
        self.talk.ask(b"5")
        self.talk.refused("nothing is listening")
        self.clock.advance(2)
        self.talk.received(b"Bob: hi")
        told = [("waiting", b"5", 2), ("answered", b"5", b"Bob: hi")]
        self.assertEqual(self.owner.told[1:], told)
        self.assertEqual(self.route.more, 1)

    def test_a_text_to_a_server_that_was_there_is_told_at_once(self) -> None:
        self.exchange(b"1 A", b"")
        self.route.more = 1
        self.talk.ask(b"2 hi")
        self.talk.refused("nothing is listening")
        self.assertEqual(self.route.more, 1)
        self.assertEqual(self.owner.told[1:], [("undelivered", b"2 hi", "nothing is listening")])

    def test_a_refusal_that_comes_when_nothing_is_outstanding_means_nothing(self) -> None:
        self.talk.refused("nothing is listening")
        self.assertEqual(self.owner.told, [])


class Other(QUICReceiver):
    """Takes what begins with a certain byte."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def owns(self, datagram: bytes) -> bool:
        return datagram.startswith(b"\xc3")

    def received(self, datagram: bytes) -> None:
        self.got.append(datagram)


class SharedSocketTest(ConversationCase):
    def test_datagrams_of_quic_do_not_reach_the_conversation(self) -> None:
        link = UDPSocket(MemoryReactorClock(), [])
        link.quic = other = Other()
        wire = Demultiplexer(link, self.talk)
        self.talk.ask(b"5")
        for datagram in (b"\xc3 is QUIC", b"Bob: hi", b"\xc3", b""):
            wire.datagramReceived(datagram, ("127.0.0.1", 1))
        self.assertEqual(other.got, [b"\xc3 is QUIC", b"\xc3"])
        self.assertEqual(self.owner.shown, [b"Bob: hi", b""])
