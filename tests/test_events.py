"""Events as lines of text."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from groupchat.core.errors import IllegalMessage
from groupchat.core.events import GuestSaid, Joined, Left, Line, Renamed, Said, Shared, Whispered
from groupchat.core.filenames import check_name
from groupchat.core.names import nickname
from groupchat.core.notices import size_in_words

WORDS = st.lists(st.sampled_from(["a", " ", " shared ", "shared", "(", ")", " (1 B)", ":", ": ", " has joined", "é"]))
TEXTS = st.text(max_size=30) | WORDS.map("".join)


def legal_name(raw: str) -> str:
    """Return a name as it is shown, or Alice if it is not allowed."""
    try:
        return nickname(raw).shown
    except IllegalMessage:
        return "Alice"


def legal_file(raw: str) -> str:
    try:
        return check_name(raw)
    except IllegalMessage:
        return "x"


NAMES = TEXTS.map(legal_name)
FILES = TEXTS.map(legal_file)


def read_as_shared(line: str) -> tuple[str, str, str] | None:
    """Read the name, the file and the size in a line as docs/protocol.md says; None if it is another line."""
    if line.startswith("* ") or ": " in line or not line.endswith(")"):
        return None
    name, shared, rest = line.partition(" shared ")
    file, _, size = rest.rpartition(" (")
    return (name, file, size.removesuffix(")")) if shared else None


class SizeTests(SynchronousTestCase):
    def test_sizes_are_rounded_for_people(self) -> None:
        for size, words in [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1049, "1.0 kB"),
            (1051, "1.1 kB"),
            (999_949, "999.9 kB"),
            (999_951, "1.0 MB"),
            (2_100_000, "2.1 MB"),
            (999_960_000, "1.0 GB"),
            (3_000_000_000, "3.0 GB"),
            (4 * 10**12, "4.0 TB"),
            (2**63 - 1, "9.2 EB"),
        ]:
            self.assertEqual(size_in_words(size), words)

    @given(st.integers(0, 2**63 - 1))
    @example(999_950)
    @example(999_950_000)
    def test_a_size_in_words_has_at_most_three_digits_and_one_more(self, size: int) -> None:
        self.assertRegex(
            size_in_words(size), r"\A([0-9]{1,3}|[0-9]{1,3}\.[0-9] [kMGTPE]|[0-9]{1,3} )B\Z|\A[0-9]{1,3} B\Z"
        )


class LineTests(SynchronousTestCase):
    def test_lines_of_files_and_guests(self) -> None:
        shared = Shared(7, "Alice", "", "photo.jpg", 2_100_000, 0.0)
        self.assertEqual(shared.line(), "Alice shared photo.jpg (2.1 MB)")
        self.assertEqual(Shared(0, "Door", "door", "x", 1, 0.0).line(), "Door shared x (1 B)")
        self.assertEqual(GuestSaid("Door", "door", "ding: dong", 0.0).line(), "Door: ding: dong")
        self.assertEqual((GuestSaid("Door", "door", "x", 0.0).member, shared.member), (0, 7))

    @given(NAMES, FILES, st.integers(0, 2**63 - 1))
    @example("Alice", "x shared y (2 B)", 1)
    @example("shared", "shared", 1)
    @example("Alice", "Bob has joined", 1)
    def test_a_line_of_a_shared_file_reads_in_one_way(self, name: str, file: str, size: int) -> None:
        line = Shared(0, name, "", file, size, 0.0).line()
        self.assertEqual(read_as_shared(line), (name, file, size_in_words(size)))
        self.assertFalse(line.endswith((" has joined", " has left the group")))

    @given(NAMES, NAMES, TEXTS)
    @example("Alice", "Bob", "x shared y (1 B)")
    def test_no_other_line_reads_as_a_shared_file(self, name: str, other: str, text: str) -> None:
        lines: list[Line] = [
            Said(1, name, text, 0.0),
            GuestSaid(name, "", text, 0.0),
            Whispered(1, name, 2, other, text, 0.0),
            Joined(1, name, "", 0.0, "", None),
            Renamed(1, name, other, "", 0.0),
            Left(1, name, 0.0),
        ]
        for line in lines:
            self.assertIsNone(read_as_shared(line.line()), line)
