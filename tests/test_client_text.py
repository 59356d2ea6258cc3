"""The client's pure parts: text that is safe to show, lines of input, and membership as answers tell it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.client.lines import LineSplitter, TooLong
from groupchat.client.messages import Membership, is_join, is_repeatable
from groupchat.client.text import clean, quote

REMOVED = [
    *(chr(code) for code in range(0x20) if chr(code) not in "\t\n"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]


class CleanTest(TestCase):
    def test_what_drives_a_terminal_is_removed(self) -> None:
        for character in REMOVED:
            self.assertEqual(clean(f"a{character}b".encode()), "ab", ascii(character))

    def test_other_characters_are_kept(self) -> None:
        kept = "a\tb\nAda: héllo 你好 👩\u200d👧 \u0627\u0644 \u00a0\u202f\u2027\u0301"
        self.assertEqual(clean(kept.encode()), kept)

    def test_an_escape_sequence_is_left_as_harmless_text(self) -> None:
        self.assertEqual(clean(b"\x1b]0;title\x07\x1b[2J\xc2\x9b31mred"), "]0;title[2J31mred")

    def test_invalid_utf8_is_shown_as_the_replacement_character(self) -> None:
        self.assertEqual(clean(b"a\xffb\xe2\x82"), "a\ufffdb\ufffd")
        self.assertEqual(clean(b"\x9b"), "\ufffd")  # C1 as a bare byte is no UTF-8

    @given(st.binary())
    def test_nothing_forbidden_is_ever_left(self, reply: bytes) -> None:
        self.assertEqual([character for character in clean(reply) if character in REMOVED], [])


class QuoteTest(TestCase):
    def test_a_request_is_shortened_and_cleaned(self) -> None:
        self.assertEqual(quote(b"2 hi"), '"2 hi"')
        self.assertEqual(quote(b"2 \x1b[2Jhi"), '"2 [2Jhi"')
        self.assertEqual(quote(b"2 " + b"x" * 70_000), '"2 ' + "x" * 58 + '..."')

    def test_a_cut_character_does_not_show(self) -> None:
        self.assertEqual(quote("👩".encode() * 10_000), '"' + "👩" * 60 + '..."')


class LinesTest(TestCase):
    def test_lf_and_crlf_end_a_line(self) -> None:
        self.assertEqual(LineSplitter(9).feed(b"a\nb\r\n\n c \n"), [b"a", b"b", b"", b" c "])

    def test_a_cr_elsewhere_stays(self) -> None:
        self.assertEqual(LineSplitter(9).feed(b"a\rb\n"), [b"a\rb"])

    def test_the_last_line_needs_no_newline(self) -> None:
        splitter = LineSplitter(9)
        self.assertEqual(splitter.feed(b"a\nb"), [b"a"])
        self.assertEqual(splitter.finish(), [b"b"])
        self.assertEqual(splitter.finish(), [])

    def test_a_line_may_be_as_long_as_the_limit(self) -> None:
        self.assertEqual(LineSplitter(3).feed(b"abc\nabcd\nabc\r\n"), [b"abc", TooLong(4), b"abc"])

    def test_a_long_line_is_counted_and_not_kept(self) -> None:
        splitter = LineSplitter(3)
        for _ in range(1000):
            self.assertEqual(splitter.feed(b"x" * 100), [])
            self.assertLessEqual(len(splitter._rest), 4)
        self.assertEqual(splitter.feed(b"x\nab\n"), [TooLong(100_001), b"ab"])

    def test_an_unterminated_long_line_is_reported_too(self) -> None:
        splitter = LineSplitter(3)
        splitter.feed(b"x" * 9)
        self.assertEqual(splitter.finish(), [TooLong(9)])

    def test_one_byte_order_mark_at_the_beginning_is_dropped(self) -> None:
        splitter = LineSplitter(9)
        found = [line for byte in "\ufeff\ufeffa\n\ufeffb\n".encode() for line in splitter.feed(bytes([byte]))]
        self.assertEqual(found, ["\ufeffa".encode(), "\ufeffb".encode()])

    @given(st.lists(st.text("ab\r\n").map(str.encode)))
    def test_it_does_not_matter_how_the_input_is_cut(self, pieces: list[bytes]) -> None:
        whole, cut = LineSplitter(4), LineSplitter(4)
        expected = whole.feed(b"".join(pieces)) + whole.finish()
        found = [line for piece in pieces for line in cut.feed(piece)] + cut.finish()
        texts = [line for line in expected if isinstance(line, bytes)]
        self.assertEqual([line for line in found if isinstance(line, bytes)], texts)
        self.assertEqual(len(found), len(expected))


class MembershipTest(TestCase):
    def after(self, *exchanges: tuple[bytes, bytes], certain: bool = True) -> Membership:
        membership = Membership()
        for request, reply in exchanges:
            membership.sent(request)
            membership.answered(request, reply, certain=certain)
        return membership

    def test_nobody_is_a_member_at_first(self) -> None:
        self.assertFalse(self.after().possible)
        self.assertFalse(self.after((b"2 hi", b""), (b"5", b"Ada: hi"), (b"1", b"")).possible)

    def test_a_join_makes_a_member(self) -> None:
        self.assertTrue(self.after((b"1 A", b"")).possible)
        self.assertTrue(self.after((b"1 A", b"Bob, Cleo")).possible)

    def test_a_refused_join_does_not(self) -> None:
        self.assertFalse(self.after((b"1 A", b"Illegal message")).possible)

    def test_a_member_whose_second_join_is_refused_stays_one(self) -> None:
        self.assertTrue(self.after((b"1 A", b""), (b"1 B", b"Illegal message")).possible)

    def test_a_join_without_answer_may_have_succeeded(self) -> None:
        membership = Membership()
        membership.sent(b"1 A")
        self.assertTrue(membership.possible)

    def test_an_uncertain_refusal_proves_nothing(self) -> None:
        self.assertTrue(self.after((b"1 A", b"Illegal message"), certain=False).possible)

    def test_close_ends_membership_and_a_refusal_does_not(self) -> None:
        self.assertFalse(self.after((b"1 A", b""), (b"4", b"close")).possible)
        self.assertTrue(self.after((b"1 A", b""), (b"4", b"Illegal message")).possible)

    def test_a_late_close_ends_it_unless_a_join_came_after_it(self) -> None:
        left, rejoining = self.after((b"1 A", b"")), self.after((b"1 A", b""))
        left.closed_late(b"5")
        rejoining.closed_late(b"1 B")
        self.assertEqual([left.possible, rejoining.possible], [False, True])


class MessagesTest(TestCase):
    def test_only_joins_and_polls_may_be_repeated(self) -> None:
        self.assertEqual([is_repeatable(text) for text in (b"1 A", b"5")], [True, True])
        self.assertEqual([is_repeatable(text) for text in (b"2 a", b"3 B", b"4", b"", b"1", b"5 ")], [False] * 6)

    def test_a_join_has_a_name(self) -> None:
        self.assertEqual([is_join(text) for text in (b"1 A", b"1", b"11 A")], [True, False, False])
