"""The chat on a pseudo-terminal, against a real daemon: what is typed, and what the screen then shows."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence

from tests.daemon import Daemon, LineMember, UDPMember
from tests.programs import need
from tests.screens import CTRL_C, CTRL_D, ENTER, LEFT, PASTE, TAB, UP, ScreenTerminal
from tests.test_client import CLIENT, ENVIRONMENT, SECONDS, ProcessCase

ON_COLOURED = {**{name: ENVIRONMENT[name] for name in ENVIRONMENT if name != "NO_COLOR"}, "TERM": "xterm-256color"}
ON_PLAIN = {**ON_COLOURED, "NO_COLOR": "1"}

DRIVING = re.compile(rb"[\x00-\x06\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]")
"""Bytes that no terminal should be given, and that no honest program needs to draw its screen."""


class ChatCase(ProcessCase):
    """A daemon without a limit on the rate of lines, for each test."""

    def setUp(self) -> None:
        super().setUp()
        self.daemon = self.start("--db", ":memory:", "--rate", "0", "--tcp", "0")

    def start(self, *options: str) -> Daemon:
        daemon = Daemon(*options)
        self.addCleanup(daemon.stop)
        return daemon

    def url(self, scheme: str = "tcp") -> str:
        return f"{scheme}://127.0.0.1:{self.daemon.tcp[0] if scheme == 'tcp' else self.daemon.port}"

    def terminal(self, *arguments: str, columns: int = 80, colours: bool = False) -> ScreenTerminal:
        environment = ON_COLOURED if colours else ON_PLAIN
        opened = ScreenTerminal([*CLIENT, *arguments], environment, columns)
        self.addCleanup(opened.close)
        return opened

    def chat(self, name: str = "Alice", scheme: str = "tcp", *options: str, columns: int = 80) -> ScreenTerminal:
        """Run a client that has joined the group, and shows no times."""
        options = ("--poll", "0.1", *options) if scheme == "udp" else options
        client = self.terminal(self.url(scheme), "--name", name, "--no-times", *options, columns=columns)
        client.wait(lambda: f"-- You are {name}. /help tells" in client.text(), f"You are {name}")
        client.types(f"{name}>")
        return client

    def member(self, name: str = "Bob") -> LineMember:
        joined = LineMember(self.daemon.tcp[0])
        self.addCleanup(joined.close)
        joined.join(name)
        return joined


class ConversationTest(ChatCase):
    def test_over_tcp_udp_and_netcat(self) -> None:
        alice = self.chat("Alice", "tcp")
        bob = self.chat("Bob", "udp")
        netcat = subprocess.Popen(
            [need("nc", "netcat-openbsd"), "127.0.0.1", str(self.daemon.tcp[0])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(netcat.wait)
        self.addCleanup(netcat.kill)
        assert netcat.stdin is not None
        assert netcat.stdout is not None
        self.addCleanup(netcat.stdout.close)
        self.addCleanup(netcat.stdin.close)
        netcat.stdin.write(b"Cat\nmeow\n")
        netcat.stdin.flush()
        for client in (alice, bob):
            client.shows("Cat has joined", "Cat: meow")
        alice.type(f"hello, both{ENTER}")
        alice.shows("Alice: hello, both")
        bob.shows("Alice: hello, both")
        bob.type(f"hello, Alice{ENTER}")
        alice.shows("Alice: hello, both", "Bob: hello, Alice")
        heard = b""
        while not heard.endswith(b"Bob: hello, Alice\n"):
            heard = netcat.stdout.readline()
            self.assertTrue(heard)
        for client, name in ((alice, "Alice"), (bob, "Bob")):
            client.type(f"/quit{ENTER}")
            self.assertEqual(client.end(), 0)
            self.assertIn(f"{name} has left the group".encode(), netcat.stdout.readline())

    def test_typed_text_stays_whole_below_new_lines(self) -> None:
        typed = "漢字 and 😀, e\N{COMBINING ACUTE ACCENT}, and much more of the like; " * 2
        for columns in (80, 37):
            client = self.chat(f"Width{columns}", columns=columns)
            bob = self.member(f"Bob{columns}")
            expected = typed.replace("e\N{COMBINING ACUTE ACCENT}", "é")  # so says pyte
            for word in re.findall(r"\S+ ", typed):
                client.type(word)
                bob.send(f"said while {word}")
            bob.send("漢字😀" * 20, "the last one")
            client.shows(f"Bob{columns}: the last one")
            client.types(f"Width{columns}> {expected}".rstrip())
            said = [row for row in client.rows() if row.startswith(f"Bob{columns}: said while")]
            self.assertEqual(len(said), typed.count(" "))
            self.assertIn("漢字😀" * 20, client.text())
            client.type(LEFT * 2 + "!" + ENTER)
            client.types(f"Width{columns}>")
            self.assertEqual(bob.receive_until("!")[-1], f"Width{columns}: {typed[:-2]}!{typed[-2:]}")
            client.close()

    def test_the_window_changes_its_size_while_somebody_types(self) -> None:
        client = self.chat()
        bob = self.member()
        typed = "a long line that is being typed when somebody pulls at the corner " * 2
        client.type(typed)
        client.types(f"Alice> {typed}".rstrip())
        for columns in (120, 60, 100, 41, 80):
            client.resize(columns, 24)
            bob.send(f"now {columns} wide")
            client.shows(f"Bob: now {columns} wide")
            client.types(f"Alice> {typed}".rstrip())
        client.type(ENTER)
        self.assertEqual(bob.receive(), f"Alice: {typed}")

    def test_fifty_lines_pasted_with_and_without_brackets(self) -> None:
        client = self.chat()
        bob = self.member()
        lines = [f"pasted line {number} of them" for number in range(50)]
        begin, end = PASTE
        for pasted in (begin + "\n".join(lines) + end + ENTER, "".join(f"{line}{ENTER}" for line in lines)):
            client.type(pasted)
            self.assertEqual([bob.receive() for _ in lines], [f"Alice: {line}" for line in lines])
        bob.send("the end")
        client.shows("Bob: the end")
        client.types("Alice>")
        shown = [row for row in client.rows() if "pasted" in row]
        self.assertEqual(shown, [f"Alice: {line}" for line in lines] * 2)

    def test_pasted_commands_are_said_after_a_question(self) -> None:
        client = self.chat()
        bob = self.member()
        begin, end = PASTE
        for answer, said in (("no", []), ("yes", ["/quit", "hi"])):
            client.type(f"{begin}/quit\nhi{end}{ENTER}")
            client.types("1 of these 2 lines begins with /. Say all of them, as text (yes, no)?")
            client.type(answer + ENTER)
            client.types("Alice>")
            self.assertEqual([bob.receive() for _ in said], [f"Alice: {line}" for line in said])

    def test_a_command_behind_a_space_is_asked_about(self) -> None:
        client = self.chat()
        bob = self.member()
        client.type(f" /msg Bob: secret{ENTER}")
        client.matches(r'" /msg Bob: secret" does not begin with .*')
        client.type(f"no{ENTER}")
        client.shows("-- Not said.")
        client.type(f"hi{ENTER}")
        self.assertEqual(bob.receive(), "Alice: hi")

    def test_keys_work_during_a_burst_of_lines(self) -> None:
        client = self.chat()
        bob = self.member()
        lines: list[str] = []
        seen = threading.Event()

        def speak() -> None:
            while not seen.wait(0.02):  # so that the server keeps all of the lines
                some = [f"line {len(lines) + number} of a great many" for number in range(100)]
                lines.extend(some)
                bob.send(*some)

        speaker = threading.Thread(target=speak)
        speaker.start()
        self.addCleanup(speaker.join)
        self.addCleanup(seen.set)
        client.wait(lambda: "Bob: line 99 " in client.text(), "the beginning")
        for word in ("typed ", "while ", "they ", "come"):
            rows = len(client.rows())
            client.type(word)
            client.wait(lambda rows=rows: len(client.rows()) > rows + 500, "more")
        client.type(ENTER)
        client.shows("Alice: typed while they come")
        seen.set()
        speaker.join()
        client.shows(f"Bob: {lines[-1]}")
        client.types("Alice>")
        shown = [row for row in client.rows() if "line" in row]
        self.assertEqual(shown, [f"Bob: {line}" for line in lines])
        self.assertEqual([row for row in client.rows() if "typed" in row], ["Alice: typed while they come"])
        self.assertEqual(bob.receive(), "Alice: typed while they come")


class KeysTest(ChatCase):
    def test_tab_completes_commands_and_names(self) -> None:
        client = self.chat()
        bob = self.member("Robert")
        client.shows("Robert has joined")
        client.type(f"/us{TAB}")
        client.types("Alice> /users")
        client.type(ENTER)
        client.matches("-- .*Robert.*")
        client.type(f"/ms{TAB}rob{TAB}")
        client.types("Alice> /msg Robert:")
        client.type(f"psst{ENTER}")
        self.assertEqual(bob.receive(), "Alice (private): psst")
        client.type(f"rO{TAB}hello{ENTER}")
        self.assertEqual(bob.receive(), "Alice: Robert: hello")
        client.type(f"ask rob{TAB}again{ENTER}")
        self.assertEqual(bob.receive(), "Alice: ask Robert again")

    def test_arrow_up_recalls_texts_but_no_password(self) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("correct horse")
            file.flush()
            self.daemon = self.start("--db", ":memory:", "--tcp", "0", "--password-file", file.name)
            client = self.terminal(self.url(), "--name", "Alice", "--no-times")
            client.types("What is the password?")
            client.type(f"wrong horse{ENTER}")
            client.types("That is not the password. What is it?")
            client.type(f"correct horse{ENTER}")
            client.types("Alice>")
            client.type(f"first{ENTER}")
            client.shows("Alice: first")
            client.type(f"second{ENTER}")
            client.shows("Alice: second")
            client.type(UP)
            client.types("Alice> second")
            client.type(UP)
            client.types("Alice> first")
            client.type(UP + UP + "!")
            client.types("Alice> first!")
            self.assertNotIn("horse", client.text())

    def test_arrow_up_recalls_no_password_of_an_operator(self) -> None:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("correct horse")
            file.flush()
            self.daemon = self.start("--db", ":memory:", "--tcp", "0", "--operator-file", file.name)
            client = self.chat()
            client.type(f"first{ENTER}")
            client.shows("Alice: first")
            client.type(f" /operator wrong horse{ENTER}")
            client.shows("-- Not said: a line begins with /operator, and might tell a password.")
            client.type(f"/operator{ENTER}")
            client.types("What is the password of an operator?")
            client.type(f"correct horse{ENTER}")
            client.shows("-- You are an operator now: /help lists what you can do.")
            client.type(f"/operator correct horse{ENTER}")
            client.shows(*["-- You are an operator now: /help lists what you can do."] * 2)
            client.type(UP)
            client.types("Alice> first")
            self.assertNotIn("horse", client.text())

    def test_ways_to_end(self) -> None:
        bob = self.member()
        ways: list[tuple[Callable[[ScreenTerminal], None], int]] = [
            (lambda client: client.type(CTRL_D), 0),
            (lambda client: client.type(f"half a line{CTRL_C}"), 130),
            (lambda client: client.process.send_signal(signal.SIGINT), 130),
            (lambda client: client.process.send_signal(signal.SIGTERM), 143),
            (lambda client: client.process.send_signal(signal.SIGHUP), 129),
            (lambda client: client.type(f"/quit{ENTER}"), 0),
        ]
        for scheme, some in (("tcp", ways), ("udp", ways[1:2])):
            for end, status in some:
                client = self.chat("Alice", scheme)
                self.assertNotEqual(client.modes(), client.modes_before)
                end(client)
                self.assertEqual((client.end(), scheme), (status, scheme))
                self.assertEqual(client.modes(), client.modes_before)
                self.assertNotIn("Traceback", client.text())
                self.assertFalse(client.screen.rpartition(b"\x1b[?2004")[2].startswith(b"h"), "pastes are in brackets")
                kept = [row for row in client.rows() if "Your seat is kept" in row]
                self.assertEqual(len(kept), int(scheme == "tcp" and (end, status) != ways[-1]))
            # Only the last one left.
            self.assertEqual([bob.receive(), bob.receive()], ["Alice has joined", "Alice has left the group"])

    def test_a_closed_window_keeps_the_seat_or_leaves_over_udp(self) -> None:
        bob = self.member()
        for scheme in ("tcp", "udp"):
            client = self.chat(f"Alice {scheme}", scheme)
            client.type("half a line")
            client.types(f"Alice {scheme}> half a line")
            client.hang_up()
            self.assertEqual(client.process.wait(SECONDS), 129)
        news = ["Alice tcp has joined", "Alice udp has joined", "Alice udp has left the group"]
        self.assertEqual([bob.receive() for _ in news], news)
        self.assertIn("-- back, 2 lines", self.chat("Alice tcp").rows())

    def test_a_lost_terminal_ends_it_though_sighup_is_ignored(self) -> None:
        bob = self.member()
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        for scheme in ("tcp", "udp"):
            client = self.chat(f"Alice {scheme}", scheme)
            client.hang_up()
            self.assertEqual(client.process.wait(SECONDS), 1)
        news = ["Alice tcp has joined", "Alice udp has joined", "Alice udp has left the group"]
        self.assertEqual([bob.receive() for _ in news], news)
        self.assertIn("-- back, 2 lines", self.chat("Alice tcp").rows())

    def test_ctrl_c_ends_though_the_server_is_gone(self) -> None:
        clients = [self.chat(f"Alice-{scheme}", scheme) for scheme in ("tcp", "udp")]
        self.daemon.process.send_signal(signal.SIGSTOP)
        try:
            for client in clients:
                client.type(f"nobody hears this{ENTER}{CTRL_C}")
            for client in clients:
                self.assertEqual(client.end(), 130)
                self.assertEqual(client.modes(), client.modes_before)
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)


class CommandsTest(ChatCase):
    def test_a_name_is_asked_for_until_there_is_one(self) -> None:
        self.member("Bob")
        for scheme in ("tcp", "udp"):
            client = self.terminal(self.url(scheme), "--name", "Bob", "--no-times")
            client.matches(r".*What is your name\?")
            client.type(f"no:name{ENTER}")
            self.wait_for_another_question(client)
            client.type(f"Robin {scheme}{ENTER}")
            client.shows(f"-- You are Robin {scheme}. /help tells what you can do.")
            client.types(f"Robin {scheme}>")
        client = self.terminal(self.url(), "--no-times")
        client.types("What is your name?")
        client.type(f"{ENTER}Zoe{ENTER}")
        client.types("Zoe>")

    def wait_for_another_question(self, client: ScreenTerminal) -> None:
        def is_asked() -> bool:
            words = client.text().replace(" ", "")
            return "Bob" not in words and words.endswith("Whatisyourname?")

        client.wait(is_asked, "another question")

    def test_commands_over_tcp(self) -> None:
        client = self.chat()
        bob = self.member()
        client.type(f"/msg Bob: psst{ENTER}")
        client.shows("Alice: (private) Bob: psst")
        self.assertEqual(bob.receive(), "Alice (private): psst")
        client.type(f"/msg Nobody: psst{ENTER}")
        client.matches('-- Not done: "/msg Nobody: psst": .*')
        client.type(f"/users{ENTER}")
        client.matches("-- .*Bob.*")
        client.type(f"/name Alicia{ENTER}")
        client.shows("-- You are Alicia now.")
        client.types("Alicia>")
        self.assertEqual(bob.receive(), "Alice changed his name to Alicia")
        client.type(f"/name Bob{ENTER}")
        client.matches('-- Not done: "/name Bob": .*')
        client.type(f"//users{ENTER}")
        client.shows("Alicia: /users")
        self.assertEqual(bob.receive(), "Alicia: /users")
        client.type(f"/history 2{ENTER}")
        client.shows("-- 4 Alice changed his name to Alicia", "-- 5 Alicia: /users")
        client.type(f"/poll{ENTER}")
        client.shows("-- There is nothing to /poll for here: lines come by themselves.")
        client.type(f"/help{ENTER}")
        client.shows("-- A line that begins with // is said with one /.")
        client.type(f"/nonsense{ENTER}")
        client.matches("-- There is no such command: see /help.*")
        bob.send("the end")
        client.shows("Bob: the end")

    def test_commands_over_udp(self) -> None:
        client = self.chat("Alice", "udp", "--poll", "3600")
        bob = UDPMember(self.daemon.port)
        self.addCleanup(bob.close)
        bob.ask("1 Bob")
        bob.ask("2 hello")
        self.assertNotIn("Bob: hello", client.rows())
        client.type(f"/poll{ENTER}")
        client.shows("Bob has joined", "Bob: hello")
        for lacking, command in (("/users", "users"), ("/history", "history"), ("/msg Bob: psst", "msg")):
            client.type(lacking + ENTER)
            client.matches(f"-- There is no /{command} over UDP: connect to .*")
        client.type(f"/name Alicia{ENTER}")
        client.types("Alicia>")
        client.type(f"/name Bob{ENTER}")
        client.matches('-- Not done: "/name Bob": .*')
        client.type(f"bye{ENTER}")
        client.shows("Alicia: bye")
        client.wait(lambda: "Alicia: bye" in bob.ask("5"), "Alicia: bye")  # it is shown before it is said

    def test_colours_times_and_the_bell(self) -> None:
        bob = self.member()
        for colours, times in ((True, True), (False, False)):
            options = ("--name", "Alice") if times else ("--name", "Alice", "--no-times")
            client = self.terminal(self.url(), *options, colours=colours)
            client.matches(".*You are Alice.*")
            bob.send("hello")
            client.matches(r"\d\d:\d\d Bob: hello" if times else "Bob: hello")
            self.assertEqual(re.search(rb"\x1b\[[0-9;]*3[0-9]m", client.screen) is not None, colours)
            self.assertEqual(client.paper.bells, 0)
            bob.send("/msg Alice: psst")
            client.matches(r".*Bob \(private\): psst")
            client.wait(lambda client=client: client.paper.bells == 1, "a bell")
            client.type(f"/quit{ENTER}")
            self.assertEqual(client.end(), 0)
        silent = self.chat("Alice", "tcp", "--no-bell")
        bob.send("/msg Alice: psst", "the end")
        silent.shows("Bob: the end")
        self.assertEqual(silent.paper.bells, 0)


class RestartTest(ChatCase):
    def test_the_server_is_killed_and_starts_again(self) -> None:
        kept = ("--rate", "0", "--tcp")
        first = self.daemon = self.start(*kept, "0")
        client = self.chat()
        client.type(f"before{ENTER}")
        client.shows("Alice: before")
        bob = self.member()
        bob.send("/history 5")
        bob.receive_until("Alice: before")
        first.kill()
        client.matches(r"-- reconnecting \(.*\)")
        client.type(f"while it was away{ENTER}")
        client.shows("Alice: while it was away  (waits for the server)")
        client.type("half a line")
        self.daemon = first.again(*kept, str(first.tcp[0]))
        self.addCleanup(self.daemon.stop)
        client.matches(r"-- back, \d+ lines?")
        client.types("Alice> half a line")
        carol = self.member("Carol")
        client.shows("Carol has joined")
        client.type(f", ended{ENTER}")
        carol.receive_until("Alice: half a line, ended")
        carol.send("/history 20", "the end")
        client.shows("Carol: the end")
        history = carol.receive_until("half a line, ended")
        self.assertEqual([line for line in history if "away" in line], ["*   Alice: while it was away"])
        self.assertEqual(
            [row for row in client.rows() if "reconnecting" in row], ["-- reconnecting (the connection ended)"]
        )


class HostileServer:
    """Speaks just enough of the protocol of numbered sessions, and sends the bytes that a test gives it."""

    def __init__(self, name: bytes, greeting: bytes, says: Sequence[bytes], why: bytes) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._name, self._greeting, self._says, self._why = name, greeting, says, why
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(self._greeting + b"\n* What is your name?\n")
            lines.readline()
            connection.sendall(b"session 0 0 " + self._name + b"\n")
            for line in self._says:
                connection.sendall(line + b"\n")
            for line in lines:
                number = line.partition(b" ")[0]
                verb = b"ok " if b"/quit" in line or b"/users" in line else b"no "
                connection.sendall(b"= " + self._why + b"\n" + verb + number + b" " + self._why + b"\n")

    def close(self) -> None:
        self._listening.close()
        self._thread.join(SECONDS)


class HostileTest(ProcessCase):
    def test_nothing_that_a_server_says_drives_the_terminal(self) -> None:
        evil = b"".join(
            [
                b"A\x1b[2J\x1b[31mB\x1b]0;owned\x07C\x1bP+q\x1b\\D\x08\x08E\x7fF\rG\x00H\x0e\x0fI\x9bJ\xc2\x9b2JK",
                "\u202eL\u202dM\u2028N\u2029O\u0085P".encode(),
            ]
        )
        long = b"x" * 60_000
        says = [
            b"1 Bob: " + evil,
            b"2 " + evil + b" has joined",
            b"3 Bob (private): " + evil,
            b"* " + evil,
            b"4 " + evil,
            b"5 Bob: " + long,
            b"6 Bob: \xff\xfe\xf0\x28",
            b"7 Bob: \r\rBob: that is all",
        ]
        server = HostileServer(evil, b"* " + evil, says, evil)
        self.addCleanup(server.close)
        options = ("--name", "Alice", "--no-times", "--no-bell")
        client = ScreenTerminal([*CLIENT, f"tcp://127.0.0.1:{server.port}", *options], ON_PLAIN)
        self.addCleanup(client.close)
        client.shows("Bob: Bob: that is all")
        client.type(f"refuse this{ENTER}/users{ENTER}")
        client.matches('-- Not done: "refuse this": A.*')
        client.wait(lambda: client.rows()[-1].startswith("A"), "the prompt")
        self.assertIn(long.decode(), client.text())
        self.assertEqual(client.paper.bells, 0)
        self.assertEqual(client.paper.titles, [])
        self.assertNotIn("owned\x07", client.screen.decode())
        self.assertIsNone(DRIVING.search(client.screen), client.screen)
        for sequence in (b"\x1b[2J", b"\x1b[31m", b"\x1b]", b"\x1bP", b"\x07"):
            self.assertNotIn(sequence, client.screen)
        self.assertIsNone(re.search(rb"\r(?![\r\n\x1b])[A-Z]", client.screen), client.screen)
        client.type(f"/quit{ENTER}")
        self.assertEqual(client.end(), 0)
        self.assertEqual(client.modes(), client.modes_before)
