"""The command `groupchat` as a process of its own, with pipes and real sockets."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import TestCase

import groupchat
from groupchat.client.cli import main

CLIENT = [sys.executable, "-m", "groupchat"]
PARENT = str(Path(groupchat.__file__).parents[1])
"""The directory of the package under test, so that a child started anywhere imports the same one."""

STATE = Path(tempfile.gettempdir()) / f"groupchat-test-state-{os.getpid()}"
"""The home of seats that clients keep, empty at the beginning of each test."""

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [PARENT, os.environ.get("PYTHONPATH")])),
    "XDG_STATE_HOME": str(STATE),
}
SECONDS = 30

Answer = Callable[[bytes], list[bytes]]


def member_answers(request: bytes) -> list[bytes]:
    """Return what a server without other members answers."""
    return [b"close" if request == b"4" else b""]


def echo(request: bytes) -> list[bytes]:
    return [b"close" if request == b"4" else request]


class Server:
    """A UDP server in a thread, which sends what `answer` returns for each request. `requests` are all that came."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", port: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.socket.settimeout(0.05)
        self.port: int = self.socket.getsockname()[1]
        self.requests: list[bytes] = []
        self.clients: list[tuple[str, int]] = []
        self._answer = answer
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closed:
            try:
                request, client = self.socket.recvfrom(65_535)
            except TimeoutError:
                continue
            self.requests.append(request)
            self.clients.append(client)
            for reply in self._answer(request):
                self.socket.sendto(reply, client)

    def close(self) -> None:
        self._closed = True
        self._thread.join(SECONDS)
        self.socket.close()


@contextmanager
def serving(answer: Answer = member_answers, host: str = "127.0.0.1", port: int = 0) -> Iterator[Server]:
    server = Server(answer, host, port)
    try:
        yield server
    finally:
        server.close()


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run(
    *arguments: object,
    typed: bytes = b"",
    command: Sequence[str] = CLIENT,
    environment: Mapping[str, str] = ENVIRONMENT,
    directory: str | Path = "/",
) -> subprocess.CompletedProcess[bytes]:
    """Run the client to its end on piped input."""
    words = [*command, *map(str, arguments)]
    return subprocess.run(
        words, input=typed, capture_output=True, env=environment, cwd=directory, timeout=6 * SECONDS, check=False
    )


def run_here(*arguments: str) -> tuple[object, str, str]:
    """Run the command in this process, where it only parses its arguments. Return its status, output and errors."""
    output, errors = StringIO(), StringIO()
    with redirect_stdout(output), redirect_stderr(errors), patch("os.isatty", return_value=False):
        try:
            main(arguments)
        except SystemExit as end:
            return end.code, output.getvalue(), errors.getvalue()


@contextmanager
def piped(*arguments: str | int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the client with three pipes."""
    command = [*CLIENT, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT, bufsize=0) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def type_in(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(text)


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def wait_until_full(process: subprocess.Popen[bytes]) -> None:
    """Wait until the output pipe, which nobody reads, takes no more. (A pipe with a free page can be written to.)"""

    def is_full() -> bool:
        theirs = os.open(f"/proc/{process.pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
        _, free, _ = select.select([], [theirs], [], 0)
        os.close(theirs)
        return not free

    wait_until(is_full, lambda: "the pipe never becomes full")


def wait_until(true: Callable[[], bool], what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


class ProcessCase(TestCase):
    """Starts clients that handle signals, even if the tests run in the background and ignore them."""

    def setUp(self) -> None:
        self.addCleanup(shutil.rmtree, STATE, ignore_errors=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_IGN:
                self.addCleanup(signal.signal, number, signal.SIG_IGN)
                signal.signal(number, signal.default_int_handler)  # a child gets the default


class PipeTest(ProcessCase):
    def test_replies_are_printed_each_with_a_newline(self) -> None:
        with serving(echo) as server:
            done = run("127.0.0.1", server.port, typed=b"1 A\n\n5\n2 hi\n4\n5\n")
        self.assertEqual(done.stdout, b"1 A\n5\n2 hi\nclose\n")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(server.requests, [b"1 A", b"", b"5", b"2 hi", b"4"])

    def test_bytes_go_out_unchanged(self) -> None:
        lines = ["2 Zoë 你好".encode(), b"\xff\xfe", b"2 \x1b[2J\x00", b" 7 "]
        with serving(echo) as server:
            done = run("127.0.0.1", server.port, typed=b"\n".join(lines))
        self.assertEqual(server.requests, lines)
        self.assertEqual(done.stdout.decode(), "2 Zoë 你好\n\ufffd\ufffd\n2 [2J\n 7 \n")

    def test_each_line_waits_for_the_answer_to_the_one_before(self) -> None:
        ahead: list[bool] = []

        def slow(request: bytes) -> list[bytes]:
            ready, _, _ = select.select([server.socket], [], [], 0.2)
            ahead.append(bool(ready))
            return echo(request)

        with serving(slow) as server:
            done = run("127.0.0.1", server.port, typed=b"1 A\n2 a\n2 b\n2 c\n")
        self.assertEqual(done.stdout, b"1 A\n2 a\n2 b\n2 c\nclose\n")
        self.assertEqual(ahead, [False] * 5)

    def test_the_longest_reply_comes_whole(self) -> None:
        with serving(lambda request: [b"x" * 65_507]) as server:
            done = run("127.0.0.1", server.port, typed=b"5")
        self.assertEqual(done.stdout, b"x" * 65_507 + b"\n")

    def test_the_longest_line_goes_out_and_a_longer_one_does_not(self) -> None:
        fits, too_long = b"2 " + b"x" * 65_505, b"2 " + b"x" * 65_506
        with serving() as server:
            done = run("127.0.0.1", server.port, typed=b"\n".join([fits, too_long, b"2 next"]))
        self.assertEqual(server.requests, [fits, b"2 next"])
        self.assertIn(b"a line of 65508 bytes was not sent", done.stderr)
        self.assertEqual(done.returncode, 1)

    def test_ten_megabytes_go_through(self) -> None:
        count = [0]

        def answer(request: bytes) -> list[bytes]:
            count[0] += 1
            return [b"%d" % count[0]]

        text = b"2 " + b"x" * 3_000
        with serving(answer) as server:
            done = run("127.0.0.1", server.port, typed=(text + b"\n") * 3_400)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout.split(), [b"%d" % number for number in range(1, 3_401)])
        self.assertEqual(set(server.requests), {text})

    def test_files_serve_as_well_as_pipes(self) -> None:
        with serving(echo) as server, tempfile.TemporaryDirectory() as directory:
            given, taken = Path(directory, "in"), Path(directory, "out")
            given.write_bytes(b"1 A\n2 hi\n")
            with given.open("rb") as stdin, taken.open("wb") as stdout:
                command = [*CLIENT, "127.0.0.1", str(server.port)]
                done = subprocess.run(
                    command, stdin=stdin, stdout=stdout, env=ENVIRONMENT, timeout=SECONDS, check=False
                )
            self.assertEqual(taken.read_bytes(), b"1 A\n2 hi\nclose\n")
        self.assertEqual(done.returncode, 0)

    def test_standard_descriptors_may_be_closed(self) -> None:
        with serving(echo) as server:
            shell = f'exec "{sys.executable}" -m groupchat 127.0.0.1 {server.port} '
            none = run(command=["sh", "-c", shell + "<&- >&- 2>&-"])
            output = run(command=["sh", "-c", shell + ">&- 2>&-"], typed=b"1 A\n" + b"x" * 70_000)
        self.assertEqual([none.returncode, output.returncode], [0, 1])
        self.assertEqual(server.requests, [b"1 A", b"4"])

    def test_a_closed_output_leaves_and_ends_quietly(self) -> None:
        with serving(echo) as server, piped("127.0.0.1", server.port) as process:
            type_in(process, b"1 A\n2 hi\n")
            self.assertEqual(read_line(process), b"1 A\n")
            assert process.stdout is not None
            process.stdout.close()
            self.assertEqual(process.wait(SECONDS), 0)
            assert process.stderr is not None
            self.assertEqual(process.stderr.read(), b"")
            self.assertEqual(server.requests[-1], b"4")

    def test_a_full_disk_is_told(self) -> None:
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with serving(echo) as server, open("/dev/full", "wb") as full:
            command = [*CLIENT, "127.0.0.1", str(server.port)]
            pipe = subprocess.PIPE
            done = subprocess.run(command, input=b"1 A", stdout=full, stderr=pipe, env=ENVIRONMENT, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, b"groupchat: standard output cannot be written to\n"))
        self.assertEqual(server.requests, [b"1 A", b"4"])


class SignalTest(ProcessCase):
    def test_signals_leave_first(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with serving(echo) as server, piped("127.0.0.1", server.port) as process:
                type_in(process, b"1 A\n")
                read_line(process)
                process.send_signal(number)
                self.assertEqual(process.wait(SECONDS), 128 + number)
                self.assertEqual(server.requests, [b"1 A", b"4"])

    def test_an_ignored_signal_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        with serving(echo) as server, piped("127.0.0.1", server.port) as process:
            for text in (b"1 A\n", b"2 hi\n"):
                type_in(process, text)
                self.assertEqual(read_line(process), text)
                process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(SECONDS), 128 + signal.SIGTERM)

    def test_a_second_one_does_not_wait_for_an_answer(self) -> None:
        def deaf(request: bytes) -> list[bytes]:
            return [] if request == b"4" else [request]

        with serving(deaf) as server, piped("127.0.0.1", server.port) as process:
            type_in(process, b"1 A\n")
            read_line(process)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: b"4" in server.requests)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(SECONDS), 130)
            assert process.stderr is not None
            self.assertEqual(process.stderr.read(), b"")


class NetworkTest(ProcessCase):
    def assertFails(self, done: subprocess.CompletedProcess[bytes], status: int, *words: str) -> None:
        """Check the status, and that these words are in the only line of output."""
        complaint = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout, complaint.count("\n")), (status, b"", 1), complaint)
        for word in ("groupchat: ", *words):
            self.assertIn(word, complaint)

    def test_nothing_listening(self) -> None:
        port = unused_port()
        done = run("127.0.0.1", port, typed=b"1 A\n2 hi\n")
        self.assertFails(done, 1, f"127.0.0.1 port {port}: nothing is listening")

    def test_an_unknown_host(self) -> None:
        self.assertFails(run("nowhere.invalid", 7), 1, 'unknown host "nowhere.invalid"')
        self.assertFails(run("a" * 70, 7), 1, "unknown host")

    def test_the_next_address_is_used_when_the_first_one_refuses(self) -> None:
        with serving(echo) as server:
            done = run("any", server.port, typed=b"1 A\n2 hi\n", command=[sys.executable, "-c", TWO_ADDRESSES])
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"1 A\n2 hi\nclose\n", b""))

    def test_it_ends_when_all_addresses_refuse(self) -> None:
        done = run("any", unused_port(), typed=b"1 A\n", command=[sys.executable, "-c", TWO_ADDRESSES])
        self.assertFails(done, 1, "nothing is listening")

    def test_ipv6(self) -> None:
        try:
            server = Server(echo, "::1")
        except OSError:
            self.skipTest("no IPv6 here")
        try:
            done = run("::1", server.port, typed=b"1 A\n")
        finally:
            server.close()
        self.assertEqual((done.returncode, done.stdout), (0, b"1 A\nclose\n"))

    def test_datagrams_of_strangers_are_ignored(self) -> None:
        with serving(echo) as server, piped("127.0.0.1", server.port) as process:
            type_in(process, b"1 A\n")
            read_line(process)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"close", server.clients[0])
            type_in(process, b"2 hi\n")
            self.assertEqual(read_line(process), b"2 hi\n")

    def test_the_client_keeps_its_port_when_the_server_restarts(self) -> None:
        with serving(echo) as server, piped("127.0.0.1", server.port) as process:
            type_in(process, b"1 A\n")
            read_line(process)
            server.close()
            type_in(process, b"5\n")
            time.sleep(0.5)  # time for the refusal to arrive before the repeat; without it the test proves less
            with serving(echo, port=server.port) as again:
                self.assertEqual(read_line(process), b"5\n")
            self.assertEqual(again.clients[0], server.clients[0])


TWO_ADDRESSES = """
import sys
from groupchat.client import cli, udp
from groupchat.client.udp import Address
udp.resolve = lambda host, port: [Address("::1", port), Address("127.0.0.1", port)]
cli.main()
"""


class UsageTest(TestCase):
    def test_each_wrong_argument_is_one_line(self) -> None:
        bad_ports = [["host", port] for port in ("0", "65536", "-1", "x", "1.5", "", "٣", " 7", "9" * 5000)]
        for arguments in ([], ["host"], ["host", "7", "8"], ["--nonsense", "host", "7"], *bad_ports):
            status, output, errors = run_here(*arguments)
            self.assertEqual((status, output), (2, ""), arguments)
            self.assertEqual(errors.count("\n"), 1, errors)
            self.assertIn("usage: groupchat", errors)

    def test_help_tells_the_exit_statuses_and_the_messages(self) -> None:
        status, output, _ = run_here("chat", "--help")
        self.assertEqual(status, 0)
        for words in ("HOST PORT", "130", "2 TEXT", "exit status"):
            self.assertIn(words, output)

    def test_version(self) -> None:
        done = run("--version")
        self.assertEqual((done.returncode, done.stdout.decode()), (0, f"groupchat {groupchat.__version__}\n"))

    def test_the_parser_does_not_import_twisted(self) -> None:
        code = (
            "import sys; from groupchat.client.cli import make_parser; make_parser(); print('twisted' in sys.modules)"
        )
        self.assertEqual(run(command=[sys.executable, "-c", code]).stdout, b"False\n")
