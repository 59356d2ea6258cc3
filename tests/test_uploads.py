"""Uploads to the shelf: complete or not at all, whatever is announced and wherever they break off."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.trial.unittest import SkipTest

from groupchat.core.errors import IllegalMessage, NotNow
from groupchat.core.limits import MAX_PARTS_EACH, MIN_FILE_SPACE, MIN_UPLOAD_RATE, FileLimits
from groupchat.files import FileOwner, IReceiving, disk, index, parts, quota, uploads
from tests.shelves import ALICE, BOB, GUEST, SMALL, ShelfTestCase, hash_of

Steps = Generator[Deferred[Any], Any, None]
DATA = bytes(range(256)) * 1000

PAYS = 20 * MIN_UPLOAD_RATE
"""So many bytes hold the room for an upload for 20 seconds."""


class UploadTests(ShelfTestCase):
    @inlineCallbacks
    def test_files_of_all_sizes_can_be_uploaded(self) -> Steps:
        for size in [0, 1, 99_999, 100_000, 3_000_000]:
            data = os.urandom(size)
            self.assertEqual((yield self.upload(f"{size}", data)), f"{size}")
            self.assertEqual((yield self.fetch(f"{size}")), data)
            self.assertEqual((self.directory / f"{size}").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.parts(), [])
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    @inlineCallbacks
    def test_an_incomplete_file_is_not_listed(self) -> Steps:
        receiving = yield self.begin("a", DATA, len(DATA))
        self.assertEqual((yield self.names()), [])
        self.assertEqual([part.stat().st_mode & 0o777 for part in self.parts()], [0o600])
        yield receiving.finish()
        self.assertEqual((yield self.names()), ["a"])

    @inlineCallbacks
    def test_a_name_in_use_gets_a_number(self) -> Steps:
        got = []
        for name in ["photo.jpg", "Photo.JPG", "photo.jpg", "photo (2).jpg", "a.tar.gz", "a.tar.gz", "b", "b", ".x"]:
            try:
                got.append((yield self.upload(name, os.urandom(9))))
            except IllegalMessage:
                got.append("no")
        self.assertEqual(
            got,
            [
                "photo.jpg",
                "Photo (2).JPG",
                "photo (3).jpg",
                "photo (2) (2).jpg",
                "a.tar.gz",
                "a (2).tar.gz",
                "b",
                "b (2)",
                "no",
            ],
        )

    @inlineCallbacks
    def test_a_long_name_is_cut_to_make_room_for_a_number(self) -> Steps:
        name = "ü" * 125 + ".jpg"
        self.assertEqual((yield self.upload(name, b"1")), name)
        self.assertEqual((yield self.upload(name, b"2")), "ü" * 123 + " (2).jpg")

    @inlineCallbacks
    def test_an_existing_file_is_never_replaced(self) -> Steps:
        (self.directory / "link").symlink_to("nowhere")
        (self.directory / "folder").mkdir()
        for name in ["link", "folder"]:
            self.assertEqual((yield self.upload(name, b"1")), f"{name} (2)")
        self.assertFalse((self.directory / "nowhere").exists())
        # A file of that name appears after the shelf looked:
        receiving = yield self.begin("a", b"new", 3)
        listdir = os.listdir

        def look(path: Any) -> list[str]:
            names = listdir(path)
            if path == self.shelf._contents().catalog.disk.directory:
                self.put("a", b"old")
            return names

        self.patch(os, "listdir", look)
        self.assertEqual((yield receiving.finish()), "a (2)")
        self.assertEqual((yield self.fetch("a")), b"old")

    @inlineCallbacks
    def test_a_disk_without_links_works(self) -> Steps:
        def link(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, "no links here")

        self.patch(os, "link", link)
        self.put("a", b"old")
        self.assertEqual((yield self.upload("a", b"new")), "a (2)")
        self.assertEqual((yield self.fetch("a")), b"old")
        self.assertEqual((yield self.fetch("a (2)")), b"new")
        self.assertEqual(self.parts(), [])

    @inlineCallbacks
    def test_a_wrong_hash_is_refused(self) -> Steps:
        receiving = yield self.shelf.receive("a", 3, hash_of(b"abc"), ALICE)
        yield receiving.write(b"abd")
        why = yield self.refused(receiving.finish(), "SHA-256")
        self.assertNotIsInstance(why, NotNow)
        self.assertEqual(((yield self.names()), self.parts()), ([], []))
        yield self.upload("a", b"abc")

    @inlineCallbacks
    def test_more_data_than_announced_is_refused(self) -> Steps:
        receiving = yield self.shelf.receive("a", 3, hash_of(b"abc"), ALICE)
        yield receiving.write(b"ab")
        yield self.refused(receiving.write(b"cd"), "more than the 3 bytes")
        yield self.refused(receiving.finish(), "ended")
        self.assertEqual(((yield self.names()), self.parts()), ([], []))

    @inlineCallbacks
    def test_less_data_than_announced_is_kept(self) -> Steps:
        receiving = yield self.begin("a", b"abc", 2)
        yield self.refused(receiving.finish(), "Only 2 of 3 bytes")
        self.assertEqual((yield self.begin("a", b"abc", 0)).offset, 2)

    @inlineCallbacks
    def test_a_withdrawn_file_can_be_resumed(self) -> Steps:
        receiving = yield self.begin("a", DATA, len(DATA))
        yield receiving.finish()
        yield receiving.withdraw()
        yield receiving.withdraw()
        self.assertEqual((yield self.names()), [])
        again = yield self.begin("a", DATA, 0)
        self.assertEqual(again.offset, len(DATA))
        self.assertEqual((yield again.finish()), "a")
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_withdrawing_leaves_other_files_alone(self) -> Steps:
        receiving = yield self.begin("a", b"abc", 3)
        yield receiving.finish()
        (self.directory / "a").unlink()
        self.put("a", b"other")
        yield receiving.withdraw()
        self.assertEqual((yield self.fetch("a")), b"other")
        receiving = yield self.begin("b", b"abc", 3)
        yield receiving.finish()
        (self.directory / "b").unlink()
        yield receiving.withdraw()

    @inlineCallbacks
    def test_withdrawing_during_another_try_works(self) -> Steps:
        first = yield self.begin("a", b"abc", 3)
        yield first.finish()
        second = yield self.begin("a", b"abc", 2)
        yield first.withdraw()
        self.assertEqual((yield self.names()), [])
        yield second.write(b"c")
        self.assertEqual((yield second.finish()), "a")


class UnhashedTests(ShelfTestCase):
    """Uploads whose hash was not announced."""

    @inlineCallbacks
    def test_the_hash_is_computed_while_receiving(self) -> Steps:
        receiving = yield self.shelf.receive("a", len(DATA), None, ALICE)
        for at in range(0, len(DATA), 100_000):
            yield receiving.write(DATA[at : at + 100_000])
        self.assertEqual((yield receiving.finish()), "a")
        (file,) = yield self.shelf.listing(list)
        self.assertEqual((file.size, file.sha256), (len(DATA), hash_of(DATA)))
        self.assertEqual((yield self.fetch("a")), DATA)

    @inlineCallbacks
    def test_a_file_without_hash_is_not_resumed(self) -> Steps:
        receiving = yield self.shelf.receive("a", len(DATA), None, ALICE)
        yield receiving.write(DATA[:1000])
        again = yield self.shelf.receive("a", len(DATA), None, ALICE)
        self.assertEqual(again.offset, 0)
        yield again.close()
        yield self.refused(receiving.finish(), "Only 1000 of")
        self.assertEqual(self.parts(), [])

    @inlineCallbacks
    def test_a_part_without_hash_is_forgotten_at_stop(self) -> Steps:
        receiving = yield self.shelf.receive("a", len(DATA), None, ALICE)
        yield receiving.write(DATA[:1000])
        yield self.shelf.stop()
        self.assertEqual(self.parts(), [])

    @inlineCallbacks
    def test_a_withdrawn_file_without_hash_is_forgotten(self) -> Steps:
        receiving = yield self.shelf.receive("a", len(DATA), None, ALICE)
        yield receiving.write(DATA)
        yield receiving.finish()
        yield receiving.withdraw()
        self.assertEqual((self.parts(), (yield self.names())), ([], []))

    @inlineCallbacks
    def test_a_file_can_be_opened_before_its_hash_is_known(self) -> Steps:
        self.put("big", bytes(50_000_000))
        reading = yield self.shelf.open("big", hashed=False)
        self.assertEqual((reading.file.size, (yield reading.read(0, 3))), (50_000_000, bytes(3)))
        yield reading.close()


class OpenEndedTests(ShelfTestCase):
    """Uploads of unknown size: they take room as they grow."""

    @inlineCallbacks
    def test_a_file_of_unknown_size_can_be_uploaded(self) -> Steps:
        for size in (0, 1, 300_000, 4_000_000):
            data = os.urandom(size)
            receiving = yield self.shelf.receive(f"{size}", None, None, BOB if size == 4_000_000 else ALICE)
            for at in range(0, size, 100_000):
                yield receiving.write(bytearray(data[at : at + 100_000]))
            self.assertEqual((yield receiving.finish()), f"{size}")
            self.assertEqual(receiving.offset, size)
            self.assertEqual((yield self.fetch(f"{size}")), data)
        self.assertEqual(self.parts(), [])

    @inlineCallbacks
    def test_it_holds_room_for_what_came(self) -> Steps:
        receiving = yield self.shelf.receive("a", None, None, ALICE)
        yield receiving.write(bytes(3_000_000))
        yield self.upload("b", bytes(3_000_000))
        yield self.refused(self.shelf.receive("c", 1, "0" * 64, ALICE), "6.0 MB")
        yield self.refused(receiving.write(b"x"), "6.0 MB")
        self.assertEqual(self.parts(), [])
        yield self.upload("c", bytes(3_000_000 - MIN_FILE_SPACE))

    @inlineCallbacks
    def test_it_ends_where_a_limit_is_reached(self) -> Steps:
        for limits, words in [
            (SMALL, "A file has at most 4.0 MB"),
            (replace(SMALL, max_member=2_000_000), "A file has at most 2.0 MB"),
            (replace(SMALL, max_total=5_000_000), "The shelf is full"),
            (replace(SMALL, keep_free=2**60), "almost full"),
        ]:
            yield self.restart(limits)
            self.put("old", bytes(2_000_000))
            yield self.shelf.listing(list)
            if limits.keep_free:
                yield self.refused(self.shelf.receive("a", None, None, ALICE), words)
                continue
            receiving = yield self.shelf.receive("a", None, None, ALICE)
            with self.assertRaises(IllegalMessage) as caught:
                for _ in range(50):
                    yield receiving.write(bytes(100_000))
            self.assertIn(words, str(caught.exception))
            self.assertLessEqual(receiving.offset, 4_000_000)
            self.assertEqual(self.parts(), [])
            yield self.refused(receiving.finish(), "has ended")

    @inlineCallbacks
    def test_uploads_that_grow_together_share_the_room(self) -> Steps:
        growing = yield gatherResults(
            self.shelf.receive(f"{n}", None, None, FileOwner(0, f"10.0.0.{n}")) for n in range(4)
        )
        refused = 0
        for _ in range(30):
            try:
                yield gatherResults([receiving.write(bytes(100_000)) for receiving in growing], consumeErrors=True)
            except Exception:
                refused += 1
                break
        self.assertEqual(refused, 1)
        self.assertLessEqual(sum(part.stat().st_size for part in self.parts()), SMALL.max_total)
        for receiving in growing:
            yield receiving.close()

    @inlineCallbacks
    def test_half_of_it_is_forgotten(self) -> Steps:
        receiving = yield self.shelf.receive("a", None, None, ALICE)
        yield receiving.write(DATA)
        yield receiving.close()
        self.assertEqual((self.parts(), (yield self.names())), ([], []))


class ResumingTests(ShelfTestCase):
    @inlineCallbacks
    def test_an_upload_resumes_wherever_it_broke_off(self) -> Steps:
        data = os.urandom(1000)
        for cut in [0, 1, 499, 999, 1000]:
            yield (yield self.begin("a", data, cut)).close()
            again = yield self.begin("a", data, 0)
            self.assertEqual(again.offset, cut)
            yield again.write(data[cut:])
            name = yield again.finish()
            self.assertEqual((yield self.fetch(name)), data)
            (self.directory / name).unlink()

    @inlineCallbacks
    def test_an_upload_resumes_after_a_restart(self) -> Steps:
        for owner in [ALICE, GUEST]:
            yield self.begin("a", DATA, 1000, owner)  # stopping keeps the part
            yield self.restart()
            elsewhere = replace(owner, host="10.9.9.9") if owner.member else owner
            receiving = yield self.begin("a", DATA, 0, elsewhere)
            self.assertEqual(receiving.offset, 1000)
            yield receiving.write(DATA[1000:])
            self.assertEqual((yield self.fetch((yield receiving.finish()))), DATA)
        self.assertEqual(self.parts(), [])

    @inlineCallbacks
    def test_nobody_resumes_the_upload_of_another_owner(self) -> Steps:
        yield (yield self.begin("a", DATA, 1000)).close()
        for other in [BOB, GUEST, replace(GUEST, name="Al"), replace(GUEST, host="10.0.0.1")]:
            receiving = yield self.begin("a", DATA, 0, other)
            self.assertEqual(receiving.offset, 0)
            yield receiving.write(b"x")
            yield receiving.close()
        self.assertEqual((yield self.begin("a", DATA, 0)).offset, 1000)

    @inlineCallbacks
    def test_the_same_upload_is_refused_while_under_way(self) -> Steps:
        first = yield self.begin("a", DATA, 10)
        why = yield self.refused(self.begin("a", DATA, 0), "already")
        self.assertIsInstance(why, NotNow)
        yield first.close()
        yield self.begin("a", DATA, 0)

    @inlineCallbacks
    def test_of_equal_uploads_begun_together_one_is_accepted(self) -> Steps:
        asked = [self.begin("a", DATA, 0) for _ in range(5)]
        for one in asked[1:]:
            yield self.refused(one, "already")
        self.assertEqual((yield asked[0]).offset, 0)

    @inlineCallbacks
    def test_a_damaged_part_is_sent_again(self) -> Steps:
        yield (yield self.begin("a", DATA, 1000)).close()
        self.parts()[0].write_bytes(b"x" * 1000)
        receiving = yield self.begin("a", DATA, len(DATA))
        self.assertIsInstance((yield self.refused(receiving.finish(), "damaged")), NotNow)
        self.assertEqual((yield self.upload("a", DATA)), "a")

    @inlineCallbacks
    def test_a_part_that_is_too_long_is_thrown_away(self) -> Steps:
        yield (yield self.begin("a", b"abc", 1)).close()
        self.parts()[0].write_bytes(b"x" * 1000)
        self.assertEqual((yield self.upload("a", b"abc")), "a")

    @inlineCallbacks
    def test_a_part_that_is_a_link_is_not_written_to(self) -> Steps:
        yield (yield self.begin("a", b"abc", 1)).close()
        part = self.parts()[0]
        part.unlink()
        victim = self.directory / "victim"
        victim.write_bytes(b"victim")
        part.symlink_to(victim)
        yield self.refused(self.begin("a", b"abc", 3), "cannot write")
        self.assertEqual(victim.read_bytes(), b"victim")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    @inlineCallbacks
    def test_old_parts_are_forgotten(self) -> Steps:
        yield (yield self.begin("old", DATA, 10)).close()
        yield (yield self.begin("new", DATA[1:], 10)).close()
        old = next(part for part in self.parts() if part.read_bytes() == DATA[:10])
        yield self.shelf.stop()
        long_ago = time.time() - 25 * 3600
        os.utime(old, (long_ago, long_ago))
        yield self.open(SMALL)
        self.assertEqual([part.read_bytes() for part in self.parts()], [DATA[1:11]])

    @inlineCallbacks
    def test_a_part_left_by_a_crash_tells_the_owner(self) -> Steps:
        receiving = yield self.begin("a", DATA, len(DATA))
        patches = [
            self.patch(where, name, lambda *_: None) for where, name in [(parts.PartFolder, "_unlink"), (index, "save")]
        ]
        yield receiving.finish()
        self.assertEqual(len(self.parts()), 1)
        yield self.shelf.stop()
        for patch in patches:
            patch.restore()
        yield self.open(SMALL)
        self.assertEqual(self.parts(), [])
        owner = self.owner_of("a")
        self.assertEqual(owner.member, ALICE.member)


class RoomTests(ShelfTestCase):
    @inlineCallbacks
    def test_a_file_over_the_size_limit_is_refused(self) -> Steps:
        yield self.refused(self.shelf.receive("a", 4_000_001, "0" * 64, ALICE), "at most 4.0 MB")
        yield self.refused(self.shelf.receive("a", 2**63 - 1, "0" * 64, ALICE), "at most 4.0 MB")

    @inlineCallbacks
    def test_the_files_of_a_member_are_limited(self) -> Steps:
        yield self.upload("a", bytes(4_000_000))
        yield self.refused(self.shelf.receive("b", 2_000_001, "0" * 64, ALICE), "6.0 MB")
        yield self.begin("b", bytes(2_000_001), 0, BOB)
        (self.directory / "a").unlink()
        yield self.begin("b", bytes(2_000_001), 0, ALICE)

    @inlineCallbacks
    def test_uploads_count_after_a_restart(self) -> Steps:
        yield self.upload("a", bytes(4_000_000))
        yield self.restart()
        yield self.refused(self.shelf.receive("b", 2_000_001, "0" * 64, ALICE), "6.0 MB")

    @inlineCallbacks
    def test_files_of_former_members_count_for_their_host(self) -> Steps:
        host = ALICE.host
        yield self.upload("a", bytes(4_000_000))
        yield self.begin("b", bytes(2_000_001), PAYS, FileOwner(0, host, "Al"))
        self.members.discard(1)
        yield self.refused(self.shelf.receive("c", 1, "0" * 64, FileOwner(0, host, "Al")), "6.0 MB")
        yield self.refused(self.shelf.receive("c", 1, "0" * 64, FileOwner(0, host, "Bert")), "6.0 MB")
        self.members.add(3)
        yield self.begin("c", bytes(3_000_000), 0, FileOwner(3, host, "Cleo"))

    @inlineCallbacks
    def test_all_files_together_are_limited(self) -> Steps:
        for name in "abc":
            self.put(name, bytes(3_000_000))
        why = yield self.refused(self.shelf.receive("d", 1_000_001, "0" * 64, ALICE), "full")
        self.assertIsInstance(why, NotNow)
        yield self.begin("d", bytes(1_000_000), PAYS, ALICE)
        yield self.refused(self.shelf.receive("e", 1, "0" * 64, BOB), "full")

    @inlineCallbacks
    def test_uploads_under_way_count_with_their_announced_size(self) -> Steps:
        owners = [FileOwner(0, f"10.0.1.{number}", "G") for number in range(5)]
        asked = [self.begin("a", bytes(3_000_000 - n), PAYS, owner) for n, owner in enumerate(owners)]
        outcomes = yield gatherResults([one.addErrback(lambda failure: failure.value) for one in asked])
        self.assertEqual(sum(isinstance(one, NotNow) for one in outcomes), 2)

    @inlineCallbacks
    def test_uploads_under_way_reserve_free_disk_space(self) -> Steps:
        self.patch(disk.Disk, "room", lambda disk: 5_000_000 - sum(part.stat().st_size for part in self.parts()))
        yield self.restart(replace(SMALL, keep_free=1_000_000))
        yield self.begin("a", bytes(3_000_000), PAYS, ALICE)
        yield self.refused(self.shelf.receive("b", 1_000_001, "0" * 64, BOB), "almost full")
        yield self.begin("b", bytes(1_000_000), 0, BOB)

    @inlineCallbacks
    def test_idle_parts_of_the_owner_make_room(self) -> Steps:
        for number in range(MAX_PARTS_EACH):
            yield (yield self.begin("a", bytes(9) + b"%d" % number, 5)).close()
        yield self.begin("other", DATA, 5, BOB)
        yield self.begin("b", DATA, 5)
        self.assertEqual(len(self.parts()), 2)

    @inlineCallbacks
    def test_parts_under_way_do_not_make_room(self) -> Steps:
        for number in range(2):
            yield self.begin("a", bytes(3_000_000 - number), PAYS)
        yield self.refused(self.shelf.receive("b", 2, "0" * 64, ALICE), "6.0 MB")

    @inlineCallbacks
    def test_an_empty_file_counts_4_kb(self) -> Steps:
        yield self.restart(replace(SMALL, max_member=5 * 4096))
        for number in range(4):
            yield self.upload(f"{number}", b"")
        yield self.restart(replace(SMALL, max_member=5 * 4096))
        yield (yield self.begin("part", b"12", 1)).close()
        yield self.upload("last", b"")
        yield self.refused(self.upload("more", b""), "at most 20.5 kB")
        yield self.upload("other", b"", BOB)
        yield self.restart(replace(SMALL, max_total=6 * 4096))
        self.assertIsInstance((yield self.refused(self.upload("more", b"", BOB), "full")), NotNow)

    @inlineCallbacks
    def test_the_files_of_one_sender_are_limited(self) -> Steps:
        self.patch(quota, "MAX_FILES_EACH", 3)
        yield self.upload("a", b"")
        yield self.upload("b", b"")
        yield (yield self.begin("c", b"12", 1)).close()
        yield self.upload("d", b"")  # the part makes room
        yield self.refused(self.upload("e", b""), "3 files of yours")
        for number in range(3):
            yield self.upload("e", b"", FileOwner(0, f"2001:db8::{number}", f"Guest {number}"))
        yield self.refused(self.upload("e", b"", FileOwner(0, "2001:db8::ff:1", "Guest")), "3 files of yours")
        yield self.upload("e", b"", FileOwner(0, "2001:db8:0:1::1", "Guest"))
        (self.directory / "a").unlink()
        yield self.upload("e", b"")

    @inlineCallbacks
    def test_one_host_has_half_of_all_files_at_most(self) -> Steps:
        self.patch(quota, "MAX_FILES", 8)
        self.members.update(range(10))
        for member in range(4):
            yield self.upload("a", b"", FileOwner(member, "10.0.0.1", "A"))
        yield self.refused(self.upload("a", b"", FileOwner(9, "10.0.0.1", "A")), "Half of all")
        yield self.upload("a", b"", FileOwner(9, "10.0.0.2", "A"))
        self.put("by hand", b"")

    @inlineCallbacks
    def test_the_number_of_files_is_limited(self) -> Steps:
        self.patch(quota, "MAX_FILES", 3)
        for name in "ab":
            self.put(name, b"")
        yield self.begin("c", b"c", 0)
        yield self.refused(self.begin("d", b"d", 0), "too many")


class SlowTests(ShelfTestCase):
    """Uploads that announce much and send little: they keep nobody else out."""

    @inlineCallbacks
    def setUp(self) -> Steps:  # type: ignore[override]
        yield super().setUp()
        self.clock = self.stop_clock()

    @inlineCallbacks
    def crowd(self, size: int, count: int, data: bytes = b"") -> Generator[Deferred[Any], Any, list[IReceiving]]:
        """Begin uploads of so many guests, each from a host of its own, who send `data` first."""
        crowd = []
        for number in range(count):
            guest = FileOwner(0, f"10.1.0.{number}", "Slow")
            crowd.append((yield self.shelf.receive("slow", size, hash_of(b"%d" % number), guest)))
            if data:
                yield crowd[-1].write(data)
        return crowd

    @inlineCallbacks
    def test_a_byte_now_and_then_holds_no_room(self) -> Steps:
        crowd = yield self.crowd(SMALL.max_total // 20, 20, b"x")
        for _ in range(5):
            self.clock.advance(4)
            for slow in crowd:
                yield slow.write(b"x")
        self.clock.advance(1)
        yield self.upload("a", bytes(4_000_000))
        yield self.upload("b", bytes(4_000_000), BOB)

    @inlineCallbacks
    def test_announcing_again_and_again_holds_no_room(self) -> Steps:
        for _ in range(3):
            crowd = yield self.crowd(SMALL.max_file, 20)
            for slow in crowd:
                yield slow.close()
        yield self.crowd(SMALL.max_file, 20)
        yield self.upload("a", bytes(4_000_000))

    @inlineCallbacks
    def test_an_upload_at_the_minimum_rate_keeps_its_room(self) -> Steps:
        data = bytes(4_000_000)
        steady = yield self.begin("a", data, MIN_UPLOAD_RATE)
        yield self.begin("b", data[1:], MIN_UPLOAD_RATE * 99, BOB)
        for _ in range(8):
            self.clock.advance(0.9)
            yield steady.write(bytes(MIN_UPLOAD_RATE))
            yield self.refused(self.shelf.receive("c", 2_100_000, "0" * 64, GUEST), "full")
        self.clock.advance(5)
        other = yield self.begin("c", data[2:], PAYS, GUEST)
        self.assertIsInstance((yield self.refused(steady.write(b"x"), "full")), NotNow)
        self.assertIsInstance((yield self.refused(self.begin("a", data, 0), "full")), NotNow)
        self.clock.advance(60)
        yield other.close()
        self.assertEqual((yield self.begin("a", data, 0)).offset, 9 * MIN_UPLOAD_RATE)

    @inlineCallbacks
    def test_nothing_sent_before_holds_room_for_over_a_minute(self) -> Steps:
        yield self.begin("a", bytes(4_000_000), 3_999_999)
        yield self.restart(replace(SMALL, max_total=8_000_000))
        self.clock = self.stop_clock()
        yield self.begin("b", bytes(4_000_000), 3_000_000, BOB)
        self.clock.advance(59)
        yield self.refused(self.shelf.receive("c", 1_000_000, "0" * 64, GUEST), "full")
        self.clock.advance(1)
        yield self.shelf.receive("c", 1_000_000, "0" * 64, GUEST)

    @inlineCallbacks
    def test_a_slow_disk_costs_no_room(self) -> Steps:
        write, go_on = parts.PartFile.write, threading.Event()
        self.addCleanup(go_on.set)

        def slow(file: parts.PartFile, data: bytes) -> None:
            go_on.wait()
            write(file, data)

        first = yield self.begin("a", bytes(4_000_000), PAYS)
        yield self.begin("b", bytes(4_000_000), 99 * MIN_UPLOAD_RATE, BOB)
        self.patch(parts.PartFile, "write", slow)
        writing = first.write(b"x")
        for _ in range(2):
            self.clock.advance(25)
            yield self.refused(self.shelf.receive("c", 2_100_000, "0" * 64, GUEST), "full")
        go_on.set()
        yield writing
        self.clock.advance(9)
        yield self.refused(self.shelf.receive("c", 2_100_000, "0" * 64, GUEST), "full")

    @inlineCallbacks
    def test_a_slow_upload_goes_on_while_there_is_room(self) -> Steps:
        data = os.urandom(300)
        receiving = yield self.shelf.receive("a", len(data), None, ALICE)
        for at in range(0, len(data), 3):
            self.clock.advance(10)
            yield receiving.write(data[at : at + 3])
        yield receiving.finish()
        self.assertEqual((yield self.fetch("a")), data)

    @inlineCallbacks
    def test_slow_uploads_give_their_places_up(self) -> Steps:
        self.patch(uploads, "MAX_UPLOADS", 6)
        crowd = yield self.crowd(1000, 3, b"x")
        fast = yield self.begin("b", bytes(1_000_000), PAYS, BOB)
        more = []
        for number in range(4):
            host = FileOwner(0, "10.2.0.1", f"G{number}")
            more.append((yield self.begin("c", b"ab%d" % number, 1, host)))
            self.clock.advance(1)
        yield self.refused(more[0].finish(), "ended")  # a host has half of the places at most
        for _ in range(9):
            yield self.upload("d", b"12", ALICE)
        yield fast.write(b"1")
        yield crowd[-1].write(b"1")
        yield self.refused(more[1].finish(), "ended")

    @inlineCallbacks
    def test_places_of_fast_uploads_are_kept(self) -> Steps:
        self.patch(uploads, "MAX_UPLOADS", 2)
        yield self.begin("a", bytes(1_000_000), PAYS)
        why = yield self.refused(self.begin("a", bytes(9), 0, replace(BOB, host=ALICE.host)), "Too many")
        self.assertIsInstance(why, NotNow)
        yield self.begin("b", bytes(1_000_000), PAYS, BOB)
        yield self.refused(self.begin("c", bytes(9), 0, GUEST), "Too many")
        self.clock.advance(21)
        yield self.begin("c", bytes(9), 0, GUEST)

    @inlineCallbacks
    def test_3000_refused_at_once_are_answered(self) -> Steps:
        self.patch(uploads, "MAX_UPLOADS", 0)
        asked = [self.shelf.receive("a", 1, None, FileOwner(0, f"{n}", "G")) for n in range(3_000)]
        outcomes = yield gatherResults([one.addErrback(lambda failure: failure.type) for one in asked])
        self.assertEqual(set(outcomes), {NotNow})

    @inlineCallbacks
    def test_parts_of_whoever_has_most_make_room(self) -> Steps:
        for where in (uploads, quota):
            self.patch(where, "MAX_PARTS", 4)
        yield (yield self.begin("b", b"bb", 1, BOB)).close()
        for number in range(3):
            yield (yield self.begin("a", b"%da" % number, 1, replace(GUEST, name=f"{number}"))).close()
        yield self.begin("c", b"cc", 1)
        self.assertEqual(sorted(part.read_bytes() for part in self.parts()), [b"1", b"2", b"b", b"c"])


class DiskTests(ShelfTestCase):
    @inlineCallbacks
    def fails(self, name: str, number: int, words: str) -> Generator[Deferred[Any], Any, IllegalMessage]:
        """Upload a file while a system call fails with this error. Returns the refusal."""
        receiving = yield self.begin("a", DATA, 10)

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(number, "injected")

        original = getattr(os, name)
        self.patch(os, name, fail)
        try:
            asked = (
                receiving.write(DATA[10:])
                if name == "pwrite"
                else receiving.write(DATA[10:]).addCallback(lambda _: receiving.finish())
            )
            why: IllegalMessage = yield self.refused(asked, words)
        finally:
            setattr(os, name, original)
        self.assertEqual(((yield self.names()), self.parts()), ([], []))
        self.assertEqual((yield self.upload("a", DATA)), "a")
        (self.directory / "a").unlink()
        return why

    @inlineCallbacks
    def test_a_full_disk_is_temporary(self) -> Steps:
        for name in ["pwrite", "fsync", "link"]:
            for number in [errno.ENOSPC, errno.EDQUOT]:
                self.assertIsInstance((yield self.fails(name, number, "disk of the server is full")), NotNow)

    @inlineCallbacks
    def test_a_disk_error_is_logged_and_refused(self) -> Steps:
        for name in ["pwrite", "fsync", "link"]:
            why = yield self.fails(name, errno.EIO, "cannot write")
            self.assertNotIsInstance(why, NotNow)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    @inlineCallbacks
    def test_a_name_too_long_for_the_disk_is_refused(self) -> Steps:
        yield self.fails("link", errno.ENAMETOOLONG, "too long for the disk")

    @inlineCallbacks
    def test_a_real_full_disk_is_reported(self) -> Steps:
        yield self.shelf.stop()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(self.directory)], capture_output=True, check=False
        )
        if done.returncode:
            raise SkipTest("only root can mount")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.directory)], check=False)
        yield self.open(FileLimits(keep_free=0))
        self.patch(disk.Disk, "room", lambda disk: 10**9)
        data = os.urandom(2_000_000)
        self.assertIsInstance((yield self.refused(self.upload("a", data), "full")), NotNow)
        self.assertEqual(self.parts(), [])
        yield self.upload("b", data[:500_000])
        yield self.shelf.stop()
