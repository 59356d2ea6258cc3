"""Names of shared files: an allowed name works on a disk, in a line of the group, and within the directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from shutil import rmtree
from unicodedata import normalize

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import IllegalMessage
from groupchat.core.filenames import MAX_NAME, check_name, folded, is_listed, numbered

PIRATE = "\U0001f3f4\u200d\u2620\ufe0f"
ENGLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(mark)) for mark in "gbeng") + "\U000e007f"

NAMES = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="aA.é \u0308/\\:com1nul\u202e\n", max_size=12),
    st.text(alphabet="a\u200c\u200d\ufe0f\u0dd9\u0dca\u0d9a\u0628\u064e\u2764\U0001f468\U0001f3fb", max_size=12),
    st.text(alphabet=ENGLAND, max_size=12),
    st.tuples(st.sampled_from(["CON", "nul", "Lpt1", ".", "..", "a"]), st.text(max_size=4)).map("".join),
)


def passes(name: str) -> str | None:
    try:
        return check_name(name)
    except IllegalMessage:
        return None


class NameTests(SynchronousTestCase):
    def test_allowed_names(self) -> None:
        for name in ["a", "photo.jpg", "my photo (2).jpg", "ümläut", "日本語.txt", "-rf", "~", "a" * 255, "👍.png"]:
            self.assertEqual(check_name(name), name)
        self.assertEqual(check_name("Screenshot 9.41\u202fAM.png"), "Screenshot 9.41\u202fAM.png")

    def test_names_are_composed(self) -> None:
        self.assertEqual(check_name("u\u0308.txt"), "ü.txt")

    def test_refused_names(self) -> None:
        for name in [
            "",
            *(f"a{mark}b" for mark in '/\\:*?"<>|\0\n\r\t\x7f\x85\u2028\u2029\u200e\u202e\u2066\ufeff\ud800\ue000'),
            *(".", "..", ".hidden", " a", "a ", "a.", "\u3000a", "a\u00a0", "\u0301a"),
            *("CON", "con", "nul.txt", "COM1", "com1.tar.gz", "Lpt9 .x", "COM²", "CONIN$", "aux."),
        ]:
            self.assertIsNone(passes(name), repr(name))
        for name in ["CONSOLE", "nul2", "COM10", "a.nul", "com"]:
            self.assertEqual(check_name(name), name)

    def test_joiners_are_allowed_where_they_belong(self) -> None:
        for name in [
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.pdf",  # Persian: RFC 5892, A.1, the second rule
            "\u0628\u064e\u200c\u064e\u0628",  # with marks between
            "ශ\u0dca\u200dර\u0dd3.txt",  # Sinhala: RFC 5892, A.2
            "क\u094d\u200cष क\u094d\u200dष",  # Devanagari: RFC 5892, A.1, the first rule, and A.2
            "ന\u0d4d\u200d",  # Malayalam
            "\U0001f468\u200d\U0001f469\u200d\U0001f467.png",  # a family
            "\U0001f469\U0001f3fd\u200d\U0001f680",  # an astronaut with a skin tone
            "\u2764\ufe0f\u200d\U0001f525 \U0001f642\u200d\u2194\ufe0f",
            f"{PIRATE} {ENGLAND} \U0001f3f3\ufe0f\u200d\U0001f308",
            "\U0001fae9\u200d\U0001fadf",  # newer than some Pythons
        ]:
            self.assertTrue(is_listed(name), ascii(name))
            self.assertEqual(check_name(name), name)
            self.assertTrue(is_listed(normalize("NFD", name)), ascii(name))

    def test_joiners_are_refused_anywhere_else(self) -> None:
        for name in [
            *("a\u200cb", "a\u200db", "\u200ca", "\u200da", "a\u200c", "a\u200d", "\u200c", "\u200d"),
            "\u0645\u06cc\u200d\u062e\u0648\u0627\u0647\u0645",  # joined anyway
            "\u062f\u0627\u200c\u0631",  # not joined anyway
            "\u0645\u06cc\u200c\u200c\u062e\u0648\u0627\u0647\u0645",
            "ශ\u200dර",
            "ක\u0dd9\u0dca\u200dක",  # the virama becomes a part of a vowel in NFC
            *("\U0001f468\u200d", "\u200d\U0001f468", "\U0001f468\u200d\u200d\U0001f468", "\U0001f468\u200da"),
            "a\ufe0f\u200d\U0001f468",
            *(ENGLAND[1:], ENGLAND[:-1], f"a{ENGLAND[1:]}", f"{ENGLAND}\U000e0061", f"\U0001f3f4{ENGLAND[1:-1] * 2}"),
        ]:
            self.assertIsNone(passes(name), ascii(name))

    def test_unassigned_is_no_reason(self) -> None:
        for name in ["\U0001fae9", "\u0378", "\U00011fff", "\U0003fffd"]:
            self.assertEqual(check_name(name), name)
        for code in [0xFFFE, 0xFFFF, 0xFDD0, 0xFDEF, 0x1FFFE, 0x10FFFF]:  # never to be assigned
            self.assertIsNone(passes(f"a{chr(code)}b"), hex(code))
        for code in [0x2065, 0xFFF0, 0xE0000, 0xE0FFF]:  # to be invisible if they are ever assigned
            self.assertIsNone(passes(f"a{chr(code)}b"), hex(code))

    def test_format_characters_that_are_seen_are_allowed(self) -> None:
        for mark in "\u0600\u06dd\u070f\u08e2\U000110bd":
            self.assertEqual(check_name(f"{mark}1"), f"{mark}1")
        for mark in "\xad\u061c\u180e\u200b\u200e\u2060\ufff9\U000e0001":
            self.assertIsNone(passes(f"a{mark}b"), ascii(mark))

    def test_a_cut_name_can_still_be_listed(self) -> None:
        for sequence in ["\U0001f468\u200d\U0001f469", ENGLAND, "\u0d9a\u0dca\u200d\u0dbb"]:
            for length in range(200, 256 - len(sequence.encode())):
                other = numbered("a" * length + sequence, 2)
                self.assertEqual(check_name(other), other)

    def test_a_long_name_is_refused_with_its_length(self) -> None:
        for name in ["a" * 300, "ü" * 150]:
            with self.assertRaisesRegex(IllegalMessage, "at most 255 bytes; that one has 300"):
                check_name(name)

    def test_a_number_is_put_before_the_suffix(self) -> None:
        for name, other in [
            ("photo.jpg", "photo (2).jpg"),
            ("photo.tar.gz", "photo (2).tar.gz"),
            ("photo.TAR.GZ", "photo (2).TAR.GZ"),
            ("tar.gz", "tar (2).gz"),
            ("x.y.z", "x.y (2).z"),
            ("none", "none (2)"),
            ("a." + "b" * 253, "a." + "b" * 249 + " (2)"),
        ]:
            self.assertEqual(numbered(name, 2), other)

    def test_names_that_some_disk_takes_for_one_are_folded_to_one(self) -> None:
        for one, other in [("A.JPG", "a.jpg"), ("É", "e\u0301"), ("straße", "STRASSE")]:
            self.assertEqual(folded(one), folded(other))

    def test_listed_names(self) -> None:
        self.assertTrue(all(is_listed(name) for name in ["a: b", " a ", "x" * 255, "u\u0308", "\u202f"]))
        self.assertFalse(
            any(is_listed(name) for name in ["", ".", "..", ".a", "a/b", "a\nb", "\udcff", "\u202e", "a\0"])
        )


class AnyNameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(rmtree, self.directory)

    @given(NAMES)
    def test_an_allowed_name_makes_a_file_within_the_directory(self, raw: str) -> None:
        name = passes(raw)
        if name is None:
            return
        for one in [name, numbered(name, 2), numbered(name, 9999)]:
            path = self.directory / one
            self.assertEqual(path.resolve().parent, self.directory.resolve())
            path.touch()
            self.assertEqual(os.listdir(self.directory), [one])
            path.unlink()
            self.assertTrue(is_listed(one))
            self.assertLessEqual(len(one.encode()), MAX_NAME)
            self.assertEqual(normalize("NFC", one), one)
            self.assertEqual(check_name(one), one)
            self.assertNotIn(": ", one)
