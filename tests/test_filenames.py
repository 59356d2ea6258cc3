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

NAMES = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="aA.é \u0308/\\:com1nul\u202e\n", max_size=12),
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
