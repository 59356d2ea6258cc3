"""The rules of texts."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.core.errors import IllegalMessage
from groupchat.core.texts import check_text

SEPARATING = (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Separators of lines and paragraphs; bidirectional embeddings, overrides and isolates."""


class TextTests(TestCase):
    def test_allowed_texts(self) -> None:
        for text in [
            "hi",
            " x",
            "a\tb",
            "x" * 4096,
            "é" * 2048,
            "👩\u200d🚀",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\xa0x",
            "5",
            "/operators",
            "say /operator x",
        ]:
            self.assertEqual(check_text(text), text)

    def test_refused_texts(self) -> None:
        for text in ["", " ", "\t", "\u3000\xa0", "x" * 4097, "é" * 2049, "👋" * 1025]:
            with self.assertRaises(IllegalMessage):
                self.fail(f"{check_text(text)!r} was allowed")
        for code in [*range(9), *range(10, 32), *range(0x7F, 0xA0), *SEPARATING]:
            with self.assertRaises(IllegalMessage):
                self.fail(f"{check_text(f'a{chr(code)}b')!r} was allowed")

    def test_no_text_begins_with_operator(self) -> None:
        for text in ["/operator x", " /operator x", "\t\xa0/OPERATOR", "//operator x", "\u200b /operator x"]:
            self.assertRaises(IllegalMessage, check_text, text)
            self.assertRaises(IllegalMessage, check_text, "/" * 4_000 + text)

    @given(st.text())
    def test_any_text_is_refused_or_one_safe_line(self, text: str) -> None:
        try:
            check_text(text)
        except IllegalMessage:
            return
        self.assertEqual(len(text.splitlines()), 1)
        self.assertFalse([c for c in text if unicodedata.category(c) == "Cc" and c != "\t"])
