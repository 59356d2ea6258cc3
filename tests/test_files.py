"""The shelf in a real directory: its files are listed and can be read, whoever put them there."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest import skipUnless

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.threads import blockingCallFromThread
from zope.interface.verify import verifyObject

from groupchat.core.errors import CannotShare, NotNow
from groupchat.files import File, FileOwner, IReading, IReceiving, IShelf, catalog, disk, hashing, shelf
from groupchat.files.shelf import Shelf
from groupchat.wire.files import entry as wire_entry
from tests.shelves import ALICE, SMALL, ShelfTestCase, hash_of

Steps = Generator[Deferred[Any], Any, None]

HARD = ["a: b.txt", " two  spaces ", "ü.txt", "u\u0308.txt", "-rf", "a\\b", 'q"<>|*?', "x" * 255, "CON", "日本.tar.gz"]
"""Names that no upload can have, but files in the directory can."""


def _hashes(files: Sequence[File]) -> list[str | None]:
    return [file.sha256 for file in files]


class ListingTests(ShelfTestCase):
    @inlineCallbacks
    def test_the_shelf_provides_its_interfaces(self) -> Steps:
        verifyObject(IShelf, self.shelf)
        self.put("a", b"1")
        reading = yield self.shelf.open("a")
        verifyObject(IReading, reading)
        yield reading.close()
        receiving = yield self.begin("b", b"12", 1)
        verifyObject(IReceiving, receiving)
        yield receiving.close()

    @inlineCallbacks
    def test_an_empty_directory_has_no_files(self) -> Steps:
        self.assertEqual((yield self.names()), [])

    @inlineCallbacks
    def test_files_copied_into_the_directory_are_shared(self) -> Steps:
        for number, name in enumerate(HARD):
            self.put(name, b"x" * number)
        self.assertEqual((yield self.names()), sorted(HARD))
        for number, name in enumerate(HARD):
            self.assertEqual((yield self.fetch(name)), b"x" * number)

    @inlineCallbacks
    def test_files_are_listed_by_time_of_change(self) -> Steps:
        for name, at in [("b", 2000), ("a", 3000), ("c", 1000)]:
            self.put(name, b"")
            os.utime(self.directory / name, (at, at))
        files = yield self.shelf.listing(list)
        self.assertEqual([(file.name, file.at) for file in files], [("c", 1000), ("b", 2000), ("a", 3000)])

    @inlineCallbacks
    def test_a_time_before_1970_is_listed_as_its_beginning(self) -> Steps:
        self.put("a", b"")
        os.utime(self.directory / "a", (-1_000_000_000, -1_000_000_000))
        (file,) = yield self.shelf.listing(list)
        self.assertEqual((file.at, wire_entry("a", 0, None, file.at)), (0, b"0 - 0 a\n"))

    @inlineCallbacks
    def test_hashes_are_computed_without_being_asked_for(self) -> Steps:
        self.put("a", b"abc")

        def is_known() -> Deferred[bool]:
            return self.shelf.listing(list).addCallback(lambda files: files[0].sha256 == hash_of(b"abc"))

        yield self.until(is_known)

    @inlineCallbacks
    def test_only_regular_files_are_shared(self) -> Steps:
        outside = self.directory.parent / f"{self.directory.name}.secret"
        outside.write_bytes(b"secret")
        self.addCleanup(outside.unlink)
        (self.directory / "folder").mkdir()
        (self.directory / "link").symlink_to(outside)
        (self.directory / "dangling").symlink_to("nowhere")
        self.put("real", b"real")
        (self.directory / "inner").symlink_to("real")
        os.mkfifo(self.directory / "fifo")
        self.put(".hidden", b"hidden")
        self.put("new\nline", b"")
        self.put("esc\x1b[0m", b"")
        self.put("bidi\u202e", b"")
        (self.directory / os.fsdecode(b"\xff.txt")).write_bytes(b"")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.directory / "socket"))
            self.assertEqual((yield self.names()), ["real"])
            for name in os.listdir(self.directory):
                if name != "real":
                    yield self.refused(self.shelf.open(name), "There is no")
        for name in ["", ".", "..", f"../{outside.name}", str(outside), "folder/../real", "no", "real\0", "a" * 10_000]:
            yield self.refused(self.shelf.open(name), "There is no")
        yield self.refused(self.shelf.open(".groupchat/index"), "There is no such file")

    @skipUnless(os.geteuid() == 0, "only root can make devices")
    @inlineCallbacks
    def test_devices_are_not_shared(self) -> Steps:
        try:
            os.mknod(self.directory / "zero", 0o666 | 0o020000, os.makedev(1, 5))
        except OSError:
            return
        self.assertEqual((yield self.names()), [])
        yield self.refused(self.shelf.open("zero"), "There is no file zero")

    @inlineCallbacks
    def test_the_directory_may_be_a_symbolic_link(self) -> Steps:
        yield self.shelf.stop()
        link = self.directory.parent / f"{self.directory.name}.link"
        link.symlink_to(self.directory)
        self.addCleanup(link.unlink)
        self.directory = link
        yield self.open(SMALL)
        yield self.upload("a", b"abc")
        self.assertEqual((yield self.fetch("a")), b"abc")


class SharedListTests(ShelfTestCase):
    """However many ask, the directory is scanned once a second, and a list is made once until the shelf changes."""

    @inlineCallbacks
    def setUp(self) -> Steps:  # type: ignore[override]
        yield super().setUp()
        self.patch(catalog, "FRESH_SECONDS", 1.0)
        self.tick = self.patch(catalog, "TICK_SECONDS", 0.0)
        self.clock = self.stop_clock()
        self.scans = 0
        self.made = 0
        self.threads: set[threading.Thread] = set()
        scan = disk.Disk.scan

        def counted(disk: disk.Disk) -> dict[str, disk.Entry]:
            self.scans += 1
            return scan(disk)

        self.patch(disk.Disk, "scan", counted)
        yield self.hashed(self.upload("a", b"1"))
        self.scans = 0

    @inlineCallbacks
    def hashed(self, done: Deferred[Any]) -> Steps:
        yield done
        yield self.shelf._contents().catalog.lock.run(lambda: None)

    def form(self, files: Sequence[File]) -> list[str]:
        self.made += 1
        self.threads.add(threading.current_thread())
        return [file.name for file in files]

    @inlineCallbacks
    def listed(self) -> Generator[Deferred[Any], Any, tuple[list[str], int, int]]:
        """Return the list, and how many scans and lists there were until now."""
        names = yield self.shelf.listing(self.form)
        return names, self.scans, self.made

    @inlineCallbacks
    def test_a_list_is_made_once_until_the_shelf_changes(self) -> Steps:
        self.clock.advance(1)
        for _ in range(3):
            self.assertEqual((yield self.listed()), (["a"], 1, 1))
        self.clock.advance(1)
        for _ in range(3):
            self.assertEqual((yield self.listed()), (["a"], 2, 1))
        yield self.upload("b", b"2")
        for _ in range(3):
            self.assertEqual((yield self.listed()), (["a", "b"], 3, 2))
        self.assertEqual((yield self.shelf.listing(len)), 2)

    @inlineCallbacks
    def test_the_directory_is_scanned_once_a_second(self) -> Steps:
        self.clock.advance(1)
        yield self.listed()
        with open(self.directory / "a", "ab") as file:
            file.write(b"more")
        for _ in range(9):
            self.clock.advance(0.1)
            yield self.begin("c", b"3", 0, FileOwner(0, f"{self.clock.seconds()}"))
            self.assertEqual((yield self.listed()), (["a"], 1, 1))
        self.clock.advance(0.1)
        self.assertEqual((yield self.listed()), (["a"], 2, 2))

    @inlineCallbacks
    def test_a_name_that_comes_or_goes_is_noticed_at_once(self) -> Steps:
        self.tick.restore()
        yield self.listed()
        self.put("b", b"2")
        self.assertEqual((yield self.listed())[0], ["a", "b"])
        (self.directory / "b").rename(self.directory / "c")
        self.assertEqual((yield self.listed())[0], ["a", "c"])
        (self.directory / "a").unlink()
        self.assertEqual((yield self.listed())[0], ["c"])

    @inlineCallbacks
    def test_names_that_are_not_found_cost_one_scan_a_second(self) -> Steps:
        self.clock.advance(1)
        for number in range(20):
            yield self.refused(self.shelf.open(f"\u00fc {number}"), "There is no")
        self.assertEqual(self.scans, 1)
        for number in range(20):
            self.clock.advance(1)
            yield self.refused(self.shelf.open(f"u {number}"), "There is no")
        self.assertEqual(self.scans, 1)

    @inlineCallbacks
    def test_all_who_ask_at_once_share_one_scan_and_one_list(self) -> Steps:
        self.clock.advance(1)
        lists = yield gatherResults([self.shelf.listing(self.form) for _ in range(3_000)])
        self.assertEqual((lists, self.scans, self.made), ([["a"]] * 3_000, 1, 1))

    @inlineCallbacks
    def test_no_list_is_made_in_the_thread_of_the_reactor(self) -> Steps:
        yield self.listed()
        self.assertEqual(self.made, 1)
        self.assertNotIn(threading.current_thread(), self.threads)

    @inlineCallbacks
    def test_a_hash_that_is_learned_changes_the_list(self) -> Steps:
        self.put("b", b"2")
        self.clock.advance(1)

        def hashes(files: Sequence[File]) -> list[str | None]:
            return [file.sha256 for file in files]

        yield self.until(lambda: self.shelf.listing(hashes).addCallback(all))
        self.assertEqual((yield self.shelf.listing(hashes)), [hash_of(b"1"), hash_of(b"2")])

    @inlineCallbacks
    def test_a_change_while_a_list_is_made_is_not_missed(self) -> Steps:
        index = self.shelf._contents().catalog
        looping: Any = reactor

        def slow(files: Sequence[File]) -> int:
            if not self.made:
                self.made += 1
                blockingCallFromThread(looping, index.remove, index.files["a"].entry)
            return len(files)

        self.assertEqual((yield self.shelf.listing(slow)), 1)
        self.assertEqual((yield self.shelf.listing(slow)), 0)

    @inlineCallbacks
    def test_a_bug_in_a_form_is_logged_and_answered(self) -> Steps:
        def broken(files: Sequence[File]) -> float:
            return 1 / 0

        self.assertIsInstance((yield self.refused(self.shelf.listing(broken), "cannot read")), NotNow)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((yield self.listed())[0], ["a"])


class FetchingTests(ShelfTestCase):
    def put_dated(self, name: str, data: bytes) -> None:
        """Put a file of an old date into the directory, in a later tick of the disk's clock than what is there."""
        path = self.directory / name
        before = path.stat().st_ctime_ns if path.exists() else 0
        while not path.exists() or path.stat().st_ctime_ns == before:
            self.put(name, data)
            os.utime(path, (1000, 1000))

    @inlineCallbacks
    def test_files_of_all_sizes_can_be_read(self) -> Steps:
        for size in [0, 1, 1_000_000, 5_000_001]:
            data = os.urandom(size)
            self.put("a", data)
            self.assertEqual((yield self.fetch("a")), data)

    @inlineCallbacks
    def test_a_name_is_found_in_any_normal_form(self) -> Steps:
        mixed = "u\u0308\u00e4.txt"  # no normal form: as HFS+ leaves what it does not decompose
        for name, others in [
            ("u\u0308.txt", ["\u00fc.txt"]),
            ("\u00e9.txt", ["e\u0301.txt"]),
            ("\uac00", ["\u1100\u1161"]),
            (mixed, ["\u00fc\u00e4.txt", "u\u0308a\u0308.txt", "\u00fca\u0308.txt"]),
        ]:
            self.put(name, name.encode())
            for other in others:
                yield self.refused(self.shelf.open(f"no {other}"), "There is no")
                reading = yield self.shelf.open(other)
                self.assertEqual(reading.file.name, name)
                yield reading.close()
                self.assertEqual((yield self.fetch(other)), name.encode())
            (self.directory / name).unlink()
            yield self.refused(self.shelf.open(others[0]), "There is no")

    @inlineCallbacks
    def test_a_name_itself_comes_before_its_other_forms(self) -> Steps:
        self.put("u\u0308", b"decomposed")
        self.put("\u00fc", b"composed")
        self.assertEqual((yield self.fetch("u\u0308")), b"decomposed")
        self.assertEqual((yield self.fetch("\u00fc")), b"composed")
        (self.directory / "u\u0308").unlink()
        self.assertEqual((yield self.fetch("u\u0308")), b"composed")

    @inlineCallbacks
    def test_reads_end_at_the_end_of_the_file(self) -> Steps:
        self.put("a", b"0123456789")
        reading = yield self.shelf.open("a")
        parts = yield gatherResults([reading.read(offset, 4) for offset in (0, 8, 10, 99)])
        self.assertEqual(parts, [b"0123", b"89", b"", b""])
        yield reading.close()
        yield reading.close()
        yield self.refused(reading.read(0, 1), "closed")

    @inlineCallbacks
    def test_an_open_file_outlives_its_name(self) -> Steps:
        self.put("a", b"old")
        reading = yield self.shelf.open("a")
        self.put("b", b"new")
        (self.directory / "b").rename(self.directory / "a")
        self.assertEqual((yield reading.read(0, 9)), b"old")
        (self.directory / "a").unlink()
        self.assertEqual((yield reading.read(0, 9)), b"old")
        yield reading.close()

    @inlineCallbacks
    def test_reading_a_changed_file_fails(self) -> Steps:
        for change in [b"longer", b"s", b"xxx"]:
            self.put("a", b"old")
            os.utime(self.directory / "a", (1000, 1000))
            reading = yield self.shelf.open("a")
            self.put("a", change)
            why = yield self.refused(reading.read(0, 3), "changed")
            self.assertIsInstance(why, NotNow)
            yield reading.close()

    @inlineCallbacks
    def test_a_changed_file_gets_a_new_hash(self) -> Steps:
        self.put("a", b"old")
        yield self.fetch("a")
        self.put("a", b"newer")
        self.assertEqual((yield self.fetch("a")), b"newer")

    @inlineCallbacks
    def test_equal_size_and_times_do_not_hide_a_change(self) -> Steps:
        self.put_dated("a", b"old")
        self.assertEqual((yield self.fetch("a")), b"old")
        old = yield self.shelf.open("a", hashed=False)
        yield old.close()
        self.put_dated("a", b"new")
        new = yield self.shelf.open("a", hashed=False)
        yield new.close()
        self.assertIsNone(new.file.sha256)
        self.assertNotEqual(new.file.changed, old.file.changed)
        self.assertGreater(new.file.modified, old.file.modified)
        self.assertEqual((yield self.fetch("a")), b"new")
        yield self.until(lambda: self.shelf.listing(_hashes).addCallback([hash_of(b"new")].__eq__))
        self.put_dated("a", b"yet")
        yield self.restart()
        self.assertEqual((yield self.fetch("a")), b"yet")

    @inlineCallbacks
    def test_equal_size_and_times_end_a_read_after_a_change(self) -> Steps:
        self.put_dated("a", b"old")
        reading = yield self.shelf.open("a")
        self.put_dated("a", b"new")
        why = yield self.refused(reading.read(0, 3), "changed")
        self.assertIsInstance(why, NotNow)
        yield reading.close()

    @inlineCallbacks
    def test_a_read_goes_on_after_a_new_link(self) -> Steps:
        self.put("a", b"old")
        reading = yield self.shelf.open("a")
        os.link(self.directory / "a", self.directory / "backup")
        self.assertEqual((yield reading.read(0, 3)), b"old")
        self.put_dated("a", b"new")
        yield self.refused(reading.read(0, 3), "changed")
        yield reading.close()

    @inlineCallbacks
    def test_a_file_that_was_only_touched_keeps_its_owner(self) -> Steps:
        yield self.upload("a", b"abc")
        (self.directory / "a").chmod(0o644)
        self.assertEqual((yield self.fetch("a")), b"abc")
        self.assertEqual(self.owner_of("a"), ALICE)
        self.put("a", b"edited")
        yield self.names()
        self.assertIsNone(self.shelf._contents().catalog.files["a"].owner)

    @inlineCallbacks
    def test_an_upload_is_not_hashed_again(self) -> Steps:
        self.patch(hashing.Hasher, "want", lambda *_: self.fail("The hash is known already."))
        yield self.upload("a", b"abc")
        self.assertEqual((yield self.shelf.listing(_hashes)), [hash_of(b"abc")])

    @inlineCallbacks
    def test_a_fresh_file_is_hashed_when_its_time_can_tell(self) -> Steps:
        contents = self.shelf._contents()
        slept: list[float] = []
        self.patch(hashing, "sleep", slept.append)
        for age, pauses in [(-0.01, 0), (0.06, 0), (0.01, 1)]:
            self.put("a", b"old")
            with closing(contents.catalog.disk.open("a")) as file:
                self.patch(contents.catalog.hasher, "_time_of_day", repeat(file.entry.ctime / 1e9 + age).__next__)
                yield contents.catalog.hasher.hash_of(file.entry)
            self.assertEqual(len(slept), pauses)

    @inlineCallbacks
    def test_a_replaced_file_is_not_hashed_for_the_old_one(self) -> Steps:
        self.put("a", b"old")
        catalog = self.shelf._contents().catalog
        with closing(catalog.disk.open("a")) as file:
            self.put("b", b"new")
            (self.directory / "b").rename(self.directory / "a")
            yield self.refused(catalog.hasher.hash_of(file.entry), "being changed")

    @inlineCallbacks
    def test_small_files_are_hashed_before_a_large_one(self) -> Steps:
        self.patch(hashing, "SLICE", 1 << 20)
        self.put("long", bytes(60 << 20))
        order: list[str] = []
        long = self.fetch("long").addCallback(lambda data: order.append("long"))
        self.put("short", b"short")
        short = self.fetch("short").addCallback(lambda data: order.append("short"))
        yield gatherResults([long, short])
        self.assertEqual(order, ["short", "long"])

    @inlineCallbacks
    def test_no_file_stays_open(self) -> Steps:
        before = self.open_files()
        self.put("a", b"abc")
        yield self.fetch("a")
        yield self.refused(self.shelf.open("b"), "There is no file b.")
        yield self.upload("c", b"abc")
        yield (yield self.begin("d", b"abc", 1)).close()
        yield self.refused((yield self.begin("e", b"abc", 1)).write(b"abc"), "more than")
        self.assertEqual(self.open_files(), before)
        yield self.shelf.stop()
        self.assertEqual(self.open_files(), 0)

    @inlineCallbacks
    def test_open_files_are_limited(self) -> Steps:
        self.patch(shelf, "MAX_READINGS", 2)
        self.put("a", b"abc")
        readings = yield gatherResults([self.shelf.open("a"), self.shelf.open("a")])
        yield self.refused(self.shelf.open("a"), "Too many")
        yield readings[0].close()
        yield (yield self.shelf.open("a")).close()


class StartingTests(ShelfTestCase):
    @inlineCallbacks
    def test_hashes_and_owners_survive_a_restart(self) -> Steps:
        self.put("a", b"abc")
        yield self.fetch("a")
        yield self.upload("b", b"123")
        yield self.shelf.stop()
        self.patch(hashing.Hasher, "want", lambda *_: self.fail("The hash is known already."))
        yield self.open(SMALL)
        files = yield self.shelf.listing(list)
        self.assertEqual({file.sha256 for file in files}, {hash_of(b"abc"), hash_of(b"123")})
        owner = self.owner_of("b")
        self.assertEqual(owner.member, ALICE.member)

    @inlineCallbacks
    def test_a_damaged_index_is_built_again(self) -> Steps:
        self.put("a", b"abc")
        good = {"version": 2, "files": {"a": [3, 1, 1, 1, "0" * 64, 0, ""]}}
        for damage in [
            b"",
            b"\xff",
            b"[]",
            b'{"version": 1}',
            b"[" * 100_000,
            json.dumps({**good, "version": 3}).encode(),
            json.dumps({**good, "files": {"a": ["3", 1, 1, 1, None, 0, ""]}}).encode(),
            json.dumps({**good, "files": {"a": [3, 1, 1, 1, "x", 0, ""]}}).encode(),
            json.dumps({**good, "files": {"a": [3, 1, 1, "0" * 64, 0, ""]}}).encode(),
            json.dumps({**good, "files": {"a": [3]}}).encode(),
            json.dumps({**good, "files": []}).encode(),
        ]:
            yield self.shelf.stop()
            (self.folder / "index").write_bytes(damage)
            yield self.open(SMALL)
            self.assertEqual((yield self.fetch("a")), b"abc")

    @inlineCallbacks
    def test_an_older_index_tells_owners_and_no_hashes(self) -> Steps:
        yield self.upload("a", b"abc")
        yield self.shelf.stop()
        path = self.folder / "index"
        data = json.loads(path.read_bytes())
        size, mtime, inode, _, _, *owner = data["files"]["a"]
        path.write_text(json.dumps({"version": 1, "files": {"a": [size, mtime, inode, "0" * 64, *owner]}}))
        yield self.open(SMALL)
        self.assertEqual((yield self.fetch("a")), b"abc")
        self.assertEqual(self.owner_of("a"), FileOwner(ALICE.member, ALICE.host))

    @inlineCallbacks
    def test_the_index_ignores_a_file_that_was_replaced(self) -> Steps:
        self.put("a", b"abc")
        yield self.fetch("a")
        yield self.shelf.stop()
        self.put("a", b"xyz")
        os.utime(self.directory / "a", (1000, 1000))
        yield self.open(SMALL)
        self.assertEqual((yield self.fetch("a")), b"xyz")

    @inlineCallbacks
    def test_a_missing_directory_is_created(self) -> Steps:
        yield self.shelf.stop()
        self.directory = self.directory / "new"
        yield self.open(SMALL)
        self.assertEqual(self.directory.stat().st_mode & 0o777, 0o700)

    @inlineCallbacks
    def test_a_directory_that_cannot_be_shared_is_refused(self) -> Steps:
        self.put("file", b"")
        (self.directory / "loop").symlink_to("loop")
        folder = self.directory / "other"
        folder.mkdir()
        (folder / ".groupchat").symlink_to(self.directory)
        for path, words in [
            (self.directory / "file", "Not a directory"),
            (self.directory / "no" / "such", "No such file"),
            (self.directory, "another groupchat does"),
            (folder, "cannot share"),
            (self.directory / "loop", "cannot share"),
        ]:
            shelf = Shelf(path, SMALL, reactor)
            why = yield self.assertFailure(shelf.start(), CannotShare)
            self.assertIn(words, str(why))
            self.assertNotIn("\n", str(why))
            yield shelf.stop()

    @inlineCallbacks
    def test_everything_is_refused_after_stop(self) -> Steps:
        self.put("a", b"abc")
        reading = yield self.shelf.open("a")
        receiving = yield self.begin("b", b"abc", 1)
        yield self.shelf.stop()
        yield self.shelf.stop()
        for asked in [
            self.shelf.listing(list),
            self.shelf.open("a"),
            self.shelf.receive("c", 1, "0" * 64, ALICE),
            receiving.write(b"b"),
            receiving.finish(),
            reading.read(0, 1),
        ]:
            self.assertIsInstance((yield self.refused(asked, "")), NotNow)
        yield reading.close()
        yield receiving.close()
        self.assertEqual([part.read_bytes() for part in self.parts()], [b"a"])

    @inlineCallbacks
    def test_stopping_does_not_wait_for_a_long_hash(self) -> Steps:
        with open(self.directory / "long", "wb") as file:
            file.truncate(1 << 40)
        opening = self.shelf.open("long")
        waiting = self.refused(opening, "stopping")
        yield self.shelf.listing(list)
        yield self.shelf.stop()
        yield waiting
        self.assertEqual(self.open_files(), 0)

    def test_no_thread_runs_before_start(self) -> None:
        shelf = Shelf(Path("/nonexistent"), SMALL, reactor)
        self.assertIsNone(shelf._threads._pool)
