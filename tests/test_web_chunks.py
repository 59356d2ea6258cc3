"""Chunked bodies: the coding of RFC 9112, section 7.1, and what is done with what comes in it."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import NotNow
from groupchat.core.limits import FILE_CHUNK, MAX_WEB_BODY, MAX_WEB_HEAD, WEB_HEAD_SECONDS
from groupchat.frontends.web.chunks import ChunkedBody, Malformed
from tests.web import MAX_FILE, Line, WebTestCase, parse

DATA = bytes(range(256)) * 40


def chunked(data: bytes, size: int = 1000) -> bytes:
    """Return data in chunks of this size, with the last one."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read(data: bytes, step: int = 0) -> tuple[bytes, bool, bytes]:
    """Return the content of a body that comes in such steps, if it is over, and what is behind it."""
    body, found = ChunkedBody(), b""
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        body.feed(data[at : at + step])
        while piece := body.read():
            found += piece
    return found, body.is_over, body.rest()


class CodingTests(SynchronousTestCase):
    def test_a_body_is_read_in_steps_of_any_size(self) -> None:
        for raw, content in [
            (b"0\r\n\r\n", b""),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
            (b"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", b"01234567890123456789"),
            (b"003\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n\r"),
            (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
            (b'3;a\r\nabc\r\n0;b=c;d="e;f \xff"\r\n\r\n', b"abc"),
            (b"3 \t;a=b\r\nabc\r\n0 \r\n\r\n", b"abc"),
            (b"3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n", b"abc"),
            (chunked(DATA), DATA),
            (chunked(DATA, 1), DATA),
        ]:
            for step in (0, 1, 2, 3, 7, 1000):
                for more in (b"", b"0\r\n\r\n", b"GET /"):
                    self.assertEqual(read(raw + more, step)[:2], (content, True), (raw[:40], step))
                    if not step:
                        self.assertEqual(read(raw + more)[2], more)

    def test_a_body_without_its_end_is_not_over(self) -> None:
        raw = b"3;a\r\nabc\r\n0\r\nA: b\r\n\r\n"
        for end in range(len(raw)):
            for step in (0, 1):
                found, is_over, _ = read(raw[:end], step)
                self.assertEqual((b"abc".startswith(found), is_over), (True, False), raw[:end])

    def test_what_is_no_body_in_chunks_is_refused(self) -> None:
        for raw in [
            *(b"\r\n", b"x\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\nx\r\n", b"1_0\r\n", b";a\r\n", b"1\n\r\n"),
            *(b"g" * 2000, b"1;" + b"a" * 2000, b"0" * 2000, b"f" * 16 + b"\r\n", b"3\r\nabcd\r\n", b"3\r\nabc\n0\r\n"),
            *(
                b"3\r\nabc0\r\n\r\n",
                b"1;\x00\r\nx",
                b"1;a\rb\r\nx",
                b"0\r\n" + b"A: b\r\n" * 5000,
                b"\xd9\xa1\r\nx\r\n",
            ),
        ]:
            for step in (0, 1, 1000):
                with self.assertRaises(Malformed, msg=(raw[:40], step)):
                    read(raw, step)

    def test_little_is_kept_of_what_was_read(self) -> None:
        body = ChunkedBody()
        for at in range(0, 1_000_000, 1000):
            body.feed(chunked(bytes(1000), 1)[:-5] if at else b"1;" + b"a" * 1000 + b"\r\nx\r\n")
            while body.read():
                pass
            self.assertLess(len(body._buffer), 20_000)


class ChunksTestCase(WebTestCase):
    def send(self, line: Line, head: str, body: bytes, **headers: str) -> Line:
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        line.send(f"{head} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode() + body)
        return line

    def put(self, body: bytes, path: str = "/files/a?name=cron", **headers: str) -> Line:
        return self.send(self.line(), f"PUT {path}", body, **headers)


class LargeTests(ChunksTestCase):
    def test_a_file_comes_in_chunks(self) -> None:
        for name, data, size in [("a", DATA, 1000), ("b", DATA, 1), ("c", b"", 1), ("d", bytes(1_000_000), 65536)]:
            reply, rest = parse(self.put(chunked(data, size), f"/files/{name}?name=cron").heard())
            self.assertEqual((reply.status, reply.json, rest), (201, {"name": name}, b""))
            self.assertEqual(self.shelf.files[name], data)
        self.assertEqual(self.told()[1:3], ["cron shared b (10.2 kB)", "cron shared c (0 B)"])

    def test_a_file_that_grows_too_large_is_refused(self) -> None:
        reply, rest = parse(self.put(chunked(bytes(MAX_FILE + 1), 65536)).heard())
        self.refused(reply, 413, "at most")
        self.assertEqual((rest, self.shelf.files, self.shelf.events, self.told()), (b"", {}, ["drop"], []))
        self.assertEqual(parse(self.put(chunked(bytes(MAX_FILE), 65536)).heard())[0].status, 201)

    def test_the_sender_is_paused_while_the_disk_is_slow(self) -> None:
        self.shelf.slow = True
        line = self.put(b"")
        data, at = chunked(bytes(10 * FILE_CHUNK), 5000), 0
        while at < len(data):
            if line.transport.producerState == "producing":
                line.send(data[at : at + 65536])
                at += 65536
            else:
                self.lobby.settle()
                self.shelf.go_on()
        for _ in range(20):
            self.lobby.settle()
            self.shelf.go_on()
        self.assertEqual(parse(line.heard())[0].status, 201)
        self.assertLessEqual(self.shelf.most_unwritten, 2 * FILE_CHUNK)


class RequestTests(ChunksTestCase):
    def test_a_text_comes_in_chunks(self) -> None:
        line = self.send(self.line(), "POST /messages?name=cron", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        self.assertEqual(parse(line.heard())[0].status, 200)
        self.assertEqual(self.told(), ["cron: hello"])

    def test_the_next_request_follows_the_last_chunk(self) -> None:
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for path, status in [("POST /messages?name=cron", 200), ("PUT /files/a?name=cron", 201), ("GET /me", 200)]:
            body = b"0\r\n\r\n" if "GET" in path else chunked(b"abc", 1)
            line = self.send(self.line(), path, body + get + get)
            first, rest = parse(line.heard())
            second, rest = parse(rest)
            third, rest = parse(rest)
            self.assertEqual((first.status, second.body, third.body, rest), (status, b"ok\n", b"ok\n", b""))

    def test_a_text_that_grows_too_long_is_refused(self) -> None:
        body = chunked(b"x" * (MAX_WEB_BODY + 1))
        for path in ("/messages?name=x", "/name", "/leave"):
            line = self.send(self.line(), f"POST {path}", body)
            reply, rest = parse(line.heard())
            self.refused(reply, 413, "at most")
            self.assertEqual((rest, reply.headers["connection"]), (b"", "close"))
        self.refused(parse(self.send(self.line(), "GET /me", chunked(b"x")).heard())[0], 413)
        self.assertEqual(self.told(), [])

    def test_a_shelf_that_fills_refuses_the_rest(self) -> None:
        self.shelf.slow = True
        line = self.put(b"3\r\nabc\r\n")
        self.shelf.go_on()
        self.shelf.refuses = NotNow("The shelf is full.")
        line.send(b"3\r\nabc\r\n")
        for _ in range(5):
            self.shelf.go_on()
        self.refused(parse(line.heard())[0], 503, "full")
        line.send(chunked(DATA))  # the rest is thrown away
        self.assertEqual((line.heard(), self.shelf.files, self.shelf.parts), (b"", {}, {}))

    def test_half_a_body_is_no_file(self) -> None:
        for raw in (b"", b"3\r\nab", b"3\r\nabc\r\n", b"3\r\nabc\r\n0\r\n", b"3\r\nabc\r\n0\r\nA: b\r\n"):
            for ends in (True, False):
                line = self.put(raw)
                if ends:
                    line.channel.readConnectionLost()
                line.lose()
                self.lobby.settle()
        self.assertEqual((self.shelf.files, self.shelf.parts, self.told()), ({}, {}, []))

    def test_malformed_chunks_end_the_connection(self) -> None:
        for raw in (b"x\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * MAX_WEB_HEAD):
            line = self.put(raw)
            self.refused(parse(line.heard())[0], 400)
            self.assertTrue(line.is_over)
            line.lose()
        self.lobby.settle()
        self.assertEqual((self.shelf.files, self.shelf.parts, self.told()), ({}, {}, []))

    def test_continue_is_sent_for_chunks(self) -> None:
        line = self.put(b"", Expect="100-continue")
        self.assertEqual(line.heard(), b"HTTP/1.1 100 Continue\r\n\r\n")
        line.send(chunked(b"abc"))
        self.assertEqual(parse(line.heard())[0].status, 201)
        line = self.send(self.line(), "POST /messages?name=x", b"", Expect="100-continue")
        self.assertEqual(line.heard(), b"HTTP/1.1 100 Continue\r\n\r\n")
        line = self.put(b"", "/files/a", Expect="100-continue")
        self.assertIn(b"HTTP/1.1 403 ", line.heard())

    def test_http_1_0_has_no_chunks(self) -> None:
        line = self.line()
        head = b"PUT /files/a?name=cron HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
        line.send(head + chunked(DATA))
        self.refused(parse(line.heard())[0], 400)
        self.assertTrue(line.is_over)

    def test_a_slow_text_in_chunks_is_refused(self) -> None:
        line = self.send(self.line(), "POST /messages?name=x", b"1\r\nx\r\n")
        self.pass_time(WEB_HEAD_SECONDS + 1)
        self.assertIn(b"HTTP/1.1 408 ", line.heard())

    def test_random_bytes_do_no_harm(self) -> None:
        noise = random.Random(7)
        parts = [b"3", b"\r\n", b"abc", b"0", b"0\r\n\r\n", b";", b"\n", b"\xff", b"A: b", b"3\r\nabc\r\n", b" "]
        for number in range(500):
            path = ["PUT /files/a?name=cron", "POST /leave", "GET /me", "POST /nothing"][number % 4]
            line = self.send(self.line(), path, b"".join(noise.choices(parts, k=noise.randrange(20))))
            line.heard()
            line.lose()


class ByteByByteTests(RequestTests):
    step = 1
