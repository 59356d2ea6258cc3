"""The command /files of live lines."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface.verify import verifyObject

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import LISTING_SECONDS, MAX_FILES_SHOWN
from groupchat.files import File, IShelf, NoShelf
from tests.lobby import KEY, LobbyTestCase

FAILED = "The server cannot look that up now: ask again."
AT = time.mktime((2026, 11, 21, 10, 15, 30, 0, 0, -1))
FILES = [File("a b.txt", 5, AT, "0f" * 32), File("photo.jpg", 2_100_000, AT + 60)]


class Shelf(NoShelf):
    """A shelf that lists `files`. While it is `slow`, the listings wait in `asked`."""

    def __init__(self) -> None:
        self.files = list(FILES)
        self.failure: Exception | None = None
        self.slow = False
        self.asked: list[Deferred[Any]] = []

    def listing(self, form: Callable[[Sequence[File]], Any]) -> Deferred[Any]:
        if self.slow:
            asked: Deferred[Any] = Deferred()
            self.asked.append(asked)
            return asked.addCallback(form)
        return succeed(form(self.files)) if self.failure is None else fail(self.failure)


class FilesTests(LobbyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.shelf = self.lobby.registry.shelf = Shelf()

    listed = ("a b.txt  5 B, 2026-11-21 10:15", "photo.jpg  2.1 MB, 2026-11-21 10:16")

    def test_the_fake_shelf_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IShelf, self.shelf))

    def test_files_are_listed(self) -> None:
        alice, program = self.lobby.enter("Alice"), self.lobby.program("Robot")
        alice.heard()
        self.assertEqual(alice.ask("/files"), ["* 2 files:", *[f"* {line}" for line in self.listed]])
        self.assertEqual(program.ask("7 /FILES"), ["= 2 files:", *[f"= {line}" for line in self.listed], "ok 7"])
        del self.shelf.files[1:]
        self.assertEqual(alice.ask("/files")[0], "* 1 file:")
        self.shelf.files.clear()
        self.assertEqual(alice.ask("/files"), ["* There are no files yet."])

    def test_a_group_without_files_says_so(self) -> None:
        self.lobby.registry.shelf = None
        alice, program = self.lobby.enter("Alice"), self.lobby.program("Robot")
        alice.heard()
        self.assertEqual(alice.ask("/files"), ["* No files are shared here."])
        self.assertEqual(program.ask("7 /files"), ["= No files are shared here.", "ok 7"])

    def test_only_the_newest_files_are_shown(self) -> None:
        alice = self.lobby.enter("Alice")
        self.shelf.files = [File(str(number), 1, AT) for number in range(MAX_FILES_SHOWN)]
        self.assertEqual(len(alice.ask("/files")), 1 + MAX_FILES_SHOWN)
        self.shelf.files += [File("last", 1, AT)] * 12
        found = alice.ask("/files")
        self.assertEqual((len(found), found[0], found[-1]), (2 + MAX_FILES_SHOWN, "* 212 files:", "* and 12 more"))
        self.assertTrue(found[-2].startswith("* last  "))

    def test_only_long_answers_wait_for_the_list(self) -> None:
        self.shelf.slow = True
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/files", "hi", "/name Al", "/files", "/users", "more"), ["* You are Al now."])
        self.assertEqual(
            (self.lobby.watch()[-2:], len(self.shelf.asked)), (["Alice: hi", "Alice changed his name to Al"], 1)
        )
        self.shelf.asked[0].callback(FILES[:1])
        self.assertEqual(alice.heard(), ["* 1 file:", f"* {self.listed[0]}"])
        self.assertEqual((self.lobby.watch(), len(self.shelf.asked)), ([], 2))
        self.shelf.asked[1].callback([])
        heard = alice.heard()
        self.assertEqual(heard[:2], ["* There are no files yet.", "* 2 here:"])
        self.assertEqual(self.lobby.watch(), ["Al: more"])

    def test_the_list_counts_against_the_rate(self) -> None:
        self.lobby.service._rules.pace.rate = 5
        alice = self.lobby.enter("Alice")
        heard = alice.ask(*["/files"] * 200)
        self.assertEqual(heard.count("* 2 files:"), 100)
        self.assertEqual(heard[-1], "* Slow down: you say too much at once.")

    def test_a_failing_shelf_is_survived(self) -> None:
        alice, program = self.lobby.enter("Alice"), self.lobby.program("Robot")
        alice.heard()
        for failure, verb, words in [
            (ZeroDivisionError(), "busy", FAILED),
            (NotNow("Later."), "busy", "Later."),
            (IllegalMessage("No."), "no", "No."),
        ]:
            self.shelf.failure = failure
            self.assertEqual(alice.ask("/files"), [f"* {words}"])
            self.assertEqual(program.ask("7 /files"), [f"{verb} 7 {words}"])
        self.shelf.failure = None
        self.assertEqual((alice.ask("/files")[0], program.ask("7 /files")[-1]), ("* 2 files:", "ok 7"))
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    def test_a_shelf_that_never_answers_is_given_up(self) -> None:
        self.shelf.slow = True
        alice = self.lobby.enter("Alice")
        self.assertEqual(alice.ask("/files"), [])
        self.lobby.pass_time(LISTING_SECONDS)
        self.assertEqual(alice.heard(), [f"* {FAILED}"])
        self.shelf.asked.pop().callback(FILES)
        self.shelf.slow = False
        self.assertEqual(alice.ask("/files")[0], "* 2 files:")
        self.assertTrue(self.flushLoggedErrors())

    def test_a_member_who_ends_during_the_list_leaves(self) -> None:
        self.shelf.slow = True
        for end in ("lose", "half_close"):
            alice = self.lobby.enter("Alice")
            alice.send("/files", "bye")
            self.lobby.settle()
            getattr(alice, end)()
            self.lobby.settle()
            self.shelf.asked.pop().callback(FILES)
            heard = alice.heard()
            self.assertEqual(heard[:1], [] if end == "lose" else ["* 2 files:"], end)
            self.assertEqual(self.lobby.watch()[-2:], ["Alice: bye", "Alice has left the group"], end)

    def test_a_resumed_session_asks_again(self) -> None:
        self.shelf.slow = True
        program = self.lobby.program("Robot")
        program.ask("7 /files")
        caller = self.lobby.call()
        caller.heard()
        caller.send(f"/resume {KEY} 2", "7 /files")
        self.assertEqual(program.heard(), ["* This session goes on on another connection."])
        self.lobby.settle()
        for asked in self.shelf.asked:
            asked.callback([])
        self.assertEqual(program.heard(), [])
        heard = [line for line in caller.heard() if not re.match("session ", line)]
        self.assertEqual(heard, ["= There are no files yet.", "ok 7"])
