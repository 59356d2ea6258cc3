"""The command `groupchat URL` in pipes and with files, against a real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.daemon import Daemon, LineMember, running
from tests.members import LAST_OF_HELP
from tests.test_client import (
    CLIENT,
    ENVIRONMENT,
    SECONDS,
    ProcessCase,
    piped,
    read_line,
    run,
    run_here,
    serving,
    type_in,
    wait_until_full,
)

KEYS = {"at", "kind", "number", "name", "text", "waits"}
"""The fields that an object of --json may have."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def lobby(*options: str) -> Iterator[Daemon]:
    """Run a daemon that takes lines over TCP, and stores nothing."""
    with running("--tcp", "0", "--db", ":memory:", *options) as daemon:
        yield daemon


def urls(daemon: Daemon) -> list[str]:
    return [f"tcp://127.0.0.1:{daemon.tcp[0]}", f"udp://127.0.0.1:{daemon.port}"]


def read_until(process: subprocess.Popen[bytes], line: str) -> list[str]:
    """Read the output up to this line; return its lines."""
    lines = [read_line(process).decode()]
    while lines[-1] != f"{line}\n":
        assert lines[-1].endswith("\n"), f"there is no {line!r} in {lines}"
        lines.append(read_line(process).decode())
    return [line.removesuffix("\n") for line in lines]


def objects(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.decode().splitlines()]


class ChatCase(ProcessCase):
    def join(self, daemon: Daemon, name: str = "Bob", password: str = "") -> LineMember:
        """Return another member of the group."""
        member = LineMember(daemon.tcp[0])
        self.addCleanup(member.close)
        if password:
            member.send(password)
        member.join(name)
        return member

    def write(self, data: bytes) -> Path:
        """Return the path of a new file with these bytes."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "file")
        path.write_bytes(data)
        return path


class SayingTest(ChatCase):
    def test_each_line_is_said_in_order_and_the_end_leaves(self) -> None:
        lines = ["one", " two ", "three: 3", "你好", "* four"]
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                done = run(url, "--name", "Zoe", typed="\n".join(["", *lines[:2], "", "  ", *lines[2:]]).encode())
                self.assertEqual((done.returncode, done.stderr), (0, b""), url)
                said = [f"Zoe: {line}" for line in lines]
                self.assertEqual(
                    bob.receive_until("has left"), ["Zoe has joined", *said, "Zoe has left the group"], url
                )

    def test_crlf_ends_a_line_and_a_double_slash_says_one(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                done = run(url, "--name", "Zoe", typed=b"one\r\n//two\r\n")
                self.assertEqual((done.returncode, done.stderr), (0, b""), url)
                self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe: one", "Zoe: /two"], url)

    def test_lines_after_quit_are_not_said(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                self.assertEqual(run(url, "--name", "Zoe", typed=b"one\n/quit\ntwo\n").returncode, 1)
                self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe: one"], url)

    def test_ten_thousand_lines_are_each_said_once(self) -> None:
        lines = [f"line {number}" for number in range(10_000)]
        with lobby("--rate", "0") as daemon:
            bob = self.join(daemon)
            with self.write("\n".join(lines).encode()).open("rb") as given, self.saying(daemon, given) as process:
                said = bob.receive_until("has left")
                self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual(said[1:-1], [f"Zoe: {line}" for line in lines])

    @contextmanager
    def saying(self, daemon: Daemon, given: Any) -> Iterator[subprocess.Popen[bytes]]:
        command = [*CLIENT, urls(daemon)[0], "--name", "Zoe"]
        with subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL, env=ENVIRONMENT) as process:
            try:
                yield process
            finally:
                process.kill()

    def test_a_flood_is_sent_at_the_rate_of_the_server(self) -> None:
        with lobby("--rate", "50") as daemon:
            bob = self.join(daemon)
            done = run(urls(daemon)[0], "--name", "Zoe", typed=b"".join(b"%d\n" % number for number in range(180)))
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            said = bob.receive_until("has left")[1:-1]  # a refused line may be repeated after the next one
            self.assertCountEqual(said, [f"Zoe: {number}" for number in range(180)])

    def test_a_file_in_and_a_file_out(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                given, taken = self.write(b"one\n/help\n"), self.write(b"")
                with given.open("rb") as stdin, taken.open("wb") as stdout:
                    command = [*CLIENT, url, "--name", "Zoe"]
                    done = subprocess.run(
                        command, stdin=stdin, stdout=stdout, env=ENVIRONMENT, timeout=SECONDS, check=False
                    )
                self.assertEqual(done.returncode, 0, url)
                self.assertIn("* /users             who is here\n", taken.read_text())
                self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe: one"], url)

    def test_without_input_it_joins_and_leaves(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                done = subprocess.run(
                    [*CLIENT, url, "--name", "Zoe"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    env=ENVIRONMENT,
                    timeout=SECONDS,
                    check=False,
                )
                self.assertEqual((done.returncode, done.stderr), (0, b""), url)
                self.assertEqual(done.stdout, b"", url)
                self.assertEqual(bob.receive_until("has left"), ["Zoe has joined", "Zoe has left the group"], url)

    def test_plain_changes_nothing_in_a_pipe(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                done = run(url, "--name", "Zoe", "--plain", "--no-times", "--no-bell", typed=b"one\n")
                self.assertEqual((done.returncode, done.stderr), (0, b""), url)
                self.assertNotIn(b"\x1b", done.stdout)
                self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe: one"], url)


class HearingTest(ChatCase):
    def test_lines_of_others_are_printed(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                with piped(url, "--name", "Zoe", "--poll", "0.1") as process:
                    bob.receive_until("Zoe has joined")
                    bob.send("* hello: you", "/name Rob", "/name Bob", "bye")
                    came = read_until(process, "Bob: bye")
                    self.assertEqual(
                        came[-4:],
                        ["Bob: * hello: you", "Bob changed his name to Rob", "Rob changed his name to Bob", "Bob: bye"],
                    )
                    assert process.stdin is not None
                    process.stdin.close()
                    self.assertEqual(process.wait(SECONDS), 0, url)

    def test_a_private_message_both_ways(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            with piped(urls(daemon)[0], "--name", "Zoe") as process:
                bob.receive_until("Zoe has joined")
                bob.send("/msg Zoe: psst")
                read_until(process, "Bob (private): psst")
                type_in(process, b"/msg Bob: what?\n")
                bob.receive_until("Zoe (private): what?")

    def test_answers_begin_with_a_star(self) -> None:
        with lobby() as daemon:
            self.join(daemon)
            done = run(urls(daemon)[0], "--name", "Zoe", typed=b"one\n/users\n/history 2\n")
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            answer = done.stdout.decode().splitlines()
            self.assertEqual(answer[-2:], ["* 2 Zoe has joined", "* 3 Zoe: one"])
            self.assertEqual([line.split("  ")[0] for line in answer[-5:-2]], ["* 2 here:", "* Bob", "* Zoe"])

    def test_unread_output_pauses_the_session(self) -> None:
        text, count = "x" * 2_000, 8_000
        with lobby("--rate", "0") as daemon:
            bob = self.join(daemon)
            with piped(urls(daemon)[0], "--name", "Zoe") as process:
                bob.receive_until("Zoe has joined")
                for first in range(0, count, 1_000):
                    bob.send(*(f"{number} {text}" for number in range(first, first + 1_000)))
                wait_until_full(process)
                time.sleep(0.5)  # a client that reads on would read it all by then
                self.assertGreater(self.behind(bob), 500)
                assert process.stdout is not None
                came: list[str] = []
                with open(process.stdout.fileno(), "rb", closefd=False) as output:
                    while not came or came[-1] != f"Bob: {count - 1} {text}":
                        came.append(output.readline().decode().removesuffix("\n"))
                self.assertEqual(came[-count:], [f"Bob: {number} {text}" for number in range(count)])

    def behind(self, watcher: LineMember) -> int:
        """Return how many lines the server has not yet sent to Zoe."""
        watcher.send("/users", "/help")
        found = re.search(r"Zoe  .* (\d+) behind", "\n".join(watcher.receive_until(LAST_OF_HELP[2:])))
        assert found
        return int(found[1])

    def test_output_that_is_closed_leaves(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                with piped(url, "--name", "Zoe", "--poll", "0.1") as process:
                    bob.receive_until("Zoe has joined")
                    bob.send("hi")
                    read_line(process)
                    assert process.stdout is not None
                    process.stdout.close()
                    bob.send("anybody?")
                    self.assertEqual(process.wait(SECONDS), 0, url)
                    assert process.stderr is not None
                    self.assertEqual(process.stderr.read(), b"", url)
                    bob.receive_until("Zoe has left the group")


class OutputTest(ChatCase):
    def ends(self, words: str, output: str, typed: bytes = b"") -> tuple[int, bytes]:
        """Run the client with its output so redirected by a shell. Return its exit status, and its errors."""
        command = ["sh", "-c", f'"{sys.executable}" -m groupchat {words} {output}']
        done = run(command=command, typed=typed)
        self.assertNotIn(b"Traceback", done.stderr)
        return done.returncode, done.stderr

    def test_output_that_cannot_be_written_ends_with_1(self) -> None:
        with lobby() as daemon:
            for words in ("--help", "--version", "chat --help", *[f"{url} --name Zoe" for url in urls(daemon)]):
                for output in (">&-", ">/dev/full"):
                    status, told = self.ends(words, output, b"/help\n")
                    self.assertEqual((status, len(told.splitlines())), (1, 1), (words, output, told))

    def test_a_closed_output_is_no_failure_without_output(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                self.assertEqual(self.ends(f"{url} --name Zoe", ">&-", b"one\n"), (0, b""), url)
                self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe: one"], url)

    def test_lines_that_nobody_says_count_for_the_status(self) -> None:
        with lobby() as daemon:
            for url in urls(daemon):
                done = run(url, "--name", "Zoe", typed=b"one\n/quit\ntwo\n")
                self.assertEqual(done.returncode, 1, url)
                self.assertIn(b'groupchat: Not said, as the chat ended before: "two"', done.stderr)

    def test_a_byte_order_mark_does_not_publish_a_command(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            done = run(urls(daemon)[0], "--name", "Zoe", typed="\ufeff/msg Bob: secret\n".encode())
            self.assertEqual(done.returncode, 0)
            self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe (private): secret"])


class JSONTest(ChatCase):
    def test_everything_is_an_object_on_a_line(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            with piped(urls(daemon)[0], "--name", "Zoe", "--json") as process:
                bob.receive_until("Zoe has joined")
                bob.send('say "hi" \\ 🙂', "/msg Zoe: psst", "/name Rob", "/quit")
                output = b""
                while b'"left"' not in output:
                    output += read_line(process)
                type_in(process, b"one\n/name Zoe2\n/nix\n/name Zoe2\n/history 1\n/msg Rob: x\n")
                assert process.stdin is not None
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdin.close()
                output += process.stdout.read()
                self.assertEqual((process.wait(SECONDS), process.stderr.read()), (1, b""))
        found = objects(output)
        for one in found:
            self.assertLessEqual(set(one), KEYS)
            self.assertRegex(one["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            [(one["kind"], one.get("name"), one.get("text"), one.get("number")) for one in found if "number" in one],
            [
                ("said", "Bob", 'say "hi" \\ 🙂', 3),
                ("private", "Bob", "psst", 4),
                ("renamed", "Bob", "Rob", 5),
                ("left", "Rob", None, 6),
            ],
        )
        rest = [(one["kind"], one.get("text", "")) for one in found if "number" not in one]
        self.assertEqual(rest[0], ("answer", "This is lobby, a group chat."))
        self.assertIn(("own", "one"), rest)
        self.assertIn(("state", "You are Zoe2 now."), rest)
        self.assertIn(("own", "(private) Rob: x"), rest)
        problems = [words for kind, words in rest if kind == "problem"]
        self.assertEqual(len(problems), 3)
        self.assertTrue(problems[0].startswith("There is no such command"))
        self.assertTrue([words for kind, words in rest if kind == "answer" and words.endswith("to Zoe2")])

    def test_over_udp_there_are_no_numbers(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            with piped(urls(daemon)[1], "--name", "Zoe", "--json", "--poll", "0.1") as process:
                bob.receive_until("Zoe has joined")
                bob.send("hi", "/quit")
                output = b""
                while b'"left"' not in output:
                    output += read_line(process)
        found = objects(output)
        self.assertEqual([one["kind"] for one in found], ["answer", "said", "left"])
        self.assertEqual((found[1]["name"], found[1]["text"]), ("Bob", "hi"))
        self.assertFalse([one for one in found if "number" in one])

    def test_problems_are_objects_too(self) -> None:
        for url in ("tcp://127.0.0.1:1", "udp://127.0.0.1:1"):
            done = run(url, "--name", "Zoe", "--json", typed=b"one\n")
            self.assertEqual((done.returncode, done.stderr), (1, b""), url)
            self.assertEqual([one["kind"] for one in objects(done.stdout)], ["own", "problem"], url)


class StatusTest(ChatCase):
    def test_a_refused_name_ends_it(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            tcp, udp = urls(daemon)
            for url, name in ((tcp, "Bob"), (tcp, "a: b"), (udp, "Bob"), (udp, "close")):
                done = run(url, "--name", name, typed=b"one\n")
                self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), (url, name))
            bob.send("/users")
            bob.receive_until("Only you are here")

    def test_refused_lines_are_reported_and_the_others_are_said(self) -> None:
        lines = ["\x1b[2J", "x" * 4_097, "x" * 70_000, "/nix", "/users now", "/name Bob"]
        with lobby() as daemon:
            bob = self.join(daemon)
            for url in urls(daemon):
                done = run(url, "--name", "Zoe", typed="\n".join(["one", *lines, "two"]).encode())
                told = done.stderr.decode()
                self.assertEqual((done.returncode, len(told.splitlines())), (1, len(lines)), (url, told))
                self.assertNotIn("\x1b", told)
                for problem in told.splitlines():
                    self.assertTrue(problem.startswith("groupchat: "))
                    self.assertLess(len(problem), 200)
                self.assertEqual(bob.receive_until("has left")[1:-1], ["Zoe: one", "Zoe: two"], url)

    def test_unsupported_commands_over_udp(self) -> None:
        with lobby() as daemon:
            lines = [b"/msg Bob: x", b"/users", b"/history 2"]
            done = run(urls(daemon)[1], "--name", "Zoe", typed=b"\n".join(lines))
            self.assertEqual(done.returncode, 1)
            for line in lines:
                self.assertIn(b"groupchat: There is no " + line.split()[0] + b" over UDP", done.stderr)

    def test_an_unconfirmed_text_is_reported_and_never_doubled(self) -> None:
        def deaf(request: bytes) -> list[bytes]:
            return [] if request == b"2 two" else [b"close" if request == b"4" else b""]

        with serving(deaf) as server:
            done = run(f"udp://127.0.0.1:{server.port}", "--name", "Zoe", typed=b"one\ntwo\nthree\n")
        self.assertEqual(
            [request for request in server.requests if request[:1] == b"2"], [b"2 one", b"2 two", b"2 three"]
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b'groupchat: Not confirmed, and not sent again: "two"', done.stderr)

    def test_nobody_there(self) -> None:
        for url, typed in {
            "tcp://127.0.0.1:1": b"",
            "udp://127.0.0.1:1": b"one\n",
            "tcp://nowhere.invalid": b"one\n",
            "udp://nowhere.invalid": b"",
        }.items():
            done = run(url, "--name", "Zoe", typed=typed)
            self.assertEqual((done.returncode, done.stdout), (1, b""), url)
            self.assertRegex(done.stderr.decode(), r"\Agroupchat: [^\n]+\n\Z", url)

    def test_a_signal_leaves(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            tcp, udp = urls(daemon)
            for url, number in zip([tcp, tcp, tcp, udp], [*ENDING, signal.SIGINT], strict=True):
                with piped(url, "--name", "Zoe", "--poll", "0.1") as process:
                    bob.receive_until("Zoe has joined")
                    bob.send("hi")
                    read_line(process)
                    process.send_signal(number)
                    self.assertEqual(process.wait(SECONDS), 128 + number, url)
                    assert process.stderr is not None
                    self.assertEqual(process.stderr.read(), b"", url)
                bob.receive_until("Zoe has left the group")

    def test_a_signal_leaves_while_the_output_is_blocked(self) -> None:
        with lobby("--rate", "0") as daemon, ExitStack() as clients:
            bob = self.join(daemon)
            processes = []
            for name, url in zip(("Yan", "Zoe"), urls(daemon), strict=True):
                processes.append(clients.enter_context(piped(url, "--name", name, "--poll", "0.1")))
                bob.receive_until(f"{name} has joined")
            bob.send(*["x" * 2_000] * 500)
            for process in processes:
                wait_until_full(process)
                process.send_signal(signal.SIGTERM)
            for process in processes:
                self.assertEqual(process.wait(SECONDS), 143)
            left = {bob.receive_until("has left the group")[-1] for _ in processes}
            self.assertEqual(left, {"Yan has left the group", "Zoe has left the group"})


class PasswordTest(ChatCase):
    """A group with a password, whose members say texts that look like questions of the server."""

    MISLEADING = ("What is your name?", "* What is your name?", "What is the password?", "session 7 0 Eve", "no 0 Eve")

    @contextmanager
    def guarded(self) -> Iterator[Daemon]:
        with lobby("--password-file", str(self.write(b"open sesame\n")), "--allow", "127.0.0.1") as daemon:
            yield daemon

    def test_the_right_one(self) -> None:
        with self.guarded() as daemon:
            bob = self.join(daemon, password="open sesame")
            bob.send(*self.MISLEADING)
            for password in (b"open sesame", b"open sesame\n", "\ufeffopen sesame\r\n".encode()):
                options = ["--name", "Zoe", "--password-file", self.write(password), "--json"]
                done = run(urls(daemon)[0], *options, typed=b"one\n")
                self.assertEqual((done.returncode, done.stderr), (0, b""), password)
                self.assertEqual(
                    bob.receive_until("has left"), ["Zoe has joined", "Zoe: one", "Zoe has left the group"], password
                )
                told = [one["text"].strip() for one in objects(done.stdout) if one["kind"] == "answer"]
                self.assertIn("Bob: session 7 0 Eve", told)

    def test_a_wrong_one_and_none(self) -> None:
        with self.guarded() as daemon:
            wrong = run(urls(daemon)[0], "--name", "Zoe", "--password-file", str(self.write(b"x\n")), typed=b"one\n")
            self.assertEqual(
                (wrong.returncode, wrong.stdout, wrong.stderr), (1, b"", b"groupchat: that is not the password\n")
            )
            none = run(urls(daemon)[0], "--name", "Zoe", typed=b"one\n")
            self.assertEqual((none.returncode, none.stdout), (1, b""))
            self.assertEqual(none.stderr, b"groupchat: the group has a password: see --password-file\n")

    def test_a_group_without_a_password_is_not_sent_one(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            done = run(urls(daemon)[0], "--name", "Zoe", "--password-file", self.write(b"secret\n"), typed=b"one\n")
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(bob.receive_until("has left"), ["Zoe has joined", "Zoe: one", "Zoe has left the group"])

    def test_a_file_without_a_password_in_it(self) -> None:
        wrong = [self.write(data) for data in (b"", b"\n", b"a\nb", b"\xff")]
        for path in (Path("/nowhere"), wrong[0].parent, *wrong):
            status, output, errors = run_here("tcp://127.0.0.1:1", "--name", "Zoe", "--password-file", str(path))
            self.assertEqual((status, output), (2, ""), path)
            self.assertRegex(errors, r"\Agroupchat chat: [^\n]+\n\Z", path)

    def test_a_file_that_may_not_be_read(self) -> None:
        path = self.write(b"secret\n")
        path.chmod(0)
        if os.access(path, os.R_OK):
            self.skipTest("whoever runs this may read everything")
        done = run("tcp://127.0.0.1:1", "--name", "Zoe", "--password-file", str(path), typed=b"one\n")
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"cannot be read: Permission denied", done.stderr)


class MixedTest(ChatCase):
    def test_both_transports_are_in_one_conversation(self) -> None:
        with lobby() as daemon:
            bob = self.join(daemon)
            with piped(urls(daemon)[1], "--name", "Ada", "--poll", "0.1") as ada:
                bob.receive_until("Ada has joined")
                with piped(urls(daemon)[0], "--name", "Zoe") as zoe:
                    read_until(ada, "Zoe has joined")
                    type_in(ada, b"hi\n")
                    read_until(zoe, "Ada: hi")
                    type_in(zoe, b"hello\n")
                    read_until(ada, "Zoe: hello")


class RemovedTest(ChatCase):
    """A member that an operator removes."""

    def test_it_ends_with_the_reason_and_stays_away(self) -> None:
        lost = (
            "your seat is gone and the server refuses your name: you were removed, or somebody else has that name now"
        )
        passwords = str(self.write(b"Bob:open sesame\n"))
        with lobby("--operator-file", passwords) as daemon:
            bob = self.join(daemon)
            bob.send("/operator open sesame")
            bob.receive_until("You are an operator now")
            for url, why in zip(urls(daemon), ("You were removed: too loud", lost), strict=True):
                command = [*CLIENT, url, "--name", "Zoe", "--poll", "0.1"]
                pipe = subprocess.PIPE
                with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT) as client:
                    bob.receive_until("Zoe has joined")
                    bob.send("/remove zoe too loud")
                    self.assertEqual(client.wait(SECONDS), 1)
                    self.assertEqual(client.stderr.read().decode() if client.stderr else "", f"groupchat: {why}\n")
            bob.send("/users")
            self.assertEqual(bob.receive_until("operator, live")[-2], "* Only you are here:")
