"""The command `groupchat` on a pseudo-terminal, and against a real daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.daemon import UDPMember, running
from tests.terminals import Terminal
from tests.test_client import CLIENT, ENVIRONMENT, SECONDS, ProcessCase, Server, echo, run, serving, wait_until


@contextmanager
def terminal(*arguments: str | int) -> Iterator[Terminal]:
    """Run the client on a terminal of its own."""
    opened = Terminal([*CLIENT, *map(str, arguments)], ENVIRONMENT)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def joined() -> Iterator[tuple[Server, Terminal]]:
    """Run a client that has joined a server, which echoes what it is sent."""
    with serving(echo) as server, terminal("127.0.0.1", server.port) as client:
        client.type("1 A\n")
        client.see("1 A", "1 A")
        yield server, client


class TerminalTest(ProcessCase):
    def test_a_conversation(self) -> None:
        def hostile(request: bytes) -> list[bytes]:
            return [b"Bob: \x1b[2Jhello"] if request == b"5" else echo(request)

        with serving(hostile) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 Zoe\n")
            client.see("1 Zoe", "1 Zoe")
            client.type("5\n")
            client.see("5", "Bob: [2Jhello")
            client.type("4\n")
            client.see("4", "close")
            self.assertEqual(client.end(), 0)

    def test_ctrl_c_leaves(self) -> None:
        with joined() as (server, client):
            client.type("half a line\x03")
            self.assertEqual(client.end(), 130)
            self.assertEqual(server.requests, [b"1 A", b"4"])

    def test_ctrl_d_leaves(self) -> None:
        with joined() as (server, client):
            client.type("\x04")
            self.assertEqual(client.end(), 0)
            self.assertEqual(server.requests, [b"1 A", b"4"])

    def test_ctrl_c_ends_a_wait_for_nobody(self) -> None:
        with serving(lambda request: []) as server, terminal("127.0.0.1", server.port) as client:
            client.type("1 A\n")
            client.see('groupchat: no answer to "1 A" within 2 seconds; asking again')
            client.type("\x03")
            wait_until(lambda: b"4" in server.requests)
            client.type("\x03")
            self.assertEqual(client.end(), 130)

    def test_a_terminal_that_goes_away_leaves(self) -> None:
        with joined() as (server, client):
            client.hang_up()
            self.assertEqual(client.process.wait(SECONDS), 129)
            self.assertEqual(server.requests, [b"1 A", b"4"])


class DaemonTest(ProcessCase):
    """The plain client against a real daemon."""

    def test_a_piped_session(self) -> None:
        with running() as daemon:
            bob = UDPMember(daemon.port)
            self.addCleanup(bob.close)
            bob.ask("1 Bob")
            done = run("127.0.0.1", daemon.port, typed="1 Zoë\n2 hi\n\n2 \x1b[2J\n5".encode())
            self.assertEqual(done.stdout.decode(), "Bob\nIllegal message\nIllegal message\nclose\n")
            self.assertEqual((done.returncode, done.stderr), (1, b""))
            self.assertEqual(bob.ask("5"), "Zoë has joined\nZoë: hi\nZoë has left the group")

    def test_a_session_on_a_terminal(self) -> None:
        with running() as daemon, terminal("localhost", daemon.port) as client:
            bob = UDPMember(daemon.port)
            self.addCleanup(bob.close)
            bob.ask("1 Bob")
            client.type("1 Zoe\n")
            client.see("1 Zoe", "Bob")
            self.assertEqual(bob.ask("2 hello"), "Zoe has joined")
            client.type("3 Zoë\n")
            client.see("3 Zoë", "Bob: hello")
            client.type("\x03")
            self.assertEqual(client.end(), 130)
            self.assertEqual(bob.ask("5"), "Zoe changed his name to Zoë\nZoë has left the group")

    def test_two_clients_talk(self) -> None:
        with running() as daemon, terminal("127.0.0.1", daemon.port) as ada, terminal("127.0.0.1", daemon.port) as bob:
            ada.type("1 Ada\n2 anybody?\n7\n")
            ada.see("Illegal message")
            bob.type("1 Bob\n")
            bob.see("1 Bob", "Ada")
            bob.type("2 me\n7\n")
            bob.see("Illegal message")
            ada.type("5\n")
            ada.see("Bob has joined", "Bob: me")
            ada.type("4\n")
            self.assertEqual(ada.end(), 0)
            bob.type("5\n")
            bob.see("Ada has left the group")
