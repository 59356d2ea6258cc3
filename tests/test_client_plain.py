"""The plain client without a process: what it sends when, how it ends, and its exit status."""

from __future__ import annotations

import signal

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from groupchat.client.plain import LAST_SECONDS, LINES_AHEAD, Console, Plain
from tests.test_client_conversation import MemorySender


class MemoryStdio(StringTransport):
    """Standard input and output. If it is `stuck`, the output is never written, so that closing does not end."""

    stuck = False
    reading = True
    closing = False

    def __init__(self, plain: Plain) -> None:
        super().__init__()
        self.plain = plain

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        assert streaming
        super().registerProducer(producer, streaming)

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def loseConnection(self) -> None:
        assert self.producer is None, "a producer holds up the end"
        self.closing = True
        if not self.stuck:
            self.plain.connectionLost()


class PlainCase(TestCase):
    terminal = False
    pipe = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.sender = MemorySender()
        self.complaints: list[str] = []
        self.overs = 0
        console = Console(self.complaints.append, "here port 7", terminal=self.terminal, pipe=self.pipe)
        self.plain = Plain(self.clock, self.sender, console, self.count_end)
        self.stdio = MemoryStdio(self.plain)
        self.plain.makeConnection(self.stdio)

    def count_end(self) -> None:
        self.overs += 1

    def type(self, *lines: bytes) -> None:
        self.plain.dataReceived(b"".join(line + b"\n" for line in lines))

    def reply(self, *replies: bytes) -> None:
        for reply in replies:
            self.plain.conversation.received(reply)

    def join(self) -> None:
        self.type(b"1 A")
        self.reply(b"")

    def end_of_input(self) -> None:
        self.plain.readConnectionLost()

    def break_output(self) -> None:
        self.stdio.stuck = True  # StandardIO tells of no second end
        self.plain.writeConnectionLost()

    def assertSent(self, *requests: bytes) -> None:
        self.assertEqual(self.sender.sent, [*requests])

    def assertShown(self, text: str) -> None:
        self.assertEqual(self.stdio.value().decode(), text)

    def assertOver(self, status: int) -> None:
        self.assertEqual((self.overs, self.plain.status), (1, status))

    def assertGoesOn(self) -> None:
        self.assertEqual(self.overs, 0)
        self.assertFalse(self.stdio.closing)


class LinesTest(PlainCase):
    def test_a_line_waits_for_the_previous_answer(self) -> None:
        self.type(b"1 A", b"2 hi", b"5")
        self.assertSent(b"1 A")
        self.reply(b"Bob")
        self.assertSent(b"1 A", b"2 hi")
        self.reply(b"")
        self.assertSent(b"1 A", b"2 hi", b"5")

    def test_a_line_goes_out_as_it_stands(self) -> None:
        lines = [b"", b" 2 a\tb ", b"\xff\xfe", "3 Zoë".encode(), b"2 \x1b[2J"]
        self.type(*lines)
        self.reply(*[b"Illegal message"] * len(lines))
        self.assertSent(*lines)

    def test_replies_are_cleaned_and_an_empty_one_prints_nothing(self) -> None:
        self.type(b"1 A", b"5", b"5")
        self.reply(b"", b"Bob: \x1b[2J\xff\nBob: x", b"\x07")
        self.assertShown("Bob: [2J\ufffd\nBob: x\n")

    def test_a_line_too_long_for_a_datagram_is_reported(self) -> None:
        self.type(b"2 " + b"x" * 65_506, b"2 " + b"x" * 65_505)
        self.assertEqual(len(self.complaints), 1)
        self.assertIn("65508 bytes was not sent", self.complaints[0])
        self.assertSent(b"2 " + b"x" * 65_505)

    def test_input_is_not_read_while_many_lines_wait(self) -> None:
        self.type(*[b"2 hi"] * (LINES_AHEAD + 1))
        self.assertTrue(self.stdio.reading)
        self.type(b"2 hi")
        self.assertFalse(self.stdio.reading)
        self.reply(b"")
        self.assertTrue(self.stdio.reading)

    def test_nothing_is_sent_while_the_output_is_full(self) -> None:
        self.type(b"1 A", b"2 hi", b"2 more")
        self.plain.pauseProducing()
        self.reply(b"")
        self.assertSent(b"1 A")
        self.plain.resumeProducing()
        self.assertSent(b"1 A", b"2 hi")


class EndTest(PlainCase):
    def test_close_ends_without_sending_later_lines(self) -> None:
        self.type(b"1 A", b"4", b"5")
        self.reply(b"", b"close")
        self.assertSent(b"1 A", b"4")
        self.assertShown("close\n")
        self.assertOver(0)

    def test_a_refused_leave_does_not(self) -> None:
        self.type(b"4", b"5")
        self.reply(b"Illegal message")
        self.assertSent(b"4", b"5")
        self.assertGoesOn()

    def test_at_the_end_of_input_it_waits_for_answers_and_leaves(self) -> None:
        self.type(b"1 A", b"2 hi")
        self.end_of_input()
        self.reply(b"", b"Bob: hello")
        self.assertSent(b"1 A", b"2 hi", b"4")
        self.assertGoesOn()
        self.reply(b"close")
        self.assertShown("Bob: hello\nclose\n")
        self.assertOver(0)

    def test_an_unterminated_last_line_is_sent(self) -> None:
        self.plain.dataReceived(b"1 A\n2 hi")
        self.end_of_input()
        self.reply(b"")
        self.assertSent(b"1 A", b"2 hi")

    def test_a_client_that_never_joined_ends_without_leaving(self) -> None:
        self.type(b"1 A")
        self.end_of_input()
        self.reply(b"Illegal message")
        self.assertSent(b"1 A")
        self.assertOver(1)

    def test_no_input_at_all_ends_at_once(self) -> None:
        self.end_of_input()
        self.assertSent()
        self.assertOver(0)

    def test_a_last_leave_without_answer_is_reported(self) -> None:
        self.join()
        self.end_of_input()
        self.clock.advance(2)
        self.assertIn('no answer to "4" within 2 seconds', self.complaints[0])
        self.assertOver(1)

    def test_a_late_close_ends_after_the_outstanding_answer(self) -> None:
        self.join()
        self.type(b"4", b"5", b"2 hi")
        self.clock.advance(2)
        self.reply(b"close")
        self.assertGoesOn()
        self.reply(b"Illegal message")
        self.assertSent(b"1 A", b"4", b"5")
        self.assertShown("close\nIllegal message\n")
        self.assertOver(1)


class SilenceTest(PlainCase):
    def test_a_text_without_answer_is_told_and_the_next_line_goes_on(self) -> None:
        self.join()
        self.type(b"2 hi", b"2 more")
        self.clock.advance(2)
        said = 'no answer to "2 hi" within 2 seconds; it may or may not have arrived'
        self.assertEqual(self.complaints, [said])
        self.assertSent(b"1 A", b"2 hi", b"2 more")
        self.reply(b"Bob: late")
        self.end_of_input()
        self.reply(b"close")
        self.assertShown("Bob: late\nclose\n")
        self.assertOver(1)

    def test_the_lines_after_a_silent_join_wait(self) -> None:
        self.type(b"1 A", b"2 hi")
        self.clock.advance(2)
        self.assertEqual(self.complaints, ['no answer to "1 A" within 2 seconds; asking again'])
        self.assertSent(b"1 A", b"1 A")
        self.reply(b"")
        self.assertSent(b"1 A", b"1 A", b"2 hi")
        self.assertEqual(self.plain.status, 0)

    def test_a_server_that_stays_silent_is_given_up(self) -> None:
        self.type(b"1 A", b"2 hi")
        self.clock.pump([1] * 60)
        self.assertIn("asked 5 times; is here port 7 the right place?", self.complaints[-1])
        self.assertGoesOn()
        self.clock.advance(2)  # the join may have been heard, so it left
        self.assertSent(*[b"1 A"] * 5, b"4")
        self.assertOver(1)

    def test_nothing_listening_ends_it(self) -> None:
        self.type(b"1 A", b"2 hi")
        self.plain.conversation.refused("nothing is listening")
        self.assertEqual(len(self.complaints), 1)
        self.assertIn("here port 7: nothing is listening; check", self.complaints[0])
        self.assertSent(b"1 A")
        self.assertOver(1)


class TerminalTest(PlainCase):
    terminal = True

    def test_a_join_is_repeated_without_end(self) -> None:
        self.type(b"1 A")
        self.clock.pump([1] * 600)
        self.assertGoesOn()
        self.assertGreater(len(self.sender.sent), 20)

    def test_but_not_after_the_end_of_input(self) -> None:
        self.type(b"1 A")
        self.clock.pump([1] * 600)
        self.end_of_input()
        self.clock.pump([1] * 32)
        self.assertOver(1)

    def test_a_refused_poll_of_a_known_server_is_repeated(self) -> None:
        self.join()
        self.type(b"2 hi", b"2 more")
        self.plain.conversation.refused("nothing is listening")
        self.assertIn('"2 hi" did not reach', self.complaints[0])
        self.assertSent(b"1 A", b"2 hi", b"2 more")
        self.assertGoesOn()

    def test_a_server_that_was_never_reached_ends_it(self) -> None:
        self.type(b"1 A")
        self.plain.conversation.refused("nothing is listening")
        self.assertOver(1)


class InterruptTest(PlainCase):
    def test_an_interrupt_leaves_without_sending_queued_lines(self) -> None:
        self.join()
        self.type(b"2 hi", b"2 more")
        self.plain.interrupt(signal.SIGINT)
        self.assertSent(b"1 A", b"2 hi", b"4")
        self.reply(b"Bob: hello", b"close")
        self.assertShown("Bob: hello\nclose\n")
        self.assertOver(130)

    def test_a_client_that_may_have_joined_leaves(self) -> None:
        self.type(b"1 A")
        self.plain.interrupt(signal.SIGTERM)
        self.assertSent(b"1 A", b"4")
        self.reply(b"close")
        self.assertOver(143)

    def test_an_interrupt_without_membership_ends_at_once(self) -> None:
        self.type(b"5")
        self.plain.interrupt(signal.SIGHUP)
        self.assertSent(b"5")
        self.assertOver(129)

    def test_a_second_signal_ends_at_once(self) -> None:
        self.join()
        self.plain.interrupt(signal.SIGINT)
        self.assertGoesOn()
        self.plain.interrupt(signal.SIGINT)
        self.assertOver(130)
        self.clock.advance(100)
        self.assertOver(130)

    def test_without_an_answer_it_ends_in_time(self) -> None:
        self.join()
        self.plain.interrupt(signal.SIGINT)
        self.clock.advance(2)
        self.assertIn('no answer to "4"', self.complaints[0])
        self.assertOver(130)

    def test_a_blocked_output_does_not_hold_up_the_end(self) -> None:
        self.join()
        self.stdio.stuck = True
        self.plain.pauseProducing()
        self.plain.interrupt(signal.SIGINT)
        self.reply(b"close")
        self.assertEqual(self.overs, 0)
        self.clock.advance(LAST_SECONDS)
        self.assertOver(130)

    def test_a_signal_while_leaving_does_not_leave_twice(self) -> None:
        self.join()
        self.end_of_input()
        self.plain.interrupt(signal.SIGINT)
        self.assertSent(b"1 A", b"4")
        self.reply(b"close")
        self.assertOver(130)


class BrokenPipeTest(PlainCase):
    def test_it_leaves_and_ends_quietly(self) -> None:
        self.join()
        self.type(b"2 hi", b"2 more")
        self.break_output()
        self.assertSent(b"1 A", b"2 hi", b"4")
        self.reply(b"Bob: x", b"close")
        self.assertEqual(self.complaints, [])
        self.assertOver(0)

    def test_leaving_without_a_seat_just_ends(self) -> None:
        self.break_output()
        self.assertSent()
        self.assertOver(0)

    def test_a_connection_may_break_while_leaving(self) -> None:
        self.join()
        self.end_of_input()
        self.break_output()
        self.reply(b"close")
        self.assertOver(0)


class BrokenFileTest(PlainCase):
    pipe = False

    def test_an_output_that_cannot_be_written_is_told(self) -> None:
        self.join()
        self.reply(b"Bob: hi")
        self.break_output()
        self.reply(b"close")
        self.assertEqual(self.complaints, ["standard output cannot be written to"])
        self.assertOver(1)

    def test_a_doubt_at_the_end_is_not_resent(self) -> None:
        self.reply(b"Bob: hi")
        self.stdio.stuck = True
        self.end_of_input()
        self.plain.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.complaints, ["standard output cannot be written to"])
        self.assertOver(1)
