"""Numbers from outside, at every door: one with thousands of digits is refused like any other that is too large."""

from __future__ import annotations

import ast
import time
from email.utils import formatdate
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from groupchat.client.files import requests
from groupchat.client.files.stream import ProtocolError
from groupchat.client.url import parse_port
from groupchat.core.errors import IllegalMessage
from groupchat.core.ids import MAX_ID
from groupchat.core.numbers import clamp_time, whole
from groupchat.daemon.options import Options
from groupchat.files.disk import Entry
from groupchat.wire import files as wire_files
from groupchat.wire import lines as wire_lines
from tests.lobby import KEY as SESSION_KEY
from tests.lobby import LobbyTestCase
from tests.test_client_numbered import NumberedCase
from tests.test_layers import module_files
from tests.web import KEY, WebTestCase, parse

MANY = "9" * 4_301
"""More digits than `int` converts. They still fit into a line."""

TOO_LARGE = [MANY, "1" + "0" * 4_310, "0" * 4_310 + "1", "9" * 20, "9" * 19, str(MAX_ID + 1)]
NO_NUMBERS = ["", "-1", "+1", "1.0", "1e3", "0x1", "1_0", " 1", "1 ", "\u0661", "\u00b2", "nan", "inf"]

BOUNDED = {
    "core.moderation": {"address", "network.network_address"},
    "core.numbers": {"text"},
    "daemon.systemd": {"microseconds"},
    "wire.lines": {"number", "count"},
    "wire.operators": {"lasts[1]", "numbers[1]", "numbers[2] or numbers[1]"},
    "wire.files": {"digits", "at"},
    "frontends.web.chunks": {"size[1]"},
    "frontends.web.preconditions": {"version.at"},
    "files.parts": {"match[2]"},
    "client.kept_seats": {"found[2]", "found[3]"},
    "client.numbered": {"number", "waiting"},
    "client.url": {"text"},
    "client.files.requests": {"count", "entry[1]", "entry[3]", "clamp_time(int(entry[3]))", "begin", "size", "offset"},
    "admin.arguments": {"found[1]"},
    "daemon.listening": {"where"},
    # The rest are no text from outside.
    "core.budget": {"lacking"},
    "core.networks": {"number"},
    "core.confusables": {"code", "source"},
    "service.snapshots": {"state['first']"},
    "log.salvage": {"connection.execute(f'SELECT {which}(position) FROM {table}').fetchone()[0] or 0"},
    "frontends.udp": {
        "self.transport.getHandle().sendto(datagram, (host, address[1], 0, int(zone or 0)))",
        "zone or 0",
    },
    "frontends.web.access": {"pause"},
    "frontends.web.answers": {"status", "time()"},
    "core.notices": {"size"},
}
"""What each module converts with `int`. The number of digits is checked before, by `whole` or by a pattern."""


class ReviewTests(SynchronousTestCase):
    def test_each_number_that_is_converted_was_reviewed(self) -> None:
        for name, path in module_files().items():
            found = set()
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(func=ast.Name("int"), args=[ast.BinOp()]):
                        pass  # a result of arithmetic
                    case ast.Call(func=ast.Name("int"), args=[argument, *_]):
                        found.add(ast.unparse(argument))
            self.assertLessEqual(found, BOUNDED.get(name, set()), f"{name}: bound it first, see core.numbers")


class WholeTests(SynchronousTestCase):
    def test_only_ascii_digits_are_a_number(self) -> None:
        for text in NO_NUMBERS:
            self.assertIsNone(whole(text), text)
        for text in ["0", "7", "007", str(MAX_ID)]:
            self.assertEqual(whole(text), int(text))

    def test_a_number_has_at_most_19_digits(self) -> None:
        self.assertEqual(whole("9" * 19), 10**19 - 1)
        for text in ["9" * 20, MANY, "9" * 10_000_000]:
            self.assertIsNone(whole(text))


class HTTPTests(WebTestCase):
    def test_a_length_with_too_many_digits_is_refused(self) -> None:
        for digits in [*TOO_LARGE, "9" * 15_000]:
            for request in ("POST /messages?name=x", "PUT /files/a?name=x", "GET /me", "POST /nothing"):
                for more in ("", "X: y\r\n"):
                    line = self.line()
                    line.send(
                        f"{request} HTTP/1.1\r\nHost: x\r\nContent-Length: \t{digits}\r\n{more}\r\nhello".encode()
                    )
                    reply, rest = parse(line.heard())
                    self.assertIn(reply.status, (404, 413) if request == "POST /nothing" else (413,), digits[:30])
                    self.assertEqual((rest, reply.headers["connection"]), (b"", "close"))
        self.assertEqual(self.told(), [])

    def test_a_length_is_bounded_before_others_are_compared(self) -> None:
        for first, second in [(MANY, "3"), ("3", MANY), (MANY, MANY)]:
            line = self.line()
            head = f"POST /messages?name=x HTTP/1.1\r\nHost: x\r\nCONTENT-length:{first}\r\nContent-Length: {second}"
            line.send(head.encode() + b"\r\n\r\nabc")
            self.assertIn(parse(line.heard())[0].status, (400, 413))
        self.assertEqual(self.told(), [])

    def test_other_headers_with_large_numbers_are_answered(self) -> None:
        self.join()
        self.shelf.files["a"] = b"abc"
        for path, header, value in [
            ("/events", "Last-Event-ID", "{}"),
            ("/files/a", "Range", "bytes={}-{}"),
            ("/files/a", "Range", "bytes=-{}"),
            ("/files/a", "Range", "bytes=0-{}"),
            ("/files/a", "If-Modified-Since", "Mon, 01 Jan {} 00:00:00 GMT"),
            ("/files/a", "If-Modified-Since", "Mon, {0} Jan 2026 {0}:{0}:{0} +{0}"),
            ("/me", "Host", "localhost:{}"),
            ("/me", "Host", "[{}::]"),
            ("/me", "X-Forwarded-For", "{0}.{0}.{0}.{0}"),
            ("/me", "Keep-Alive", "timeout={}"),
        ]:
            for digits in (MANY[: 4_301 if value.count("{") < 3 else 3_000], "9" * 20, "9" * 19):
                reply = self.ask("GET", path, key=KEY, **{header.replace("-", "_"): value.format(digits, digits)})
                self.assertIn(reply.status, (200, 206, 400, 416, 421), (header, value))

    def test_large_numbers_in_a_query_or_a_body_are_refused(self) -> None:
        self.join()
        for digits in [MANY[:3_900], "9" * 20]:
            for query in ("history?before=", "history?after=", "history?limit=", "events?after="):
                self.refused(self.get(f"/{query}{digits}"), 400)
        for digits in [MANY, "9" * 20_000, "-" + MANY, "9" * 20]:
            for body in ('{"text":"x","id":%s}', '{"text":"x","id":"%s"}', '{"text":%s}', '{"a":[%s],"text":1}'):
                reply = self.post("/messages", body % digits, KEY, Content_Type="application/json")
                self.refused(reply, 400)
        self.assertEqual(self.told(), ["Alice has joined"])


class HTTPByByteTests(HTTPTests):
    step = 1009


class LinesTests(LobbyTestCase):
    def test_large_numbers_in_a_line_are_refused(self) -> None:
        alice = self.lobby.enter("Alice")
        for digits in [*TOO_LARGE, "9" * 4_340, "201"]:
            self.assertEqual(alice.ask(f"/history {digits}"), ["* Write /history and a number from 1 to 200."], digits)
        program = self.lobby.program("Program")
        for digits in TOO_LARGE:
            (answer,) = program.ask(f"{digits} hello")
            self.assertIn("a number of its own", answer)
        self.assertEqual(program.ask("1 hello"), ["ok 1"])

    def test_a_session_is_resumed_after_the_last_line_at_most(self) -> None:
        self.lobby.program("Program")
        for digits in ["9" * 19, MANY[:4_300], "9" * 20, MANY]:
            answer = self.lobby.call().ask(f"/resume {SESSION_KEY} {digits}")[-1]
            self.assertIn("session 2 0 Program" if len(digits) == 19 else "KEY NUMBER", answer)

    def test_digits_are_no_names_and_no_commands_over_udp(self) -> None:
        for datagram in (f"1 {MANY}", MANY, f"2{MANY}", f"1 {'9' * 60_000}"):
            self.assertEqual(self.lobby.ask(7, datagram), "Illegal message")


class StreamTests(SynchronousTestCase):
    def test_large_sizes_and_offsets_of_files_are_refused(self) -> None:
        for digits in [*TOO_LARGE, *NO_NUMBERS]:
            for line in (f"GET {digits} - a", f"PUT {digits} {'0' * 64} a"):
                self.assertRaises(IllegalMessage, wire_files.parse, line.encode())

    def test_ids_of_a_numbered_session_are_bounded(self) -> None:
        for digits in [*TOO_LARGE, "", "-1", "+1", "1.0", "\u0661", "0"]:
            self.assertRaises(IllegalMessage, wire_lines.numbered, f"{digits} x")


class FakeStream:
    """A stream on which a hostile server has answered."""

    def __init__(self, *lines: str) -> None:
        self._lines = list(lines)

    async def write(self, data: bytes) -> None:
        pass

    async def raw_line(self) -> bytes:
        return self._lines.pop(0).encode()

    async def line(self) -> str:
        return (await self.raw_line()).decode()


class ClientTests(NumberedCase):
    def strange(self, asked: Any) -> None:
        self.failureResultOf(ensureDeferred(asked), ProtocolError)

    def test_large_numbers_of_a_server_of_files_are_refused(self) -> None:
        digest = "0" * 64
        for digits in [MANY, "9" * 20, "-1", "\u0661"]:
            for line in (f"ok {digits}", f"ok {digits} x"):
                self.strange(requests.listing(FakeStream(line)))  # type: ignore[arg-type]
            for line in (f"{digits} - 0 a", f"0 - {digits if digits != '-1' else ''} a"):
                listed = requests.listing(FakeStream("ok 1", line))  # type: ignore[arg-type]
                self.assertEqual(self.successResultOf(ensureDeferred(listed)), [])
            for line in (f"ok {digits} {digest} 0", f"ok 0 {digest} {digits}"):
                self.strange(requests.get(FakeStream(line), "a", 0, "-"))  # type: ignore[arg-type]
            self.strange(requests.put(FakeStream(f"go {digits}"), "a", 1, digest, "GUEST x"))  # type: ignore[arg-type]

    def test_large_numbers_of_a_server_of_lines_are_ignored(self) -> None:
        peer = self.enter()
        peer.send(f"{MANY} Bob: hi", f"ok {MANY}", f"no {MANY} x", f"busy {MANY}", "8 Bob: hello")
        self.assertEqual((self.witness.lines, self.witness.news()), ([(8, "Bob: hello")], []))

    def test_a_port_has_at_most_five_digits(self) -> None:
        for digits in [*TOO_LARGE, *NO_NUMBERS, "65536"]:
            self.assertRaises(ValueError, parse_port, digits)


class OptionTests(SynchronousTestCase):
    def test_large_numbers_are_explained_in_one_line(self) -> None:
        for option in ("port", "tcp", "web", "keep-lines", "rate", "hold", "max-members", "timeout"):
            for digits in [MANY, "9" * 20]:
                why = self.assertRaises(SystemExit, Options().parseOptions, [f"--{option}", digits]).code
                self.assertRegex(str(why), f"^twistd groupchat: --{option} must be a whole number .{{1,200}}$")


class TimeTests(SynchronousTestCase):
    """Times of files, which whoever writes to the directory chooses: `touch -d` takes any year."""

    def test_the_time_of_a_file_is_in_the_calendar(self) -> None:
        for seconds in [-(2**62), -(10**12), -1, 0, 1, 253_402_300_800, 10**12, 2**62]:
            at = Entry("a", 0, seconds * 10**9, 1, 1).at
            self.assertTrue(formatdate(at, usegmt=True).endswith(" GMT"))
            self.assertEqual(len(time.strftime("%Y-%m-%d", time.localtime(at))), 10)
            self.assertRegex(wire_files.entry("a", 0, None, at), rb"^0 - (0|[1-9][0-9]{0,11}) a\n$")

    def test_a_time_in_the_calendar_stays_as_it_is(self) -> None:
        for seconds in (0.0, 1.5, 1.7e9, 253_402_200_000.0):
            self.assertEqual(clamp_time(seconds), seconds)
        self.assertEqual((clamp_time(float("inf")), clamp_time(float("-inf"))), (253_402_200_000.0, 0.0))
