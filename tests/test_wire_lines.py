"""The grammar of live lines: bytes to lines to commands, fed whole, cut everywhere, and byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.commands import Files, Join, Leave, Recall, Rename, Say, Users, Whisper
from groupchat.core.errors import IllegalMessage
from groupchat.core.ids import MAX_ID
from groupchat.core.limits import HISTORY, MAX_HISTORY, MAX_LINE, MAX_UNTERMINATED
from groupchat.core.texts import MAX_BYTES
from groupchat.wire import lines as wire_lines
from groupchat.wire.lines import HELP, Help, Resume, Splitter

KEY = "0123456789abcdef0123456789ABCDEF"
HASH = sha256(bytes.fromhex(KEY)).hexdigest()

IAC, DONT, DO, WONT, WILL, SB, SE = b"\xff", b"\xfe", b"\xfd", b"\xfc", b"\xfb", b"\xfa", b"\xf0"


def split(*pieces: bytes) -> list[bytes]:
    """Return the lines in these pieces, after which the input ends."""
    splitter = Splitter()
    lines = [line for piece in pieces for line in feed(splitter, piece)]
    return lines + splitter.finish()


def cuts(data: bytes) -> Iterable[tuple[bytes, ...]]:
    """Yield the data in one piece, in two pieces cut at every byte, and byte by byte."""
    yield (data,)
    for at in range(1, len(data)):
        yield data[:at], data[at:]
    yield tuple(data[at : at + 1] for at in range(len(data)))


def feed(splitter: Splitter, data: bytes) -> list[bytes]:
    """Return all lines that end in this data."""
    splitter.feed(data)
    return splitter.lines(len(data))


class SplitterTests(SynchronousTestCase):
    def assertLines(self, data: bytes, lines: list[bytes]) -> None:
        """Assert that the data holds these lines, however it is cut."""
        for pieces in cuts(data):
            self.assertEqual(split(*pieces), lines, pieces)

    def test_lines_end_with_lf_or_crlf(self) -> None:
        self.assertLines(b"Alice\nhi\r\n\r\n\nbye\r\n", [b"Alice", b"hi", b"", b"", b"bye"])

    def test_lines_of_telnet_end_with_cr_nul(self) -> None:
        self.assertLines(b"Alice\r\0hi\r\0\r\0bye\r\n\r\0", [b"Alice", b"hi", b"", b"bye", b""])
        self.assertLines(b"a\0b\0\r\r\0\0c\n", [b"a\0b\0\r", b"\0c"])

    def test_one_byte_order_mark_before_all_is_removed(self) -> None:
        mark = "\ufeff".encode()
        self.assertLines(mark + b"Alice\r\nhi", [b"Alice", b"hi"])
        self.assertLines(mark + b"/numbered", [b"/numbered"])
        self.assertLines(mark, [])
        self.assertLines(mark + b"\n" + mark + b"hi\n", [b"", mark + b"hi"])
        self.assertLines(mark + mark + b"hi\n", [mark + b"hi"])
        self.assertLines(b"hi" + mark + b"\n" + mark, [b"hi" + mark, mark])

    def test_only_one_cr_before_a_lf_is_removed(self) -> None:
        self.assertLines(b"a\rb\r\r\n\rc\n", [b"a\rb\r", b"\rc"])

    def test_the_rest_is_a_line_at_the_end_of_input(self) -> None:
        self.assertLines(b"Alice\nhi", [b"Alice", b"hi"])
        self.assertLines(b"Alice\nhi\r", [b"Alice", b"hi"])
        self.assertLines(b"Alice\n", [b"Alice"])
        self.assertLines(b"", [])

    def test_the_rest_is_returned_once(self) -> None:
        splitter = Splitter()
        feed(splitter, b"hi")
        self.assertEqual((splitter.finish(), splitter.finish()), ([b"hi"], []))

    def test_discarded_input_is_no_line_nor_the_rest_of_one(self) -> None:
        mark = IAC + DO + b"\x06"
        for before, after, lines in [
            (b"", b"hi\n", [b"hi"]),
            (b"a\nb\n", b"hi\n", [b"hi"]),
            (b"a\nb", b"c\nhi\n", [b"hi"]),
            (b"a\nb", b"c", []),
            (b"a\nb\r", b"\nhi\r\n", [b"hi"]),
            (mark, b"hi\n", [b"hi"]),
            (IAC, WILL + b"\x01hi\n", [b"hi"]),
        ]:
            for pieces in ([before], [before, b""], [before, mark], [before[:1], before[1:]]):
                splitter = Splitter()
                for piece in pieces:
                    if before != IAC or piece != mark:
                        splitter.feed(piece)
                        splitter.discard()
                self.assertFalse(splitter)
                self.assertEqual(feed(splitter, after) + splitter.finish(), lines, (pieces, after))

    def test_telnet_negotiations_are_removed(self) -> None:
        for negotiation in [
            IAC + verb + option for verb in (WILL, WONT, DO, DONT) for option in (b"\x01", b"\x22", IAC)
        ]:
            for line in [negotiation + b"hello", b"hel" + negotiation + b"lo", b"hello" + negotiation]:
                self.assertLines(line + b"\r\nnext\n", [b"hello", b"next"])

    def test_subnegotiations_are_removed(self) -> None:
        window = IAC + SB + b"\x1f\x00\x50\x00\x18" + IAC + SE
        for line in [window + b"hello", b"hel" + window + b"lo", b"hel" + window + window + b"lo", b"hello" + window]:
            self.assertLines(line + b"\n", [b"hello"])

    def test_a_subnegotiation_that_has_no_end_ends_with_the_line(self) -> None:
        self.assertLines(b"hi" + IAC + SB + b"\x1f\x00\nnext\n", [b"hi", b"next"])

    def test_other_telnet_commands_are_removed(self) -> None:
        for command in range(0xF1, 0xFA):
            if command != 0xF4:
                self.assertLines(b"hel" + IAC + bytes([command]) + b"lo\n", [b"hello"])
        self.assertLines(b"hel" + IAC + IAC + b"lo\n", [b"hello"])

    def test_bytes_that_are_no_telnet_command_stay_and_are_refused(self) -> None:
        for line in ["ÿes".encode("latin-1"), "aÿ".encode("latin-1"), IAC + b"\xeb"]:
            self.assertLines(line + b"\n", [line])
            with self.assertRaises(IllegalMessage):
                wire_lines.decode(line)

    def test_utf_8_stays_as_it_is(self) -> None:
        text = "Chloé: ÿ → 😀".encode()
        self.assertLines(text + b"\n", [text])

    def test_ctrl_c_in_telnet_ends_the_input(self) -> None:
        for before in (b"", b"Alice\n", b"Alice\nhal"):
            for sign in (b"\xff\xf4\xff\xfd\x06", b"\xff\xf4"):
                for pieces in cuts(before + sign):
                    splitter, lines = Splitter(), list[bytes]()
                    for piece in pieces:
                        lines += feed(splitter, piece)
                        if splitter.ended:
                            break
                    self.assertTrue(splitter.ended, pieces)
                    self.assertEqual(lines + splitter.finish(), [b"Alice"] if before[:1] else [], pieces)

    def test_ctrl_d_ends_the_input(self) -> None:
        for before in (b"", b"Alice\n"):
            for sign in (b"\xff\xec", b"\x04"):
                for pieces in cuts(before + sign):
                    splitter = Splitter()
                    lines = [line for piece in pieces for line in feed(splitter, piece)]
                    self.assertTrue(splitter.ended, pieces)
                    self.assertEqual(lines + splitter.finish(), [b"Alice"] if before else [], pieces)

    def test_ctrl_d_after_half_a_line_ends_that_line(self) -> None:
        for sign in (b"\xff\xec", b"\x04"):
            self.assertLines(b"Alice\nhello" + sign, [b"Alice", b"hello"])

    def test_each_request_for_a_timing_mark_is_noticed_once(self) -> None:
        mark = IAC + DO + b"\x06"
        for data, count in [
            (b"a" + mark + b"b\r\nc" + mark, 2),
            (b"a\xff\xfb\x06\xff\xfd\x01b\x06", 0),
            (mark + b"\n", 1),
        ]:
            for pieces in cuts(data):
                splitter, marked = Splitter(), 0
                for piece in pieces:
                    feed(splitter, piece)
                    marked += splitter.marked
                self.assertLessEqual(marked, count, pieces)
                self.assertGreaterEqual(marked, min(count, 1), pieces)

    def test_a_timing_mark_split_over_two_reads_is_noticed(self) -> None:
        mark = IAC + DO + b"\x06"
        for before in (b"", b"hel", b"Alice\n", IAC + b"\xed", IAC + DO):
            for after in (b"", b"lo\n", IAC, b"\x06"):
                for at in range(1, len(mark)):
                    splitter, marked = Splitter(), list[bool]()
                    for piece in (before + mark[:at], mark[at:] + after, b"on\n"):
                        feed(splitter, piece)
                        marked.append(splitter.marked)
                    self.assertEqual(marked, [False, True, False], (before, at, after))

    def test_nothing_else_ends_the_input(self) -> None:
        splitter = Splitter()
        negotiations = b"".join(IAC + verb + b"\x03" for verb in (WILL, WONT, DO, DONT))
        feed(splitter, b"Alice\nhi\r\n" + negotiations + b"half a \x04 line" + IAC + SB + b"\x18\x00" + IAC + SE)
        self.assertFalse(splitter.ended)

    def test_the_longest_legal_line(self) -> None:
        for end in (b"\n", b"\r\n"):
            line = b"x" * MAX_LINE
            for pieces in [(line + end,), (line, end), (line + end[:1], end[1:]), (line[:1000], line[1000:] + end)]:
                self.assertEqual(split(*pieces), [line], end)
            wire_lines.decode(line)

    def test_a_line_that_is_too_long_is_cut_but_stays_too_long(self) -> None:
        for length in (MAX_LINE + 1, MAX_LINE + 2, MAX_LINE + 3, 10 * MAX_LINE):
            for step in (length, 1000, 7):
                splitter = Splitter()
                data = b"x" * length
                for at in range(0, length, step):
                    self.assertEqual(feed(splitter, data[at : at + step]), [])
                    self.assertLessEqual(len(splitter._rest), MAX_LINE + 2)
                    self.assertEqual(splitter.unterminated, min(at + step, length))
                line, after = feed(splitter, b"\nnext\n")
                self.assertEqual((len(line), after), (MAX_LINE + 1, b"next"))
                with self.assertRaises(IllegalMessage):
                    wire_lines.decode(line)

    def test_a_cut_line_stays_too_long_without_telnet_commands(self) -> None:
        line = IAC + WILL + b"\x01" + b"x" * MAX_LINE + b" and what is cut"
        for pieces in [(line + b"\n",), (line, b"\n"), (line[:100], line[100:], b"\n")]:
            (got,) = split(*pieces)
            with self.assertRaises(IllegalMessage):
                wire_lines.decode(got)

    def test_unterminated_counts_from_the_last_end_of_line(self) -> None:
        splitter = Splitter()
        for piece, unterminated in [(b"abc", 3), (b"de", 5), (b"f\n", 0), (b"a\nbc", 2), (b"d", 3), (b"\n\n", 0)]:
            feed(splitter, piece)
            self.assertEqual(splitter.unterminated, unterminated, piece)

    @given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
    @example([b"\xff", b"\xfa", b"\xff", b"\xf0"], 1)
    def test_any_cut_gives_the_same_lines(self, pieces: list[bytes], step: int) -> None:
        pieces = [piece.translate(None, b"\xec\xf4\x04") for piece in pieces]  # nothing that ends the input
        data = b"".join(pieces)
        whole = split(data)
        self.assertEqual(split(*pieces), whole)
        self.assertEqual(split(*[data[at : at + step] for at in range(0, len(data), step)]), whole)

    @given(st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 3 * MAX_LINE)), max_size=6))
    def test_the_splitter_holds_a_bounded_number_of_bytes(self, pieces: list[tuple[bytes, int]]) -> None:
        splitter = Splitter()
        for some, length in pieces:
            lines = feed(splitter, (some * length)[:length])
            self.assertLessEqual(len(splitter._rest), MAX_LINE + 2)
            self.assertTrue(all(len(line) <= MAX_LINE + 1 for line in lines))
        self.assertTrue(all(len(line) <= MAX_LINE + 1 for line in splitter.finish()))


class GrammarTestCase(SynchronousTestCase):
    def assertHelpful(self, why: IllegalMessage) -> None:
        """Assert that the reason is one or two sentences, in one line that fits into an answer."""
        line = str(why)
        self.assertRegex(line, r"\A[A-Z][^\n]{5,}\.\Z")
        self.assertLess(len(line), 120)

    def assertRefused(self, read: Callable[[Any], object], line: str | bytes, word: str) -> None:
        """Assert that a line is refused, with this word in the reason."""
        with self.assertRaises(IllegalMessage, msg=line) as caught:
            read(line)
        self.assertHelpful(caught.exception)
        self.assertIn(word, str(caught.exception), line)


class DecodeTests(GrammarTestCase):
    def test_utf_8(self) -> None:
        self.assertEqual(wire_lines.decode("Chloé 😀".encode()), "Chloé 😀")

    def test_refusals(self) -> None:
        for raw, word in [(b"\xe9t\xe9", "UTF-8"), (b"x" * (MAX_LINE + 1), str(MAX_LINE))]:
            self.assertRefused(wire_lines.decode, raw, word)

    def test_the_longest_text_fits_in_a_line_with_its_prefix(self) -> None:
        line = f"{MAX_ID} /msg {'😀' * 32}: ".encode() + b"x" * MAX_BYTES
        self.assertLessEqual(len(line), MAX_LINE)
        self.assertLess(MAX_LINE, MAX_UNTERMINATED)


class FirstTests(GrammarTestCase):
    """Lines of somebody who is not a member."""

    def test_each(self) -> None:
        for line, asked in [
            ("Alice", Join("Alice")),
            (" Alice B ", Join(" Alice B ")),
            ("1 Alice", Join("1 Alice")),
            (f"/numbered {KEY} Alice B", Join("Alice B", HASH)),
            (f"/NUMBERED {KEY.lower()} Alice", Join("Alice", HASH)),
            (f"/numbered {KEY}", Join("", HASH)),
            (f"/resume {KEY} 0", Resume(HASH, 0)),
            (f"/resume {KEY} {MAX_ID}", Resume(HASH, MAX_ID)),
            ("/help", Help()),
            ("/Help me", Help()),
            ("/quit", Leave()),
        ]:
            self.assertEqual(wire_lines.parse_first(line), asked, line)

    def test_refusals(self) -> None:
        for line, word in [
            ("/", "name"),
            ("/users", "name"),
            ("//Alice", "name"),
            ("/msg Bob: hi", "name"),
            ("/numbered", "key"),
            ("/numbered Alice", "key"),
            (f"/numbered {KEY[1:]} Alice", "key"),
            (f"/numbered {KEY}0 Alice", "key"),
            (f"/numbered  {KEY} Alice", "key"),
            (f"/numbered {KEY[:-1]}g Alice", "key"),
            (f"/numbered {KEY[:-1]}\N{ARABIC-INDIC DIGIT FOUR} Alice", "key"),
            ("/resume", "/resume"),
            (f"/resume {KEY}", "/resume"),
            (f"/resume {KEY} -1", "/resume"),
            (f"/resume {KEY} 1 ", "/resume"),
            (f"/resume {KEY} \N{ARABIC-INDIC DIGIT FOUR}", "/resume"),
            (f"/resume {KEY} {'1' * 20}", "/resume"),
            ("/resume key 1", "key"),
        ]:
            self.assertRefused(wire_lines.parse_first, line, word)

    def test_the_key_is_kept_only_as_a_hash(self) -> None:
        asked = wire_lines.parse_first(f"/numbered {KEY} Alice")
        self.assertNotIn(KEY.lower(), repr(asked).lower())


class NumberedTests(GrammarTestCase):
    def test_a_line_is_split_into_its_id_and_the_rest(self) -> None:
        for line, parted in [
            ("1 hi there", (1, "hi there")),
            ("7 /users", (7, "/users")),
            ("7  hi", (7, " hi")),
            ("7", (7, "")),
            ("007 hi", (7, "hi")),
            (f"{MAX_ID} hi", (MAX_ID, "hi")),
        ]:
            self.assertEqual(wire_lines.numbered(line), parted)

    def test_refusals(self) -> None:
        for line in [
            "",
            "hi",
            "0 hi",
            "-1 hi",
            " 1 hi",
            "1: hi",
            f"{MAX_ID + 1} hi",
            "1" * 5000,
            "\N{SUPERSCRIPT TWO} hi",
        ]:
            self.assertRefused(wire_lines.numbered, line, str(MAX_ID))


class CommandTests(GrammarTestCase):
    """Lines of a member."""

    def test_each(self) -> None:
        for line, asked in [
            ("hi", Say("hi", 5)),
            (" hi ", Say(" hi ", 5)),
            ("hi /users", Say("hi /users", 5)),
            ("", Say("", 5)),
            ("//users", Say("/users", 5)),
            ("///", Say("//", 5)),
            ("/msg Bob: hi there", Whisper("Bob: hi there", 5)),
            ("/MSG Bob hi", Whisper("Bob hi", 5)),
            ("/name Al", Rename("Al", 5)),
            ("/name Al B", Rename("Al B", 5)),
            ("/users", Users(5)),
            ("/files", Files(5)),
            ("/FILES  ", Files(5)),
            ("/Users please", Users(5)),
            ("/history", Recall(HISTORY, 5)),
            ("/history 7 ", Recall(7, 5)),
            (f"/history {MAX_HISTORY}", Recall(MAX_HISTORY, 5)),
            ("/help", Help(5)),
            ("/quit", Leave(5)),
        ]:
            self.assertEqual(wire_lines.parse(line, 5), asked, line)

    def test_without_an_id_the_id_is_0(self) -> None:
        self.assertEqual(wire_lines.parse("hi"), Say("hi", 0))
        self.assertEqual(wire_lines.parse("/quit"), Leave(0))

    def test_refusals(self) -> None:
        for line, word in [
            ("/", "/help"),
            ("/ users", "/help"),
            ("/nick Al", "/help"),
            ("/usersx", "/help"),
            ("/msg", "/msg Name"),
            ("/msg  ", "/msg Name"),
            ("/name", "/name"),
            ("/name  ", "/name"),
            ("/history x", "/history"),
            ("/history 0", "/history"),
            ("/history -1", "/history"),
            (f"/history {MAX_HISTORY + 1}", str(MAX_HISTORY)),
            ("/history 1 2", "/history"),
            ("/history " + "9" * 5000, "/history"),
            ("/history \N{SUPERSCRIPT TWO}", "/history"),
        ]:
            self.assertRefused(lambda line: wire_lines.parse(line, 5), line, word)

    def test_the_help_names_every_command(self) -> None:
        for command in wire_lines._COMMANDS:
            if command != "/help":
                self.assertEqual(len([line for line in HELP if line.startswith(command)]), 1, command)
        self.assertTrue(all(0 < len(line) < 80 for line in HELP))

    @given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"/" + rest))
    @example(b"/history \xc2\xb2")
    @example(b"/resume " + KEY.encode() + b" \xd9\xa4")
    def test_any_bytes_are_parsed_or_refused(self, data: bytes) -> None:
        for raw in split(data):
            for read in (wire_lines.parse_first, wire_lines.parse, wire_lines.numbered):
                try:
                    read(wire_lines.decode(raw))
                except IllegalMessage as why:
                    self.assertHelpful(why)


class NotesTests(SynchronousTestCase):
    def test_each_line_is_marked(self) -> None:
        self.assertEqual(wire_lines.notes(["é", b"b", bytearray(b"c")]), "* é\n* b\n* c\n".encode())
        self.assertEqual(wire_lines.notes(["a"], b"= "), b"= a\n")
        self.assertEqual(wire_lines.notes([]), b"")

    def test_every_line_but_a_gap_has_its_number(self) -> None:
        runs: list[tuple[int, bytes | bytearray]] = [(0, b"* gone"), (9, bytearray(b"A: x\nA: y")), (12, b"B: z")]
        self.assertEqual(wire_lines.with_numbers(runs), b"* gone\n9 A: x\n10 A: y\n12 B: z\n")
        self.assertEqual(wire_lines.with_numbers([]), b"")
