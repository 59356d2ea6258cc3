"""The rules of nicknames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.core.errors import IllegalMessage
from groupchat.core.names import nickname
from groupchat.core.notices import PHRASES


class NicknameTests(TestCase):
    def test_a_name_is_shown_as_it_was_given(self) -> None:
        for name in ["Alice", "Bob van der Berg", "Zoë", "李雷", "мария", "علي", "🦊 fox", "a.b-c_d", "x2", "½ pint"]:
            self.assertEqual(nickname(name).shown, nickname(nickname(name).shown).shown)
            self.assertEqual(nickname(name).shown.casefold(), nickname(name).key.casefold())
        self.assertEqual(nickname("Alice").shown, "Alice")

    def test_case_width_and_spaces_do_not_tell_names_apart(self) -> None:
        for one, other in [("Alice", "aLICE"), ("\uff21lice", "alice"), ("Al  Ice", "al ice"), ("É", "e\u0301")]:
            self.assertEqual(nickname(one).key, nickname(other).key)
        lunate, sigma = nickname("\u03f9\u03b1"), nickname("\u03a3\u03b1")  # both are shown with a capital sigma
        self.assertEqual(lunate, sigma)
        self.assertNotEqual(nickname("Alice").key, nickname("Alicia").key)

    def test_spaces_are_those_of_rfc_8266(self) -> None:
        self.assertEqual(nickname(" Al \u3000 Ice ").shown, "Al Ice")

    def test_shared_is_allowed_at_the_start_or_within_a_word(self) -> None:
        for name in ["shared", "Shared drive", "sharedx", "Unshared", "x-shared", "share", "Al share"]:
            self.assertEqual(nickname(name).shown, name)

    def test_at_most_32_characters_after_normalising(self) -> None:
        self.assertEqual(nickname("x" * 32).shown, "x" * 32)
        self.assertEqual(nickname("e\u0301" * 32).shown, "é" * 32)
        self.assertRaises(IllegalMessage, nickname, "x" * 33)
        self.assertRaises(IllegalMessage, nickname, "\ufdfa" * 3)  # one character that is normalised to eighteen
        self.assertRaises(IllegalMessage, nickname, " " * 10_000 + "x")

    def test_a_name_that_looks_like_something_else_is_refused(self) -> None:
        for name in [
            "",
            " ",
            "\t",
            "a:b",
            "Alice: hi",
            "a\uff1ab",  # a wide colon, which is normalised to a plain one
            "a,b",
            "a, b",
            "(3 more)",
            "a)",
            "/quit",
            "#lobby",
            "@Alice",
            "* 3 lines are no longer kept",
            "*",
            "\u2800",
            "\u0301a",
            "5",
            "42",
            "٣",
            "四",
            "close",
            "Close",
            "CLOSE",
            "Illegal message",
            "illegal MESSAGE",
            "Bob has joined",
            "has joined",
            "x HAS LEFT THE GROUP x",
            "Bob changed his name to",
            "changed  his  name  to Eve",
            "Alice shared",
            "Alice shared x",
            "Alice  SHARED  photo.jpg",
            "Alice sharedx",
            "shared shared",
            "a\nb",
            "a\rb",
            "a\x00b",
            "a\x1b[2J",
            "a\x85b",
            "a\u2028b",
            "a\u202eb",
            "a\u2066b",
            "a\u200bb",
            "\ufeffAlice",
            "\ue000",
            "\ufffe",
        ]:
            with self.assertRaises(IllegalMessage):
                self.fail(f"{name!r} became {nickname(name)}")

    @given(st.text(max_size=150) | st.text("has joinedCLOSEr:,()/#@*0 é\u0301\uff1a\u3000", max_size=40))
    def test_any_text_is_refused_or_safe(self, raw: str) -> None:
        try:
            name = nickname(raw)
        except IllegalMessage as why:
            self.assertTrue(str(why))
            return
        self.assertTrue(1 <= len(name.shown) <= 32)
        self.assertTrue(name.shown.isprintable() or not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in name.shown))
        self.assertEqual(len(name.shown.splitlines()), 1)
        self.assertFalse(set(name.shown) & set(":,()"))
        self.assertNotIn(name.shown[0], "/#@*")
        self.assertFalse(name.shown.isnumeric())
        self.assertFalse(any(notice in name.key for notice in PHRASES))
        self.assertEqual(nickname(name.shown), name)
