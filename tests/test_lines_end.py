"""The end of live lines: by the end of input, a command, or a lost connection."""

from __future__ import annotations

from groupchat.core.errors import Unavailable
from groupchat.core.limits import MAX_UNTERMINATED, QUEUE
from tests.lobby import CANNOT, Caller, Lobby, LobbyTestCase, late_lobby
from tests.logs import FailingLog


class EndTests(LobbyTestCase):
    def end(self, caller: Caller, how: str) -> None:
        """End the input of a connection in one of the `ways`."""
        match how:
            case "half-close":
                caller.half_close()
            case "loss":
                caller.lose()
            case "Ctrl-D":
                caller.send_bytes(b"\x04")
            case "Ctrl-D of telnet":
                caller.send_bytes(b"\xff\xec")
            case "Ctrl-C of telnet":
                caller.send_bytes(b"\xff\xf4\xff\xfd\x06")

    ways = ("half-close", "loss", "Ctrl-D", "Ctrl-D of telnet", "Ctrl-C of telnet")

    def test_lines_before_the_end_are_said(self) -> None:
        count = 10 * QUEUE
        for how in self.ways:
            self.open(Lobby())
            caller = self.lobby.call()
            caller.send("Alice", *[str(number) for number in range(count)])
            self.end(caller, how)
            self.lobby.settle()
            texts = [f"Alice: {number}" for number in range(count)]
            self.assertEqual(self.lobby.watch(), ["Alice has joined", *texts, "Alice has left the group"], how)
            if how != "loss":
                self.assertEqual(caller.heard()[-1], "* You have left the group.", how)
                self.assertTrue(caller.is_closing, how)
                caller.lose()
            self.assertAllIsGone(how)

    def assertAllIsGone(self, how: str) -> None:
        """Check that nothing is left of any connection."""
        self.lobby.settle()
        service = self.lobby.service
        self.assertEqual((self.lobby.registry.connections, service.seats.live, service.seats.held), ({}, {}, {}), how)
        subscriptions = service.subscriptions
        self.assertEqual((subscriptions._awake, subscriptions._paused), ({}, {}), how)

    def test_timing_marks_of_telnet_are_answered(self) -> None:
        """Telnet asks for one after Ctrl-C and Ctrl-Z, and shows nothing until it has an answer."""
        for data in (b"\xff\xf4\xff\xfd\x06", b"\xff\xed\xff\xfd\x06"):
            for step in (0, 1, 2):
                self.open(Lobby())
                caller = self.lobby.call(step=step)
                caller.ask("Alice")
                caller.send_bytes(data)
                self.assertEqual(caller.transport.value(), b"\xff\xfc\x06", (data, step))

    def test_an_unfinished_line_is_said_except_after_ctrl_c(self) -> None:
        for how in self.ways:
            self.open(Lobby())
            alice = self.lobby.enter("Alice")
            alice.send_bytes(b"half a line")
            self.end(alice, how)
            self.lobby.settle()
            said = [] if how.startswith("Ctrl-C") else ["Alice: half a line"]
            self.assertEqual(self.lobby.watch(), ["Alice has joined", *said, "Alice has left the group"], how)

    def test_input_of_a_paused_connection_is_said_when_lost(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send("one", "two")
        alice.lose()
        self.assertAllIsGone("loss")
        said = ["Alice has joined", "Alice: one", "Alice: two", "Alice has left the group"]
        self.assertEqual(self.lobby.watch(), said)

    def test_a_reset_discards_unread_lines(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send("one", "two")
        alice.lose(reset=True)
        self.assertAllIsGone("reset")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_input_after_the_end_is_discarded(self) -> None:
        for sign in (b"\x04", b"\xff\xf4"):
            self.open(Lobby())
            alice = self.lobby.enter("Alice")
            alice.send_bytes(b"before\n" + sign)
            for _ in range(100):
                alice.send_bytes(b"after\n" * 100)
            self.assertFalse(alice.lines.has_unread)
            alice.heard()
            said = ["Alice has joined", "Alice: before", "Alice has left the group"]
            self.assertEqual(self.lobby.watch(), said)

    def test_the_end_before_joining(self) -> None:
        for how in self.ways:
            self.open(Lobby())
            caller = self.lobby.call()
            self.end(caller, how)
            if how != "loss":
                self.assertTrue(caller.is_closing, how)
                caller.lose()
            self.assertAllIsGone(how)
            self.assertEqual(self.lobby.watch(), [])

    def test_connection_lost_while_joining(self) -> None:
        self.lobby = late_lobby()
        caller = self.lobby.call()
        caller.send("Alice", "hi")
        self.lobby.settle()
        caller.lose()
        for _ in range(5):
            self.lobby.pass_time(1)
        self.assertAllIsGone("loss")
        self.assertEqual(self.lobby.service.group.history.head, 3)

    def test_connection_closed_while_joining(self) -> None:
        self.lobby = late_lobby()
        caller = self.lobby.call()
        caller.send("Alice")
        self.lobby.settle()
        caller.lines.close("Enough.")
        for _ in range(3):
            self.lobby.pass_time(1)
        self.assertEqual(caller.heard()[-1], "* Enough.")
        caller.lose()
        for _ in range(3):
            self.lobby.pass_time(1)
        self.assertAllIsGone("closing")

    def test_connection_lost_while_leaving(self) -> None:
        for first, then in [("half-close", "loss"), ("Ctrl-D", "half-close"), ("Ctrl-D", "loss")]:
            self.open(Lobby())
            alice = self.lobby.enter("Alice")
            self.end(alice, first)
            self.end(alice, then)
            self.lobby.settle()
            if then != "loss":
                alice.lose()
            self.assertAllIsGone(f"{first}, {then}")
            self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_a_leave_is_stored_once_the_log_is_available(self) -> None:
        log = FailingLog([])
        self.open(Lobby(log))
        alice = self.lobby.enter("Alice")
        log.failures = [Unavailable("full")] * 3
        appended = len(log.appended)
        alice.half_close()
        self.assertEqual(alice.heard(), [f"* {CANNOT}"])
        self.assertTrue(alice.is_closing)
        self.assertEqual(len(log.appended), appended + 1)
        alice.lose()
        self.lobby.pass_time(5)
        for _ in range(5):
            self.lobby.pass_time(1)
        self.assertAllIsGone("half-close")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_nothing_after_quit_is_read(self) -> None:
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/quit", "more", "/users", "/help", "/nonsense"), ["* You have left the group."])
        self.assertTrue(alice.is_closing)
        alice.send("more")
        self.assertEqual(alice.heard(), [])
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_nothing_after_quit_is_read_on_a_lost_connection(self) -> None:
        alice = self.lobby.enter("Alice")
        alice.lines.pauseProducing()
        alice.send("/quit", "/users", "Ghost")
        alice.lose()
        self.assertAllIsGone("loss")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])

    def test_an_endless_line_closes_the_connection(self) -> None:
        alice = self.lobby.enter("Alice")
        for _ in range(MAX_UNTERMINATED // 1024):
            alice.send_bytes(b"x" * 1024)
        self.assertFalse(alice.is_closing)
        alice.send_bytes(b"x")
        self.assertEqual(alice.heard(), ["* That line has no end."])
        self.assertTrue(alice.is_closing)
        alice.send_bytes(b"x\nhi\n")
        alice.lose()
        self.assertAllIsGone("too long")
        self.assertEqual(self.lobby.watch(), ["Alice has joined", "Alice has left the group"])
