"""The five messages, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.core.commands import LEAVE, POLL, Join, Leave, Poll, Rename, Say
from groupchat.core.errors import IllegalMessage
from groupchat.wire.datagrams import list_of_names, parse

COMMANDS = (Join, Say, Rename, Leave, Poll)


class ParseTests(TestCase):
    def test_the_five_messages(self) -> None:
        for datagram, command in [
            (b"1 Alice", Join("Alice")),
            (b"2 Hi all", Say("Hi all")),
            (b"3 Al", Rename("Al")),
            (b"4", LEAVE),
            (b"5", POLL),
            ("2 grüße 👋".encode(), Say("grüße 👋")),
        ]:
            self.assertEqual(parse(datagram), command)

    def test_one_end_of_line_is_removed(self) -> None:
        for end in (b"\n", b"\r\n"):
            self.assertEqual(parse(b"2 hi" + end), Say("hi"))
            self.assertEqual(parse(b"5" + end), POLL)
        self.assertEqual(parse(b"2 hi\n\n"), Say("hi\n"))
        self.assertEqual(parse(b"2 hi\r"), Say("hi\r"))

    def test_a_text_may_begin_with_spaces_and_a_name_may_not(self) -> None:
        self.assertEqual(parse(b"2   indented "), Say("  indented "))
        for verb in (b"1", b"3"):
            self.assertRaises(IllegalMessage, parse, verb + b"  Alice")

    def test_a_byte_order_mark_is_illegal(self) -> None:
        for datagram in ("\ufeff1 Alice", "\ufeff2 hi", "\ufeff5", "\ufeff"):
            self.assertRaises(IllegalMessage, parse, datagram.encode())
        self.assertEqual(parse("2 \ufeffhi".encode()), Say("\ufeffhi"))

    def test_anything_else_is_illegal(self) -> None:
        for datagram in [
            b"",
            b"\n",
            b"\r\n",
            b"1",
            b"2",
            b"3",
            b"1Alice",
            b"2\tHi",
            b"345ft",
            b"7",
            b"0 x",
            b"4 ",
            b"5 ",
            b"4 now",
            b"5 please",
            b"55",
            b" 5",
            b"5\r",
            b"5\n\n",
            b"/help",
            b"2 \xff",
            b"1 \xc3",
            b"3 \xed\xa0\x80",
            "\uff15".encode(),
            "5".encode("utf-16"),
        ]:
            with self.assertRaises(IllegalMessage):
                self.fail(f"{datagram!r} became {parse(datagram)}")

    def test_a_long_datagram_is_refused_before_it_is_decoded(self) -> None:
        self.assertEqual(parse(b"2 " + b"x" * 4096 + b"\r\n"), Say("x" * 4096))
        for verb in (b"1 ", b"2 ", b"3 "):
            self.assertRaises(IllegalMessage, parse, verb + b"x" * 4097)

    def test_an_empty_name_or_text_is_left_to_the_rules(self) -> None:
        self.assertEqual(parse(b"2 "), Say(""))
        self.assertEqual(parse(b"1 "), Join(""))

    @given(st.binary(max_size=200) | st.builds(lambda v, b: v + b, st.sampled_from([b"1 ", b"2 ", b"3 "]), st.binary()))
    def test_any_bytes_are_a_command_or_illegal(self, datagram: bytes) -> None:
        try:
            command = parse(datagram)
        except IllegalMessage as illegal:
            self.assertEqual(illegal.reply, "Illegal message")
        else:
            self.assertIsInstance(command, COMMANDS)


class ListOfNamesTests(TestCase):
    def test_names_that_fit_are_all_listed(self) -> None:
        self.assertEqual(list_of_names([], 0, 100), b"")
        self.assertEqual(list_of_names(["Bob"], 1, 100), b"Bob")
        self.assertEqual(list_of_names(["Chloé", "Bob", "Al"], 3, 100), "Chloé, Bob, Al".encode())

    def test_a_list_that_fits_exactly_is_whole(self) -> None:
        self.assertEqual(list_of_names(["Bob", "Al"], 2, 7), b"Bob, Al")
        self.assertEqual(list_of_names(["Bobby", "Al"], 2, 8), b"Bobby, (1 more)")

    def test_a_long_list_ends_after_a_whole_name_with_a_count(self) -> None:
        names = [f"member{number:05}" for number in range(10_000)]
        listed = list_of_names(names, len(names), 1024)
        self.assertLessEqual(len(listed), 1024)
        shown, _, rest = listed.decode().rpartition(", (")
        self.assertEqual(shown.split(", "), names[: len(shown.split(", "))])
        self.assertEqual(rest, f"{10_000 - len(shown.split(', '))} more)")

    def test_a_list_is_as_long_as_its_limit_allows(self) -> None:
        names = ["Anna", "Bob", "Christopher", "Di", "Eve", "Frederica", "Gus", "Ho", "Ida", "Jo", "Kim"]
        for limit in range(20, len(", ".join(names)) + 2):
            listed = list_of_names(names, len(names), limit).decode()
            self.assertLessEqual(len(listed), limit)
            shown = len(listed.split(", ")) - listed.endswith("more)")
            if shown < len(names):
                one_more = ", ".join(names[: shown + 1]) + f", ({len(names)} more)"
                self.assertGreater(len(one_more), limit)

    def test_hardly_more_names_are_read_than_fit(self) -> None:
        taken = []

        def names() -> Iterator[str]:
            for number in range(1_000_000):
                taken.append(number)
                yield f"member{number:07}"

        list_of_names(names(), 1_000_000, 65_507)
        self.assertLess(len(taken), 10_000)

    @given(
        st.lists(st.text("ab é", min_size=1, max_size=9).filter(lambda name: name.strip() == name), max_size=50),
        st.integers(1, 200),
    )
    def test_any_list_within_any_limit(self, names: list[str], limit: int) -> None:
        listed = list_of_names(names, len(names), limit).decode()
        shown = listed.split(", ") if listed else []
        if shown and shown[-1].startswith("("):
            more = int(shown.pop()[1:].removesuffix(" more)"))
            self.assertEqual(more, len(names) - len(shown))
            self.assertGreater(len(", ".join(names).encode()), limit)
            self.assertTrue(len(listed.encode()) <= limit or len(shown) == 1)
        else:
            self.assertEqual(len(shown), len(names))
            self.assertTrue(len(listed.encode()) <= limit or len(shown) == 1)
        self.assertEqual(shown, names[: len(shown)])
