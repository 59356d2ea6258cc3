"""Flow control of live lines, in both directions."""

from __future__ import annotations

from groupchat.core.limits import BURST, MAX_ANSWER, QUEUE
from groupchat.frontends.lines.protocol import AT_ONCE as LINES_AT_ONCE
from groupchat.frontends.lines.protocol import PIPED, QUIET_SECONDS
from groupchat.frontends.turn_budget import NAMES, WORK
from groupchat.service.subscriptions import AT_ONCE
from groupchat.wire.lines import HELP
from tests.lobby import WELCOME, Caller, Lobby, LobbyTestCase, late_lobby


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


class RushTests(LobbyTestCase):
    """Lines that come faster than a member may speak. Programs that only send them read no refusal, but people do."""

    RATE = 5
    COUNT = 3 * BURST
    SLOWLY = (COUNT - BURST) / RATE  # seconds

    def setUp(self) -> None:
        self.open(Lobby(rate=self.RATE, stall=3600))
        self.caller = self.lobby.call()

    def told(self, seconds: float) -> list[str]:
        """Return what Bob sees after so many seconds, but for the joins and the leaves."""
        lines = list[str]()
        for _ in range(round(seconds / QUIET_SECONDS)):
            self.lobby.clock.advance(QUIET_SECONDS)
            self.lobby.settle()
            lines += [line for line in self.lobby.watch() if line.startswith("Alice: ")]
        return lines

    def texts(self, count: int = COUNT) -> list[str]:
        return [f"Alice: {number}" for number in range(count)]

    def pipe(self, caller: Caller, count: int = COUNT, size: int = 1) -> None:
        caller.send("Alice", *[str(number).ljust(size) for number in range(count)])

    def assertSlowed(self) -> None:
        """Check that all texts are said, as fast as they may be and no faster, and that nothing is left then."""
        said = self.told(self.SLOWLY - 1)
        self.assertEqual(said, self.texts()[: len(said)])
        self.assertIn(len(said), range(self.COUNT - 3 * self.RATE, self.COUNT))
        self.assertEqual(said + self.told(3), self.texts())
        self.assertNotIn("Slow down", "".join(self.caller.heard()))
        self.assertEqual(self.lobby.service.seats.live, {})

    def test_a_pipe_is_slowed_down_and_loses_nothing(self) -> None:
        self.pipe(self.caller)
        self.caller.half_close()
        self.assertSlowed()
        self.assertTrue(self.caller.is_closing)

    def test_the_end_may_come_a_little_later(self) -> None:
        self.pipe(self.caller)
        self.lobby.settle()
        self.lobby.clock.advance(QUIET_SECONDS / 2)
        self.caller.half_close()
        self.assertSlowed()

    def test_a_pipe_that_closes_both_sides_is_slowed_down(self) -> None:
        self.pipe(self.caller)
        self.caller.lose()
        self.assertSlowed()

    def test_a_pipe_in_small_pieces_is_slowed_down(self) -> None:
        self.caller = self.lobby.call(step=10)
        self.pipe(self.caller)
        self.caller.half_close()
        self.assertSlowed()

    def test_commands_of_a_pipe_are_slowed_down_in_order(self) -> None:
        self.caller.send("Alice", *["one"] * BURST, "/name Al", "/msg Bob: two", "/quit", "three")
        self.caller.half_close()
        self.lobby.settle()
        said = self.lobby.watch()
        self.assertEqual(said[-1], "Alice: one")
        self.lobby.pass_time(2)
        self.lobby.settle()
        last = ["Alice changed his name to Al", "Al (private): two", "Al has left the group"]
        self.assertEqual(self.lobby.watch(), last)

    def test_more_than_anybody_pastes_is_read_slowly(self) -> None:
        size = 2 * PIPED // (self.COUNT - BURST)
        self.pipe(self.caller, size=size)
        said = self.told(10)
        self.assertEqual(self.caller.transport.producerState, "paused")
        said += self.told(self.SLOWLY - 8)
        self.assertEqual([line.strip() for line in said], self.texts())
        self.assertEqual(self.caller.transport.producerState, "producing")
        self.assertNotIn("Slow down", "".join(self.caller.heard()))

    def test_what_is_held_is_bounded(self) -> None:
        self.pipe(self.caller, BURST)
        while self.caller.transport.producerState == "producing":
            self.caller.send("x" * 1000)
            self.lobby.settle()
            self.assertLess(self.caller.lines._splitter.size, PIPED + 1100)

    def test_a_burst_that_nobody_ends_is_refused(self) -> None:
        self.pipe(self.caller)
        self.assertEqual(self.told(1), self.texts(BURST))
        refused = self.caller.heard().count("* Slow down: you say too much at once.")
        self.assertEqual(refused, self.COUNT - BURST)
        self.assertEqual(self.caller.transport.producerState, "producing")
        self.lobby.pass_time(BURST / self.RATE)
        self.caller.send("later")
        self.caller.half_close()
        self.assertEqual(self.told(1), ["Alice: later"])

    def test_a_pipe_that_is_refused_later_loses_what_was(self) -> None:
        """After a refusal, the next burst is looked at anew."""
        self.pipe(self.caller)
        self.told(1)
        self.caller.heard()
        self.caller.send(*[str(number) for number in range(10)])
        self.caller.half_close()
        self.assertEqual(self.told(3), self.texts(10))
        self.assertNotIn("Slow down", "".join(self.caller.heard()))

    def test_a_program_is_told_that_it_is_too_fast(self) -> None:
        program = self.lobby.program("Alice")
        program.send(*[f"{number} text" for number in range(1, BURST + 3)])
        heard = program.heard()
        busy = [line for line in heard if line.startswith("busy ")]
        self.assertEqual(busy, [f"busy {number} Slow down: you say too much at once." for number in (101, 102)])

    def test_pipes_that_follow_each_other_are_slowed_down(self) -> None:
        """Each join and leave is a line as well, which the host owes."""
        self.open(Lobby(rate=self.RATE, stall=3600))
        callers = [self.lobby.call() for _ in range(2 * BURST + 5)]
        for number, caller in enumerate(callers):
            caller.send(f"cron{number:c>4}", "backup done")
            caller.half_close()
            self.lobby.settle()
        self.lobby.pass_time(5)
        self.lobby.settle()
        said = [line for line in self.lobby.watch() if line.endswith(": backup done")]
        self.assertEqual(len(said), len(callers))

    def test_a_connection_that_closes_holds_nothing(self) -> None:
        for end in ("close", "drop", "reset"):
            self.open(Lobby(rate=self.RATE))
            caller = self.lobby.call()
            self.pipe(caller)
            self.lobby.settle()
            self.assertTrue(caller.lines.waits_for_more)
            match end:
                case "close":
                    caller.lines.close("Enough.")
                case "drop":
                    caller.lines.drop()
            caller.lose(reset=end == "reset")
            self.lobby.settle()
            self.assertFalse(caller.lines.waits_for_more)
            self.assertEqual(self.lobby.service.seats.live, {}, end)
