"""Files in a chat: commands, what is shown, how it ends; and the names of files and parts."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from socket import gethostname

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.utils import get_cwidth
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from groupchat.client.chat import Chat
from groupchat.client.completion import ChatCompleter
from groupchat.client.files.connection import FileConnection
from groupchat.client.files.names import BadNameError, find_part, is_safe, part_name, split, target
from groupchat.client.files.progress import Bar, Progress, line, lines, time_in_words
from groupchat.client.files.sharing import Sharing
from groupchat.client.trust import KnownServers, UnknownCertificateError
from groupchat.core.notices import size_in_words
from tests.chatting import FakeSession, FakeView
from tests.filing import FakeDisk, FakeServer, run


class FilesCase(TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.open(people=True)

    def open(self, *, people: bool) -> None:
        self.clock = Clock()
        self.server = FakeServer()
        self.server.shelf = {"photo.jpg": b"p" * 2_100_000, "a b": b"ab", "a b c": b"abc"}
        self.view = FakeView()
        self.session = FakeSession()
        self.chat = Chat("Zoe", self.view, people=people)
        self.chat.session = self.session
        connection = FileConnection(self.server, decide=self.chat.trust)
        self.files = Sharing(self.clock, connection, FakeDisk(), self.chat, lambda: self.session.proof)
        self.chat.files = self.files
        self.chat.start()
        self.chat.joined("Zoe", [])
        self.view.news()
        self.session.told.clear()

    def type(self, text: str, seconds: float = 5.0) -> list[tuple[str, str]]:
        self.chat.typed(text)
        run(self.server, self.clock, seconds)
        return self.view.news()

    def states(self) -> list[object]:
        shown, self.view.shown = self.view.shown, []
        return [each.about["state"] for each in shown if each.kind == "file"]


class TypingTest(FilesCase):
    def test_what_there_is(self) -> None:
        shown = [text for kind, text in self.type("/files") if kind == "answer"]
        self.assertEqual(shown[0], "3 files:")
        self.assertEqual([words.split("  ")[-1] for words in shown[1:]], ["photo.jpg", "a b", "a b c"])
        self.assertIn("2.1 MB  2023-11-1", shown[1])
        self.server.shelf.clear()
        self.assertEqual(self.type("/files"), [("answer", "There are no files yet.")])

    def test_a_file_is_fetched(self) -> None:
        self.chat.typed("/get photo.jpg")
        run(self.server, self.clock, 5)
        self.assertEqual(
            [(each.kind, each.text) for each in self.view.shown],
            [("file", "photo.jpg: fetching it"), ("file", "photo.jpg: 2.1 MB in 1 s, saved as ./photo.jpg")],
        )
        about = {"file": "photo.jpg", "direction": "get", "path": "./photo.jpg"}
        self.assertEqual(self.view.shown[0].about, about | {"state": "began"})
        self.assertEqual(self.view.shown[1].about, about | {"state": "done", "as": "photo.jpg", "bytes": 2_100_000})
        self.assertEqual(Path("photo.jpg").read_bytes(), self.server.shelf["photo.jpg"])

    def test_names_may_have_spaces_and_the_longest_one_counts(self) -> None:
        for typed, name, path in [
            ("a b", "a b", "a b"),
            ("a b c", "a b c", "a b c"),
            ("a b d", "a b", "d"),
            ("a b c d e", "a b c", "d e"),
            ('"a b" c', "a b", "c"),
            ("'a b' 'x y'", "a b", "x y"),
        ]:
            self.assertIn(f"saved as ./{path}", self.type(f"/get {typed}")[-1][1], typed)
            self.assertEqual(Path(path).read_bytes(), self.server.shelf[name])
            Path(path).unlink()

    def test_get_prefers_a_longer_name_from_the_list(self) -> None:
        self.chat.received([(7, "Bob shared a b (2 B)")])
        self.assertIn("saved as ./a b c", self.type("/get a b c")[-1][1])

    def test_a_file_is_saved_in_a_directory_or_under_a_name(self) -> None:
        Path("down").mkdir()
        for typed, path in (("down", "down/a b"), ("down/", "down/a b"), ("down/x", "down/x"), ("./y", "y")):
            self.type(f"/get a b {typed}")
            self.assertEqual(Path(path).read_bytes(), b"ab")
            Path(path).unlink()
        self.assertIn("there is no directory nowhere", self.type("/get a b nowhere/x")[-1][1])

    def test_nothing_is_overwritten(self) -> None:
        Path("a b").write_bytes(b"mine")
        problem = "Not done: a b exists already: give another name to save it under"
        self.assertEqual(self.type("/get a b"), [("problem", problem)])
        self.assertEqual(Path("a b").read_bytes(), b"mine")

    def test_an_impossible_target_is_refused(self) -> None:
        for to in ("~nobody-of-this-name/x", "x" * 300, "a\0b"):
            [(kind, words)] = self.type(f'/get "photo.jpg" {to}')
            self.assertEqual(kind, "problem", to)
            self.assertIn("give another name", words)
        self.assertRaises(BadNameError, target, "photo.jpg", "\udcff")
        self.assertEqual(self.files.count, 0)

    def test_a_missing_file_is_reported(self) -> None:
        [_, (kind, text)] = self.type("/get nothing at all")
        self.assertEqual((kind, text), ("file", "nothing at all: There is no such file."))
        self.assertEqual(self.chat.status, 0)

    def test_unsafe_names_are_not_listed(self) -> None:
        self.server.shelf = {"../up": b"x", ".hidden": b"x", "a\x1b[2Jb": b"x", "/etc/passwd": b"x", "ok": b"x"}
        self.type("/files")
        self.assertEqual(list(self.files.names), ["ok"])
        for name in self.server.shelf:
            if name != "ok":
                self.assertIn("that is no name for a file here", self.type(f"/get {name}")[-1][1], name)
        self.assertEqual(os.listdir(), [])

    def test_only_an_entry_that_makes_no_sense_is_left_out(self) -> None:
        for entry in [
            *(f"1 {sha256} 1 bad" for sha256 in ("\x9b2J", "A" * 64, "0" * 63, "x" * 8000, "")),
            *(f"1 - {at} bad" for at in ("", "-", "+1", "1.5", "nan", "9" * 20, "\u0663")),
            *(f"{size} - 1 bad" for size in ("-1", "01", "9" * 20, "")),
            *("", "no", "busy Later.", "1 - 1 ", "1 - 1", "\x00"),
        ]:
            self.server.answers = [f"ok 3\n1 - 1 one\n{entry}\n2 - 2 two\n"]
            shown = self.type("/files")
            self.assertEqual([text.split("  ")[-1] for _, text in shown], ["2 files:", "one", "two"], entry)

    def test_odd_times_are_bounded(self) -> None:
        for at, year in [
            ("-1", "1970"),
            ("-9999999999999999999", "1970"),
            ("9999999999999999999", "9999"),
            ("0", "1970"),
        ]:
            self.server.answers = [f"ok 2\n1 - {at} odd\n1 - 1700000000 even\n"]
            [_, (_, odd), (_, even)] = self.type("/files")
            self.assertRegex(odd, rf"1 B  {year}-\d\d-\d\d \d\d:\d\d  odd", at)
            self.assertIn("2023-11-1", even)

    def test_names_are_known_in_any_normal_form(self) -> None:
        self.server.shelf = {"cafe\u0301 1.txt": b"1"}
        for typed, path in [
            ("caf\xe9 1.txt", "cafe\u0301 1.txt"),
            ("caf\xe9 1.txt to", "to"),
            ("'caf\xe9 1.txt' t2", "t2"),
        ]:
            self.assertIn(f"saved as ./{path}", self.type(f"/get {typed}")[-1][1])
        self.server.answers = ["busy Later."] * 100
        self.type("/get cafe\u0301 1.txt other")
        self.assertIn("stopped", self.type("/cancel caf\xe9", 0)[-1][1])

    def test_a_dragged_path_is_sent(self) -> None:
        folder = self.folder / "a dir" / "it's $5 (caf\xe9)"
        folder.mkdir(parents=True)
        path = folder / 'my "file".txt'
        path.write_text("mine")
        quoted = f"'{path}'".replace("it's", "it'\\''s")
        escaped = re.sub(r"([ '$()\"])", r"\\\1", str(path))
        inside = str(path).replace('"', '\\"')
        for typed in [
            escaped,  # Terminal and iTerm2 on macOS
            f"{escaped} ",
            quoted,  # VTE on GNOME, Konsole, kitty
            f"{quoted} ",
            f'"{inside}"',  # Windows Terminal, VS Code
            path.as_uri(),  # file managers
            path.as_uri().replace("%C3%A9", "\xe9"),
            path.as_uri().replace("file://", "file://localhost"),
            path.as_uri().replace("file://", f"FILE://{gethostname()}"),
            path.as_uri().replace("file://", "file:"),
        ]:
            self.assertIn("shared as", self.type(f"/send {typed}")[-1][1], typed)
        for typed in [path.as_uri().replace("file://", "file://elsewhere"), f"{escaped} {escaped}", "'unended", "a\\"]:
            self.assertIn("No such file", self.type(f"/send {typed}")[-1][1], typed)
        self.assertIn("null byte", self.type("/send file:///a%00b/x")[-1][1])
        self.assertIn("not everybody can have", self.type("/send file:///a%FF")[-1][1])

    def test_a_path_that_exists_as_typed_is_not_unquoted(self) -> None:
        for name in ["it's", "a\\ b", "'quoted'", "two words", 'say "hi"']:
            Path(name).write_text(name)
            self.assertIn(f"shared as {name}", self.type(f"/send {name}")[-1][1])
            self.assertEqual(self.server.shelf[name], name.encode())

    def test_a_file_is_saved_under_a_dragged_path(self) -> None:
        folder = self.folder / "it's a dir"
        folder.mkdir()
        for typed in [
            "it\\'s\\ a\\ dir",
            "'it'\\''s a dir'",
            folder.as_uri(),
            f"{folder.as_uri()}/",
            "it\\'s\\ a\\ dir/a\\ b",
        ]:
            self.assertIn(
                "saved as ./it's a dir/a b" if "file" not in typed else "saved as /",
                self.type(f"/get a b {typed}")[-1][1],
            )
            self.assertEqual((folder / "a b").read_bytes(), b"ab")
            (folder / "a b").unlink()

    def test_a_file_is_sent(self) -> None:
        Path("my file.txt").write_text("mine")
        self.assertEqual(self.type("/send my file.txt")[-1][1], "my file.txt: 4 B in 1 s, shared as my file.txt")
        self.assertEqual(self.server.shared, [("my file.txt", self.session.proof)])
        self.patch(os, "environ", {**os.environ, "HOME": str(self.folder)})
        self.type('/send "~/my file.txt"')
        self.assertEqual(self.server.shared[-1][0], "another my file.txt")

    def test_a_request_that_cannot_be_sent_is_one_complaint(self) -> None:
        Path(".hidden").write_text("x")
        for typed, why in [
            ("nothing", "No such file"),
            (".", "a name that not everybody can have"),
            (".hidden", "a name that not everybody can have"),
            (str(self.folder), "is a directory"),
            ("~nobody-has-this-name/x", "home directory"),
        ]:
            shown = self.type(f"/send {typed}")
            self.assertIn(why, shown[-1][1], typed)
            self.assertNotIn("\n", shown[-1][1])
        self.assertEqual(self.server.shared, [])

    def test_cancel(self) -> None:
        self.assertEqual(self.type("/cancel")[-1][1], "Nothing is under way.")
        self.assertEqual(self.type("/cancel nothing")[-1][1], "No such file is being fetched or sent.")
        self.server.answers = ["busy Later."] * 100
        for name in ("one", "other"):
            Path(name).write_text(name)
            self.type(f"/send {name}")
        self.assertEqual([text.split()[0] for _, text in self.type("/transfers", 0)], ["one", "other"])
        self.assertIn("Which one?", self.type("/cancel", 0)[-1][1])
        self.assertEqual(self.type("/cancel oth", 0)[-1][1], "other: stopped")
        self.assertEqual(self.type("/cancel", 0)[-1][1], "one: stopped")
        self.assertEqual(self.type("/transfers", 0)[-1][1], "Nothing is being fetched or sent.")

    def test_progress_is_shown_and_cleared_at_the_end(self) -> None:
        self.server.step = 1000
        self.chat.typed("/get photo.jpg")
        while not self.files.transfers.all:
            self.server.turn()
        self.server.turn()
        self.clock.advance(0.3)
        self.assertEqual([bar.name for bar in self.view.bars], ["photo.jpg"])
        run(self.server, self.clock, 5)
        self.assertEqual(self.view.bars, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_names_of_shared_files_are_completed(self) -> None:
        self.chat.received([(7, "Bob shared new one.txt (3 B)")])
        self.assertEqual(list(self.files.names), ["new one.txt"])
        [shown] = self.view.shown
        self.assertEqual((shown.kind, shown.name, shown.text, shown.number), ("shared", "Bob", "new one.txt", 7))
        self.assertEqual(shown.about, {"size": "3 B"})

    def test_names_are_completed_in_any_normal_form(self) -> None:
        self.files.names.add("Cafe\u0301 1.txt", "caf\xe9 2.txt", "other")
        for typed in ("caf", "caf\xe9", "cafe\u0301"):
            document = Document(f"/get {typed}")
            found = ChatCompleter(self.chat).get_completions(document, CompleteEvent())
            self.assertEqual([one.text for one in found], ["caf\xe9 2.txt", "Cafe\u0301 1.txt"], typed)

    def test_an_unknown_server_of_files_is_a_question_first(self) -> None:
        known = KnownServers(self.folder / "known")
        self.server.refusals = [UnknownCertificateError(known, "quic://here:1", "AA", "it is self-signed")]
        self.type("/files")
        self.assertEqual(self.view.questions, ["Trust it from now on (yes, no)?"])
        self.view.answer("yes")
        run(self.server, self.clock, 5)
        self.assertEqual(self.view.news()[0], ("answer", "3 files:"))
        self.assertEqual(known.find("quic://here:1"), "AA")
        self.server.refusals = [UnknownCertificateError(known, "quic://there:1", "AA", "it is self-signed")]
        self.type("/files")
        self.view.answer("no")
        self.assertEqual(self.view.news()[-1], ("problem", "Not done: it was not trusted"))
        self.assertEqual(self.session.told, [])

    def test_without_files_the_commands_say_so(self) -> None:
        self.chat.files = None
        self.assertEqual(self.type("/files"), [("problem", "There are no files here.")])


class EndTest(FilesCase):
    def test_leaving_a_terminal_cancels_transfers(self) -> None:
        self.server.step = 1000
        self.chat.typed("/get photo.jpg")
        for _ in range(50):
            self.server.turn()
        self.chat.typed("/quit")
        last = self.view.news()[-1][1]
        self.assertIn("photo.jpg: stopped (", last)
        self.assertIn(" of it are kept in ./photo.jpg.", last)
        self.assertEqual(self.session.told, [("leave",)])

    def test_in_a_pipe_they_are_finished_first(self) -> None:
        self.open(people=False)
        for command in ("/get photo.jpg", "/files"):
            self.chat.typed(command)
        self.chat.leave()
        self.assertEqual(self.session.told, [])
        run(self.server, self.clock, 5)
        self.assertEqual(self.session.told, [("leave",)])
        self.assertEqual(self.states(), ["began", "done"])
        self.assertEqual(self.chat.status, 0)

    def test_an_interrupt_does_not_wait_for_the_output(self) -> None:
        self.open(people=False)
        self.server.answers = ["busy Later."] * 100
        self.chat.typed("/get photo.jpg")
        run(self.server, self.clock, 2)
        self.chat.leave()
        self.chat.stop_files()
        self.assertEqual(self.session.told, [("leave",)])

    def test_in_a_pipe_failed_transfers_count_for_the_status(self) -> None:
        self.open(people=False)
        self.type("/get nothing")
        self.assertEqual(self.chat.status, 1)

    def test_file_commands_before_joining_wait(self) -> None:
        self.open(people=False)
        chat = Chat("Zoe", self.view, people=False)
        chat.session, chat.files = self.session, self.files
        chat.start()
        chat.typed("/files")
        self.assertEqual((chat.pending, self.server.asked), (1, []))
        chat.joined("Zoe", [])
        self.assertEqual(chat.pending, 1)
        run(self.server, self.clock, 1)
        self.assertEqual((chat.pending, self.server.asked), (0, ["FILES"]))

    def test_the_end_of_the_session_is_theirs(self) -> None:
        self.type("/files")
        self.server.answers = ["busy Later."] * 100
        self.chat.typed("/get photo.jpg")
        run(self.server, self.clock, 1)
        self.chat.ended("the server did not come back")
        self.assertEqual(self.states()[-1], "stopped")
        self.assertEqual(self.files.count, 0)


class NamesTest(TestCase):
    @given(st.text(max_size=300))
    def test_safe_names(self, name: str) -> None:
        if is_safe(name):
            self.assertEqual(os.path.basename(name), name)
            self.assertNotIn(name[0], "./")
            self.assertTrue(len(os.fsencode(part_name(name, "0" * 64))) <= 255)

    def test_the_newest_part_is_found_and_nothing_else(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for other in ("x.0123456789abcdef.part", "a.part", "a.0123.part", "a.0123456789ABCDEF.part", "a"):
                (folder / other).write_text("x")
            self.assertIsNone(find_part(folder, "a"))
            for number, digits in enumerate(("0123456789abcdef", "1123456789abcdef")):
                (folder / f"a.{digits}.part").write_text("x")
                os.utime(folder / f"a.{digits}.part", (number, number))
            self.assertEqual(find_part(folder, "a"), (folder / "a.1123456789abcdef.part", "1123456789abcdef"))

    def test_long_names_have_parts_as_well(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            name = "\N{SNOWMAN}" * 85
            path = Path(folder) / part_name(name, "ab" * 32)
            path.write_text("x")
            self.assertEqual(find_part(Path(folder), name), (path, "ab" * 8))

    def test_names_cannot_escape_the_directory(self) -> None:
        for name in ("../x", "/x", "..", ".", "", ".x", "a/b", "a\nb", "a\x7fb", "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe"):
            self.assertRaises(BadNameError, target, name, "")

    def test_without_a_known_name_all_words_are_the_name(self) -> None:
        self.assertEqual(split("a b c", []), ("a b c", ""))
        self.assertEqual(split("ab c", ["a"]), ("ab c", ""))


class ProgressTest(TestCase):
    def test_the_rate_is_measured_over_the_last_seconds(self) -> None:
        progress = Progress()
        progress.begin(0.0, 5000, 100_000)
        for second in range(1, 21):
            progress.advance(float(second), 1000 if second <= 10 else 3000)
        self.assertEqual(progress.done, 45_000)
        self.assertEqual(progress.rate(20.0), 3000)
        self.assertAlmostEqual(progress.left(20.0) or 0, 55 / 3)

    def test_without_progress_there_is_no_rate(self) -> None:
        self.assertEqual((Progress().rate(1.0), Progress().left(1.0)), (0.0, None))

    def test_in_words(self) -> None:
        for size, words in [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_100_000, "2.1 MB"), (999_999, "1.0 MB")]:
            self.assertEqual(size_in_words(size), words)
        for seconds, words in ((0.4, "0 s"), (59.4, "59 s"), (125, "2:05 min"), (3725, "1:02 h")):
            self.assertEqual(time_in_words(seconds), words)

    @given(st.text(max_size=60), st.integers(0, 10**12), st.integers(0, 10**12), st.integers(10, 200))
    def test_a_progress_line_never_exceeds_the_width(self, name: str, done: int, total: int, width: int) -> None:
        bar = Bar(name, "getting", min(done, total), total, 1234.5, 17.0)
        self.assertLessEqual(len(line(bar, width)), width)

    def test_wide_characters_have_two_columns(self) -> None:
        for name in ("\u5199\u771f" * 30, "\N{GRINNING FACE}" * 40, "a\u5199" * 9):
            for width in (10, 30, 79):
                shown = line(Bar(name, "getting", 1, 2, 1.0, 1.0), width)
                self.assertLessEqual(get_cwidth(shown), width)
                self.assertGreaterEqual(get_cwidth(shown), min(width, 50) - 1)

    def test_a_line(self) -> None:
        bar = Bar("photo.jpg", "getting", 500_000, 1_000_000, 250_000.0, 2.0)
        words = "photo.jpg  getting  [##########----------]   50% of 1.0 MB  250.0 kB/s  2 s left"
        self.assertEqual(line(bar, 80), words)

    def test_of_many_some_are_shown(self) -> None:
        bars = [Bar(f"file {number}", "waits", 0, 0) for number in range(5)]
        shown = ["file 0  waits", "file 1  waits", "file 2  waits  and 2 more"]
        self.assertEqual(lines(bars, 79), shown)
