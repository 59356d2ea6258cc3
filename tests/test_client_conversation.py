"""The client's UDP conversation: timeouts, repeats, late replies and refusals, on a fake clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from groupchat.client.conversation import Conversation, DatagramSender
from groupchat.client.udp import Demultiplexer, QUICReceiver, UDPSocket, UnreachableError
from tests.chatting import Recorder


class MemorySender(DatagramSender):
    """Keeps what is sent. `more` is how many further addresses there are, `broken` why nothing can be sent."""

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
        self.sender = MemorySender()
        self.owner = Witness()
        self.talk = Conversation(self.clock, self.sender, self.owner)

    def exchange(self, request: bytes, reply: bytes) -> None:
        self.talk.ask(request)
        self.talk.received(reply)

    def lose(self, request: bytes) -> None:
        """Send a request whose answer does not come in time."""
        self.talk.ask(request)
        self.clock.advance(2)
        self.assertEqual(self.owner.told.pop(), ("unanswered", request, 2, 1))


class AskingTest(ConversationCase):
    def test_the_answer_is_shown_and_told(self) -> None:
        self.exchange(b"1 A", b"Bob")
        self.assertEqual(self.sender.sent, [b"1 A"])
        self.assertEqual(self.owner.shown, [b"Bob"])
        self.assertEqual(self.owner.told, [("answered", b"1 A", b"Bob")])

    def test_an_empty_reply_is_an_answer(self) -> None:
        self.exchange(b"5", b"")
        self.assertEqual(self.owner.told, [("answered", b"5", b"")])

    def test_an_answered_request_has_no_time_out(self) -> None:
        for request in (b"1 A", b"2 hi", b"5"):
            self.exchange(request, b"")
        self.clock.advance(100)
        self.assertEqual(len(self.sender.sent), 3)
        self.assertEqual({told[0] for told in self.owner.told}, {"answered"})


class TimeOutTest(ConversationCase):
    def test_texts_and_renames_are_not_repeated(self) -> None:
        for request in (b"2 hi", b"3 B", b"4", b"", b"7"):
            self.sender.sent.clear()
            self.owner.told.clear()
            self.talk.ask(request)
            self.clock.advance(1.9)
            self.assertEqual(self.owner.told, [])
            self.clock.advance(0.1)
            self.assertEqual(self.owner.told, [("unanswered", request, 2, 1)])
            self.clock.advance(100)
            self.assertEqual(self.sender.sent, [request])

    def test_joins_and_polls_are_repeated_with_growing_pauses(self) -> None:
        for request in (b"1 A", b"5"):
            self.sender.sent.clear()
            self.owner.told.clear()
            self.talk.ask(request)
            times = []
            for second in range(1, 100):
                before = len(self.sender.sent)
                self.clock.advance(1)
                times += [second] * (len(self.sender.sent) - before)
            self.assertEqual(times, [2, 6, 14, 30])
            waiting = [("waiting", request, seconds) for seconds in times]
            self.assertEqual(self.owner.told, [*waiting, ("unanswered", request, 60, 5)])
            self.assertEqual(set(self.sender.sent), {request})

    def test_without_a_limit_a_join_is_repeated_every_30_seconds(self) -> None:
        self.talk.tries = None
        self.talk.ask(b"5")
        self.clock.pump([1] * 3600)
        self.assertEqual(len(self.sender.sent), 5 + (3600 - 30) // 30)
        self.talk.received(b"")
        self.assertEqual(self.owner.told[-1], ("answered", b"5", b""))

    def test_an_answered_repeat_is_the_last(self) -> None:
        self.talk.ask(b"1 A")
        self.clock.advance(2)
        self.talk.received(b"Bob")
        self.clock.advance(100)
        self.assertEqual(self.sender.sent, [b"1 A", b"1 A"])
        self.assertEqual(self.owner.told, [("waiting", b"1 A", 2), ("answered", b"1 A", b"Bob")])

    def test_pauses_start_over_for_the_next_request(self) -> None:
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

    def test_a_late_reply_answers_the_next_request(self) -> None:
        self.lose(b"2 hi")
        self.talk.ask(b"2 again")
        self.talk.received(b"Bob: late")
        self.talk.received(b"Bob: in time")
        self.assertEqual(self.owner.told, [("answered", b"2 again", b"Bob: late")])
        self.assertEqual(self.owner.shown, [b"Bob: late", b"Bob: in time"])

    def test_a_leave_waits_for_close_past_late_replies(self) -> None:
        self.lose(b"2 hi")
        self.lose(b"2 hi")
        self.talk.ask(b"4")
        for reply in (b"Bob: late", b""):
            self.talk.received(reply)
            self.assertEqual(self.owner.told, [])
        self.talk.received(b"close")
        self.assertEqual(self.owner.told, [("answered", b"4", b"close")])
        self.assertEqual(self.owner.shown, [b"Bob: late", b"", b"close"])

    def test_an_uncertain_refusal_answers_a_leave_at_its_timeout(self) -> None:
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

    def test_with_no_late_replies_a_leave_takes_any_answer(self) -> None:
        self.exchange(b"4", b"Illegal message")
        self.exchange(b"4", b"bye")
        self.assertEqual([told[2] for told in self.owner.told], [b"Illegal message", b"bye"])

    def test_a_late_close_answers_only_its_leave(self) -> None:
        self.exchange(b"1 A", b"")
        self.lose(b"4")
        self.talk.ask(b"5")
        self.talk.received(b"close")
        self.assertEqual(self.owner.told[1:], [("closed",)])
        self.assertFalse(self.talk.membership.possible)
        self.talk.received(b"Illegal message")
        self.assertEqual(self.owner.told[2:], [("answered", b"5", b"Illegal message")])

    def test_an_unexpected_close_ends_nothing(self) -> None:
        self.talk.received(b"close")
        self.assertEqual(self.owner.told, [])
        self.assertEqual(self.owner.shown, [b"close"])

    def test_a_second_answer_to_a_repeated_join_is_received(self) -> None:
        self.talk.ask(b"1 A")
        self.clock.advance(2)
        self.talk.received(b"Bob")
        self.talk.received(b"Bob")
        self.assertEqual(self.owner.shown, [b"Bob", b"Bob"])

    def test_an_uncertain_refusal_of_a_join_proves_nothing(self) -> None:
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
    def test_after_a_refusal_the_next_address_is_tried(self) -> None:
        self.sender.more = 1
        self.talk.ask(b"1 A")
        self.talk.refused("nothing is listening")
        self.assertEqual(self.sender.sent, [b"1 A", b"1 A"])
        self.talk.received(b"")
        self.assertEqual(self.owner.told, [("answered", b"1 A", b"")])

    def test_a_refusal_at_the_last_address_is_undelivered(self) -> None:
        for request in (b"1 A", b"2 hi"):
            self.talk.ask(request)
            self.talk.refused("nothing is listening")
            self.assertEqual(self.owner.told.pop(), ("undelivered", request, "nothing is listening"))
            self.clock.advance(100)
            self.assertEqual(self.owner.told, [])

    def test_what_cannot_be_sent_is_refused(self) -> None:
        self.sender.broken = "Network is unreachable"
        self.sender.more = 1
        self.talk.ask(b"1 A")
        self.assertEqual(self.owner.told, [("undelivered", b"1 A", "Network is unreachable")])
        self.assertEqual(self.sender.more, -1)

    def test_a_refusal_of_a_known_server_is_retried_at_its_address(self) -> None:
        self.exchange(b"1 A", b"")
        self.sender.more = 1
        self.talk.ask(b"5")
        self.talk.refused("nothing is listening")
        self.clock.advance(2)
        self.talk.received(b"Bob: hi")
        told = [("waiting", b"5", 2), ("answered", b"5", b"Bob: hi")]
        self.assertEqual(self.owner.told[1:], told)
        self.assertEqual(self.sender.more, 1)

    def test_a_refused_text_is_reported_at_once(self) -> None:
        self.exchange(b"1 A", b"")
        self.sender.more = 1
        self.talk.ask(b"2 hi")
        self.talk.refused("nothing is listening")
        self.assertEqual(self.sender.more, 1)
        self.assertEqual(self.owner.told[1:], [("undelivered", b"2 hi", "nothing is listening")])

    def test_a_refusal_without_a_request_means_nothing(self) -> None:
        self.talk.refused("nothing is listening")
        self.assertEqual(self.owner.told, [])


class Other(QUICReceiver):
    """Takes datagrams that begin with a certain byte."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def owns(self, datagram: bytes) -> bool:
        return datagram.startswith(b"\xc3")

    def received(self, datagram: bytes) -> None:
        self.got.append(datagram)


class SharedSocketTest(ConversationCase):
    def test_datagrams_of_quic_do_not_reach_the_conversation(self) -> None:
        opened = UDPSocket(MemoryReactorClock(), [])
        opened.quic = other = Other()
        demultiplexer = Demultiplexer(opened, self.talk)
        self.talk.ask(b"5")
        for datagram in (b"\xc3 is QUIC", b"Bob: hi", b"\xc3", b""):
            demultiplexer.datagramReceived(datagram, ("127.0.0.1", 1))
        self.assertEqual(other.got, [b"\xc3 is QUIC", b"\xc3"])
        self.assertEqual(self.owner.shown, [b"Bob: hi", b""])
