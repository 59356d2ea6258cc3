"""Lines of a group: every event that the rules allow is read back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from groupchat.core.errors import IllegalMessage
from groupchat.core.names import nickname
from groupchat.core.notices import Kind, Line, is_line, read
from groupchat.core.texts import check_text


def allowed_name(text: str) -> str | None:
    try:
        return nickname(text).shown
    except IllegalMessage:
        return None


def allowed_text(text: str) -> bool:
    try:
        check_text(text)
    except IllegalMessage:
        return False
    return True


HARD = st.sampled_from(["has joined", "Bob has", "left", "private", "changed his name", "to", "Illegal", "close call"])
PLAIN = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=32)
NAMES = st.one_of(PLAIN, HARD).map(allowed_name).filter(lambda name: name is not None)
LINES = st.sampled_from([": ", "Bob: hi", "* 3 lines", "Bob has joined", "A (private): b", " has left the group"])
TEXTS = st.one_of(PLAIN, st.text(min_size=1), LINES, st.tuples(LINES, st.text()).map("".join)).filter(allowed_text)


class ReadTest(TestCase):
    def test_each_kind_of_line(self) -> None:
        for line, kind, name, text in [
            ("Bob: hi", Kind.SAID, "Bob", "hi"),
            ("Bob:  hi: there ", Kind.SAID, "Bob", " hi: there "),
            ("Bob: has joined", Kind.SAID, "Bob", "has joined"),
            ("Bob: a (private): b", Kind.SAID, "Bob", "a (private): b"),
            ("Bob (private): hi", Kind.PRIVATE, "Bob", "hi"),
            ("Bob has joined", Kind.JOINED, "Bob", ""),
            ("Bob has left the group", Kind.LEFT, "Bob", ""),
            ("Bob changed his name to Rob", Kind.RENAMED, "Bob", "Rob"),
            ("* 120 lines are no longer kept", Kind.SERVER, "", "120 lines are no longer kept"),
            ("* 1 line is no longer kept", Kind.SERVER, "", "1 line is no longer kept"),
            ("* Bob: hi", Kind.SERVER, "", "Bob: hi"),
        ]:
            self.assertEqual(read(line), Line(kind, name, text, line))
            self.assertTrue(is_line(line), line)

    def test_lines_of_shared_files(self) -> None:
        for name, file, size in [
            ("Bob", "photo.jpg", "2.1 MB"),
            ("Bob", "a b (2).jpg", "0 B"),
            ("Al Fred", "x has joined", "999 B"),
            ("Bob", "a changed his name to b", "3.0 GB"),
            ("Bob", "y shared z (1 B)", "1.0 kB"),
        ]:
            line = f"{name} shared {file} ({size})"
            self.assertEqual(read(line), Line(Kind.SHARED, name, file, line, size))
            self.assertTrue(is_line(line), line)
        self.assertEqual(read("Bob: Al shared x (2 B)").kind, Kind.SAID)
        for line in ("Bob shared x", "Bob shared x (much)", " shared x (2 B)", "Bob shared  (2 B)"):
            self.assertNotEqual(read(line).kind, Kind.SHARED, line)

    def test_an_unknown_line_is_the_servers(self) -> None:
        for line in ("", "close", "Illegal message", "Bob, Zoe", "Zoe, Yan, (120 more)", "Bob"):
            self.assertEqual(read(line), Line(Kind.SERVER, "", line, line))
            self.assertFalse(is_line(line), line)

    @given(NAMES, NAMES, TEXTS)
    def test_every_event_is_read_back(self, name: str, new: str, text: str) -> None:
        for line, kind, said in [
            (f"{name}: {text}", Kind.SAID, text),
            (f"{name} (private): {text}", Kind.PRIVATE, text),
            (f"{name} has joined", Kind.JOINED, ""),
            (f"{name} has left the group", Kind.LEFT, ""),
            (f"{name} changed his name to {new}", Kind.RENAMED, new),
        ]:
            self.assertEqual(read(line), Line(kind, name, said, line))

    @given(st.lists(NAMES))
    def test_a_list_of_names_is_not_a_line(self, names: list[str]) -> None:
        self.assertFalse(is_line(", ".join(names)))

    @given(st.text())
    def test_any_text_is_read(self, line: str) -> None:
        found = read(line)
        self.assertEqual(found.line, line)
        if found.kind is Kind.SAID:
            self.assertEqual(f"{found.name}: {found.text}", line)
