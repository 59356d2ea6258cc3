"""Flow control of live lines, in both directions."""

from __future__ import annotations

from groupchat.core.limits import MAX_ANSWER, QUEUE
from groupchat.frontends.lines.protocol import AT_ONCE as LINES_AT_ONCE
from groupchat.frontends.turn_budget import NAMES, WORK
from groupchat.service.subscriptions import AT_ONCE
from groupchat.wire.lines import HELP
from tests.lobby import WELCOME, Lobby, LobbyTestCase, late_lobby


class BackPressureTests(LobbyTestCase):
    def say_much(self) -> list[str]:
        """Let Bob say 100 lines of 1,000 bytes. Return them as the others see them."""
        texts = [f"{number} {'x' * 1000}" for number in range(100)]
        for text in texts:
            self.lobby.ask(1, f"2 {text}")
        return [f"Bob: {text}" for text in texts]

    def test_nothing_is_written_while_paused(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        texts = self.say_much()
        self.assertEqual(alice.heard(), [])
        alice.lines.resumeProducing()
        self.assertEqual(alice.heard(), texts)

    def test_a_slow_reader_gets_bounded_pieces(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        texts = self.say_much()
        give, pieces = alice.lines.give, list[int]()

        def give_and_fill(data: bytes) -> None:
            pieces.append(len(data))
            give(data)
            alice.lines.pauseProducing()

        self.patch(alice.lines, "give", give_and_fill)
        heard: list[str] = []
        while len(heard) < len(texts):
            alice.lines.resumeProducing()
            some = alice.heard()
            self.assertTrue(some)
            heard += some
        self.assertEqual(heard, texts)
        self.assertLessEqual(max(pieces), AT_ONCE)
        self.assertEqual(len(pieces), 4)

    def test_nothing_is_read_while_paused(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send("one", "/users")
        self.assertEqual(alice.transport.producerState, "paused")
        self.assertEqual((alice.heard(), self.lobby.watch()), ([], ["Alice has joined"]))
        alice.lines.resumeProducing()
        self.assertEqual(alice.heard()[0], "* 2 here:")
        self.assertEqual(alice.transport.producerState, "producing")
        self.assertEqual(self.lobby.watch(), ["Alice: one"])

    def test_answers_that_fill_the_transport_stop_reading(self) -> None:
        alice = self.lobby.enter("Alice")
        give = alice.lines.give

        def give_and_fill(data: bytes) -> None:
            give(data)
            if len(alice.transport.value()) > 2000:
                alice.lines.pauseProducing()

        self.patch(alice.lines.dialogue._answers, "_give", give_and_fill)
        alice.send(*["/help"] * 1000)
        answer = sum(len(line) + 3 for line in HELP)
        self.lobby.settle()
        self.assertLess(len(alice.transport.value()), 2000 + 2 * answer)
        self.assertEqual(alice.transport.producerState, "paused")
        count = 0
        while some := alice.heard():
            count += some.count(f"* {HELP[0]}")
            alice.lines.resumeProducing()
        self.assertEqual(count, 1000)
        self.assertEqual(alice.transport.producerState, "producing")

    def test_one_connection_reads_a_bounded_number_of_lines(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.heard()
        alice.send(*["/help"] * 1000)
        first = alice.transport.value().decode().count(HELP[0])
        self.assertEqual(first, LINES_AT_ONCE)
        self.assertEqual(alice.heard().count(f"* {HELP[0]}"), 1000)
        self.assertEqual(alice.transport.producerState, "producing")

    def test_all_connections_read_a_bounded_number_of_lines(self) -> None:
        callers = [self.lobby.call() for _ in range(20)]
        for caller in callers:
            caller.heard()
        for caller in callers:
            caller.send(*["/help"] * 100)
        answered = [caller.transport.value().decode().count(HELP[0]) for caller in callers]
        self.assertEqual(sum(answered), -(-WORK // (1 + NAMES)))
        for caller in callers:
            self.assertEqual(caller.heard().count(f"* {HELP[0]}"), 100)
            self.assertEqual(caller.transport.producerState, "producing")

    def test_long_answers_wait_for_each_other(self) -> None:
        """Commands behind a text that is being stored are not all answered at once."""
        self.lobby = late_lobby()
        alice = self.lobby.call()
        alice.send("Alice", *[str(number) + "x" * 4000 for number in range(2 * MAX_ANSWER // 4000)])
        for _ in range(20):
            alice.heard()
            self.lobby.clock.advance(1.0)
        alice.send("hi", *["/history 200"] * 10, "/users")
        give = alice.lines.give

        def give_and_fill(data: bytes) -> None:
            give(data)
            if len(alice.transport.value()) > MAX_ANSWER // 2:
                alice.lines.pauseProducing()

        self.patch(alice.lines.dialogue._answers, "_give", give_and_fill)
        self.lobby.settle()
        self.lobby.clock.advance(1.0)
        self.lobby.settle()
        self.assertLess(len(alice.transport.value()), 2 * MAX_ANSWER)
        heard: list[str] = []
        while some := alice.heard():
            heard += some
            alice.lines.resumeProducing()
        self.assertEqual(len([line for line in heard if line.startswith("*   Alice: hi")]), 10)
        self.assertEqual(heard[-2], "* Only you are here:")

    def test_timing_marks_are_not_answered_while_paused(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send_bytes(b"hi\n\xff\xec")
        for _ in range(100):
            alice.send_bytes(b"\xff\xfd\x06")
        self.assertEqual(alice.transport.value(), b"")

    def test_lines_are_read_no_faster_than_answered(self) -> None:
        self.lobby = late_lobby()
        self.lobby.ask(1, "1 Bob")
        self.lobby.pass_time(1)
        alice = self.lobby.call()
        alice.send("Alice")
        self.lobby.settle()
        self.lobby.pass_time(1)
        self.assertEqual(alice.heard()[-1], WELCOME.format("Alice"))
        alice.send(*[str(number) for number in range(1000)])
        most = len(alice.lines.dialogue._unanswered)
        for _ in range(200):
            self.lobby.settle()
            most = max(most, len(alice.lines.dialogue._unanswered))
            self.assertEqual(alice.transport.producerState, "paused" if alice.lines.has_unread else "producing")
            self.lobby.clock.advance(1.0)
        self.assertEqual(most, QUEUE)
        self.assertEqual(alice.transport.producerState, "producing")
        texts = [line for line in self.lobby.watch() if line.startswith("Alice: ")]
        self.assertEqual(texts, [f"Alice: {number}" for number in range(1000)])

    def test_refusals_wait_for_earlier_answers(self) -> None:
        self.lobby = late_lobby()
        alice = self.lobby.call()
        alice.send("Alice", "hi", "/nonsense", "/name Al", "/nonsense")
        heard = alice.heard()
        for _ in range(6):
            self.lobby.clock.advance(1.0)
            heard += alice.heard()
        self.assertEqual([line[:9] for line in heard[3:]], ["* You are", "* There i", "* You are", "* There i"])

    def test_a_connection_paused_while_joining(self) -> None:
        """TLS takes nothing before its handshake is done."""
        caller = self.lobby.call()
        caller.heard()
        caller.send("Alice")
        caller.lines.pauseProducing()
        self.lobby.settle()
        self.lobby.ask(1, "2 hi")
        self.assertEqual(caller.heard(), [WELCOME.format("Alice")])
        caller.lines.resumeProducing()
        self.assertEqual(caller.heard(), ["Bob: hi"])

    def test_a_stalled_reader_is_dropped(self) -> None:
        self.open(Lobby(stall=30))
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        self.lobby.pass_time(29)
        self.assertFalse(alice.transport.disconnected)
        self.lobby.pass_time(30)
        self.assertTrue(alice.transport.disconnected)
        alice.lose()
        self.lobby.settle()
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_closing_resumes_the_input(self) -> None:
        self.lobby = late_lobby()
        alice = self.lobby.call()
        alice.send("Alice", *["x"] * 100)
        self.assertEqual(alice.transport.producerState, "paused")
        alice.lines.close("Enough.")
        self.assertEqual((alice.transport.producerState, alice.transport.producer), ("producing", None))
        self.assertFalse(alice.lines.has_unread)
