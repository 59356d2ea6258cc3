"""The client on a pseudo-terminal keeps its seat between runs, against a real daemon."""

from __future__ import annotations

import os
import signal
import socket
import stat
import tempfile
from pathlib import Path

from tests.certificates import make_certificate
from tests.daemon import Daemon, LineMember
from tests.screens import CTRL_C, CTRL_D, ENTER, ScreenTerminal
from tests.test_chat_terminal import ON_PLAIN, ChatCase
from tests.test_client import CLIENT, STATE, run

KEPT = "-- Your seat is kept for a while: the same command brings you back. /quit leaves for good."
IN_USE = "-- another groupchat here has the seat of Alice: this one takes a new seat"
AS_ALICE = "-- You are Alice. /help tells what you can do."
GONE = "-- back, but your seat was gone: joined again as Alice. You may have missed something."


class SeatsCase(ChatCase):
    """A daemon on a file, at the same ports after a restart. Without a hold, seats end at once."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.open()

    def open(self, hold: int = 300, file: str = "group.sqlite") -> None:
        """Start the daemon, or start it again."""
        self.daemon.stop()
        self.daemon = self.start("--db", str(self.folder / file), "--tcp", str(self.port), "--hold", str(hold))

    def end(self, client: ScreenTerminal, key: str = CTRL_D) -> None:
        """End a client that keeps its seat, and tells so."""
        client.type(key)
        self.assertEqual(client.end(), 130 if key == CTRL_C else 0)
        self.assertIn(KEPT.replace(" ", ""), client.text().replace(" ", ""))

    def quit(self, client: ScreenTerminal) -> None:
        """Leave for good."""
        client.type(f"/quit{ENTER}")
        self.assertEqual(client.end(), 0)
        self.assertNotIn("kept", client.text())

    def files(self) -> list[Path]:
        return list(STATE.glob("groupchat/seats/*"))

    def shown(self, client: ScreenTerminal) -> list[str]:
        """Return what came from the group, and how the client came back."""
        return [row for row in client.rows() if row and (not row.startswith("-- ") or "back" in row) and ">" not in row]


class NextRunTest(SeatsCase):
    def test_a_held_seat_goes_on_with_what_was_missed(self) -> None:
        alice = self.chat()
        bob = self.member()
        for key in (CTRL_D, CTRL_C):
            alice.type(f"hi{ENTER}")
            bob.receive_until("Alice: hi")
            self.end(alice, key)
            bob.send("one", "two")
            alice = self.chat()
            alice.shows("-- back, 2 lines", "Bob: one", "Bob: two")
            self.assertEqual(self.shown(alice), ["-- back, 2 lines", "Bob: one", "Bob: two"])
        alice.type(f"hi{ENTER}")
        self.assertEqual(bob.receive(), "Alice: hi")

    def test_after_days_and_a_restart_the_name_and_place_are_kept(self) -> None:
        self.open(hold=0)
        alice = self.chat()
        bob = self.member()
        alice.type(f"hi{ENTER}")
        bob.send("seen")
        alice.shows("Bob: seen")
        self.end(alice)
        bob.receive_until("Alice has left the group")
        bob.send("one")
        other = LineMember(self.port)
        self.addCleanup(other.close)
        other.send("Alice")
        other.receive_until("reserved for somebody who was here before")
        bob.send("/name Bobby")
        bob.receive_until("You are Bobby")
        self.open()
        bob = self.member("Robert")
        bob.send("two")
        bob.send("/users")
        bob.receive_until("Robert")
        alice = self.chat()
        alice.shows("Robert: two")
        missed = ["Bob: one", "Bob changed his name to Bobby", "Bobby has left the group", "Robert has joined"]
        self.assertEqual(self.shown(alice), ["-- back, 5 lines", *missed, "Robert: two"])
        alice.type(f"hi{ENTER}")
        bob.receive_until("Alice: hi")

    def test_a_killed_client_goes_on(self) -> None:
        alice = self.chat()
        bob = self.member()
        bob.send("seen")
        alice.shows("Bob: seen")
        alice.type(f"one{ENTER}")
        bob.receive_until("Alice: one")  # by then it is stored what alice has seen
        alice.process.send_signal(signal.SIGKILL)
        alice.process.wait()
        bob.send("missed")
        alice = self.chat()
        alice.shows("-- back, 1 line", "Bob: missed")
        alice.type(f"two{ENTER}")
        self.assertEqual(bob.receive(), "Alice: two")

    def test_a_daemon_that_forgot_the_key_is_joined_anew(self) -> None:
        self.end(self.chat())
        self.open(file="other.sqlite")
        self.member().send("hello")
        alice = self.chat()
        alice.wait(lambda: GONE in alice.text() or "began anew" in alice.text(), "a report")
        self.end(alice)
        self.chat().shows("-- back, 0 lines")

    def test_a_name_that_was_taken_meanwhile_is_asked_for(self) -> None:
        self.end(self.chat())
        self.open(file="other.sqlite")
        self.member("Alice")
        alice = self.terminal(self.url(), "--name", "Alice", "--no-times")
        alice.types("The name Alice is in use. What is your name?")
        alice.type(f"Ally{ENTER}")
        alice.types("Ally>")

    def test_a_renamed_member_comes_back_under_both_names(self) -> None:
        alice = self.chat()
        alice.type(f"/name Ally{ENTER}")
        alice.types("Ally>")
        self.end(alice)
        for name in ("Ally", "Alice"):
            alice = self.terminal(self.url(), "--name", name, "--no-times")
            alice.shows("-- You are Ally. /help tells what you can do.", "-- back, 0 lines")
            self.end(alice)

    def test_quit_leaves_for_good(self) -> None:
        alice = self.chat()
        self.assertEqual([stat.S_IMODE(file.stat().st_mode) for file in self.files()], [0o600])
        alice.type(f"hi{ENTER}")
        alice.shows("Alice: hi")
        self.quit(alice)
        self.assertEqual(self.files(), [])
        self.member("Alice").send("I took that name")

    def test_plain_lines_on_a_terminal_keep_it_too(self) -> None:
        for back in ([], ["groupchat: back, 0 lines"]):
            alice = self.terminal(self.url(), "--name", "Alice", "--plain")
            alice.shows(f"groupchat: {AS_ALICE[3:]}", *back)
            alice.type(CTRL_D)
            self.assertEqual(alice.end(), 0)
            self.assertIn("groupchat: Your seat is kept", alice.text())


class OtherDoorsTest(SeatsCase):
    def test_it_is_kept_over_tls_and_quic(self) -> None:
        key, certificate = make_certificate(self.folder)
        endpoint = f"ssl:0:privateKey={key}:certKey={certificate}"
        daemon = Daemon("--db", ":memory:", "--tcp", endpoint, "--quic", "--hold", "0")
        self.addCleanup(daemon.stop)
        for url in (f"tls://localhost:{daemon.tcp[0]}", f"quic://127.0.0.1:{daemon.port}"):
            name = url.partition(":")[0].upper()
            words = [url, "--name", name, "--no-times", "--trust-new"]
            environment = {**ON_PLAIN, "XDG_DATA_HOME": str(self.folder)}
            client = ScreenTerminal([*CLIENT, *words], environment)
            self.addCleanup(client.close)
            client.types(f"{name}>")
            client.type(f"hi{ENTER}")
            client.shows(f"{name}: hi")
            self.end(client)
            done = run(url, "--name", "Bob", typed=b"missed\n/history 9\n", environment=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            again = ScreenTerminal([*CLIENT, *words], environment)
            self.addCleanup(again.close)
            again.shows("Bob: missed")
            self.quit(again)


class NotKeptTest(SeatsCase):
    def test_a_pipe_keeps_none(self) -> None:
        bob = self.member()
        done = run(self.url(), "--name", "Alice", typed=b"hi\n")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        alice = ScreenTerminal(["/bin/sh", "-c", '"$@" | cat', "sh", *CLIENT, self.url(), "--name", "Alice"], ON_PLAIN)
        self.addCleanup(alice.close)
        alice.shows(f"groupchat: {AS_ALICE[3:]}")
        alice.type(CTRL_D)
        self.assertEqual(alice.end(), 0)
        came = ["Alice has joined", "Alice: hi", "Alice has left the group", "Alice has joined"]
        self.assertEqual([bob.receive() for _ in range(5)], [*came, "Alice has left the group"])
        self.assertFalse(STATE.exists())

    def test_over_udp_there_is_none(self) -> None:
        alice = self.chat("Alice", "udp")
        alice.type(CTRL_D)
        self.assertEqual(alice.end(), 0)
        self.assertNotIn("kept", alice.text())
        self.assertFalse(STATE.exists())

    def test_a_second_terminal_takes_a_new_seat(self) -> None:
        alice = self.chat()
        second = self.terminal(self.url(), "--name", "Alice", "--no-times")
        second.types("The name Alice is in use. What is your name?")
        self.assertIn(IN_USE, second.rows())
        second.type(f"Ally{ENTER}")
        second.types("Ally>")
        self.end(second)
        alice.type(f"still here{ENTER}")
        alice.shows("Alice: still here")
        self.end(alice)
        for name in ("Ally", "Alice"):
            client = self.chat(name)
            client.wait(lambda: "-- back, " in client.text(), "back")  # noqa: B023 - called at once

    def test_a_home_that_cannot_be_written_to_is_told_of(self) -> None:
        STATE.write_text("a file")
        self.addCleanup(STATE.unlink)
        self.check_unkept(self.terminal(self.url(), "--name", "Alice", "--no-times"), "Not a directory")

    def test_a_full_disk_is_told_of(self) -> None:
        command = ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *CLIENT, self.url(), "--name", "Alice"]
        alice = ScreenTerminal([*command, "--no-times"], ON_PLAIN)
        self.addCleanup(alice.close)
        self.check_unkept(alice, "File too large")

    def check_unkept(self, alice: ScreenTerminal, why: str) -> None:
        """Check that a client is told why its seat cannot be kept, chats, and leaves at the end of input."""
        alice.types("Alice>")
        told = f"-- your seat cannot be kept in {STATE}/groupchat/seats: {why}"
        self.assertIn(told.replace(" ", ""), alice.text().replace(" ", ""))
        bob = self.member()
        alice.type(f"hi{ENTER}{CTRL_D}")
        self.assertEqual(alice.end(), 0)
        self.assertEqual([bob.receive(), bob.receive()], ["Alice: hi", "Alice has left the group"])
        self.assertNotIn("Your seat is kept", alice.text())

    def test_a_damaged_file_is_told_of(self) -> None:
        self.end(self.chat())
        self.open(file="other.sqlite")  # which does not know the seat
        [file] = self.files()
        file.write_bytes(os.urandom(64))
        alice = self.chat()
        self.assertIn(f"{file.name}wasdamaged:thisisanewseat", alice.text().replace(" ", ""))
        self.end(alice)
        self.chat().shows("-- back, 0 lines")


class NewSeatTest(SeatsCase):
    def test_the_old_seat_is_left_whether_held_or_reserved(self) -> None:
        for hold in (300, 0):
            self.open(hold, f"{hold}.sqlite")
            bob = self.member()
            alice = self.chat()
            alice.type(f"hi{ENTER}")
            bob.receive_until("Alice: hi")
            self.end(alice)
            if not hold:
                bob.receive_until("Alice has left")
            bob.send("not for the new seat")
            alice = self.chat("Alice", "tcp", "--new-seat")
            bob.receive_until("Alice has left the group")
            self.assertEqual(bob.receive(), "Alice has joined")
            bob.send("hello")
            alice.shows("Bob: hello")
            self.assertEqual(self.shown(alice), ["Bob: hello"])
            self.quit(alice)
            self.assertEqual(self.files(), [])


class KilledOftenTest(SeatsCase):
    def test_kills_at_any_time_leave_a_seat_that_works(self) -> None:
        bob = self.member()
        for seconds in (0.3, 0.45, 0.6, 0.7, 0.8, 0.9):
            words = ["timeout", "-s", "KILL", str(seconds), *CLIENT, self.url(), "--name", "Alice"]
            client = ScreenTerminal(words, ON_PLAIN)
            self.addCleanup(client.close)
            client.end()
        alice = self.chat()
        alice.type(f"hi{ENTER}")
        bob.receive_until("Alice: hi")
        self.assertNotIn("damaged", alice.text())
        self.assertNotIn("Traceback", alice.text())
