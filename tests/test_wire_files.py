"""The grammar of QUIC streams: a legal line is parsed, and anything else is refused in one line."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_LINE, MAX_SIZE
from groupchat.wire import files as wire_files
from groupchat.wire.files import Get, ListFiles, OpenLines, Password, Put, Sender, parse, parse_sender

HASH = "0123456789abcdef" * 4
KEY = "00112233445566778899aabbccddeeff"


class RequestTests(SynchronousTestCase):
    def test_legal_requests(self) -> None:
        for line, request in [
            ("LINES", OpenLines()),
            ("FILES", ListFiles()),
            ("PASSWORD a  secret ", Password(b"a  secret ")),
            ("PASSWORD ", Password(b"")),
            ("GET 0 - a b", Get(0, "-", "a b")),
            (f"GET {MAX_SIZE} {HASH}  a: b ", Get(MAX_SIZE, HASH, " a: b ")),
            (f"GET 7 {HASH[:16]} ü", Get(7, HASH[:16], "ü")),
            (f"PUT 0 {HASH} my photo (2).jpg", Put(0, HASH, "my photo (2).jpg")),
            (f"PUT {MAX_SIZE} {HASH} u\u0308", Put(MAX_SIZE, HASH, "ü")),
        ]:
            self.assertEqual(parse(line.encode()), request)
        self.assertEqual(parse(b"PASSWORD \xff"), Password(b"\xff"))

    def test_refused_requests(self) -> None:
        for line in [
            *("", " ", "lines", "LINES ", "LINES x", "FILES ", "PASSWORD", "HELLO", "GET", "PUT", "GET / HTTP/1.1"),
            *("GET 0 -", "GET 0 - ", "GET 0 - .hidden", "GET 0 - a/b", "GET 0 - ..", "GET -1 - a", "GET 00 - a"),
            *(
                "GET 1e3 - a",
                "GET +1 - a",
                "GET \u0661 - a",
                f"GET {MAX_SIZE + 1} - a",
                "GET 0  - a",
                "GET 0 - a\r",
                "GET 0 - \0",
            ),
            *(f"GET 0 {HASH[:15]} a", f"GET 0 {HASH}0 a", f"GET 0 {HASH.upper()} a", f"GET 0 {HASH} a\x1b"),
            *(f"PUT 1 {HASH}", f"PUT 1 {HASH} ", f"PUT 1 {HASH} a:b", "PUT 1 - a", f"PUT 1 {HASH[:32]} a"),
            *(f"PUT {'9' * 5000} {HASH} a", f"PUT 1 {HASH} {'a' * 256}", f"PUT 1 {HASH} {'a' * MAX_LINE}"),
        ]:
            with self.assertRaises(IllegalMessage, msg=line):
                parse(line.encode())
        with self.assertRaisesRegex(IllegalMessage, "UTF-8"):
            parse(b"GET 0 - \xff")

    def test_a_long_name_is_refused_with_the_reason(self) -> None:
        with self.assertRaisesRegex(IllegalMessage, "has at most 255 bytes; that one has 300"):
            parse(f"PUT 1 {HASH} {'a' * 300}".encode())

    def test_the_author_of_an_upload(self) -> None:
        secret = sha256(bytes.fromhex(KEY)).hexdigest()
        self.assertEqual(parse_sender(f"BY KEY {KEY}".encode()), Sender(secret=secret))
        self.assertEqual(parse_sender(b"BY ADDRESS"), Sender())
        self.assertEqual(parse_sender("BY GUEST Zoë B".encode()), Sender(guest="Zoë B"))
        for line in [
            "",
            "BY",
            "BY KEY",
            "BY KEY 12",
            f"BY KEY {KEY}0",
            "BY ADDRESS x",
            "BY GUEST",
            "BY GUEST ",
            "by guest x",
        ]:
            with self.assertRaises(IllegalMessage, msg=line):
                parse_sender(line.encode())

    def test_a_download_resumes_only_the_same_file(self) -> None:
        for asked, offset in [
            (Get(5, HASH, "a"), 5),
            (Get(5, HASH[:16], "a"), 5),
            (Get(10, HASH, "a"), 10),
            (Get(11, HASH, "a"), 0),
            (Get(5, "-", "a"), 0),
            (Get(5, "f" * 64, "a"), 0),
        ]:
            self.assertEqual(asked.begin(10, HASH), offset)

    @given(st.binary(max_size=400) | st.text(max_size=100).map(lambda text: f"GET 0 - {text}".encode()))
    def test_any_bytes_are_parsed_or_refused_in_one_line(self, line: bytes) -> None:
        for parser in (parse, parse_sender):
            try:
                parser(line)
            except IllegalMessage as why:
                answer = wire_files.refusal(why)
                self.assertEqual(answer.count(b"\n"), 1)
                self.assertTrue(answer.startswith(b"no ") and answer.endswith(b"\n"))


class AnswerTests(SynchronousTestCase):
    def test_answers(self) -> None:
        for answer, line in [
            (wire_files.accepted(), "ok\n"),
            (wire_files.count(3), "ok 3\n"),
            (wire_files.entry(" a: b", 5, None, 12.9), "5 - 12  a: b\n"),
            (wire_files.entry("ü", 5, HASH, 12), f"5 {HASH} 12 ü\n"),
            (wire_files.sending(5, HASH, 2), f"ok 5 {HASH} 2\n"),
            (wire_files.go(7), "go 7\n"),
            (wire_files.done("photo (2).jpg"), "ok photo (2).jpg\n"),
            (wire_files.refusal(IllegalMessage("Because.")), "no Because.\n"),
            (wire_files.refusal(NotNow("A\nB\udcff")), "busy A B?\n"),
        ]:
            self.assertEqual(answer.decode(), line)
